"""Read a bundle where it lies: find its volumes, check them, read files out of them.

No tar header is believed: a volume's ``index.json`` says where each file begins, and only the one
layout that a volume can have is read.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec

from cnrmirror.bundle.format import (
    BLOCK,
    END,
    MAX_INDEX,
    TOC,
    Contents,
    Entry,
    Index,
    Volume,
    padded,
    volume_name,
)
from cnrmirror.model import typed
from cnrmirror.model.digest import CHUNK
from cnrmirror.model.errors import (
    DamageError,
    IncompleteError,
    InputError,
    InvalidDocument,
    NetworkError,
    Tampered,
)
from cnrmirror.model.finding import Finding
from cnrmirror.model.format import Format, require_readable
from cnrmirror.model.progress import Progress
from cnrmirror.objects.base import PIECE, Reader, ViewForm, bounded, check_path

_MAX_TOC = 16 << 20


class _Versioned(msgspec.Struct, frozen=True):
    format: Format | Annotated[int, msgspec.Meta(ge=1, lt=2**53)]

    @property
    def versions(self) -> Format:
        """The reader and the writer version; a plain number, as it was first, is both."""
        return self.format if isinstance(self.format, Format) else Format(self.format, self.format)


def read_contents(path: Path) -> Contents:
    """The table of contents in a file.

    Raises:
        IncompleteError: there is no such file.
        InvalidDocument: it is none.
        NewerFormat: a newer program wrote it.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_TOC + 1)
    except FileNotFoundError:
        raise IncompleteError(f"{path}: missing; every medium of a bundle has it") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    try:
        if len(data) > _MAX_TOC:
            raise ValueError("too long")
        require_readable(typed.decode(data, _Versioned).versions, str(path))
        contents = typed.decode(data, Contents)
        for number, volume in enumerate(contents.volumes, 1):
            if volume.name != volume_name(number):
                raise ValueError(f"{volume.name!r} is no name of volume {number}")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidDocument(f"{path}: not a bundle's table of contents: {error}") from error
    return contents


class Found(msgspec.Struct, frozen=True):
    """The volumes of a bundle, as far as they are at hand; None where one is not."""

    contents: Contents
    paths: dict[str, Path | None]


def find_volumes(places: Iterable[Path]) -> Found:
    """A bundle in these folders and files (volumes, or a bundle.json), in any order.

    Raises:
        IncompleteError, InvalidDocument, InputError: no table of contents, or two different ones.
    """
    places = list(places)
    folders = list(dict.fromkeys(p if p.is_dir() else p.parent for p in places))
    for place in places:
        if not place.exists():
            raise InputError(f"{place}: there is no such file or folder")
    with_toc = [folder for folder in folders if (folder / TOC).is_file()]
    if not with_toc:
        raise IncompleteError(f"{places[0]}: there is no {TOC}; every medium of a bundle has it")
    contents = read_contents(with_toc[0] / TOC)
    for folder in with_toc[1:]:
        if read_contents(folder / TOC) != contents:
            raise InputError(f"{with_toc[0]} and {folder} are of two different bundles")
    paths: dict[str, Path | None] = {}
    for volume in contents.volumes:
        here = [folder / volume.name for folder in folders if (folder / volume.name).is_file()]
        # Of several copies, one that was cut off on the way is no use.
        here.sort(key=lambda path: path.stat().st_size != volume.size)
        paths[volume.name] = here[0] if here else None
    return Found(contents, paths)


def check_volumes(found: Found, progress: Progress) -> list[Finding]:
    """Every volume read once and compared with the table of contents; a step is a ``CHUNK``."""
    findings = []
    for volume in found.contents.volumes:
        path = found.paths[volume.name]
        if path is None:
            findings.append(Finding(volume.name, "missing"))
            continue
        try:
            if path.stat().st_size != volume.size:
                findings.append(Finding(volume.name, "wrong", f"not {volume.size} bytes long"))
                continue
            hasher = hashlib.sha256()
            with path.open("rb", buffering=0) as stream:
                while piece := stream.read(CHUNK):
                    hasher.update(piece)
                    progress.advance(1, len(piece))
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
            findings.append(Finding(volume.name, "wrong", reason))
            continue
        if hasher.hexdigest() != volume.digest:
            findings.append(Finding(volume.name, "wrong", "damaged: its sha256 is another"))
    return findings


