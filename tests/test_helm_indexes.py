"""Indexes of Helm repositories with the sizes and oddities of real ones: each entry is taken, or a
hole with the right word; requests are counted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import InputError, InvalidDocument
from cnrmirror.model.flags import OTHER_NAME
from cnrmirror.objects.http import HttpReader, Patience
from cnrmirror.sources import helmindex, indexevents
from cnrmirror.sources.base import Ask
from cnrmirror.sources.filters import Filter
from cnrmirror.sources.helm import HelmSource
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.report import PARTIAL, SourceReport
from cnrmirror.sync.run import sync
from tests.conftest import NOW, chart_bytes
from tests.hostile import Host, hosting
from tests.mirrors import make
from tests.test_sync import releases

OTHER = "ab" * 32


class Repository:
    """A chart repository over HTTP, and a mirror of it."""

    def __init__(self, folder: Path, host: Host, http: HttpReader) -> None:
        self.folder = folder / "repo"
        self.host = host
        self.http = http
        self.project: Project = make(folder / "mirror", "helm")

    def archive(self, name: str, release: str = "1.0.0", text: str = "", file: str = "") -> str:
        """Put a chart there; its digest."""
        data = chart_bytes(name, release, text)
        (self.folder / (file or f"{name}-{release}.tgz")).write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def sync(self, entries: Any, rules: Rules = Rules(), **settings: Any) -> SourceReport:
        text = entries if isinstance(entries, str) else yaml_of(entries)
        (self.folder / "index.yaml").write_text(text)
        source = HelmSource("helm", self.http, "c", **settings)
        (report,) = sync(self.project, [(source, rules)], NOW).sources
        return report

    def asked(self) -> list[str]:
        found = sorted(self.host.requests)
        self.host.requests.clear()
        return found


def yaml_of(entries: dict[str, list[Any]]) -> str:
    """index.yaml as helm writes it, but for the order of fields; JSON is YAML."""
    lines = ["apiVersion: v1", "entries:"]
    for key, versions in entries.items():
        lines.append(f"  {json.dumps(key)}:")
        lines += [f"  - {json.dumps(version)}" for version in versions]
    return "\n".join([*lines, 'generated: "2024-01-02T03:04:05Z"', ""])


def row(name: str, release: str = "1.0.0", digest: Any = None, **fields: Any) -> dict[str, Any]:
    found = {"name": name, "version": release, "urls": [f"{name}-{release}.tgz"], **fields}
    return found if digest is None else {**found, "digest": digest}


@contextmanager
def served(folder: Path) -> Iterator[Repository]:
    """A repository that a host of the tests has, and a mirror beside it."""
    (folder / "repo").mkdir()
    with hosting(folder / "repo") as host:
        http = HttpReader(host.url, Patience(attempts=1), sleep=lambda s: None)
        yield Repository(folder, host, http)
        http.close()


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with served(tmp_path) as repository:
        yield repository


def test_a_plain_index_costs_one_request_and_two_an_archive(repo: Repository) -> None:
    entries = {n: [row(n, "1.0.0", repo.archive(n)), row(n, "1.1.0", repo.archive(n, "1.1.0"))]
               for n in ("a", "b")}  # fmt: skip
    assert repo.sync(entries).exit_code == 0 and len(repo.asked()) == 1 + 2 * 4
    assert repo.sync(entries).exit_code == 0 and repo.asked() == ["/index.yaml"]


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_digests_at_one_address_the_archives_own_is_taken(
    repo: Repository, turned: bool
) -> None:
    both = [row("a", "1.0.0", OTHER), row("a", "1.0.0", repo.archive("a"))]
    entries = {"a": both[::-1] if turned else both}
    assert repo.sync(entries).exit_code == 0
    asked = ["/a-1.0.0.tgz", "/a-1.0.0.tgz.prov", "/index.yaml"]
    assert repo.asked() == asked, "one archive is fetched"
    report = repo.sync(entries)
    assert report.exit_code == 0 and [a.kind for a in report.actions] == ["same"]
    neither = {"l": [row("l", "1.0.0", OTHER), row("l", "1.0.0", "cd" * 32)]}
    repo.archive("l")
    (hole,) = repo.sync({**entries, **neither}).holes
    assert hole.what == "c/l@1.0.0" and "was announced" in hole.reason


def test_one_content_at_two_addresses_is_had_from_the_one_that_has_it(repo: Repository) -> None:
    digest = repo.archive("a", file="here.tgz")
    moved = [row("a", "1.0.0", digest, urls=["gone.tgz"]),
             row("a", "1.0.0", digest.upper(), urls=["here.tgz"])]  # fmt: skip
    assert repo.sync({"a": moved}).exit_code == 0
    assert releases(repo.project) == {"c/a@1.0.0"}


@pytest.mark.parametrize(
    ("duplicates", "text"),
    [("refuse", None), ("first", "with a v"), ("last", "plain"), ("plain", "plain")],
)
def test_a_version_with_a_v_beside_the_same_without_is_a_clash_and_there_is_a_way(
    repo: Repository, duplicates: Any, text: str | None
) -> None:
    entries = {"a": [
        row("a", "v1.0.0", repo.archive("a", text="with a v", file="a-v1.0.0.tgz")),
        row("a", "1.0.0", repo.archive("a", text="plain")),
    ]}  # fmt: skip
    report = repo.sync(entries, duplicates=duplicates)
    if text is None:
        assert report.exit_code == PARTIAL and "duplicates: first" in report.holes[0].reason
        assert repo.asked() == ["/index.yaml"], "what is a clash is not fetched"
        return
    (release,) = repo.project.document("c/a").releases
    digest = hashlib.sha256(chart_bytes("a", "1.0.0", text)).hexdigest()
    assert report.exit_code == 0 and release.blob.digest == digest


def test_a_chart_keeps_the_name_of_the_index_with_a_flag_or_gets_a_mapped_one(
    repo: Repository,
) -> None:
    digest = repo.archive("tool")
    entries = {"vendor-tool": [row("tool", "1.0.0", digest)]}
    assert repo.sync(entries).exit_code == 0
    (release,) = repo.project.document("c/vendor-tool").releases
    assert release.flags == [OTHER_NAME]
    repo.asked()
    assert repo.sync(entries).exit_code == 0 and repo.asked() == ["/index.yaml"]
    mapped = Rules(names={"c/vendor-tool": "c/tool"})
    assert repo.sync(entries, mapped).exit_code == 0
    assert "c/tool@1.0.0" in releases(repo.project)


def test_an_archive_of_another_version_is_not_what_the_index_says(repo: Repository) -> None:
    digest = repo.archive("a", "1.0.1", file="a-1.0.0.tgz")
    (hole,) = repo.sync({"a": [row("a", "1.0.0", digest)]}).holes
    assert hole.reason == "c/a@1.0.0: the archive calls itself c/a@1.0.1"


def test_one_address_that_answers_among_several_is_enough(repo: Repository) -> None:
    digest = repo.archive("a")
    mixed = ["oci://127.0.0.1:9/c/a:1.0.0", "ftp://x/y", 7, "//[x", "a-1.0.0.tgz"]
    only = row("b", "1.0.0", urls=["ftp://127.0.0.1/c/b:1.0.0"])
    report = repo.sync({"a": [row("a", "1.0.0", digest, urls=mixed)], "b": [only]})
    assert releases(repo.project) == {"c/a@1.0.0"}
    (hole,) = report.holes
    assert hole.what == "c/b@1.0.0" and "'ftp://127.0.0.1/c/b:1.0.0': no address" in hole.reason


@pytest.mark.parametrize("form", ["{}", "sha256:{}", "UPPER", "null", "~", '""', "absent"])
def test_digests_as_helm_takes_them(repo: Repository, form: str) -> None:
    digest = repo.archive("a")
    text = {"UPPER": digest.upper(), "absent": ""}.get(form, form.format(digest))
    line = f"    digest: {text}\n" if text else ""
    index = f"entries:\n  a:\n  - version: 1.0.0\n    urls: [a-1.0.0.tgz]\n{line}"
    assert repo.sync(index).exit_code == 0
    assert releases(repo.project) == {"c/a@1.0.0"}


@pytest.mark.parametrize(
    "entries",
    ["", " null", " {}", " ~", "\n  a:\n  b: null\n  d: []", "\n  a:\n  - null\n  -\n  - ~"],
)
def test_charts_without_versions_are_none_and_no_holes(repo: Repository, entries: str) -> None:
    report = repo.sync(f"apiVersion: v1\nentries:{entries}\n")
    assert (report.exit_code, report.offered, report.holes) == (0, 0, [])


@pytest.mark.parametrize(
    ("text", "words"),
    [("<!DOCTYPE html>\n<title>Log in</title>\n", "this is an HTML page, not an index"),
     ("\ufeff  <html>", "this is an HTML page"), ("{}", "entries"), ("entries: 3", "mapping"),
     ('{"entries": ', "JSON"), ("entries:\n\t- x", "not the index")],
)  # fmt: skip
def test_what_is_no_index_is_called_what_it_is_and_drops_nothing(
    repo: Repository, text: str, words: str
) -> None:
    repo.sync({"a": [row("a", "1.0.0", repo.archive("a"))]})
    report = repo.sync(text, Rules(deletes="follow", max_shrink=1))
    assert report.exit_code == InputError.exit_code and words in report.error
    assert releases(repo.project) == {"c/a@1.0.0"}


def test_versions_and_names_that_cannot_be_are_holes_beside_what_can(repo: Repository) -> None:
    good = row("a", "1.0.0", repo.archive("a"))
    bad = [row("a", "0.4"), row("a", "1.1.000"), {"urls": ["x"]}, "text",
           row("a", "2.0.0", urls=[]), row("a", "2.1.0", "md5:abc")]  # fmt: skip
    entries = {"a": [good, *bad], "_x": [row("_x")], "y.json": [row("y")], "n": 3}
    text = yaml_of({k: v for k, v in entries.items() if isinstance(v, list)})
    report = repo.sync(text.replace("generated:", "  n: 3\ngenerated:"))
    assert report.exit_code == PARTIAL and releases(repo.project) == {"c/a@1.0.0"}
    words = {hole.what: hole.reason for hole in report.holes}
    assert set(words) == {"c/a@0.4", "c/a@1.1.000", "c/a@?", "c/a@2.0.0", "c/a@2.1.0", "c/_x",
                          "c/y.json", "c/n"}  # fmt: skip
    assert "not a release" in words["c/a@0.4"] and "no address" in words["c/a@2.0.0"]
    assert "no sha256 digest" in words["c/a@2.1.0"] and "endings" in words["c/y.json"]
    some = Rules(filter=Filter(packages=["c/a"], releases=">=1.0.0,<1.1.0"))
    left = {hole.what for hole in repo.sync(text, some).holes}
    assert left == {"c/a@?"}, "what the filter leaves out is read loosely, and makes no hole"


def test_an_alias_of_a_text_is_that_text_and_nothing_else_is_repeated(repo: Repository) -> None:
    repo.archive("a")
    repo.archive("b")
    shared = (
        "maintainers: &who\n- name: somebody\nversion: &v 1.0.0\nentries:\n  a:\n"
        "  - {version: *v, urls: [&u a-1.0.0.tgz], maintainers: *who}\n"
        "  b:\n  - {version: *v, urls: [b-1.0.0.tgz, *u], digest: ~}\n"
    )
    report = repo.sync(shared)
    assert report.exit_code == 0 and releases(repo.project) == {"c/a@1.0.0", "c/b@1.0.0"}
    one = "x: &v {version: 1.0.0, urls: [a]}\nu: &u [a]\n"
    ten = f"l0: &l0 [{', '.join(['*v'] * 100)}]\n"
    lists = "".join(f"  c{n}: *l0\n" for n in range(1000))
    bomb = f"{one}{ten}entries:\n{lists}  d: [*v, {{version: 1.0.0, urls: *u}}]\n"
    report = repo.sync(bomb)
    words = {hole.what: hole.reason for hole in report.holes}
    assert report.fetched == 0 and len(words) == 1002
    assert words["c/c7"] == "a list of versions was expected"
    assert words["c/d@1.0.0"] == "an alias is in its place"
    assert "1 of its entries do not tell" in words["c/d@?"]


def test_a_key_that_stands_twice_is_never_chosen_from(repo: Repository) -> None:
    digest = repo.archive("a")
    entry = f"version: 1.0.0, urls: [a-1.0.0.tgz], digest: {digest}"
    report = repo.sync(f"entries:\n  a:\n  - {{{entry}, digest: {OTHER}}}\n")
    assert [h.reason for h in report.holes] == ["the key 'digest' is there twice"]
    report = repo.sync(f"entries:\n  a:\n  - {{{entry}, icon: x, icon: y, icon: z}}\n")
    assert report.exit_code == 0
    for text in (
        f"entries:\n  a: []\n  a:\n  - {{{entry}}}\n",
        f"entries: {{}}\nentries:\n  a:\n  - {{{entry}}}\n",
    ):
        report = repo.sync(text)
        assert report.exit_code == InputError.exit_code and "is there twice" in report.error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("entries: {}\n---\nentries: {}\n", "more than one document"),
        ("entries:\n  a:\n  - {version: 1.0.0, urls: [", "not the index"),
        ("entries:\n  a:\n  - version: 1.0.0\n   urls: [a]\n", "not the index"),
        ("entries:\n  ? [a]\n  : []\n", "a key that is not a text"),
        ("entries: {a: " + "[" * 100 + "]" * 100 + "}", "nested deeper"),
        ("x: " + "[" * 100 + "]" * 100 + "\nentries: {}", "nested deeper"),
        ("generated: now\n", "no entries"),
        ("x: &d a\ny: &d b\nentries: {}\n", "the anchor 'd' is there twice"),
        ("x: &d a\ny: &d [b]\nentries: {}\n", "the anchor 'd' is there twice"),
        ("x: &d a\nentries:\n  a:\n  - &d {version: 1.0.0}\n", "the anchor 'd' is there twice"),
    ],
)
def test_what_is_no_whole_index_is_none(repo: Repository, text: str, words: str) -> None:
    report = repo.sync(text)
    assert report.exit_code == InputError.exit_code and words in report.error


TEXTS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), max_size=9)
VALUES = st.recursive(
    TEXTS, lambda x: st.lists(x, max_size=3) | st.dictionaries(TEXTS, x, max_size=3), max_leaves=9
)
VERSIONS = st.dictionaries(st.sampled_from([*indexevents.WANTED, "name", "home", "x"]), VALUES)


@given(st.dictionaries(TEXTS, st.lists(VERSIONS | TEXTS, max_size=3) | TEXTS, max_size=4), VALUES)
def test_events_say_what_a_tree_says(entries: dict[str, Any], beside: Any) -> None:
    text = yaml.safe_dump({"x": beside, "entries": entries, "y": beside}, allow_unicode=True)
    tree = yaml.load(text, Loader=yaml.BaseLoader)["entries"]
    wanted = {
        name: [
            {k: x for k, x in v.items() if k in indexevents.WANTED} if isinstance(v, dict) else v
            for v in versions
        ]
        if isinstance(versions, list)
        else versions
        for name, versions in tree.items()
    }
    assert indexevents.entries_in(text.encode(), 100) == wanted


def test_a_field_from_upstream_has_a_bound_in_the_report(repo: Repository) -> None:
    long = "x" * 100_000
    entries = {"a": [row("a", long), row("a", "1.0.0", long), row("a", "1.1.0", urls=[long])],
               "x" * 1000: [row("b")]}  # fmt: skip
    report = repo.sync(entries)
    assert len(report.holes) == 4
    assert all(len(hole.what) + len(hole.reason) < 3000 for hole in report.holes)


def test_a_large_index_is_read_and_only_what_is_wanted_is_asked_for(repo: Repository) -> None:
    """As large as those of the busiest repositories: 300 charts of 70 versions, 4 MB."""
    digest = repo.archive("n7", "1.3.0")
    entries = {
        f"n{n}": [
            row(f"n{n}", f"1.{v}.0", digest, description="what it is " * 5, appVersion="2.0")
            for v in range(70)
        ]
        for n in range(300)
    }
    text = yaml_of(entries)
    assert len(text) > 4_000_000
    rules = Rules(filter=Filter(packages=["c/n7"], releases="1.3.0"))
    report = repo.sync(text, rules)
    assert (report.exit_code, report.offered, report.fetched) == (0, 70, 1)
    assert repo.asked() == ["/index.yaml", "/n7-1.3.0.tgz", "/n7-1.3.0.tgz.prov"]


def test_no_index_is_read_beyond_its_bound(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helmindex, "_MAX_VERSIONS", 3)
    with pytest.raises(InvalidDocument, match="more than 3 chart versions"):
        (repo.folder / "index.yaml").write_text(
            yaml_of({"a": [row("a", f"1.{n}.0") for n in range(4)]})
        )
        HelmSource("helm", repo.http, "c").look(Ask())
