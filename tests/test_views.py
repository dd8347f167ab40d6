"""views/: a third view, in one file, is built, checked, published and served like the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from werkzeug.test import Client

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.change import Removal, remove
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.documents import CatalogRoot
from cnrmirror.model.resource import Resource
from cnrmirror.server.app import Application
from cnrmirror.views import site
from cnrmirror.views.base import LISTS_RANK, PACKAGE_RANK, ByNamespace, MakeView, Package, Settings
from cnrmirror.views.cnr_v1 import CnrV1
from cnrmirror.views.front import FrontPage
from cnrmirror.views.groups import Changes, Grouped, Groups, every
from cnrmirror.views.openapi import OpenApi
from cnrmirror.views.pages import Pages
from tests.conftest import NOW, tar_gz
from tests.mirrors import reopen

NS = Override(namespace="ns")


class Toy(ByNamespace):
    """One line a package: its name and what its newest chart says of itself."""

    name, version, tops, uses_facts, row_type = "toy", 1, ("toy",), True, str

    def __init__(self, settings: Settings) -> None:
        self._url = settings.url

    def package(self, package: Package) -> Iterator[Resource]:
        if line := self.entry(package):
            yield Resource(f"toy/{package.document.package}.txt", line.encode(), "text/plain")

    def entry(self, package: Package) -> str | None:
        releases = package.document.releases
        facts = package.facts.get(releases[0].blob.digest) if releases else None
        return f"{package.document.package}: {facts.chart.get('description')}" if facts else None

    def lists(
        self, groups: Groups, changes: Changes | None, root: CatalogRoot
    ) -> Iterator[Resource]:
        lines = [line for _, line in every(groups)]
        yield Resource("toy/all.txt", "\n".join(lines).encode(), "text/plain")

    def fixed(self) -> Iterator[Resource]:
        yield Resource("toy/about.txt", self._url.encode(), "text/plain")

    def rank(self, path: str) -> int:
        return PACKAGE_RANK if self.package_in(path) else LISTS_RANK

    def package_in(self, path: str) -> str | None:
        name = path.removeprefix("toy/").removesuffix(".txt")
        return name if "/" in name else None

    def address(self, path: str) -> str | None:
        return path

    def files_of(self, address: str) -> list[str]:
        return [address]

    def left_out(self, package: Package) -> Iterator[str]:
        yield from ()


@pytest.fixture
def with_toy(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(site, "VIEWS", (*site.VIEWS, Toy))
    return reopen(project.folder)


def chart(folder: Path, name: str, release: str, description: str) -> Path:
    text = f"name: {name}\nversion: {release}\ndescription: {description}\n"
    path = folder / f"{name}-{release}.tgz"
    path.write_bytes(tar_gz({f"{name}/Chart.yaml": text.encode()}))
    return path


def test_a_view_is_one_file(with_toy: Project, tmp_path: Path) -> None:
    project = with_toy
    push(project, [chart(tmp_path, "a", "1.0.0", "old"), chart(tmp_path, "b", "1.0.0", "b")],
         NS, NOW)  # fmt: skip
    push(project, [chart(tmp_path, "a", "1.1.0", "new")], NS, NOW)
    toy = project.site / "toy"
    assert (toy / "ns/a.txt").read_text() == "ns/a: new"
    assert (toy / "all.txt").read_text() == "ns/a: new\nns/b: b"
    assert check(project).findings == []
    (toy / "ns/a.txt").write_text("wrong")
    assert [finding.path for finding in check(project).findings] == ["toy/ns/a.txt"]
    with project.writing():
        project.builder.rebuild(project.head())
    assert check(project).findings == []
    reading = Client(Application(project))
    assert reading.get("/toy/ns/a.txt").text == "ns/a: new"
    assert reading.get("/toy/all.txt").text == "ns/a: new\nns/b: b"
    assert reading.get("/toy/ns/none.txt").status_code == 404
    remove(project, Removal("ns/b", "1.0.0", None, "gone"), NOW)
    assert not (toy / "ns/b.txt").exists() and (toy / "all.txt").read_text() == "ns/a: new"


def test_a_view_that_comes_or_goes_is_built_or_removed_by_the_next_command(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(project, [chart(tmp_path, "a", "1.0.0", "x")], NS, NOW)
    assert not (project.site / "toy").exists()
    monkeypatch.setattr(site, "VIEWS", (CnrV1, FrontPage, Toy))
    push(reopen(project.folder), [chart(tmp_path, "b", "1.0.0", "y")], NS, NOW)
    assert (project.site / "toy/all.txt").read_text() == "ns/a: x\nns/b: y"
    monkeypatch.setattr(site, "VIEWS", (CnrV1, FrontPage))
    push(reopen(project.folder), [chart(tmp_path, "b", "1.1.0", "z")], NS, NOW)
    assert not (project.site / "toy").exists()
    assert check(reopen(project.folder)).findings == []


@pytest.mark.parametrize("make", site.VIEWS)
def test_a_view_keeps_the_laws_of_views(make: MakeView, project: Project, tmp_path: Path) -> None:
    push(project, [chart(tmp_path, "a", "1.0.0", "x"), chart(tmp_path, "a", "1.1.0", "y")], NS, NOW)
    push(project, [chart(tmp_path, "b", "1.0.0", "y")], NS, NOW)
    view = make(Settings("https://example.com"))
    catalog, root = project.catalog, project.root()
    documents = [catalog.document(ref) for ref in catalog.packages(root.tree)]
    packages = [Package(d, catalog.facts(d), project.store) for d in documents]
    entries = {p.document.package: e for p in packages if (e := view.entry(p)) is not None}
    groups = Grouped(view, entries)
    summaries = groups.summaries()
    rows = {name: groups.group(name) for name in summaries}
    for kept, kind in ((rows, dict[str, view.row_type]), (summaries, view.summary_type)):  # type: ignore[name-defined]
        assert msgspec.json.decode(msgspec.json.encode(kept), type=dict[str, kind]) == kept  # type: ignore[valid-type]
    changes = {name: (None, entry) for name, entry in entries.items()}
    files = [r for p in packages for r in view.package(p)]
    files += [*view.lists(groups, changes, root), *view.fixed()]
    assert len({r.path for r in files}) == len(files)
    assert all(r.path in view.tops or r.path.partition("/")[0] in view.tops for r in files)
    for package in packages:
        ranks = [view.rank(r.path) for r in view.package(package)]
        assert all(0 <= rank < 9 for rank in ranks)
        assert {view.package_in(r.path) for r in view.package(package)} <= {
            package.document.package
        }
        named = list(view.package(package.only_named()))
        assert [r.path for r in named] == [r.path for r in view.package(package)]
    assert all(view.package_in(r.path) is None for r in view.lists(groups, changes, root))
    assert list(view.fixed()) == list(make(Settings("https://example.com")).fixed())


def test_the_settings_of_views_stand_in_the_catalog(project: Project, tmp_path: Path) -> None:
    push(project, [chart(tmp_path, "a", "1.0.0", "x")], NS, NOW)
    path = project.layout.configuration
    path.write_text(path.read_text().replace('url: ""', "url: https://example.com"))
    changed = reopen(project.folder)
    push(changed, [chart(tmp_path, "a", "1.1.0", "x")], NS, NOW)
    assert json.loads(msgspec.json.encode(changed.root().settings)) == {
        "dialect": "appr", "url": "https://example.com", "helm": True, "oci": True,
        "openapi": OpenApi.version, "pages": {"version": Pages.version, "look": {}},
    }  # fmt: skip
