"""Every format ever released is read, checked and continued; a newer one is named as such."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.audit.report import Order
from cnrmirror.audit.run import audit
from cnrmirror.client.remote import Remote
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model import format as formats
from cnrmirror.model.errors import NewerFormat
from cnrmirror.model.format import Format
from cnrmirror.objects.folder import FolderReader
from cnrmirror.trust.verify import Policy, Trust
from tests.conftest import NOW
from tests.mirrors import give_keys, reopen

GOLDEN = sorted(path for path in (Path(__file__).parent / "data" / "formats").iterdir())
CLOCK = datetime.fromisoformat(NOW).replace(tzinfo=UTC) + timedelta(hours=1)
NS = Override(namespace="new")


@pytest.fixture(params=GOLDEN, ids=lambda path: str(path.name))
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A copy of a mirror that an earlier program made; its views are made again."""
    folder = Path(shutil.copytree(request.param, tmp_path / "mirror", symlinks=True))
    project = reopen(folder)
    give_keys(project.config.id)
    return project


def remote(project: Project, tmp_path: Path) -> Remote:
    reader = FolderReader(project.site)
    pinned = project.metadata.read("1.root.json")
    trust = Trust(pinned, tmp_path / "cache", tmp_path / "memory")
    return Remote(reader, trust.verify(reader, Policy(), CLOCK))


def test_an_old_mirror_is_read(golden: Project, tmp_path: Path) -> None:
    found = remote(golden, tmp_path)
    assert [ref.name for ref in found.refs()] == ["apps/blog", "apps/wordpress", "charts/nginx"]
    document = found.document("charts/nginx")
    assert document.versions() == ["1.3.0-rc.1", "1.2.0"]
    for blob in document.blobs():
        assert b"".join(found.blob(blob))


def test_an_old_mirror_is_checked_and_continued(
    golden: Project, tmp_path: Path, chart: Callable[..., Path]
) -> None:
    before = golden.root().format
    with golden.writing():
        pass  # its views are made
    assert check(golden).findings == []
    push(golden, [chart("a", "1.0.0")], NS, NOW)
    assert golden.root().format == before
    assert check(golden).findings == []
    names = [ref.name for ref in remote(golden, tmp_path).refs()]
    assert names == ["apps/blog", "apps/wordpress", "charts/nginx", "new/a"]
    trust = Trust(golden.metadata.read("1.root.json"), tmp_path / "c", tmp_path / "m")
    order = Order(Policy(), CLOCK, strict=True)
    assert audit(FolderReader(golden.site), trust, order).findings == []


def test_only_upgrade_raises_the_format_of_a_mirror(
    golden: Project, chart: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = formats.KNOWN
    newer = Format(newest.read, newest.write + 1)
    monkeypatch.setattr(formats, "KNOWN", newer)
    before = golden.root().format
    assert before.write <= newest.write
    push(golden, [chart("a", "1.0.0")], NS, NOW)
    assert golden.root().format == before
    assert golden.upgrade(NOW) == (before, newer)
    assert golden.root().format == newer
    assert golden.root().root == golden.metadata.root_in_force()
    assert golden.root().log[0].revision == golden.head().revision - 1
    push(golden, [chart("a", "1.1.0")], NS, NOW)
    assert golden.root().format == newer
    revision = golden.head().revision
    assert golden.upgrade(NOW) == (newer, newer)
    assert golden.head().revision == revision
    monkeypatch.setattr(formats, "KNOWN", newest)
    files = {p: p.read_bytes() for p in golden.folder.rglob("*") if p.is_file()}
    older = reopen(golden.folder)
    assert older.document("new/a").versions() == ["1.1.0", "1.0.0"]
    with pytest.raises(NewerFormat, match="needs a newer cnrmirror to be changed"):
        push(older, [chart("a", "1.2.0")], NS, NOW)
    after = {p: p.read_bytes() for p in golden.folder.rglob("*") if p.is_file()}
    assert after == files


def test_a_program_that_knows_less_says_newer_and_touches_nothing(
    golden: Project, tmp_path: Path, chart: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "KNOWN", Format(0, 0))
    files = {p: p.read_bytes() for p in golden.site.rglob("*") if p.is_file()}
    with pytest.raises(NewerFormat, match="needs a newer cnrmirror to be read"):
        golden.tree()
    with pytest.raises(NewerFormat):
        push(golden, [chart("a", "1.0.0")], NS, NOW)
    with pytest.raises(NewerFormat):
        remote(golden, tmp_path)
    assert {p: p.read_bytes() for p in golden.site.rglob("*") if p.is_file()} == files
