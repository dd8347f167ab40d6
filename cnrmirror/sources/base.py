"""What a source of packages is, and what it offers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import Executor
from typing import Protocol

import msgspec

from cnrmirror.model.documents import Attachment, Channel, Tombstone, Upstream
from cnrmirror.model.progress import Progress
from cnrmirror.objects.parallel import AT_ONCE


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
    attachments: list[Attachment] = []

    def of_attachment(self, attachment: Attachment) -> Offer:
        """What a source that offers attachments is asked for one: its place is the digest."""
        return msgspec.structs.replace(
            self, place=attachment.digest, size=attachment.size, blob_digest=attachment.digest
        )

    @property
    def upstream(self) -> str:
        """What the source calls the package."""
        return self.renamed_from or self.package

    @property
    def key(self) -> tuple[str, str, str]:
        return self.package, self.release, self.media_type


class Hole(msgspec.Struct, frozen=True, order=True):
    """What was asked for and could not be had, and why.

    ``package`` and ``release`` are those that it concerns. A package of "" is one that nobody
    knows: it may be any. A release of "" stands for all of the package, or for no release.
    """

    what: str
    reason: str
    package: str = ""
    release: str = ""

    @classmethod
    def of_release(cls, package: str, release: str, reason: str) -> Hole:
        """One release that could not be had; both names as the source gives them."""
        return cls(f"{package}@{release}", reason, package, release)


class Listing(msgspec.Struct, frozen=True):
    """All that a source has, as far as it could be asked.

    ``holes`` name packages or releases that are there but could not be read, ``notes`` what a
    reader should know: a list that looks cut off, a name that cannot be. ``complete`` is False if
    there may be more than could be asked for. ``tombstones``: what the source says it took away.
    ``upstream`` is the revision that was listed, where a source has such things.
    """

    offers: list[Offer]
    channels: dict[str, list[Channel]]
    holes: list[Hole]
    notes: list[str]
    complete: bool = True
    tombstones: dict[str, list[Tombstone]] = {}
    upstream: Upstream | None = None


class Source(Protocol):
    """Where packages come from."""

    name: str

    def look(
        self,
        progress: Progress,
        known: Collection[tuple[str, str]] = (),
        executor: Executor = AT_ONCE,
    ) -> Listing:
        """What is there.

        Args:
            known: packages and releases that the mirror has from here already, as the source
                calls them: they need not be asked for one by one.
            executor: does what can be done at the same time.

        Raises:
            NetworkError, IncompleteError, InputError: the list itself cannot be had; never an
                empty listing in the place of an error.
        """

    def open(self, offer: Offer) -> Iterator[bytes]:
        """The archive of an offer, bounded, piece by piece. Raises as ``look`` does."""
