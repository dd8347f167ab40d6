"""The golden mirror is made again, byte for byte."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from cnrmirror.mirror.check import check
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


def test_the_sample_site_is_made_again_byte_for_byte(tmp_path: Path) -> None:
    project = make(tmp_path / "mirror")
    assert content(tmp_path / "mirror") == content(HERE / "mirror")
    assert check(project).findings == []
