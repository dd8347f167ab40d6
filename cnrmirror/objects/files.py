"""The one place that knows how to write: temporary file, sync, rename; and how to lock.

Everything that is written beside readers appears whole or not at all. Bulk data is synced once
(``sync_filesystem``) before the pointer moves, not file by file: that costs a fiftieth.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from cnrmirror.model.errors import BusyError, InputError, StorageError, TooLarge

NO_LINKS = (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.ENOTSUP)
"""What a file system says that can make no hard link, or not there."""
_MODE = 0o666  # less the umask, as for any file that a program makes


@contextlib.contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turns an OSError of the disk into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "the disk is full: make room and run the command again; nothing is lost"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "no permission to write there: check owner and mode, or the mount"
        elif error.errno == errno.EXDEV:
            hint = (
                "it cannot be moved to another file system: a mirror's site, if it is a symlink, "
                "must lead to a folder on the file system of .state"
            )
        else:
            hint = error.strerror or str(error)
        where = str(error.filename or what)
        raise StorageError(f"{where}: {hint}", path=where) from error


def write_all(descriptor: int, chunks: Iterable[bytes]) -> None:
    """Write every byte of every chunk."""
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            view = view[os.write(descriptor, view) :]


def write_new(path: str, chunks: Iterable[bytes]) -> None:
    """Create a file that nobody can see yet. Not synced."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        write_all(descriptor, chunks)
    finally:
        os.close(descriptor)


def link_or_copy(source: str, path: str) -> None:
    """The same bytes under a second name: a hard link, or a copy where there are no links."""
    try:
        os.link(source, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with open(source, "rb") as content:
            write_new(path, iter(lambda: content.read(1 << 20), b""))


def replace_durably(path: Path, data: bytes, scratch: Path) -> None:
    """Replace a small, important file: on return the new bytes survive a power cut."""
    temporary = scratch / f"{path.name}.{os.getpid()}.new"
    temporary.unlink(missing_ok=True)
    write_new(str(temporary), [data])
    sync_path(temporary)
    os.replace(temporary, path)
    sync_path(path.parent)


def sync_path(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_MANY_FILES = 500


def sync_tree(folder: Path) -> None:
    """Every file and folder of a new tree is on the disk.

    File by file: a sync of the whole file system would wait for what other programs write, too.
    """
    found = [Path(parent) / name for parent, _, names in os.walk(folder) for name in names]
    if len(found) > _MANY_FILES:
        sync_filesystem(folder)
        return
    folders = [Path(parent) for parent, _, _ in os.walk(folder)]
    for path in (*found, *folders):
        if not path.is_symlink():
            with contextlib.suppress(PermissionError):  # a mode that forbids its owner to read
                sync_path(path)


def sync_filesystem(path: Path) -> None:
    """Everything written so far on the file system of ``path`` is on the disk (Linux syncfs)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syncfs(descriptor):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(path))
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, wait: float) -> Iterator[None]:
    """Holds the lock file, after waiting at most ``wait`` seconds for another to let it go.

    The kernel drops the lock when its holder dies, so a killed command leaves nothing behind.

    Raises:
        BusyError: somebody else held it all the while.
        StorageError: the lock file cannot be made.
    """
    with storage_errors(str(path)):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise BusyError(
                        f"{path}: another cnrmirror works on this mirror; "
                        f"waited {wait:g} s, try again when it is done"
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def read_given(path: Path, max_bytes: int, advice: str = "") -> bytes:
    """A small file that somebody gave.

    Args:
        advice: ends the message about a file that is too large.

    Raises:
        InputError: it cannot be read.
        TooLarge: it has more than ``max_bytes``.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    return _bounded(data, max_bytes, str(path), advice)


def read_regular(path: Path, max_bytes: int) -> bytes:
    """A small file that somebody gave, and nothing on which a reader could wait.

    Raises:
        InputError: it cannot be read, or is a pipe, a device, a folder.
        TooLarge: it has more than ``max_bytes``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InputError(f"{path}: not a regular file")
            data = stream.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    return _bounded(data, max_bytes, str(path))


def read_descriptor(number: int, max_bytes: int, where: str) -> bytes:
    """What a descriptor gives that the caller of this program opened: a file, a pipe or a socket.

    Raises:
        InputError: it is not open, or is a terminal or another device.
        TooLarge: it gives more than ``max_bytes``.
    """
    data = b""
    try:
        mode = os.fstat(number).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
            raise InputError(f"{where}: neither a file nor a pipe")
        while len(data) <= max_bytes:
            select.select([number], [], [])  # it may be one that does not wait
            chunk = os.read(number, max_bytes + 1 - len(data))
            if not chunk:
                break
            data += chunk
    except (OSError, OverflowError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no descriptor"
        raise InputError(f"{where}: {reason}") from error
    return _bounded(data, max_bytes, where)


def _bounded(data: bytes, max_bytes: int, where: str, advice: str = "") -> bytes:
    if len(data) > max_bytes:
        raise TooLarge(f"{where}: more than {max_bytes} bytes{advice}")
    return data
