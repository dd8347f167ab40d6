"""Bundles: files of a catalog in plain tar volumes, with a table of contents. Format version 1.

::

    bundle.json       what it is, and each volume with its size and sha256 (canonical JSON)
    SHA256SUMS        the same digests, for ``sha256sum -c``
    README.txt        for whoever finds it
    recover.sh        verifies and recovers it without cnrmirror
    volume-001.tar    index.json first, then files under the paths that they have in the site
    …

A volume's ``index.json`` says at which offset each of its files begins, so a bundle is read where
it lies, and no tar header is believed. Only the one layout that a volume can have is read: file
behind file, each after its header. Volumes are ustar, dated 1970, owned by nobody: the same export
gives the same bytes. The digests here find damage; what is trusted hangs on the signed metadata
inside, as in any mirror.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from cnrmirror.descriptor import CHUNK, Digest, Size
from cnrmirror.documents import encode
from cnrmirror.errors import (
    ConflictError,
    DamageError,
    IncompleteError,
    InputError,
    InvalidDocument,
    NetworkError,
    Tampered,
)
from cnrmirror.fetcher import PIECE, bounded, check_path
from cnrmirror.files import replace_durably, sync_path
from cnrmirror.interfaces import Progress

FORMAT = 1
TOC = "bundle.json"
NO_DIGEST = "0" * 64
_INDEX = "index.json"
_BLOCK = 512
_END = bytes(2 * _BLOCK)
_MAX_TOC = 16 << 20
_MAX_INDEX = 64 << 20

Open = Callable[[], BinaryIO]


class Member(msgspec.Struct, frozen=True, order=True):
    """One file of a bundle: its path in the site, and its size in bytes."""

    path: str
    size: Size


class Entry(msgspec.Struct, frozen=True):
    """Where a file lies in its volume."""

    path: str
    offset: Size
    size: Size


class Volume(msgspec.Struct, frozen=True):
    """One tar file; ``index`` is the size of its index.json, which begins at byte 512."""

    name: str
    size: Size
    index: Size
    files: Size
    digest: Digest = NO_DIGEST


class Cut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was cut, and how: with this, any one volume can be made again.

    ``since`` is the digest of the catalog that the receiver has, or "". ``selection`` says which
    packages are in it, if not all are.
    """

    catalog: Digest
    since: str = ""
    volume_size: Size = 0
    packages: list[str] = []
    exclude: list[str] = []
    media_types: list[str] = []
    channels: list[str] = []
    releases: str = ""

    @property
    def is_part(self) -> bool:
        return bool(
            self.packages or self.exclude or self.media_types or self.channels or self.releases
        )


class Contents(msgspec.Struct, frozen=True, tag_field="kind", tag="bundle"):
    """The table of contents.

    ``timestamp``: the text of timestamp.json in it, which the mirror replaces: with that, a volume
    is made again later. ``selected``: the packages in it, if it is a part.
    """

    format: int
    registry: str
    revision: Size
    since_revision: int
    time: str
    receipt: str
    timestamp: str
    cut: Cut
    volumes: list[Volume]
    selected: list[str] = []


class _Format(msgspec.Struct, frozen=True):
    format: int


class _Index(msgspec.Struct, frozen=True):
    files: list[Entry]


def plan_volumes(members: Sequence[Member], volume_size: int) -> list[list[Member]]:
    """The members in volumes of at most ``volume_size`` bytes each (0: any size), in order.

    Raises:
        InputError: one file alone is larger.
    """
    volumes: list[list[Member]] = []
    index = files = 0
    for member in members:
        one = _BLOCK + _padded(member.size)
        # An entry of the index: its path, and two numbers of up to 13 digits.
        line = len(member.path) + 60
        if volume_size and _whole(line, one) > volume_size:
            raise InputError(
                f"{member.path} has {member.size} bytes: it needs volumes of at least "
                f"{_whole(line, one)} bytes"
            )
        full = volume_size and _whole(index + line, files + one) > volume_size
        if not volumes or full or index + line > _MAX_INDEX - _BLOCK:
            volumes.append([])
            index = files = 0
        volumes[-1].append(member)
        index += line
        files += one
    return volumes


