"""archive/facts.py, catalog/facts.py: what one look into an archive tells, and where it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnrmirror.archive.facts import facts_of
from cnrmirror.archive.identify import Override
from cnrmirror.catalog.facts import with_facts
from cnrmirror.mirror import gc
from cnrmirror.mirror.change import Removal, remove, set_channel
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.documents import FACTS_MAX, ArchiveFacts, Facts
from tests.conftest import NOW, tar_gz
from tests.mirrors import make

NS = Override(namespace="ns")
CHART = b"""
apiVersion: v2
name: web
version: 1.10.0
appVersion: 1.10
deprecated: true
description: It serves.
keywords: [a, 2]
maintainers: [{name: m, email: e, more: no}]
annotations: {k: v}
dependencies: [{name: d, version: 1.0.0, tags: [x]}]
unknown: yes
"""


def archive(release: str, text: str = "") -> bytes:
    return tar_gz({"w/Chart.yaml": f"name: w\nversion: {release}\ndescription: d{text}\n".encode()})


def pushed(project: Project, folder: Path, *releases: str) -> None:
    folder.mkdir(exist_ok=True)
    paths = []
    for release in releases:
        paths.append(folder / f"w-{release}.tgz")
        paths[-1].write_bytes(archive(release))
    push(project, paths, NS, NOW)


def test_the_known_fields_of_a_chart_are_text_as_it_is_written() -> None:
    found = facts_of({"web/Chart.yaml": CHART})
    assert found is not None and found.chart == {
        "apiVersion": "v2", "name": "web", "version": "1.10.0", "appVersion": "1.10",
        "deprecated": True, "description": "It serves.", "keywords": ["a", "2"],
        "maintainers": [{"name": "m", "email": "e"}], "annotations": {"k": "v"},
        "dependencies": [{"name": "d", "version": "1.0.0", "tags": ["x"]}],
    }  # fmt: skip


def test_requirements_are_the_dependencies_of_older_charts() -> None:
    more = b"dependencies: [{name: d, version: 1.0.0}]\nname: other\n"
    found = facts_of({"w/Chart.yaml": b"name: w\nversion: 1.0.0\n", "w/requirements.yaml": more})
    assert found is not None
    assert found.chart["name"] == "w"
    assert found.chart["dependencies"] == [{"name": "d", "version": "1.0.0"}]


@pytest.mark.parametrize(
    "data",
    [
        b"name: w\nversion: 1.0.0\nkeywords: &a [x, *a]\n",
        b"name: w\nversion: 1.0.0\ndescription: " + b"x" * 100_000,
        b"name: w\nversion: 1.0.0\nkeywords:\n" + b"".join(b"- k%d\n" % n for n in range(20_000)),
        b"name: w\nversion: 1.0.0\na: &a [x,x,x,x,x,x,x,x,x]\n"
        b"b: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nkeywords: [*b,*b,*b,*b,*b]\n",
        b"name: w\nversion: 1.0.0\nmaintainers: 7\nannotations: [1]\nkeywords: {a: b}\n",
    ],
)
def test_no_chart_makes_large_facts(data: bytes) -> None:
    found = facts_of({"w/Chart.yaml": data})
    assert found is not None and found.chart["name"] == "w"
    assert len(str(found.chart)) < 100_000


def test_what_is_no_chart_has_no_facts() -> None:
    assert facts_of({"manifest.yaml": b"a: b"}) is None
    assert facts_of({"w/Chart.yaml": b"\x00{"}) is None


def test_facts_come_in_by_push_and_go_with_the_release(project: Project, tmp_path: Path) -> None:
    pushed(project, tmp_path / "x", "1.0.0", "1.1.0")
    document = project.document("ns/w")
    facts = project.catalog.facts(document)
    assert {f.chart["version"] for f in facts.values()} == {"1.0.0", "1.1.0"}
    set_channel(project, "ns/w", "stable", "1.0.0", NOW)
    assert project.document("ns/w").inline_facts == document.inline_facts
    remove(project, Removal("ns/w", "1.0.0", None, "gone"), NOW)
    facts = project.catalog.facts(project.document("ns/w"))
    assert {f.chart["version"] for f in facts.values()} == {"1.1.0"}
    assert check(project).findings == []
    later = "2030-01-01T00:00:00"
    gc.collect(project, 1, 0, later, dry_run=False)
    assert len(project.catalog.facts(project.document("ns/w"))) == 1
    assert check(project).findings == []


def test_few_facts_stand_in_the_document_itself(project: Project, tmp_path: Path) -> None:
    pushed(project, tmp_path / "x", "1.0.0")
    assert len(project.document("ns/w").inline_facts) == 1
    assert project.document("ns/w").facts == []
    pushed(project, tmp_path / "x", *(f"1.{n}.0" for n in range(1, 40)))
    document = project.document("ns/w")
    assert document.inline_facts == {} and len(document.facts) == 1
    assert len(project.catalog.facts(document)) == 40
    for n in range(1, 40):
        remove(project, Removal("ns/w", f"1.{n}.0", None, "gone"), NOW)
    assert len(project.document("ns/w").inline_facts) == 1


def test_many_facts_are_split_by_content_alone(tmp_path: Path) -> None:
    releases = [f"1.{n}.0" for n in range(FACTS_MAX * 2)]
    one, other = make(tmp_path / "one", "facts"), make(tmp_path / "other", "facts")
    pushed(one, tmp_path / "x", *releases)
    for start in range(0, len(releases), 50):
        pushed(other, tmp_path / "y", *reversed(releases[start : start + 50]))
    first, second = one.document("ns/w"), other.document("ns/w")
    assert len(first.facts) > 1 and first.facts == second.facts
    nodes: list[Facts] = [one.store.get(node.digest, node.size, Facts) for node in first.facts]
    assert all(0 < len(node.archives) <= FACTS_MAX for node in nodes)
    assert len(one.catalog.facts(first)) == len(releases)


def test_of_two_facts_those_of_the_newer_extractor_stay(project: Project, tmp_path: Path) -> None:
    pushed(project, tmp_path / "x", "1.0.0")
    document = project.document("ns/w")
    digest = document.releases[0].blob.digest
    newer = {digest: ArchiveFacts(7, {"name": "newer"})}
    after = with_facts(project.catalog, document, document, newer)
    assert project.catalog.facts(after)[digest].chart == {"name": "newer"}
    older = {digest: ArchiveFacts(2, {"name": "older"})}
    assert with_facts(project.catalog, after, after, older) == after
