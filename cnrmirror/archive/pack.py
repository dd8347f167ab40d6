"""Pack a package folder reproducibly."""

from __future__ import annotations

import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from cnrmirror.archive.helmignore import IgnoreRules
from cnrmirror.archive.inspect import MAX_TELLING
from cnrmirror.archive.scan import Limits
from cnrmirror.model.errors import InputError, TooLarge

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_IGNORE_FILES = (".helmignore", ".apprignore", ".kpmignore")


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
