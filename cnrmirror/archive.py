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
import pathspec
from isal import isal_zlib

from cnrmirror.descriptor import CHUNK, Descriptor
from cnrmirror.errors import HostileArchive, InputError, TooLarge
from cnrmirror.tarball import Limits, TarScanner

# The files that tell what a package is; at the root, or in the one folder there.
_TELLING = re.compile(
    r"(?:[^/]+/)?(?:Chart\.yaml|manifest\.yaml|manifest\.jsonnet|docker-compose\.ya?ml|[^/]+\.dab)"
)
# isal's stubs call its error class an instance.
_BROKEN = (cast(type[Exception], isal_zlib.error), zlib.error, EOFError)
_RATIO_FROM = 4 << 20
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_IGNORE_FILES = (".helmignore", ".apprignore", ".kpmignore")


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
        self._unpacked_size = 0
        self._gunzip = isal_zlib.decompressobj(wbits=31)
        self._scanner = TarScanner(limits, lambda name: _TELLING.fullmatch(name) is not None)

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
    (or ``.apprignore``, ``.kpmignore``) is honoured with the rules of ``.gitignore``. The tar's
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
    for parent, folders, files in os.walk(folder):
        here = Path(parent).relative_to(folder)
        folders[:] = sorted(f for f in folders if not ignored.match_file(f"{here / f}/"))
        for name in sorted([*files, *(f for f in folders if (Path(parent) / f).is_symlink())]):
            if not ignored.match_file(str(here / name)):
                yield Path(parent) / name


def _ignore_rules(folder: Path) -> pathspec.GitIgnoreSpec:
    # helm's own default: hidden files among the templates are never part of a chart.
    lines = ["/templates/.?*"]
    for name in _IGNORE_FILES:
        if (folder / name).is_file():
            lines += (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
            break
    return pathspec.GitIgnoreSpec.from_lines(lines)


def _add(tar: tarfile.TarFile, path: Path, name: str, folder: Path, limits: Limits) -> None:
    member = tarfile.TarInfo(name)
    if path.is_symlink():
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path}: a symlink that leads out of the package; replace it")
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
    with path.open("rb") as content:
        tar.addfile(member, content)