class BundleReader(Reader):
    """Reads the files of a bundle where they lie (``objects.base.Reader``).

    The indexes are read when the first file is asked for: ``check_volumes`` can go before.

    Args:
        places: folders and files; see ``find_volumes``.

    Raises:
        As ``find_volumes``.
    """

    views: ViewForm = "none"

    def __init__(self, places: Sequence[Path]) -> None:
        self.name = str(places[0])
        self.found = find_volumes(places)
        self.contents = self.found.contents

    @staticmethod
    def of(reader: Reader) -> BundleReader | None:
        """The bundle that a reader reads; None for any other site."""
        return reader if isinstance(reader, BundleReader) else None

    @functools.cached_property
    def _files(self) -> dict[str, tuple[Path, int, int]]:
        found: dict[str, tuple[Path, int, int]] = {}
        for volume in self.contents.volumes:
            path = self.found.paths[volume.name]
            if path is None:
                continue
            for entry in _entries(path, volume):
                if entry.path in found:
                    raise DamageError(f"{path}: {entry.path} is in this bundle twice")
                found[entry.path] = (path, entry.offset, entry.size)
        return found

    def close(self) -> None:
        """Nothing is held open between two reads."""

    def has(self, path: str) -> bool:
        """Whether a file is in one of the volumes at hand."""
        return path in self._files

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """See ``interfaces.Reader``."""
        with self.open(path) as stream:
            where = f"{self.name}: {path}"
            try:
                yield from bounded(pieces(stream), max_bytes, where)
            except OSError as error:
                raise NetworkError(f"{where}: cannot be read: {error.strerror}") from error

    def volume(self, path: str) -> Path:
        """The volume that a file is in. Raises IncompleteError."""
        return self._place(path)[0]

    def _place(self, path: str) -> tuple[Path, int, int]:
        found = self._files.get(check_path(path))
        if found is None:
            raise IncompleteError(f"{self.name}: {path}: not in this bundle", path=path)
        return found

    def open(self, path: str) -> BinaryIO:
        """A file, open at its beginning. Raises IncompleteError, NetworkError."""
        volume, offset, size = self._place(path)
        try:
            stream = open(volume, "rb", buffering=0)
        except OSError as error:
            raise NetworkError(f"{volume}: {error.strerror}: is the medium there?") from error
        return io.BufferedReader(_Slice(stream, offset, size), 1 << 16)


def _entries(path: Path, volume: Volume) -> list[Entry]:
    """The index of a volume, if the layout that it tells is the one that a volume has."""
    try:
        if volume.index > MAX_INDEX:
            raise ValueError(f"it has {volume.index} bytes")
        with path.open("rb") as stream:
            stream.seek(BLOCK)
            data = stream.read(volume.index)
        entries = typed.decode(data, Index).files
        position = BLOCK + padded(volume.index)
        for entry in entries:
            check_path(entry.path)
            if entry.offset != position + BLOCK:
                raise ValueError(f"{entry.path} does not stand behind the file before it")
            position = entry.offset + padded(entry.size)
        if position + len(END) != volume.size or len(entries) != volume.files:
            raise ValueError("it does not fit the table of contents")
    except OSError as error:
        raise NetworkError(f"{path}: {error.strerror}: is the medium there?") from error
    except (msgspec.DecodeError, ValueError, Tampered, RecursionError) as error:
        raise DamageError(
            f"{path}: its index cannot be used ({error}): get another copy of this volume"
        ) from error
    return entries


class _Slice(io.RawIOBase):
    """A part of a file as a stream."""

    def __init__(self, stream: io.FileIO, offset: int, size: int) -> None:
        self._stream = stream
        self._offset = offset
        self._size = size
        self._at = 0
        stream.seek(offset)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = min(max(0, base + position), self._size)
        self._stream.seek(self._offset + self._at)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)[: self._size - self._at]  # type: ignore[arg-type]
        count = (self._stream.readinto(view) or 0) if len(view) else 0
        self._at += count
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


def pieces(stream: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: stream.read(PIECE), b"")
