"""What the rooms agree on without knowing each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import msgspec

from cnrmirror.documents import Channel, Head, Kept, Tombstone
from cnrmirror.resource import Resource
from cnrmirror.roles import Edition


class Signer(Protocol):
    """Makes a revision the current one, by signing it."""

    def check_keys(self) -> None:
        """Make sure that it can, before anything is written. Raises NotTrusted."""

    def publish(self, head: Head, now: str, above: Edition | None = None) -> None:
        """Sign and make ``head`` current, atomically and durably; ``now`` is ISO 8601, UTC.

        With ``above``, an edition that is published elsewhere, no version is as low as there.

        Raises:
            NotTrusted: a key is missing.
        """

    def keep_from(self, kept: Kept, now: str) -> None:
        """Sign that superseded files are kept from these versions on; others may go then."""


class Fetcher(Protocol):
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
        """Let go of connections; the fetcher is not used any more."""


class Offer(msgspec.Struct, frozen=True):
    """One release that a source has: the upstream manifest's fields, and where its archive is.

    ``digest`` is the CNR digest, ``blob_digest`` that of the gzip bytes, or "" where the source
    does not tell; ``place`` is its own affair. ``named``: the archive must say the same name and
    release of itself.
    """

    package: str
    release: str
    media_type: str
    created_at: str
    manifest_type: str
    digest: str
    size: int
    place: str
    urls: list[str] = []
    metadata: msgspec.Raw = msgspec.Raw(b"null")
    renamed_from: str = ""
    blob_digest: str = ""
    named: bool = False

    @property
    def upstream(self) -> str:
        """What the source calls the package."""
        return self.renamed_from or self.package

    @property
    def key(self) -> tuple[str, str, str]:
        return self.package, self.release, self.media_type


class Hole(msgspec.Struct, frozen=True, order=True):
    """What was asked for and could not be had, and why.

    ``package`` is the one that it concerns; "" if nobody knows: it may be any.
    """

    what: str
    reason: str
    package: str = ""


class Listing(msgspec.Struct, frozen=True):
    """All that a source has, as far as it could be asked.

    ``holes`` name packages or releases that are there but could not be read, ``notes`` what a
    reader should know: a list that looks cut off, a name that cannot be. ``complete`` is False if
    there may be more than could be asked for. ``tombstones``: what the source says it took away.
    """

    offers: list[Offer]
    channels: dict[str, list[Channel]]
    holes: list[Hole]
    notes: list[str]
    complete: bool = True
    tombstones: dict[str, list[Tombstone]] = {}


class Source(Protocol):
    """Where packages come from."""

    name: str

    def look(self, progress: Progress, known: Collection[tuple[str, str]] = ()) -> Listing:
        """What is there.

        Args:
            known: packages and releases that the mirror has from here already, as the source
                calls them: they need not be asked for one by one.

        Raises:
            NetworkError, IncompleteError, InputError: the list itself cannot be had; never an
                empty listing in the place of an error.
        """

    def open(self, offer: Offer) -> Iterator[bytes]:
        """The archive of an offer, bounded, piece by piece. Raises as ``look`` does."""


class Listed(msgspec.Struct, frozen=True):
    """One object of a destination: its key, its size in bytes, and the place's own tag for it."""

    key: str
    size: int
    tag: str


class Destination(Protocol):
    """A place that a mirror is published to: a folder, a bucket.

    ``requests`` counts what was asked of it. Everything is written whole or not at all.
    """

    name: str
    requests: int
    notes: list[str]

    def read(self, key: str, max_bytes: int) -> tuple[bytes, str] | None:
        """An object's bytes and its tag; None if there is none.

        Raises:
            AccessDenied, NotFoundError, NetworkError, StorageError: it cannot be had.
            Tampered: it is longer than ``max_bytes``.
        """

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Write a small object if it still has the tag ``expected`` (None: if there is none).

        Returns:
            Its new tag.

        Raises:
            Outdated: somebody else wrote it meanwhile; nothing was written.
        """

    def put(self, resources: Sequence[Resource], progress: Progress, anew: bool = False) -> None:
        """Write these, in any order and several at a time; done when all are there.

        What is named by its digest may be left as it is where it is there already, unless
        ``anew``: then what is there is known to be wrong.
        """

    def delete(self, keys: Sequence[str]) -> None:
        """Remove these; no harm if one is not there."""

    def listing(self) -> Iterator[Listed]:
        """Everything that is there."""

    def holds(self, listed: Listed, resource: Resource) -> bool:
        """Whether a listed object has the bytes of a resource; it is read only if it must be."""

    def close(self) -> None:
        """Let go of connections; the destination is not used any more."""


class Progress(Protocol):
    """Where long work tells how far it is."""

    @property
    def shown(self) -> bool:
        """Whether anybody looks: then a total is worth some work."""

    def start(self, label: str, total: int | None) -> None:
        """A new stage of ``total`` steps begins; None if nobody knows."""

    def advance(self, steps: int = 1, size: int = 0) -> None:
        """So many steps more are done, and so many bytes were moved."""

    def finish(self) -> None:
        """The stage is over."""


class NoProgress:
    """Says nothing."""

    shown = False

    def start(self, label: str, total: int | None) -> None:
        pass

    def advance(self, steps: int = 1, size: int = 0) -> None:
        pass

    def finish(self) -> None:
        pass


@contextmanager
def stage(progress: Progress, label: str, total: int | None) -> Iterator[Progress]:
    """One stage of work, finished even when it fails."""
    progress.start(label, total)
    try:
        yield progress
    finally:
        progress.finish()
