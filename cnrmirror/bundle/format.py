"""Bundles: files of a catalog in plain tar volumes, with a table of contents.

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

import hashlib
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec

from cnrmirror.model.canonical import encode
from cnrmirror.model.digest import CHUNK, Digest, Size
from cnrmirror.model.errors import ConflictError, DamageError, InputError
from cnrmirror.model.format import KNOWN, Format
from cnrmirror.model.progress import Progress
from cnrmirror.objects.files import replace_durably, sync_path

TOC = "bundle.json"
NO_DIGEST = "0" * 64
_INDEX = "index.json"
BLOCK = 512
END = bytes(2 * BLOCK)
MAX_INDEX = 64 << 20

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


class Selection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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

    ``format``: the versions that a reader and a writer must know; a plain number is both.
    ``timestamp``: the text of timestamp.json in it, which the mirror replaces: with that, a volume
    is made again later. ``selected``: the packages in it, if it is a part.
    """

    format: Format | Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    registry: str
    revision: Size
    since_revision: int
    time: str
    receipt: str
    timestamp: str
    cut: Selection
    volumes: list[Volume]
    selected: list[str] = []

    def same_as(self, other: Contents) -> bool:
        """Whether it is the same bundle, whatever is known of its volumes."""
        mine, theirs = (
            msgspec.structs.replace(each, format=KNOWN, volumes=[]) for each in (self, other)
        )
        return mine == theirs


class Index(msgspec.Struct, frozen=True):
    files: list[Entry]


def plan_volumes(members: Sequence[Member], volume_size: int) -> list[list[Member]]:
    """The members in volumes of at most ``volume_size`` bytes each (0: any size), in order.

    Raises:
        InputError: one file alone is larger.
    """
    volumes: list[list[Member]] = []
    index = files = 0
    for member in members:
        one = BLOCK + padded(member.size)
        # An entry of the index: its path, and two numbers of up to 13 digits.
        line = len(member.path) + 60
        if volume_size and _whole(line, one) > volume_size:
            raise InputError(
                f"{member.path} has {member.size} bytes: it needs volumes of at least "
                f"{_whole(line, one)} bytes"
            )
        full = volume_size and _whole(index + line, files + one) > volume_size
        if not volumes or full or index + line > MAX_INDEX - BLOCK:
            volumes.append([])
            index = files = 0
        volumes[-1].append(member)
        index += line
        files += one
    return volumes


def _whole(index: int, files: int) -> int:
    """At most how large a volume is."""
    return BLOCK + padded(16 + index) + files + len(END)


def padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _index_of(members: Sequence[Member]) -> tuple[bytes, list[Entry]]:
    """The index of a volume; its own size moves the offsets, so it is padded to whole blocks."""
    size = 0
    while True:
        start = BLOCK + padded(size)
        entries = []
        position = start
        for member in members:
            entries.append(Entry(member.path, position + BLOCK, member.size))
            position += BLOCK + padded(member.size)
        data = encode(Index(entries))
        if padded(len(data)) == padded(size):
            return data, entries
        size = len(data)


def measure(name: str, members: Sequence[Member]) -> Volume:
    """A volume as it will be, but for its digest."""
    data, entries = _index_of(members)
    last = entries[-1] if entries else None
    end = last.offset + padded(last.size) if last else BLOCK + padded(len(data))
    return Volume(name, end + len(END), len(data), len(members))


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

        put(_header(_INDEX, len(data)) + data + bytes(padded(len(data)) - len(data)))
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
            put(bytes(padded(member.size) - member.size))
            progress.advance(1, member.size)
        put(END)
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


def write_text(folder: Path, contents: Contents, readme: str, script: bytes) -> None:
    """README.txt, recover.sh, SHA256SUMS and, last, bundle.json."""
    sums = "".join(f"{v.digest}  {v.name}\n" for v in contents.volumes)
    for name, text in (
        ("README.txt", readme.encode()),
        ("recover.sh", script),
        ("SHA256SUMS", sums.encode()),
        (TOC, encode(contents) + b"\n"),
    ):
        replace_durably(folder / name, text, folder)
