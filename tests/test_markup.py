"""Hosts that only know index.html send JSON as text/html: nothing in it is markup."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnrmirror.archive.identify import Override
from cnrmirror.audit.report import Order
from cnrmirror.audit.run import audit
from cnrmirror.mirror.change import set_channel
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.objects.folder import FolderReader
from cnrmirror.publish.session import Session
from cnrmirror.trust.verify import Policy, Trust
from cnrmirror.views.base import Settings
from cnrmirror.views.forms import without_markup
from cnrmirror.views.front import FrontPage
from tests.conftest import NOW, chart_bytes
from tests.mirrors import make, reopen

SCRIPT = "</title><script>alert(1)</script>&amp;"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "web-1.0.0.tgz").write_bytes(chart_bytes("web", "1.0.0"))
    project = make(tmp_path / "mirror", "markup")
    with (project.folder / "mirror.yaml").open("a") as config:
        config.write("views: {profile: plain}\n")
    project = reopen(tmp_path / "mirror")
    metadata = msgspec.Raw(json.dumps({"note": SCRIPT}).encode())
    push(
        project, [tmp_path / "web-1.0.0.tgz"], Override(namespace="t"), NOW, What(metadata=metadata)
    )
    set_channel(project, "t/web", "stable", "1.0.0", NOW)
    return project


def pages(site: Path) -> list[Path]:
    """Those that are not made for people."""
    own = [site / "packages", site / "revisions"]
    found = [
        path
        for path in site.rglob("*.html")
        if path.parent != site and not any(path.is_relative_to(folder) for folder in own)
    ]
    assert len(found) > 5
    return found


def safe(site: Path) -> None:
    said = 0
    for page in pages(site):
        data = page.read_bytes()
        assert not set(data) & set(b"<>&")
        beside = page.with_name("index.json")
        assert not beside.exists() or json.loads(data) == json.loads(beside.read_bytes())
        said += SCRIPT in json.dumps(json.loads(data), ensure_ascii=False)
    assert said > 0


@given(st.recursive(st.text() | st.none(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_it_is_the_same_json(value: object) -> None:
    data = without_markup(json.dumps(value).encode())
    assert json.loads(data) == value
    assert not set(data) & set(b"<>&")


def test_no_page_of_a_plain_site_has_markup_of_a_package(project: Project) -> None:
    safe(project.site)
    assert check(project).findings == []


@pytest.mark.parametrize("host", ["", "github-pages"])
@pytest.mark.parametrize("links", [True, False])
def test_nor_has_one_of_a_folder_that_is_published_to(
    project: Project, tmp_path: Path, host: str, links: bool
) -> None:
    target = PublishTo(to=str(tmp_path / "out"), host=host, links=links)  # type: ignore[arg-type]
    with Session.open(project, target) as session:
        session.publish(NOW)
        assert session.audit(NOW, repair=False) == []
    safe(tmp_path / "out")


def test_an_auditor_finds_a_page_that_is_the_json_itself(project: Project, tmp_path: Path) -> None:
    def findings() -> list[str]:
        pinned = (project.site / "catalog/metadata/1.root.json").read_bytes()
        trust = Trust(pinned, tmp_path / "cache", tmp_path / "memory")
        order = Order(Policy(), datetime.fromisoformat(f"{NOW}+00:00"), strict=True)
        report = audit(FolderReader(project.site), trust, order)
        return [f"{f.problem} {f.path}" for f in report.findings]

    assert findings() == []
    page = next(p for p in pages(project.site) if not p.is_symlink())
    page.unlink()
    os.symlink("index.json", page)
    assert findings() == [f"wrong {page.relative_to(project.site)}"]
    page.unlink()
    page.write_bytes(page.with_name("index.json").read_bytes())
    assert findings() == [f"wrong {page.relative_to(project.site)}"]


def test_an_address_that_a_catalog_brings_is_no_markup_on_the_front_page() -> None:
    url = 'https://h/"><script>alert(1)</script>'
    pages = {r.path: r.body for r in FrontPage(Settings(url=url, pages=False)).fixed()}
    page = pages["index.html"]
    assert isinstance(page, bytes) and b"<script" not in page
    assert b"https://h/&#34;&gt;&lt;script&gt;" in page
