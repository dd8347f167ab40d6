"""Package archives, gzipped tars, looked into but never extracted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import BinaryIO

import msgspec

from cnrmirror.archive import gziphead, kinds
from cnrmirror.archive.clues import ClueKeeper, Clues
from cnrmirror.archive.gunzip import BROKEN, Gunzip
from cnrmirror.archive.scan import Limits, Sink, TarScanner
from cnrmirror.model.digest import CHUNK, Descriptor
from cnrmirror.model.errors import HostileArchive

# The files that tell what a package is; at the root, or in the one folder there.
_TELLING = re.compile(
    r"(?:[^/]+/)?(?:Chart\.yaml|requirements\.yaml|manifest\.yaml|manifest\.jsonnet"
    r"|(?:docker-)?compose\.ya?ml|[^/]+\.dab)"
)
REQUIREMENTS = "requirements.yaml"
MAX_TELLING = 1 << 20
_RATIO_FROM = 4 << 20


def _wanted(name: str) -> int | None:
    """How much of a member is to be kept: the text of what tells, the name alone of a bundle."""
    if not _TELLING.fullmatch(name):
        return None
    return 0 if name.endswith(".dab") else MAX_TELLING


class ArchiveInfo(msgspec.Struct, frozen=True):
    """What one pass over an archive tells.

    ``blob`` describes the gzip bytes, ``diff_id`` is the CNR digest, ``telling`` holds the small
    files that say what the package is, by their path inside; ``subcharts`` the names of what lies
    in ``charts/``; ``clues`` what shows the images that it names.
    """

    blob: Descriptor
    diff_id: str
    unpacked: int
    flags: tuple[str, ...]
    telling: dict[str, bytes]
    subcharts: tuple[str, ...] = ()
    clues: Clues = Clues()


class ArchiveReader:
    """Looks into one archive, chunk by chunk, bounded in memory.

    Args:
        sink: gets the members as they come: before it is known whether the archive is whole.

    Example:
        reader = ArchiveReader()
        for chunk in chunks:
            reader.feed(chunk)
        info = reader.close()
    """

    def __init__(self, limits: Limits = Limits(), sink: Sink | None = None) -> None:
        self._limits = limits
        self._packed = hashlib.sha256()
        self._unpacked = hashlib.sha256()
        self._size = 0
        self._head: bytes | None = b""
        self._unpacked_size = 0
        self._gunzip = Gunzip()
        self._clues = ClueKeeper(limits, sink)
        self._scanner = TarScanner(limits, _wanted, self._clues)

    def feed(self, chunk: bytes) -> None:
        """The next gzip bytes.

        Raises:
            HostileArchive: see ``tarball``, and gzip that is broken, or goes on after its end.
            TooLarge: past one of the limits.
        """
        self._size += len(chunk)
        if self._size > self._limits.packed:
            what = f"the archive has {self._size} bytes or more"
            raise self._limits.past("packed", what, self._size)
        self._packed.update(chunk)
        if self._head is not None:
            chunk = self._begin(chunk)
            if not chunk:
                return
        if self._gunzip.eof:
            raise _something_behind(chunk)
        try:
            for data in self._gunzip.pieces(chunk):
                self._unpack(data)
        except BROKEN as error:
            raise HostileArchive(f"the archive is not valid gzip: {error}") from error
        if self._gunzip.unused:
            raise _something_behind(self._gunzip.unused)

    def _begin(self, chunk: bytes) -> bytes:
        """The first bytes, once all of the gzip header is there; none until then.

        They go on in one piece: isal's checksum goes wrong over a header that comes in several.
        """
        head = self._head = (self._head or b"") + chunk
        if not head.startswith(kinds.GZIP[: len(head)]):
            if len(head) < kinds.ENOUGH:
                return b""  # more of it may tell what it is
            raise _no_gzip(head)
        if not gziphead.is_whole(head):
            return b""
        self._head = None
        return head

    def _unpack(self, data: bytes) -> None:
        self._unpacked_size += len(data)
        if self._unpacked_size > self._limits.unpacked:
            what = f"the archive unpacks to {self._unpacked_size} bytes or more"
            raise self._limits.past("unpacked", what, self._unpacked_size)
        if self._unpacked_size > max(_RATIO_FROM, self._limits.ratio * self._size):
            ratio = -(-self._unpacked_size // self._size)
            raise self._limits.past("ratio", f"the archive is packed {ratio} to one", ratio)
        self._unpacked.update(data)
        self._scanner.feed(data)

    def close(self) -> ArchiveInfo:
        """What was found. Raises HostileArchive if the archive is not whole."""
        if self._head is not None and not self._head.startswith(kinds.GZIP):
            raise _no_gzip(self._head)
        try:
            for data in self._gunzip.rest():
                self._unpack(data)
        except BROKEN as error:
            raise HostileArchive(f"the archive is not valid gzip: {error}") from error
        if not self._gunzip.eof:
            raise HostileArchive("the archive is cut off: its gzip stream does not end")
        self._scanner.close()
        return ArchiveInfo(
            Descriptor(self._packed.hexdigest(), self._size),
            self._unpacked.hexdigest(),
            self._unpacked_size,
            tuple(sorted(self._scanner.flags)),
            self._scanner.captured,
            tuple(sorted(_subcharts(self._scanner.names))),
            self._clues.close(),
        )


def _subcharts(names: Iterable[str]) -> set[str]:
    found = set()
    for name in names:
        if "charts/" in name:
            parts = name.split("/")
            at = 0 if parts[0] == "charts" else 1
            if parts[at] == "charts" and len(parts) > at + 1:
                found.add(parts[at + 1])
    return found


def _no_gzip(head: bytes) -> HostileArchive:
    return HostileArchive(f"not a gzipped tar, but {kinds.kind_of(head)}")


def _something_behind(data: bytes) -> HostileArchive:
    what = "another gzip stream" if data.startswith(kinds.GZIP) else "bytes"
    return HostileArchive(
        f"the archive has {what} after the end of its gzip stream; repack it: "
        "gzip -dc OLD | gzip -n >NEW"
    )


def inspect(stream: BinaryIO, limits: Limits = Limits(), sink: Sink | None = None) -> ArchiveInfo:
    """What the archive in ``stream`` is; ``sink`` gets its members on the way.

    Raises:
        HostileArchive, TooLarge: as ``ArchiveReader`` does.
    """
    reader = ArchiveReader(limits, sink)
    while chunk := stream.read(CHUNK):
        reader.feed(chunk)
    return reader.close()
