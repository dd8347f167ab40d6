"""The files of a package folder as they are packed: symlinks followed, ignored names left out.

Helm reads a symlink in an archive as an empty file. ``helm package`` therefore packs what a link
leads to under the link's name (helm 3 and 4, ``internal/sympath``). So does this; but a link that
leads out of the folder is followed only on request, and a circle is an error with a name.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cnrmirror.archive.helmignore import IgnoreRules
from cnrmirror.archive.inspect import MAX_TELLING
from cnrmirror.archive.scan import Limits
from cnrmirror.model.errors import InputError, TooLarge
from cnrmirror.model.names import is_utf8

_IGNORE_FILES = (".helmignore", ".apprignore", ".kpmignore")
# A FIFO that takes a file's place must not make the reader wait.
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_SWAPPED = (errno.ELOOP, errno.ENOTDIR, errno.ENOENT, errno.ENXIO)


class PackageFile(msgspec.Struct, frozen=True):
    """One file to be packed; ``name`` is its path in the package, with ``/``."""

    name: str
    data: bytes
    program: bool


class _Entry(msgspec.Struct, frozen=True):
    """What appears under ``name``, and the path without links where it really lies."""

    name: str
    real: str
    is_folder: bool


def files_of(folder: Path, limits: Limits, outside: bool = False) -> Iterator[PackageFile]:
    """The files of a package folder, read; each folder's own before those of its folders, sorted.

    Args:
        limits: how many files, and how many bytes, a package may have.
        outside: whether links that lead out of the folder are followed, too.

    Raises:
        InputError: an entry that no package can carry: a link that leads out, nowhere or in a
            circle, a device; or what cannot be read, or changes while it is read.
        TooLarge: more files, folders or bytes than the limits.
    """
    walk = _Walk(folder, limits, outside)
    return walk.files("", walk.top, ())


class _Walk:
    """One walk over one folder. Whatever is counted counts as often as links show it."""

    def __init__(self, folder: Path, limits: Limits, outside: bool) -> None:
        self.top = os.path.realpath(folder)
        self._beneath = f"{self.top.rstrip('/')}/"
        self._folder = folder
        self._limits = limits
        self._outside = outside
        self._folders = self._files = self._bytes = 0
        self._ignored = IgnoreRules("", "")
        self._ignored = self._rules()

    def files(self, name: str, real: str, above: tuple[str, ...]) -> Iterator[PackageFile]:
        """The files below the folder that appears as ``name``; ``above``: those that it is in."""
        self._folders += 1
        limits, deep = self._limits, len(above)
        if self._folders > limits.members:
            what = f"{self._folder}: {self._folders} folders or more"
            raise limits.past("members", what, self._folders)
        if deep >= limits.depth:
            raise limits.past("depth", f"{self._shown(name)}: it lies in {deep} folders", deep + 1)
        above = (*above, real)
        entries = [e for e in self._entries(name, real) if e is not None]
        for entry in entries:
            if not entry.is_folder:
                yield self._file(entry)
        for entry in entries:
            if entry.is_folder:
                if entry.real in above:
                    raise InputError(
                        f"{self._shown(entry.name)}: links lead in a circle here, back to "
                        f"{_printable(entry.real)}; list it in .helmignore, or remove them"
                    )
                yield from self.files(entry.name, entry.real, above)

    def _entries(self, name: str, real: str) -> Iterator[_Entry | None]:
        try:
            found = sorted(entry.name for entry in os.scandir(real))
        except OSError as error:
            raise InputError(f"{self._shown(name)}: {error.strerror}") from error
        for each in found:
            yield self._entry(f"{name}/{each}" if name else each, f"{real}/{each}")

    def _entry(self, name: str, path: str) -> _Entry | None:
        """What is at ``path``; None if it is to be left out."""
        try:
            real = os.path.realpath(path, strict=True) if os.path.islink(path) else path
            mode = os.lstat(real).st_mode
        except OSError as error:
            # Whether a rule for folders means a link that leads nowhere, nobody can tell.
            if self._ignored(name, False) or self._ignored(name, True):
                return None
            raise self._lost(name, path, error) from error
        is_folder = stat.S_ISDIR(mode)
        if self._ignored(name, is_folder):
            return None
        self._check(name, real, mode)
        return _Entry(name, real, is_folder)

    def _check(self, name: str, real: str, mode: int) -> None:
        shown = self._shown(name)
        if not self._outside and not self._is_inside(real):
            raise InputError(
                f"{shown}: this symlink leads out of the package folder, to {_printable(real)}; "
                "use push --follow-outside to pack what is there, or list it in .helmignore"
            )
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            raise InputError(
                f"{shown}: neither a file nor a folder; remove it, or list it in .helmignore"
            )
        if not is_utf8(name):
            raise InputError(
                f"{shown}: its name is not UTF-8; rename it, or list it in .helmignore"
            )

    def _lost(self, name: str, path: str, error: OSError) -> InputError:
        where = _printable(os.readlink(path)) if os.path.islink(path) else ""
        shown = self._shown(name)
        if not where:
            return InputError(f"{shown}: {error.strerror}")
        advice = "remove it, or list it in .helmignore"
        if error.errno == errno.ELOOP:
            return InputError(f"{shown}: this symlink leads in a circle, to {where}; {advice}")
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return InputError(f"{shown}: this symlink leads nowhere, to {where}; {advice}")
        return InputError(f"{shown}: this symlink leads to {where}: {error.strerror}; {advice}")

    def _is_inside(self, real: str) -> bool:
        return real == self.top or real.startswith(self._beneath)

    def _shown(self, name: str) -> str:
        return _printable(f"{self._folder}/{name}" if name else str(self._folder))

    def _file(self, entry: _Entry) -> PackageFile:
        """A file's content. What was checked is what is read: no link is followed on the way."""
        shown = self._shown(entry.name)
        try:
            descriptor = self._open(entry.real)
            try:
                status = os.fstat(descriptor)
                self._count(shown, status)
                data = _content(descriptor, status)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise InputError(f"{shown}: {_reason(error)}") from error
        if data is None:
            raise InputError(f"{shown}: it changed while it was read; try again")
        return PackageFile(entry.name, data, bool(status.st_mode & stat.S_IXUSR))

    def _open(self, real: str) -> int:
        if not self._is_inside(real):
            return os.open(real, _READ)
        # Step by step, so that no folder on the way can be a link by now.
        here = os.open(self.top, os.O_RDONLY | os.O_CLOEXEC)
        for part in real[len(self._beneath) :].split("/"):
            try:
                inner = os.open(part, _READ, dir_fd=here)
            finally:
                os.close(here)
            here = inner
        return here

    def _count(self, shown: str, status: os.stat_result) -> None:
        limits = self._limits
        self._files += 1
        self._bytes += status.st_size
        if self._files > limits.members:
            what = f"{self._folder}: {self._files} files or more"
            raise limits.past("members", what, self._files)
        if status.st_size > limits.member:
            raise limits.past("member", f"{shown}: {status.st_size} bytes", status.st_size)
        if self._bytes > limits.unpacked:
            what = f"{self._folder}: {self._bytes} bytes or more"
            raise limits.past("unpacked", what, self._bytes)

    def _rules(self) -> IgnoreRules:
        for name in _IGNORE_FILES:
            if os.path.exists(f"{self.top}/{name}"):
                data = self._rule_file(name)
                return IgnoreRules(data.decode(errors="replace"), self._shown(name))
        return self._ignored

    def _rule_file(self, name: str) -> bytes:
        """Read as any other file of the package is; but it does not count."""
        entry = self._entry(name, f"{self.top}/{name}")
        if entry is None or entry.is_folder:
            raise InputError(f"{self._shown(name)}: it is no file")
        data = self._file(entry).data
        self._files = self._bytes = 0
        if len(data) > MAX_TELLING:
            raise TooLarge(f"{self._shown(name)}: larger than {MAX_TELLING} bytes")
        return data


def _content(descriptor: int, status: os.stat_result) -> bytes | None:
    """The bytes of an open file; None if it is no file, or not the same as before by now."""
    if not stat.S_ISREG(status.st_mode):
        return None
    with open(descriptor, "rb", closefd=False) as stream:
        data = stream.read(status.st_size + 1)
    after = os.fstat(descriptor)
    same = after.st_mtime_ns == status.st_mtime_ns and after.st_size == status.st_size
    return data if same and len(data) == status.st_size else None


def _reason(error: OSError) -> str:
    if error.errno in _SWAPPED:
        return "it was replaced by something else while it was read; try again"
    return error.strerror or str(error)


def _printable(path: str) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")
