"""A registry that answers as Quay did: all of it is had, what is asked for is counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import AccessDenied
from cnrmirror.objects.access import Access
from cnrmirror.objects.http import HttpReader, Patience
from cnrmirror.sources.filters import Filter
from cnrmirror.sources.registry import RegistrySource
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.report import PARTIAL, SourceReport
from cnrmirror.sync.run import sync
from tests.conftest import NOW
from tests.mirrors import make
from tests.quay import USER, Quay, quay
from tests.test_sync import releases


class Upstream(Quay):
    """The double, and a mirror of it."""

    project: Project
    http: HttpReader

    def sync(self, rules: Rules = Rules(), **settings: Any) -> SourceReport:
        source = RegistrySource("quay", self.http, **settings)
        (report,) = sync(self.project, [(source, rules)], NOW).sources
        return report


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    with quay(tmp_path) as registry:
        registry.__class__ = Upstream
        assert isinstance(registry, Upstream)
        registry.project = make(tmp_path / "mirror", "quay")
        headers = {"Authorization": USER}
        patience = Patience(attempts=1)
        registry.http = HttpReader(registry.host.url, patience, headers, sleep=lambda s: None)
        yield registry
        registry.http.close()


FOLLOW = Rules(deletes="follow", parallel=8)


def fill(upstream: Upstream, count: int) -> None:
    for number in range(count):
        upstream.add(f"acme/p{number:02d}", "1.0.0")


@pytest.mark.parametrize(("cap", "private"), [(50, 3), (50, 0), (47, 0), (1, 0)])
def test_nothing_is_dropped_on_the_word_of_a_list_at_whatever_row_it_ends(
    upstream: Upstream, cap: int, private: int
) -> None:
    fill(upstream, 57)
    upstream.cap = 100
    assert upstream.sync(FOLLOW).fetched == 57
    upstream.cap = cap
    for number in range(private):
        upstream.add(f"aaa/hidden{number}", "1.0.0")
        upstream.private.add(f"aaa/hidden{number}")
    upstream.add("acme/p56", "2.0.0")
    report = upstream.sync(FOLLOW)
    assert len(releases(upstream.project)) == 58, "a new release of what no list shows came, too"
    assert report.exit_code == 0 and not report.complete
    assert any("the list is not complete: not in it, but there: acme/p" in n for n in report.notes)


def test_what_answers_404_for_itself_is_dropped_and_what_answers_nothing_is_not(
    upstream: Upstream,
) -> None:
    fill(upstream, 20)
    upstream.sync(FOLLOW)
    del upstream.packages["acme/p00"]
    upstream.private.add("acme/p01")
    report = upstream.sync(FOLLOW)
    assert {a.package for a in report.actions if a.kind == "drop"} == {"acme/p00"}
    assert report.exit_code == PARTIAL and [h.package for h in report.holes] == ["acme/p01"]


def test_a_release_that_the_package_does_not_show_is_asked_for_before_it_is_dropped(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for release in ("1.0.0", "1.1.0", "1.2.0"):
        upstream.add("acme/app", release)
    upstream.sync(FOLLOW)
    del upstream.packages["acme/app"]["1.0.0"]
    whole = upstream.answer

    def cut(path: str) -> tuple[int, Any]:
        status, value = whole(path)
        if path.endswith("/acme/app"):
            value = [m for m in value if m["release"] != "1.1.0"]
        return status, value

    monkeypatch.setattr(upstream, "answer", cut)
    report = upstream.sync(Rules(deletes="follow", max_shrink=1))
    assert releases(upstream.project) == {"acme/app@1.1.0", "acme/app@1.2.0"}
    assert report.exit_code == 0


def test_every_format_of_every_release_comes_though_the_list_names_the_newest_only(
    upstream: Upstream,
) -> None:
    upstream.add("acme/app", "1.0.0", "helm", "kpm")
    upstream.add("acme/app", "2.0.0", "helm")
    upstream.user = USER
    report = upstream.sync(packages=["acme/app"])
    assert (report.exit_code, report.fetched, report.offered) == (0, 3, 3)


def test_a_release_that_is_answered_with_another_is_fetched_by_its_digest(
    upstream: Upstream,
) -> None:
    upstream.add("acme/app", "3.0.0")
    upstream.add("acme/app", "3.0.0+build.7")
    report = upstream.sync()
    assert (report.exit_code, report.holes) == (0, [])
    assert releases(upstream.project) == {"acme/app@3.0.0", "acme/app@3.0.0+build.7"}


@pytest.mark.parametrize("status", [401, 403])
def test_a_registry_that_wants_a_login_is_a_refusal_and_nothing_is_dropped(
    upstream: Upstream, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(upstream, 3)
    upstream.user = USER
    upstream.sync(FOLLOW)
    refused = {"error": {"code": "unauthorized-access", "message": "no", "details": {}}}
    monkeypatch.setattr(upstream, "answer", lambda path: (status, refused))
    access = Access("quay", "authorization_env", "give credentials", static=False)
    strict = HttpReader(upstream.host.url, Patience(attempts=1), {"Authorization": USER}, access)
    (report,) = sync(upstream.project, [(RegistrySource("quay", strict), FOLLOW)], NOW).sources
    strict.close()
    assert report.exit_code == AccessDenied.exit_code and len(releases(upstream.project)) == 3
    assert "source quay" in report.error and "authorization_env" in report.error


def packages_of(upstream: Upstream) -> None:
    for number in range(60):
        for release in ("1.0.0", "1.1.0", "2.0.0", "2.1.0-rc.1"):
            upstream.add(f"ch/p{number}", release, "helm", "kpm")
        upstream.channels[f"ch/p{number}"] = [
            {"name": "stable", "current": "1.1.0", "releases": ["1.0.0", "1.1.0"]}
        ]
    upstream.private.add("ch/p3")  # broken: excluded, it is no hole


@pytest.mark.parametrize(
    ("wanted", "names", "kept", "archives"),
    [
        (Filter(packages=["ch/p1"]), {}, 4, 8),
        (Filter(packages=["ours/p1"]), {"ch/*": "ours/*"}, 4, 8),
        (Filter(packages=["ch/p1"], media_types=["helm"]), {}, 4, 4),
        (Filter(packages=["ch/p1"], releases=">=1.1.0,<2.0.0"), {}, 1, 2),
        (Filter(packages=["ch/p1"], prereleases=False), {}, 3, 6),
        (Filter(packages=["ch/p1"], newest=2), {}, 2, 4),
        (Filter(packages=["ch/p1"], channels=["stable"]), {}, 1, 2),
        (Filter(packages=["ch/p1"], created_after="2030-01-01"), {}, 0, 0),
    ],
)  # fmt: skip
def test_a_filter_costs_what_its_packages_cost_at_the_first_run_and_at_each_later_one(
    upstream: Upstream, wanted: Filter, names: dict[str, str], kept: int, archives: int
) -> None:
    """The formula of docs/sync.md: 1 list, 2 a package, 1 a new release, 1 an archive."""
    packages_of(upstream)
    rules = Rules(filter=wanted, names=names)
    assert upstream.sync(rules).exit_code == 0
    assert len(upstream.asked()) == 1 + 2 + kept + archives
    assert upstream.sync(rules).exit_code == 0
    assert upstream.asked() == ["", "/ch/p1", "/ch/p1/channels"]


def test_what_is_not_filtered_costs_what_the_formula_says(upstream: Upstream) -> None:
    packages_of(upstream)
    upstream.private.clear()
    upstream.cap = 1000
    upstream.sync()
    assert len(upstream.asked()) == 1 + 60 * (2 + 4 + 8)
    upstream.sync()
    assert len(upstream.asked()) == 1 + 60 * 2


def test_a_package_that_the_filter_names_is_asked_for_though_no_list_shows_it(
    upstream: Upstream,
) -> None:
    fill(upstream, 60)
    rules = Rules(filter=Filter(packages=["acme/p55", "acme/none"]))
    report = upstream.sync(rules)
    assert releases(upstream.project) == {"acme/p55@1.0.0"} and report.exit_code == 0
    assert "the filter names acme/none, and the registry has no such package" in report.notes


def test_names_and_channels_that_cannot_be_kept_are_holes_of_their_own(upstream: Upstream) -> None:
    upstream.add("odd/good", "1.0.0")
    for name in ("odd/_under", "odd/two..dots", "odd/x.json", "odd/dot.", f"odd/{'n' * 129}"):
        upstream.add(name, "1.0.0")
    upstream.add("odd/good", "1.1.000")
    upstream.channels["odd/good"] = [{"name": "a..b", "current": "1.0.0", "releases": []}]
    report = upstream.sync()
    assert releases(upstream.project) == {"odd/good@1.0.0"}
    assert report.exit_code == PARTIAL
    assert {hole.what for hole in report.holes} == {
        "odd/_under", "odd/two..dots", "odd/x.json", "odd/dot.", f"odd/{'n' * 129}",
        "odd/good@1.1.000", "odd/good:a..b",
    }  # fmt: skip
    only = Rules(filter=Filter(packages=["odd/go*"], releases="<1.1.0"))
    upstream.channels.clear()
    assert upstream.sync(only).exit_code == 0
