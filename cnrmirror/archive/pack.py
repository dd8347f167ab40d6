"""Pack a package folder reproducibly."""

from __future__ import annotations

import io
import tarfile
import unicodedata
import zlib
from collections.abc import Iterable
from pathlib import Path

from cnrmirror.archive.folder import PackageFile, files_of
from cnrmirror.archive.scan import Limits
from cnrmirror.model.errors import InputError

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


def gzip_bytes(data: bytes) -> bytes:
    """``data`` gzipped without time, name or operating system in the header (RFC 1952).

    What deflate makes of the same bytes depends on the library: never compare packages by it.
    """
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    trailer = zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(
        4, "little"
    )
    return _GZIP_HEADER + deflate.compress(data) + deflate.flush() + trailer


def pack(folder: Path, prefix: str = "", limits: Limits = Limits(), outside: bool = False) -> bytes:
    """The folder as a gzipped tar: ``gzip_bytes`` of ``tar_of``; same arguments, same errors."""
    return gzip_bytes(tar_of(folder, prefix, limits, outside))


def tar_of(
    folder: Path, prefix: str = "", limits: Limits = Limits(), outside: bool = False
) -> bytes:
    """The folder as a reproducible tar.

    Members are files: where a symlink was, there is what it leads to. They are sorted, owned by
    nobody, dated 1970; modes are 0644 and 0755. A ``.helmignore`` (or ``.apprignore``,
    ``.kpmignore``) is honoured with helm's rules (``helmignore``). The bytes, and so the CNR
    digest, are the same on every machine.

    Args:
        prefix: the top directory to put everything under, as helm wants it; none if empty.
        limits: how many files, and how many bytes, a package may have.
        outside: whether symlinks that lead out of the folder are followed, too.

    Raises:
        InputError: an entry that no package can carry: a symlink that leads out, nowhere or in a
            circle, a device; or what cannot be read.
        TooLarge: more files or bytes than the limits.
    """
    files = list(files_of(folder, limits, outside))
    if not files:
        raise InputError(f"{folder}: there is no file to pack; see its .helmignore")
    return tar_of_files(files, prefix)


def tar_of_files(files: Iterable[PackageFile], prefix: str = "") -> bytes:
    """These files as a reproducible tar, in their order; see ``tar_of``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in files:
            member = tarfile.TarInfo(f"{prefix}/{file.name}" if prefix else file.name)
            member.size, member.mode = len(file.data), 0o755 if file.program else 0o644
            # Some readers compose the letters of a PAX name; those of GNU tar are left as they are.
            composed = unicodedata.is_normalized("NFC", member.name)
            tar.format = tarfile.PAX_FORMAT if composed else tarfile.GNU_FORMAT
            tar.addfile(member, io.BytesIO(file.data))
    return buffer.getvalue()
