"""What is no clear answer is no "gone": what may be there upstream stays here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnrmirror.model.documents import Channel
from cnrmirror.sources.base import Hole
from cnrmirror.sources.filters import Filter
from cnrmirror.sources.keys import FolderKeys
from cnrmirror.sources.keyvalue import KeyValueSource
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.report import PARTIAL
from cnrmirror.sync.run import sync
from tests import test_helm_indexes, test_quay
from tests.conftest import NOW
from tests.dead import P, datastore, in_folder
from tests.mirrors import make
from tests.test_helm_indexes import Repository, row
from tests.test_quay import Upstream
from tests.test_sync import Memory, releases, run

repo = test_helm_indexes.repo
upstream = test_quay.upstream
SURE = Rules(deletes="follow", max_shrink=1, parallel=2)
Answer = Callable[[str, tuple[int, Any]], tuple[int, Any]]


def bend(upstream: Upstream, monkeypatch: pytest.MonkeyPatch, change: Answer) -> None:
    """Let the registry answer otherwise: what ``change`` makes of a path and its answer."""
    whole = Upstream.answer
    monkeypatch.setattr(upstream, "answer", lambda path: change(path, whole(upstream, path)))


def had(upstream: Upstream) -> set[str]:
    """What the mirror has, with its media types."""
    project = upstream.project
    return {
        f"{ref.name}@{r.release} {r.media_type}"
        for ref in project.catalog.packages(project.tree())
        for r in project.catalog.document(ref).releases
    }


def hidden(upstream: Upstream, own: str = "helm", other: str = "helm") -> None:
    upstream.add("ns/a", "3.0.0", own)
    upstream.add("ns/a", "3.0.0+build.7", other)
    upstream.sync(SURE)


@pytest.mark.parametrize("status", [500, 403])
def test_an_error_on_the_way_to_a_hidden_release_is_a_hole(
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    hidden(upstream)
    before = had(upstream)

    def refusing(path: str, told: tuple[int, Any]) -> tuple[int, Any]:
        return (status, {}) if "3.0.0%2B/" in path else told

    bend(upstream, monkeypatch, refusing)
    report = upstream.sync(SURE)
    assert had(upstream) == before and {h.release for h in report.holes} == {"3.0.0"}


@pytest.mark.parametrize(("own", "other"), [("kpm", "helm"), ("helm", "kpm")])
@pytest.mark.parametrize("types", [[], ["helm"], ["kpm"]])
def test_a_hidden_release_has_its_own_media_types(
    upstream: Upstream,
    own: str,
    other: str,
    types: list[str],
) -> None:
    rules = Rules(deletes="follow", max_shrink=1, filter=Filter(media_types=types))
    upstream.add("ns/a", "3.0.0", own)
    upstream.sync(rules)
    before = had(upstream)
    upstream.add("ns/a", "3.0.0+build.7", other)
    assert upstream.sync(rules).exit_code == 0
    assert had(upstream) >= before


def test_an_error_of_a_release_that_is_shown_in_part_is_a_hole(
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream.add("ns/a", "1.0.0", "helm", "kpm")
    upstream.sync(SURE)

    def partly(path: str, told: tuple[int, Any]) -> tuple[int, Any]:
        if path.endswith("/ns/a"):
            return 200, [m for m in told[1] if ".helm." in m["mediaType"]]
        return (500, {}) if path.endswith("/1.0.0") else told

    bend(upstream, monkeypatch, partly)
    report = upstream.sync(SURE)
    assert len(had(upstream)) == 2 and report.exit_code == PARTIAL


def test_a_new_release_whose_own_address_fails_is_a_hole(
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream.add("ns/a", "1.0.0")
    bend(upstream, monkeypatch, lambda p, told: (500, {}) if p.endswith("/1.0.0") else told)
    assert {h.release for h in upstream.sync().holes} == {"1.0.0"}


@pytest.mark.parametrize("listed", [False, True])
def test_an_empty_answer_for_a_release_is_no_word_that_it_is_gone(
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    listed: bool,
) -> None:
    upstream.add("ns/a", "1.0.0")
    upstream.add("ns/a", "1.1.0")
    upstream.sync(SURE)

    def empty(path: str, told: tuple[int, Any]) -> tuple[int, Any]:
        if path.endswith("/ns/a"):
            return 200, [m for m in told[1] if m["release"] != "1.0.0"]
        if path.endswith("/packages") and not listed:
            return 200, [{**row, "releases": ["1.1.0"]} for row in told[1]]
        return (200, []) if path.endswith("/1.0.0") else told

    bend(upstream, monkeypatch, empty)
    report = upstream.sync(SURE)
    assert len(had(upstream)) == 2
    assert [(h.release, "nothing" in h.reason) for h in report.holes] == [("1.0.0", True)]


def test_a_damaged_media_type_is_a_hole_also_where_types_are_chosen(
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    rules = Rules(deletes="follow", max_shrink=1, filter=Filter(media_types=["helm"]))
    upstream.add("ns/a", "1.0.0")
    upstream.add("ns/a", "1.1.0")
    upstream.sync(rules)

    def damaged(path: str, told: tuple[int, Any]) -> tuple[int, Any]:
        manifests = [{**m, "mediaType": "?"} if m["release"] == "1.0.0" else m for m in told[1]] \
            if path.endswith(("/ns/a", "/1.0.0")) else told[1]  # fmt: skip
        return told[0], manifests

    bend(upstream, monkeypatch, damaged)
    report = upstream.sync(rules)
    assert len(had(upstream)) == 2 and {h.release for h in report.holes} == {"1.0.0"}
    store = datastore()
    key = f"{P}acme/app/releases.json"
    store[key] = store[key].replace(b"package-manifest.helm", b"package-manifest.?", 1)
    in_folder(store, tmp_path / "store")
    source = KeyValueSource("dead", FolderKeys(tmp_path / "store"))
    (report,) = sync(make(tmp_path / "m", "dead"), [(source, rules)], NOW).sources
    assert report.exit_code == PARTIAL and report.fetched == 5


def test_a_package_is_asked_for_by_every_name_that_it_may_have_upstream(
    upstream: Upstream,
) -> None:
    names = {"old/*": "new/*"}
    rules = Rules(deletes="follow", max_shrink=1, names=names)
    upstream.add("new/app", "1.0.0")
    upstream.add("old/other", "1.0.0")
    upstream.sync(rules)
    assert releases(upstream.project) == {"new/app@1.0.0", "new/other@1.0.0"}
    upstream.cap = 0
    upstream.sync(rules, packages=["old/other"])
    assert releases(upstream.project) == {"new/app@1.0.0", "new/other@1.0.0"}


def test_where_nobody_can_say_what_the_source_calls_a_package_nothing_is_dropped(
    upstream: Upstream,
) -> None:
    rules = Rules(deletes="follow", max_shrink=1, names={"up/*": "here/all"})
    upstream.add("up/app", "1.0.0")
    upstream.add("ns/x", "1.0.0")
    upstream.sync(rules)
    upstream.cap = 1
    upstream.sync(rules)
    assert releases(upstream.project) == {"here/all@1.0.0", "ns/x@1.0.0"}


# -- channels and choices -------------------------------------------------------------------------


def stable(upstream: Upstream, release: str) -> None:
    upstream.channels["ns/a"] = [{"name": "stable", "current": release, "releases": [release]}]


@pytest.mark.parametrize(
    "rules", [SURE, Rules(filter=Filter(channels=["stable"])), Rules(filter=Filter(newest=1))]
)  # fmt: skip
def test_a_channel_whose_new_release_is_damaged_stays_where_it_is(
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    rules: Rules,
) -> None:
    upstream.add("ns/a", "1.0.0")
    stable(upstream, "1.0.0")
    upstream.sync(rules)
    upstream.add("ns/a", "2.0.0")
    stable(upstream, "2.0.0")

    def damaged(path: str, told: tuple[int, Any]) -> tuple[int, Any]:
        if not path.endswith(("/ns/a", "/2.0.0")):
            return told
        return 200, [{**m, "content": 3} if m["release"] == "2.0.0" else m for m in told[1]]

    bend(upstream, monkeypatch, damaged)
    assert upstream.sync(rules).exit_code == PARTIAL
    document = upstream.project.document("ns/a")
    assert [r.release for r in document.releases] == ["1.0.0"]
    assert [(c.name, c.current) for c in document.channels] == [("stable", "1.0.0")]


def test_a_channel_follows_again_after_a_night_on_which_it_could_not(tmp_path: Path) -> None:
    project, source = make(tmp_path / "mirror", "channels"), Memory()
    source.put("ns/a", "1.0.0")
    source.channels = {"ns/a": [Channel("stable", "1.0.0", ["1.0.0"])]}
    run(project, source, deletes="follow")
    source.put("ns/a", "2.0.0")
    source.channels = {"ns/a": [Channel("stable", "2.0.0", ["1.0.0", "2.0.0"])]}
    blob = source.blobs.pop(("ns/a", "2.0.0"))
    source.holes = [Hole.of_release("ns/a", "2.0.0", "500")]
    run(project, source, deletes="follow")
    source.blobs["ns/a", "2.0.0"], source.holes = blob, []
    run(project, source, deletes="follow")
    (channel,) = project.document("ns/a").channels
    assert channel.current == "2.0.0"


def test_the_newest_are_counted_by_what_is_wanted_of_them(
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream.add("ns/a", "2.0.0", "kpm")
    upstream.add("ns/a", "1.0.0", "helm")
    bend(upstream, monkeypatch, lambda p, told: (200, []) if p.endswith("/ns/a") else told)
    rules = Rules(filter=Filter(media_types=["helm"], newest=1))
    assert upstream.sync(rules).exit_code == 0
    assert releases(upstream.project) == {"ns/a@1.0.0"}


def test_a_channel_that_points_at_what_is_not_wanted_is_no_hole(
    upstream: Upstream,
    tmp_path: Path,
) -> None:
    rules = Rules(filter=Filter(media_types=["helm"]))
    upstream.add("ns/a", "1.0.0", "helm")
    upstream.add("ns/a", "2.0.0", "kpm")
    stable(upstream, "2.0.0")
    assert upstream.sync(rules).exit_code == 0
    upstream.asked()
    assert upstream.sync(rules).exit_code == 0 and len(upstream.asked()) == 3
    in_folder(datastore(), tmp_path / "store")
    source = KeyValueSource("dead", FolderKeys(tmp_path / "store"))
    some = Rules(filter=Filter(releases="<1.2.0", packages=["acme/app"]))
    (report,) = sync(make(tmp_path / "m", "dead"), [(source, some)], NOW).sources
    assert (report.exit_code, report.fetched) == (0, 2)


# -- Helm, datastores -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", [{"digest": "x"}, {"urls": ["ftp://h/x"]}, {"version": None}, {"version": 1.1}]
)  # fmt: skip
def test_an_entry_of_an_index_that_went_bad_keeps_the_release_that_it_was(
    repo: Repository,
    bad: dict[str, Any],
) -> None:
    good = [row("a", f"v1.{n}.0", repo.archive("a", f"1.{n}.0", file=f"a-v1.{n}.0.tgz"))
            for n in range(3)]  # fmt: skip
    assert repo.sync({"a": good}, SURE).exit_code == 0
    good[1] = {**good[1], **bad}
    assert repo.sync({"a": good}, SURE).exit_code == PARTIAL
    assert releases(repo.project) == {"c/a@1.0.0", "c/a@1.1.0", "c/a@1.2.0"}


def test_an_archive_that_one_prefix_lacks_is_had_from_the_other(tmp_path: Path) -> None:
    store = datastore() | datastore(prefix="cnr/packages/")
    for key in [k for k in store if k.startswith(f"{P}acme/web/digests")]:
        del store[key]
    in_folder(store, tmp_path / "store")
    source = KeyValueSource("dead", FolderKeys(tmp_path / "store"))
    (report,) = sync(make(tmp_path / "m", "dead"), [(source, SURE)], NOW).sources
    assert (report.exit_code, report.fetched) == (0, 6)


def test_a_flood_of_nothing_is_one_hole(upstream: Upstream, monkeypatch: Any) -> None:
    upstream.add("ns/a", "1.0.0")

    def flood(path: str, told: tuple[int, Any]) -> tuple[int, Any]:
        return told[0], [*told[1], *[None] * 5000] if isinstance(told[1], list) else told[1]

    bend(upstream, monkeypatch, flood)
    report = upstream.sync()
    assert len(report.holes) < 6 and releases(upstream.project) == {"ns/a@1.0.0"}
