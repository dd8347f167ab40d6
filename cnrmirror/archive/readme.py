"""The readme of a package, out of its archive."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from cnrmirror.archive.gunzip import BROKEN, Gunzip
from cnrmirror.archive.scan import Limits, TarScanner
from cnrmirror.model.digest import CHUNK
from cnrmirror.model.errors import InputError

MAX_README = 512 << 10
MAX_UNPACKED = 256 << 20
_NAME = re.compile(r"(?:[^/]+/)?(readme(?:\.md|\.markdown|\.txt|\.rst)?)", re.IGNORECASE)
_ORDER = (".md", ".markdown", "", ".txt", ".rst")


class Readme(msgspec.Struct, frozen=True):
    """A readme: its name in the archive, and its bytes."""

    name: str
    data: bytes

    @property
    def is_markdown(self) -> bool:
        return self.name.lower().endswith((".md", ".markdown"))


def readme_in(archive: BinaryIO) -> Readme | None:
    """The readme at the root of an archive, or in the one folder there; None if there is none.

    What cannot be read has none: whoever checks archives says more of it. One of more than
    ``MAX_README`` bytes is none, either, nor one behind ``MAX_UNPACKED`` bytes of the tar.
    """
    wanted: list[str] = []

    def keep(name: str) -> int | None:
        match = _NAME.fullmatch(name)
        if match:
            wanted.append(name)
        return MAX_README if match else None

    scanner = TarScanner(Limits(member=1 << 62, members=1 << 20), keep)
    with contextlib.suppress(InputError, *BROKEN):
        left = MAX_UNPACKED
        for data in _unpacked(archive):
            left -= len(data)
            if left < 0:
                break
            scanner.feed(data)
    found = [name for name in wanted if scanner.captured.get(name)]
    if not found:
        return None
    best = min(found, key=_rank)
    return Readme(best.rpartition("/")[2], scanner.captured[best])


def _unpacked(archive: BinaryIO) -> Iterator[bytes]:
    gunzip = Gunzip()
    while chunk := archive.read(CHUNK):
        yield from gunzip.pieces(chunk)
    yield from gunzip.rest()


def _rank(path: str) -> tuple[int, int, str]:
    name = path.rpartition("/")[2].lower().removeprefix("readme")
    return _ORDER.index(name), path.count("/"), path
