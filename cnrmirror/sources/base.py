"""What a source of packages is, and what it offers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Protocol, runtime_checkable

import msgspec

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Attachment, Channel, Tombstone, Upstream
from cnrmirror.model.progress import NoProgress, Progress
from cnrmirror.objects.parallel import AT_ONCE
from cnrmirror.sources.filters import Wanted


class Offer(msgspec.Struct, frozen=True):
    """One release that a source has: the upstream manifest's fields, and where its archive is.

    ``digest`` is the CNR digest, ``blob_digest`` that of the gzip bytes, or "" where the source
    does not tell; ``other_digests`` would do for the gzip bytes, too. ``place`` is its own affair.
    ``named``: the archive must say the same release of itself.
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
    other_digests: list[str] = []
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
    def blob_digests(self) -> list[str]:
        """What the gzip bytes may have as digest; any, if there are none."""
        return [self.blob_digest, *self.other_digests] if self.blob_digest else []

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
    reader should know: a list that looks cut off. ``complete`` is False if there may be more than
    could be asked for; ``certain``, if what the mirror has and the listing has not may be there
    nevertheless. ``tombstones``: what the source says it took away. ``upstream`` is the revision
    that was listed, where a source has such things.
    """

    offers: list[Offer]
    channels: dict[str, list[Channel]]
    holes: list[Hole]
    notes: list[str]
    complete: bool = True
    certain: bool = True
    tombstones: dict[str, list[Tombstone]] = {}
    upstream: Upstream | None = None


class Ask(msgspec.Struct, frozen=True):
    """What a source is asked for, and how; all names are the source's own.

    Args:
        wanted: what is wanted of it at all; nothing else need be asked for.
        known: the releases and media types of each package that the mirror has from here already:
            they need not be asked for one by one.
        sure: what is known and not shown any more is asked for by itself before it is called gone.
        progress: is told how far it is.
        executor: does what can be done at the same time.
    """

    wanted: Wanted = Wanted()
    known: Mapping[str, Collection[tuple[str, str]]] = {}
    sure: bool = False
    progress: Progress = NoProgress()
    executor: Executor = AT_ONCE


class Source(Protocol):
    """Where packages come from."""

    name: str

    def look(self, ask: Ask) -> Listing:
        """What is there of what is wanted; more does no harm.

        Raises:
            NetworkError, IncompleteError, InputError: the list itself cannot be had; never an
                empty listing in the place of an error.
        """

    def open(self, offer: Offer) -> Iterator[bytes]:
        """The archive of an offer, bounded, piece by piece. Raises as ``look`` does."""


class More(msgspec.Struct, frozen=True):
    """What belongs to a release beside what its offer names.

    Args:
        attachments: the descriptors.
        data: their bytes, by digest; what is not in it is asked for, as the offer's own are.
        notes: what a reader should know.
    """

    attachments: list[Attachment] = []
    data: dict[str, bytes] = {}
    notes: list[str] = []


@runtime_checkable
class Attaching(Protocol):
    """A source that can tell only by asking what belongs to a release."""

    def attached(self, offer: Offer) -> More:
        """What belongs to an offer; it is asked once for each archive that has been fetched.

        Raises:
            As ``Source.look`` does: then the release is a hole.
        """


@runtime_checkable
class Divisible(Protocol):
    """A source of which other processes can fetch, once they know what it found by looking."""

    def told(self, offers: Sequence[Offer]) -> msgspec.Raw | None:
        """What another process must know to open these offers; None if only this one can."""

    def hear(self, told: msgspec.Raw) -> None:
        """Know what ``told`` gave elsewhere. Raises msgspec.DecodeError if it is no such thing."""


@runtime_checkable
class Traced(Protocol):
    """A source that has revisions, and can say what differs between two of them.

    All names are its own. ``changed`` comes first; what follows is of the revision that it found.
    """

    @property
    def at(self) -> Descriptor | None:
        """The revision of the last look, as ``changed`` takes it later; None: it was not kept."""

    def changed(self, since: Descriptor) -> set[str] | None:
        """The packages that differ between a former revision and now; None: nobody can say.

        Raises as ``look`` does, if the source cannot be had.
        """

    def look_at(self, ask: Ask, packages: Collection[str]) -> Listing:
        """As ``look``, but of these packages only."""

    def looked_at(self, since: Descriptor, ask: Ask, packages: Collection[str]) -> Listing:
        """What ``look_at`` gave at a former revision. Raises CnrMirrorError if nobody can say."""

    def forget(self, revision: Descriptor, keeping: Descriptor) -> None:
        """Keep no more what is only of one revision, and not of the other one."""