def _whole(index: int, files: int) -> int:
    """At most how large a volume is."""
    return _BLOCK + _padded(16 + index) + files + len(_END)


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _index_of(members: Sequence[Member]) -> tuple[bytes, list[Entry]]:
    """The index of a volume; its own size moves the offsets, so it is padded to whole blocks."""
    size = 0
    while True:
        start = _BLOCK + _padded(size)
        entries = []
        position = start
        for member in members:
            entries.append(Entry(member.path, position + _BLOCK, member.size))
            position += _BLOCK + _padded(member.size)
        data = encode(_Index(entries))
        if _padded(len(data)) == _padded(size):
            return data, entries
        size = len(data)


def measure(name: str, members: Sequence[Member]) -> Volume:
    """A volume as it will be, but for its digest."""
    data, entries = _index_of(members)
    last = entries[-1] if entries else None
    end = last.offset + _padded(last.size) if last else _BLOCK + _padded(len(data))
    return Volume(name, end + len(_END), len(data), len(members))


def write_volume(
    folder: Path,
    name: str,
    members: Sequence[Member],
    opened: Callable[[Member], BinaryIO],
    progress: Progress,
    expected: Volume | None = None,
) -> Volume:
    """Write one volume, whole or not at all; gives it with its digest.

    Args:
        opened: opens a file of the catalog.
        expected: what it was before, if it is made again.

    Raises:
        DamageError: a file is not as large as it was said to be.
        ConflictError: it is not what it was before.
    """
    temporary = folder / f".{name}.part"
    try:
        written = _write(temporary, name, members, opened, progress)
        if expected is not None and expected != written:
            raise ConflictError(f"{name} does not come out as it was: export anew")
        os.replace(temporary, folder / name)
    finally:
        temporary.unlink(missing_ok=True)
    sync_path(folder)
    return written


def _write(
    path: Path,
    name: str,
    members: Sequence[Member],
    opened: Callable[[Member], BinaryIO],
    progress: Progress,
) -> Volume:
    data, _ = _index_of(members)
    hasher = hashlib.sha256()
    with path.open("wb", buffering=1 << 20) as tar:

        def put(piece: bytes) -> None:
            hasher.update(piece)
            tar.write(piece)

        put(_header(_INDEX, len(data)) + data + bytes(_padded(len(data)) - len(data)))
        for member in members:
            put(_header(member.path, member.size))
            left = member.size
            with opened(member) as stream:
                while piece := stream.read(min(CHUNK, left + 1)):
                    left -= len(piece)
                    if left < 0:
                        break
                    put(piece)
            if left:
                raise DamageError(f"{member.path}: not {member.size} bytes long; restore it")
            put(bytes(_padded(member.size) - member.size))
            progress.advance(1, member.size)
        put(_END)
        tar.flush()
        os.fsync(tar.fileno())
        size = tar.tell()
    return Volume(name, size, len(data), len(members), hasher.hexdigest())


def _header(path: str, size: int) -> bytes:
    member = tarfile.TarInfo(path)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.USTAR_FORMAT)


def volume_name(number: int) -> str:
    """What a volume is called; the first has the number 1."""
    return f"volume-{number:03}.tar"


