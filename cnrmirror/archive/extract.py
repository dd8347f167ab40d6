"""Unpack an archive while it is looked into: a new folder appears, whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cnrmirror.archive.inspect import ArchiveInfo, inspect
from cnrmirror.archive.scan import Limits, Member
from cnrmirror.model.errors import ConflictError, StorageError
from cnrmirror.objects.files import NO_LINKS, storage_errors, sync_path, sync_tree, write_all

_PARTIAL = ".cnrmirror-partial-"
_TRIES = 10


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A hidden folder in ``folder`` for what is in the making; gone afterwards.

    What a killed command left there is removed by the next one: nobody holds its lock.
    """
    with storage_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{_PARTIAL}*"):
            with _lock(old) as alone:
                if alone:
                    _clear(old)
        for _ in range(_TRIES):
            path = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
            with _lock(path) as alone:
                try:
                    # Another command that begins may take it for a leftover before it is locked.
                    if alone and path.exists():
                        yield path
                        return
                finally:
                    _clear(path)
        raise StorageError(f"{folder}: no folder can be made and locked there")


def _clear(folder: Path) -> None:
    """Remove a folder, whatever modes there are in it if it is ours."""
    # The owner of another one could put a link in the place of what is about to be changed.
    for parent, folders, _ in os.walk(folder) if _is_ours(folder) else ():
        for name in folders:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                with contextlib.suppress(OSError):
                    os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    try:
        return os.lstat(folder).st_uid == os.geteuid()
    except OSError:
        return False


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    # Only a folder: a pipe of that name would be waited for, a link leads to somebody else's.
    how = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(folder, how)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        yield alone
    finally:
        os.close(descriptor)


def free(target: Path) -> Path:
    """``target``, if there is nothing. Raises ConflictError."""
    if os.path.lexists(target):
        raise ConflictError(f"{target}: exists already; move it away, or use another --dest")
    return target


def place_file(made: Path, target: Path) -> None:
    """Let a finished file appear at ``target``, never over something else. Raises ConflictError."""
    sync_path(made)
    try:
        os.link(made, target)
    except FileExistsError:
        free(target)
        raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        os.rename(made, free(target))  # not a copy: a kill or a full disk would leave a part of it
    _sync_parent(target)


class Unpacking:
    """Makes what a scanner hands on: files, folders and symlinks below a new folder.

    Modes are those of the archive less the umask; but its owner can always read a file, enter a
    folder, and change the top one, which has to be moved to its place. Times are kept, owners and
    set-user-id bits are not.

    Args:
        folder: does not exist yet; whoever makes it there must be its only user until it is done.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mask = _umask()
        self._folders: dict[str, Member] = {}
        self._member: Member | None = None
        self._descriptor = -1
        folder.mkdir(mode=0o700)

    def member(self, member: Member) -> None:
        self._end_of_file()
        path = self._folder / member.name
        if member.kind == "directory":
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folders[member.name] = member  # the last one counts, as with tar
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if member.kind == "symlink":
            os.symlink(member.target, path)
            return
        how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor, self._member = os.open(path, how, 0o600), member

    def content(self, data: bytes) -> None:
        write_all(self._descriptor, [data])

    def close(self, whole: bool = True) -> None:
        """Everything was there: give folders their modes and times, the innermost first."""
        self._end_of_file()
        if not whole:
            return
        for parent, _, _ in os.walk(self._folder, topdown=False):
            name = os.path.relpath(parent, self._folder)
            member = self._folders.get("" if name == "." else name)
            mode = member.mode if member else 0o777
            os.chmod(parent, mode & 0o777 & ~self._mask | (0o700 if name == "." else 0o500))
            if member:
                os.utime(parent, (member.mtime, member.mtime))

    def _end_of_file(self) -> None:
        if self._member:
            member, self._member = self._member, None
            os.fchmod(self._descriptor, member.mode & 0o777 & ~self._mask | 0o400)
            os.utime(self._descriptor, (member.mtime, member.mtime))
            os.close(self._descriptor)


def unpack(archive: BinaryIO, folder: Path, limits: Limits) -> ArchiveInfo:
    """Unpack an archive into ``folder``, which is made, as it is looked into.

    One reader scans and unpacks: what lands is what was scanned. After an error ``folder`` holds
    what came before it.

    Raises:
        HostileArchive, TooLarge: as ``inspect`` does.
    """
    unpacking = Unpacking(folder)
    try:
        info = inspect(archive, limits, unpacking)
    except BaseException:
        unpacking.close(whole=False)
        raise
    unpacking.close()
    return info


def place_folder(made: Path, target: Path) -> None:
    """Let a finished folder appear at ``target``, never over something else.

    Only an empty folder that appears there at the very last moment is replaced.

    Raises:
        ConflictError: there is something.
    """
    sync_tree(made)
    free(target)
    try:
        os.rename(made, target)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        free(target)
        raise
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            free(target)
        raise
    _sync_parent(target)


def _sync_parent(target: Path) -> None:
    with contextlib.suppress(PermissionError):  # one may put things there, but not look
        sync_path(target.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
