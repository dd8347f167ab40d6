"""What can be done with bytes by key: read them (Reader), and write them (Objects).

Three things bound a read: its length (``max_bytes``), the wait for the next byte, and the rate over
the whole of it, so that a host that drips is not waited for (TUF 1.0, "slow retrieval"); the last
two are for hosts, see ``http``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import blob_path
from cnrmirror.model.errors import IncompleteError, Tampered
from cnrmirror.model.progress import Progress
from cnrmirror.model.resource import GZIP_TYPE, Resource

# How a reader's mirror answers for its views: as the files of a site, at addresses with queries,
# under the keys of a bucket (or a site's paths), or not at all.
ViewForm = Literal["files", "addresses", "keys", "none"]


class Reader(Protocol):
    """Reads the files of one mirror: over HTTP, from a folder, from a bucket.

    A class that inherits from it has the defaults of what an audit asks: ``views``; ``folder``,
    in which the mirror's files lie if they can be listed and looked at on this machine; ``prefix``,
    with which its keys begin in a bucket.
    """

    name: str
    views: ViewForm = "keys"
    folder: Path | None = None
    prefix: str = ""

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """The file at ``path`` (relative to the site, with ``/``), piece by piece.

        Raises:
            IncompleteError: there is no such file.
            Tampered: it is longer than ``max_bytes``, or something else than a file; at most
                one piece more was read.
            NetworkError: it cannot be had now.
            AccessDenied: the host refuses.
        """

    def ask(self, address: str, max_bytes: int) -> Iterator[bytes]:
        """As ``fetch``, of an address below the site's, which may have a query."""
        return self.fetch(address, max_bytes)

    def close(self) -> None:
        """Let go of connections; it is not used any more."""


class CachedAnswer(msgspec.Struct, frozen=True):
    """An answer, and what to ask with whether it is still the answer.

    ``said``: the headers that were wanted of it.
    """

    body: bytes
    etag: str = ""
    modified: str = ""
    said: dict[str, str] = {}

    @property
    def conditions(self) -> dict[str, str]:
        found = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in found.items() if value}


class Extra(msgspec.Struct, frozen=True):
    """What one request has beside its address.

    Args:
        headers: sent to whatever host it leads to.
        authorization: sent in the place of the reader's own to the host that is asked first, and
            to no other; "" for nothing, None for the reader's own.
        wanted: the headers of the answer that are wanted.
    """

    headers: dict[str, str] = {}
    authorization: str | None = None
    wanted: tuple[str, ...] = ()

    @property
    def conditional(self) -> bool:
        return any(name.startswith("If-") for name in self.headers)


PLAIN = Extra()


class WebReader(Reader, Protocol):
    """Reads whole addresses, below one host's and elsewhere."""

    @property
    def authorization(self) -> str:
        """The header of this name that it was given for its own host; "" for none."""

    @property
    def gave_up(self) -> bool:
        """Whether so many requests failed in a row that nothing more is asked."""

    def get(
        self,
        url: str,
        max_bytes: int,
        where: str = "",
        as_sent: bool = False,
        extra: Extra = PLAIN,
    ) -> Iterator[bytes]:
        """As ``fetch``, of a whole address (with a query).

        Args:
            where: what errors call it.
            as_sent: take the bytes as they are, whatever Content-Encoding says of them: many
                servers say "gzip" of an archive that is gzipped by itself.
        """

    def document(
        self, url: str, max_bytes: int, kept: CachedAnswer | None = None, extra: Extra = PLAIN
    ) -> CachedAnswer:
        """A whole, small answer, tried again if it breaks off; gzipped ones are gunzipped, bounded.

        Args:
            kept: what was answered before: it is asked whether that is still so.

        Raises:
            As ``fetch``.
        """


STATE_FOLDER = ".cnrmirror"
"""Where a destination has what is its publishers' and no reader's."""
STATE = f"{STATE_FOLDER}/state.json"
"""The destination's state (``model.destination``)."""


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

    def size(self, key: str) -> int | None:
        """How many bytes an object has; None if there is none. Raises as ``read`` does."""

    def has(self, key: str, blob: Descriptor) -> bool:
        """Whether an object has this size, and this digest if the service knows it.

        Its bytes are not read. Raises as ``read`` does.
        """
        return self.size(key) == blob.size

    def has_whole(self, blob: Descriptor) -> bool:
        """Whether a blob is under its digest as ``archive`` says, whoever wrote it.

        Its bytes are read where the service does not know their digest. Raises as ``read`` does.
        """
        try:
            for _ in blob_pieces(self, blob, self.name):
                pass
        except (Tampered, IncompleteError):
            return False
        return True

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

    def delete(self, keys: Sequence[str]) -> list[str]:
        """Remove these; no harm if one is not there.

        Returns:
            Those that the place keeps, locked or not ours to remove; a note says why.
        """

    def listing(self) -> Iterator[Listed]:
        """Everything that is there, but for what is below ``STATE_FOLDER``."""

    def holds(self, listed: Listed, resource: Resource) -> bool:
        """Whether a listed object has the bytes of a resource; it is read only if it must be."""

    def learned(self) -> dict[str, str]:
        """What was found out about the destination and is worth remembering: here, nothing."""
        return {}

    def recall(self, learned: Mapping[str, str]) -> None:
        """Take back what ``learned`` gave in an earlier run."""
        return


def kept_note(name: str, count: int, reason: str) -> str:
    """What is said of objects that a place does not let go of (``Objects.delete``)."""
    return (
        f"{name}: not removed, for the service refuses: {count} of the objects ({reason}); a lock "
        "ends by itself; if there is none, grant the right to delete"
    )


def named_by_digest(key: str) -> bool:
    """Whether a key of a mirror tells its bytes, so that whoever wrote it wrote the same."""
    return key.startswith(("catalog/blobs/", "catalog/nodes/", "catalog/targets/"))


def archive(blob: Descriptor) -> Resource:
    """A blob as a mirror has it under its digest."""
    return Resource(blob_path(blob.digest), blob, GZIP_TYPE, "immutable")


def is_archive(resource: Resource) -> bool:
    """Whether it is a blob under its digest."""
    return isinstance(resource.body, Descriptor) and named_by_digest(resource.path)


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


def misplaced(url: str) -> str:
    """What is wrong with an address that paths are to be put after; "" if nothing is."""
    if "?" in url or "#" in url:
        return "an address without a query (?…) and a fragment (#…): paths are put after it"
    return ""


def blob_pieces(reader: Reader, blob: Descriptor, where: str) -> Iterator[bytes]:
    """A blob's bytes; the last piece comes only when all are known to be right.

    Raises:
        Tampered, IncompleteError, NetworkError
    """
    hasher = hashlib.sha256()
    size = 0
    last = b""
    for piece in reader.fetch(blob_path(blob.digest), blob.size):
        hasher.update(piece)
        size += len(piece)
        if last:
            yield last
        last = piece
    if size != blob.size or hasher.hexdigest() != blob.digest:
        raise Tampered(f"{where}: not the bytes that were signed")
    if last:
        yield last
