"""The golden mirror is made again, byte for byte."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from cnrmirror.mirror.check import check
from cnrmirror.mirror.layout import Layout
from cnrmirror.objects.store import Store
from tests.sample import HERE, make


def content(base: Path) -> dict[str, bytes]:
    """Every file by its path; links by their target, .gz by what is in them.

    What deflate gives for the same input is the compressor's affair, not the mirror's.
    """
    found: dict[str, bytes] = {}
    for folder, folders, files in os.walk(base):
        folders[:] = [f for f in folders if f != ".state"]
        for name in [*files, *folders]:
            path = Path(folder) / name
            if path.is_symlink():
                found[str(path.relative_to(base))] = os.fsencode(path.readlink())
            elif path.is_file():
                data = path.read_bytes()
                found[str(path.relative_to(base))] = (
                    gzip.decompress(data) if name.endswith(".gz") else data
                )
    return found


def archives() -> dict[bytes, bytes]:
    """The archives of the sample, by the tars in them."""
    store = Store(Layout(HERE / "mirror").catalog, HERE)
    found = [Path(path).read_bytes() for path, _, _ in store.walk("blobs")]
    return {gzip.decompress(data): data for data in found if data[:2] == b"\x1f\x8b"}


def test_the_sample_site_is_made_again_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same for archives: their tars are made again, and their digests name what is deflated.
    monkeypatch.setattr("cnrmirror.archive.pack.gzip_bytes", archives().__getitem__)
    project = make(tmp_path / "mirror")
    assert content(tmp_path / "mirror") == content(HERE / "mirror")
    assert check(project).findings == []
