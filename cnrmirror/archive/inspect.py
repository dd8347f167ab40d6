"""Package archives, gzipped tars, looked into but never extracted."""

from __future__ import annotations

import hashlib
import re
import zlib
from typing import BinaryIO, cast

import msgspec
from isal import isal_zlib

from cnrmirror.archive import gziphead
from cnrmirror.archive.scan import Limits, TarScanner
from cnrmirror.model.digest import CHUNK, Descriptor
from cnrmirror.model.errors import HostileArchive, TooLarge

# The files that tell what a package is; at the root, or in the one folder there.
_TELLING = re.compile(
    r"(?:[^/]+/)?(?:Chart\.yaml|requirements\.yaml|manifest\.yaml|manifest\.jsonnet"
    r"|docker-compose\.ya?ml|[^/]+\.dab)"
)
REQUIREMENTS = "requirements.yaml"
# isal's stubs call its error class an instance.
_BROKEN = (cast(type[Exception], isal_zlib.error), zlib.error, EOFError)
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
    files that say what the package is, by their path inside.
    """

    blob: Descriptor
    diff_id: str
    unpacked: int
    flags: tuple[str, ...]
    telling: dict[str, bytes]


class ArchiveReader:
    """Looks into one archive, chunk by chunk, bounded in memory.

    Example:
        reader = ArchiveReader()
        for chunk in chunks:
            reader.feed(chunk)
        info = reader.close()
    """

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._packed = hashlib.sha256()
        self._unpacked = hashlib.sha256()
        self._size = 0
        self._head: bytes | None = b""
        self._unpacked_size = 0
        self._gunzip = isal_zlib.decompressobj(wbits=31)
        self._scanner = TarScanner(limits, _wanted)

    def feed(self, chunk: bytes) -> None:
        """The next gzip bytes.

        Raises:
            HostileArchive: see ``tarball``, and gzip that is broken, or goes on after its end.
            TooLarge: past one of the limits.
        """
        self._size += len(chunk)
        if self._size > self._limits.packed:
            raise TooLarge(f"the archive is larger than {self._limits.packed} bytes")
        self._packed.update(chunk)
        if self._head is not None:
            # In one piece: isal's checksum goes wrong over a header that comes in several.
            self._head += chunk
            if not gziphead.is_whole(self._head):
                return
            chunk, self._head = self._head, None
        if self._gunzip.eof:
            raise HostileArchive("the archive has bytes after the end of its gzip stream")
        try:
            data = self._gunzip.decompress(chunk, max_length=CHUNK)
            self._unpack(data)
            while self._gunzip.unconsumed_tail and not self._gunzip.eof:
                data = self._gunzip.decompress(self._gunzip.unconsumed_tail, max_length=CHUNK)
                self._unpack(data)
        except _BROKEN as error:
            raise HostileArchive(f"the archive is not valid gzip: {error}") from error
        if self._gunzip.unused_data:
            raise HostileArchive("the archive has bytes after the end of its gzip stream")

    def _unpack(self, data: bytes) -> None:
        self._unpacked_size += len(data)
        if self._unpacked_size > self._limits.unpacked:
            raise TooLarge(f"the archive unpacks to more than {self._limits.unpacked} bytes")
        if self._unpacked_size > max(_RATIO_FROM, self._limits.ratio * self._size):
            raise TooLarge(f"the archive is packed more than {self._limits.ratio} to one")
        self._unpacked.update(data)
        self._scanner.feed(data)

    def close(self) -> ArchiveInfo:
        """What was found. Raises HostileArchive if the archive is not whole."""
        if not self._gunzip.eof:
            # Bytes that inflate to more than one chunk may still wait inside the decompressor.
            try:
                while data := self._gunzip.decompress(b"", max_length=CHUNK):
                    self._unpack(data)
            except _BROKEN as error:
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
        )


def inspect(stream: BinaryIO, limits: Limits = Limits()) -> ArchiveInfo:
    """What the archive in ``stream`` is.

    Raises:
        HostileArchive, TooLarge: as ``ArchiveReader`` does.
    """
    reader = ArchiveReader(limits)
    while chunk := stream.read(CHUNK):
        reader.feed(chunk)
    return reader.close()