def read_contents(path: Path) -> Contents:
    """The table of contents in a file.

    Raises:
        IncompleteError: there is no such file.
        InvalidDocument: it is none, or of a later format.
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
        if (number := msgspec.json.decode(data, type=_Format).format) != FORMAT:
            raise InvalidDocument(f"{path}: format {number}; this program knows {FORMAT}")
        contents = msgspec.json.decode(data, type=Contents)
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


class Fault(msgspec.Struct, frozen=True):
    """A volume that cannot be used."""

    volume: str
    problem: str


def check_volumes(found: Found, progress: Progress) -> list[Fault]:
    """Every volume read once and compared with the table of contents; a step is a ``CHUNK``."""
    faults = []
    for volume in found.contents.volumes:
        path = found.paths[volume.name]
        if path is None:
            faults.append(Fault(volume.name, "missing"))
            continue
        try:
            if path.stat().st_size != volume.size:
                faults.append(Fault(volume.name, f"not {volume.size} bytes long"))
                continue
            hasher = hashlib.sha256()
            with path.open("rb", buffering=0) as stream:
                while piece := stream.read(CHUNK):
                    hasher.update(piece)
                    progress.advance(1, len(piece))
        except OSError as error:
            faults.append(Fault(volume.name, f"cannot be read: {error.strerror}"))
            continue
        if hasher.hexdigest() != volume.digest:
            faults.append(Fault(volume.name, "damaged: its sha256 is another"))
    return faults


class BundleFetcher:
    """Reads the files of a bundle where they lie (``interfaces.Fetcher``).

    The indexes are read when the first file is asked for: ``check_volumes`` can go before.

    Args:
        places: folders and files; see ``find_volumes``.

    Raises:
        As ``find_volumes``.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self.name = str(places[0])
        self.found = find_volumes(places)
        self.contents = self.found.contents

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
        """See ``interfaces.Fetcher``."""
        with self.open(path) as stream:
            where = f"{self.name}: {path}"
            try:
                yield from bounded(_pieces(stream), max_bytes, where)
            except OSError as error:
                raise NetworkError(f"{where}: cannot be read: {error.strerror}") from error

    def open(self, path: str) -> BinaryIO:
        """A file, open at its beginning. Raises IncompleteError, NetworkError."""
        found = self._files.get(check_path(path))
        if found is None:
            raise IncompleteError(f"{self.name}: {path}: not in this bundle", path=path)
        volume, offset, size = found
        try:
            stream = open(volume, "rb", buffering=0)
        except OSError as error:
            raise NetworkError(f"{volume}: {error.strerror}: is the medium there?") from error
        return io.BufferedReader(_Slice(stream, offset, size), 1 << 16)


def _entries(path: Path, volume: Volume) -> list[Entry]:
    """The index of a volume, if the layout that it tells is the one that a volume has."""
    try:
        if volume.index > _MAX_INDEX:
            raise ValueError(f"it has {volume.index} bytes")
        with path.open("rb") as stream:
            stream.seek(_BLOCK)
            data = stream.read(volume.index)
        entries = msgspec.json.decode(data, type=_Index).files
        position = _BLOCK + _padded(volume.index)
        for entry in entries:
            check_path(entry.path)
            if entry.offset != position + _BLOCK:
                raise ValueError(f"{entry.path} does not stand behind the file before it")
            position = entry.offset + _padded(entry.size)
        if position + len(_END) != volume.size or len(entries) != volume.files:
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


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: stream.read(PIECE), b"")


class Overlay:
    """Several fetchers as one: the first that has a file gives it.

    Args:
        first: the bundle.
        others: what the receiver has already; only for files that are named by their digest.
    """

    def __init__(self, first: BundleFetcher, others: Sequence[Callable[[str], BinaryIO]]) -> None:
        self.name = first.name
        self._first = first
        self._others = others

    def close(self) -> None:
        """Nothing is held open."""
        self._first.close()

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """See ``interfaces.Fetcher``."""
        if self._first.has(path) or not path.startswith(("catalog/blobs/", "catalog/nodes/",
                                                         "catalog/targets/")):  # fmt: skip
            yield from self._first.fetch(path, max_bytes)
            return
        for opened in self._others:
            try:
                stream = opened(path)
            except FileNotFoundError:
                continue
            with stream:
                yield from bounded(_pieces(stream), max_bytes, path)
            return
        raise IncompleteError(f"{self.name}: {path}: neither in this bundle nor here", path=path)


def write_text(folder: Path, contents: Contents, readme: str, script: bytes = b"") -> None:
    """README.txt, recover.sh, SHA256SUMS and, last, bundle.json."""
    sums = "".join(f"{v.digest}  {v.name}\n" for v in contents.volumes)
    for name, text in (
        ("README.txt", readme.encode()),
        ("recover.sh", script),
        ("SHA256SUMS", sums.encode()),
        (TOC, encode(contents) + b"\n"),
    ):
        replace_durably(folder / name, text, folder)
