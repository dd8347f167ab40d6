"""What can be done with bytes by key: read them (Reader), and write them (Objects).

Three things bound a read: its length (``max_bytes``), the wait for the next byte, and the rate over
the whole of it, so that a host that drips is not waited for (TUF 1.0, "slow retrieval"); the last
two are for hosts, see ``http``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from cnrmirror.model.errors import Tampered
from cnrmirror.model.progress import Progress
from cnrmirror.model.resource import Resource


class Reader(Protocol):
    """Reads the files of one mirror: over HTTP, from a folder, from a bucket."""

    name: str

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """The file at ``path`` (relative to the site, with ``/``), piece by piece.

        Raises:
            IncompleteError: there is no such file.
            Tampered: it is longer than ``max_bytes``, or something else than a file; at most
                one piece more was read.
            NetworkError: it cannot be had now.
        """

    def close(self) -> None:
        """Let go of connections; it is not used any more."""


class Listed(msgspec.Struct, frozen=True):
    """One object of a destination: its key, its size in bytes, and the destination's tag for it."""

    key: str
    size: int
    tag: str


class Objects(Reader, Protocol):
    """Bytes by key that can be written: a folder, a bucket, a dictionary in memory.

    ``requests`` counts what was asked of it. Everything is written whole or not at all.
    """

    requests: int
    notes: list[str]

    def read(self, key: str, max_bytes: int) -> tuple[bytes, str] | None:
        """An object's bytes and its tag; None if there is none.

        Raises:
            AccessDenied, NotFoundError, NetworkError, StorageError: it cannot be had.
            Tampered: it is longer than ``max_bytes``.
        """

    def create(self, resources: Sequence[Resource], progress: Progress) -> list[str]:
        """Write those that are not there, in any order and several at a time; overwrite nothing.

        Returns:
            The keys that are there already, with whatever bytes. What is named by its digest may
            be left out of them.
        """

    def put(self, resources: Sequence[Resource], progress: Progress) -> None:
        """Write these, whatever is there, in any order and several at a time."""

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Write a small object if it still has the tag ``expected`` (None: if there is none).

        Returns:
            Its new tag.

        Raises:
            Outdated: somebody else wrote it meanwhile; nothing was written.
        """

    def delete(self, keys: Sequence[str]) -> None:
        """Remove these; no harm if one is not there."""

    def listing(self) -> Iterator[Listed]:
        """Everything that is there, but for ``.cnrmirror/``."""

    def holds(self, listed: Listed, resource: Resource) -> bool:
        """Whether a listed object has the bytes of a resource; it is read only if it must be."""

    def learned(self) -> dict[str, str]:
        """What was found out about the destination and is worth remembering."""

    def recall(self, learned: Mapping[str, str]) -> None:
        """Take back what ``learned`` gave in an earlier run."""


def named_by_digest(key: str) -> bool:
    """Whether a key of a mirror tells its bytes, so that whoever wrote it wrote the same."""
    return key.startswith(("catalog/blobs/", "catalog/nodes/", "catalog/targets/"))


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
