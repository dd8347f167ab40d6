"""mirror/folder.py, and check: what is packed again is the same, whatever packed it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from isal import isal_zlib

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.model.canonical import normalise_metadata
from tests.conftest import NOW


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    base = tmp_path / "chart"
    (base / "templates").mkdir(parents=True)
    (base / "Chart.yaml").write_text("name: chart\nversion: 1.0.0\n")
    (base / "templates/a.yaml").write_text("a: b\n" * 50)
    return base


def quickly(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def otherwise(data: bytes) -> bytes:
    packed: bytes = isal_zlib.compress(data, 1, 31)
    return packed


def not_at_all(data: bytes) -> bytes:
    return gzip.compress(data, 0, mtime=0)


def kept(project: Project) -> dict[str, bytes]:
    found = [path for path in project.store.root.rglob("*") if path.is_file()]
    assert len(found) > 3
    return {str(path): path.read_bytes() for path in found}


@pytest.mark.parametrize("other", [quickly, otherwise, not_at_all])
@pytest.mark.parametrize("processes", [False, True])
def test_a_folder_pushed_again_with_another_compressor_writes_nothing(
    folder: Path,
    project: Project,
    other: Callable[[bytes], bytes],
    processes: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("cnrmirror.archive.pack.gzip_bytes", other)
        first = push(project, [folder], Override(namespace="ns"), NOW)
    before = kept(project)
    if processes:  # of which each packs with its own library
        monkeypatch.setattr("cnrmirror.mirror.intake._WORTH_PROCESSES", 0)
    again = push(project, [folder], Override(namespace="ns"), NOW)
    assert [p.outcome for p in (*first.pushed, *again.pushed)] == ["new", "unchanged"]
    assert again.pushed[0].size == first.pushed[0].size
    assert again.revision is None
    assert kept(project) == before


def test_what_is_said_anew_of_an_unchanged_folder_is_said_of_the_archive_that_is_there(
    folder: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("cnrmirror.archive.pack.gzip_bytes", quickly)
        push(project, [folder], Override(namespace="ns"), NOW)
    before = project.document("ns/chart")
    blobs = [digest for _, digest, _ in project.store.walk("blobs")]
    more = normalise_metadata({"a": 1})
    push(project, [folder], Override(namespace="ns"), NOW, What(["stable"], more, accept=True))
    after = project.document("ns/chart")
    assert after.releases[0].metadata != before.releases[0].metadata
    assert after.releases[0].blob == before.releases[0].blob
    assert project.catalog.facts(after) == project.catalog.facts(before)
    assert [digest for _, digest, _ in project.store.walk("blobs")] == blobs


def test_a_folder_pushed_again_restores_a_damaged_archive(folder: Path, project: Project) -> None:
    push(project, [folder], Override(namespace="ns"), NOW)
    path = Path(project.store.blob_path(project.document("ns/chart").releases[0].blob.digest))
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    push(project, [folder], Override(namespace="ns"), NOW)
    assert path.read_bytes() == data


@pytest.mark.parametrize("other", [quickly, otherwise, not_at_all])
def test_check_takes_a_compressed_list_as_any_compressor_makes_it(
    folder: Path, project: Project, other: Callable[[bytes], bytes]
) -> None:
    more = normalise_metadata({"text": "long enough to be compressed: " + "a word " * 300})
    push(project, [folder], Override(namespace="ns"), NOW, What(["stable"], more))
    lists = [path for path in project.site.rglob("*.json.gz") if not path.is_symlink()]
    assert lists
    for path in lists:
        path.write_bytes(other(gzip.decompress(path.read_bytes())))
    assert check(project).findings == []
    text = gzip.decompress(lists[0].read_bytes())
    for wrong in (other(text + b" "), other(text)[:-1], other(text) + b" ", b"", text):
        lists[0].write_bytes(wrong)
        assert [str(project.site / f.path) for f in check(project).findings] == [str(lists[0])]
