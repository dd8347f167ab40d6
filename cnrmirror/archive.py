"""Package archives: gzipped tars, looked into but never extracted, and packed reproducibly."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
from isal import isal_zlib

from cnrmirror.descriptor import CHUNK, Descriptor
from cnrmirror.errors import HostileArchive, InputError, TooLarge
from cnrmirror.ignore import IgnoreRules
from cnrmirror.tarball import Limits, TarScanner

# The files that tell what a package is; at the root, or in the one folder there.
_TELLING = re.compile(
    r"(?:[^/]+/)?(?:Chart\.yaml|manifest\.yaml|manifest\.jsonnet|docker-compose\.ya?ml|[^/]+\.dab)"
)
# isal's stubs call its error class an instance.
_BROKEN = (cast(type[Exception], isal_zlib.error), zlib.error, EOFError)
MAX_TELLING = 1 << 20
_RATIO_FROM = 4 << 20
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_IGNORE_FILES = (".helmignore", ".apprignore", ".kpmignore")


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
        self._head = b""
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
        if len(self._head) < 4:
            self._head += chunk[:4]
            # RFC 1952, 2.3.1.2: a reader must refuse what it cannot know.
            if len(self._head) >= 4 and self._head[3] & 0xE0:
                raise HostileArchive("the archive has a gzip header with reserved flags")
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


def gzip_bytes(data: bytes) -> bytes:
    """``data`` gzipped without time, name or operating system in the header (RFC 1952)."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    trailer = zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(
        4, "little"
    )
    return _GZIP_HEADER + deflate.compress(data) + deflate.flush() + trailer


def pack(folder: Path, prefix: str = "", limits: Limits = Limits()) -> bytes:
    """The folder as a reproducible gzipped tar.

    Members are sorted, owned by nobody, dated 1970; modes are 0644 and 0755. A ``.helmignore``
    (or ``.apprignore``, ``.kpmignore``) is honoured with helm's rules (``ignore``). The tar's
    bytes, and so the CNR digest, are the same on every machine.

    Args:
        prefix: the top directory to put everything under, as helm wants it; none if empty.

    Raises:
        InputError: an entry that no package should carry: a device, or a symlink that leads out.
        TooLarge: more members or bytes than the limits.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for count, path in enumerate(_packable(folder), 1):
            name = path.relative_to(folder).as_posix()
            _add(tar, path, f"{prefix}/{name}" if prefix else name, folder, limits)
            if count > limits.members or buffer.tell() > limits.unpacked:
                raise TooLarge(f"{folder}: more than {limits.members} files or too many bytes")
    return gzip_bytes(buffer.getvalue())


def _packable(folder: Path) -> Iterator[Path]:
    ignored = _ignore_rules(folder)

    def fail(error: OSError) -> None:
        raise InputError(f"{error.filename}: {error.strerror}") from error

    for parent, folders, files in os.walk(folder, onerror=fail):
        here = Path(parent).relative_to(folder)
        folders[:] = sorted(f for f in folders if not ignored((here / f).as_posix(), True))
        links = [f for f in folders if (Path(parent) / f).is_symlink()]
        for name in sorted([*files, *links]):
            if name in links or not ignored((here / name).as_posix(), False):
                yield Path(parent) / name


def _ignore_rules(folder: Path) -> IgnoreRules:
    for name in _IGNORE_FILES:
        path = folder / name
        if path.is_file():
            try:
                with path.open("rb") as stream:
                    text = stream.read(MAX_TELLING).decode(errors="replace")
            except OSError as error:
                raise InputError(f"{path}: {error.strerror}") from error
            return IgnoreRules(text, str(path))
    return IgnoreRules("", "")


def _add(tar: tarfile.TarFile, path: Path, name: str, folder: Path, limits: Limits) -> None:
    member = tarfile.TarInfo(name)
    if path.is_symlink():
        try:
            inside = path.resolve(strict=True).is_relative_to(folder.resolve())
        except (OSError, RuntimeError):  # a link that leads to itself
            inside = False
        if not inside:
            raise InputError(f"{path}: a symlink that leads out of the package, or nowhere")
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
        tar.addfile(member)
        return
    if not path.is_file():
        raise InputError(
            f"{path}: neither a file nor a folder; remove it or list it in .helmignore"
        )
    member.size = path.stat().st_size
    if member.size > limits.member:
        raise TooLarge(f"{path}: larger than {limits.member} bytes")
    member.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    try:
        with path.open("rb") as content:
            tar.addfile(member, content)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'it became shorter'}") from error
