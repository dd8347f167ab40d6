"""Read the files of a mirror, bounded: what all fetchers share, and the one for folders.

Three things bound a read: its length (``max_bytes``), the wait for the next byte, and the rate over
the whole of it, so that a host that drips is not waited for (TUF 1.0, "slow retrieval"); the last
two are for hosts, see ``web``.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from cnrmirror.errors import IncompleteError, NetworkError, Tampered

A = TypeVar("A")
T = TypeVar("T")
PIECE = 1 << 16


def bounded(pieces: Iterator[bytes], max_bytes: int, where: str) -> Iterator[bytes]:
    """The same pieces, as long as they are not too many. Raises Tampered."""
    seen = 0
    for piece in pieces:
        seen += len(piece)
        if seen > max_bytes:
            raise Tampered(f"{where}: longer than the {max_bytes} bytes that it may have")
        yield piece


def read(pieces: Iterator[bytes]) -> bytes:
    """All pieces in one."""
    return b"".join(pieces)


def check_path(path: str) -> str:
    """``path``, if it stays inside the site. Raises Tampered."""
    if path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
        raise Tampered(f"{path!r} is not a path of a mirror")
    return path


class FolderFetcher:
    """A site in a folder of this machine: a copy, a mounted disk.

    Only regular files are read, and no symlink is followed on the way to them.
    """

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """See ``interfaces.Fetcher``."""
        where = f"{self.name}/{path}"
        descriptor = self._open(check_path(path))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Tampered(f"{where}: not a file")
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            try:
                yield from bounded(iter(lambda: stream.read(PIECE), b""), max_bytes, where)
            except OSError as error:
                raise NetworkError(f"{where}: cannot be read: {error.strerror}") from error

    def close(self) -> None:
        """Nothing is held open between two reads."""

    def _open(self, path: str) -> int:
        *folders, name = path.split("/")
        where = f"{self.name}/{path}"
        try:
            here = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise NetworkError(f"{self.name}: {error.strerror}: is the medium there?") from error
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            for folder in folders:
                below = os.open(folder, flags | os.O_DIRECTORY, dir_fd=here)
                os.close(here)
                here = below
            return os.open(name, flags, dir_fd=here)
        except FileNotFoundError:
            raise IncompleteError(f"{where}: missing", path=path) from None
        except (NotADirectoryError, IsADirectoryError):
            raise Tampered(f"{where}: not a file in a folder") from None
        except OSError as error:
            if error.errno in (40, 6):  # ELOOP: a symlink; ENXIO: a socket or FIFO
                raise Tampered(f"{where}: not a regular file") from error
            raise NetworkError(f"{where}: {error.strerror}") from error
        finally:
            os.close(here)


def in_parallel(action: Callable[[A], T], items: Iterable[A], threads: int) -> Iterator[T]:
    """The results in the order of the items, a bounded number ahead of whoever takes them.

    Whoever stops asking does not wait for the rest.
    """
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[T]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(action, item))
            if len(waiting) >= 8 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
