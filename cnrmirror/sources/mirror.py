"""Another cnrmirror: a site by URL, folder or bucket, verified from its root.

What was read of its tree stays in a folder, so that the next look transfers only the nodes that
differ between the two revisions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cnrmirror.catalog.nodes import LayeredNodes, RemoteNodes
from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.model import typed
from cnrmirror.model.canonical import encode
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import (
    CatalogRoot,
    Channel,
    Node,
    PackageDocument,
    PackageRef,
    Tombstone,
    Upstream,
    blob_path,
)
from cnrmirror.model.errors import (
    CnrMirrorError,
    Equivocation,
    InputError,
    Rollback,
    StorageError,
)
from cnrmirror.model.instant import Instant
from cnrmirror.model.progress import stage
from cnrmirror.objects.base import Reader, blob_pieces
from cnrmirror.objects.parallel import in_parallel
from cnrmirror.objects.scheme import FOLDER, scheme_of
from cnrmirror.objects.store import Store
from cnrmirror.sources.base import Ask, Hole, Listing, Offer, Source
from cnrmirror.sources.kind import Problem, SourceRoom, Web, bad_base

if TYPE_CHECKING:
    from cnrmirror.client.remote import Remote
    from cnrmirror.trust.verify import Verified


class MirrorSource:
    """A mirror elsewhere.

    Args:
        name: what mirror.yaml calls it.
        connect: verifies the mirror and gives its current revision.
        store: where its nodes are kept between two runs.
        wanted: which packages are asked for at all.
        at_hand: which archives can be had; others are not offered.
        part: whether what is offered is only a part of what the mirror has.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Remote],
        store: Store,
        wanted: Callable[[PackageRef], bool] = lambda ref: True,
        at_hand: Callable[[Descriptor], bool] = lambda blob: True,
        part: bool = False,
        reader: Callable[[], Reader] | None = None,
    ) -> None:
        self.name = name
        self._connect = connect
        self._store = store
        self._wanted = wanted
        self._at_hand = at_hand
        self._part = part
        self._make_reader = reader
        self._reader: Reader | None = None
        self._blobs: dict[str, Descriptor] = {}

    def look(self, ask: Ask) -> Listing:
        """See ``Source``. Raises TrustError and StaleError, too."""
        remote = self._connected()
        nodes, catalog = self._kept(remote)
        refs = [ref for ref in catalog.packages(remote.verified.root.tree) if self._asks(ask, ref)]
        listing = self._listing(ask, remote, catalog, sorted(refs))
        if not self._part:
            nodes.forget_others()
        return listing

    def _connected(self) -> Remote:
        remote = self._connect()
        self._reader = remote.reader
        return remote

    def _kept(self, remote: Remote) -> tuple[LayeredNodes, CatalogReader]:
        nodes = LayeredNodes(self._store, RemoteNodes(remote.reader), keep=True)
        return nodes, CatalogReader(nodes)

    def _asks(self, ask: Ask, ref: PackageRef) -> bool:
        return self._wanted(ref) and ask.wanted.package(ref.name)

    def _listing(
        self, ask: Ask, remote: Remote, catalog: CatalogReader, refs: Sequence[PackageRef]
    ) -> Listing:
        """What these packages offer."""
        found: list[Offer] = []
        channels: dict[str, list[Channel]] = {}
        tombstones: dict[str, list[Tombstone]] = {}
        holes: list[Hole] = []

        def read(ref: PackageRef) -> PackageDocument | Hole:
            try:
                return catalog.document(ref)
            except CnrMirrorError as error:
                return Hole(ref.name, error.message, ref.name)

        with stage(ask.progress, f"Reading {self.name}", len(refs)) as step:
            for document in in_parallel(read, refs, ask.executor):
                if isinstance(document, Hole):
                    holes.append(document)
                else:
                    found += self._offers(document)
                    if document.channels:
                        channels[document.package] = document.channels
                    if document.tombstones:
                        tombstones[document.package] = document.tombstones
                step.advance()
        notes = list(remote.verified.notes)
        upstream = upstream_of(remote.verified)
        all_of_it = not self._part
        return Listing(found, channels, holes, notes, all_of_it, all_of_it, tombstones, upstream)

    def _offers(self, document: PackageDocument) -> Iterator[Offer]:
        for item in filter(lambda release: self._at_hand(release.blob), document.releases):
            attachments = [a for a in item.attachments if self._at_hand(a.blob)]
            self._blobs.update((b.digest, b) for b in (item.blob, *(a.blob for a in attachments)))
            yield Offer(
                document.package,
                item.release,
                item.media_type,
                item.created_at,
                item.manifest_type,
                item.content.digest,
                item.content.size,
                item.blob.digest,
                item.content.urls,
                item.metadata,
                blob_digest=item.blob.digest,
                attachments=attachments,
            )

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``Source``."""
        assert self._reader is not None
        blob = self._blobs[offer.place]
        yield from blob_pieces(self._reader, blob, f"{self._reader.name}/{blob_path(blob.digest)}")

    def told(self, offers: Sequence[Offer]) -> msgspec.Raw | None:
        """See ``Divisible``: the archives, each with its digest; the rest was verified here."""
        if self._make_reader is None:
            return None
        places = {offer.place for offer in offers}
        places.update(a.digest for offer in offers for a in offer.attachments)
        return msgspec.Raw(msgspec.json.encode([self._blobs[place] for place in places]))

    def hear(self, told: msgspec.Raw) -> None:
        """See ``Divisible``."""
        assert self._make_reader is not None
        self._reader = self._make_reader()
        self._blobs.update((blob.digest, blob) for blob in typed.decode(told, list[Descriptor]))


class TracedMirror(MirrorSource):
    """A mirror elsewhere, of which it can be said what changed: see ``Traced``.

    The tree of the last look is in the store, and so is its root.
    """

    _now: Remote | None = None
    at: Descriptor | None = None
    """See ``Traced``."""

    def look(self, ask: Ask) -> Listing:
        """See ``Source``."""
        listing = super().look(ask)
        for path, digest, _ in self._store.walk("targets"):
            if self.at is None or digest != self.at.digest:
                Path(path).unlink()
        return listing

    def _connected(self) -> Remote:
        remote, self._now = self._now, None
        remote = remote or super()._connected()
        self.at = _keep_root(self._store, remote.verified)
        return remote

    def changed(self, since: Descriptor) -> set[str] | None:
        """See ``Traced``."""
        remote = self._now = super()._connected()
        verified = remote.verified
        if verified.at == since:
            return set()
        _, catalog = self._kept(remote)
        try:
            old = catalog.root(since).tree
            return {difference.name for difference in catalog.diff(old, verified.root.tree)}
        except StorageError:
            raise
        except CnrMirrorError:
            return None

    def look_at(self, ask: Ask, packages: Collection[str]) -> Listing:
        """See ``Traced``."""
        remote = self._connected()
        _, catalog = self._kept(remote)
        refs = self._found(catalog, remote.verified.root.tree, ask, packages)
        return self._listing(ask, remote, catalog, refs)

    def looked_at(self, since: Descriptor, ask: Ask, packages: Collection[str]) -> Listing:
        """See ``Traced``."""
        assert self._now is not None
        _, catalog = self._kept(self._now)
        refs = self._found(catalog, catalog.root(since).tree, ask, packages)
        return self._listing(ask, self._now, catalog, refs)

    def _found(
        self, catalog: CatalogReader, tree: Node, ask: Ask, packages: Collection[str]
    ) -> list[PackageRef]:
        refs = (catalog.find(tree, package) for package in packages)
        return sorted(ref for ref in refs if ref is not None and self._asks(ask, ref))

    def forget(self, revision: Descriptor, keeping: Descriptor) -> None:
        """See ``Traced``."""
        if revision == keeping:
            return
        catalog = CatalogReader(self._store)
        with contextlib.suppress(CnrMirrorError):  # what is not there need not be forgotten
            stays, goes = (catalog.root(at).tree for at in (keeping, revision))
            for node in list(catalog.added(stays, goes)):
                Path(self._store.node_path(node.digest)).unlink(missing_ok=True)
        Path(self._store.root_path(revision.digest)).unlink(missing_ok=True)


def _keep_root(store: Store, verified: Verified) -> Descriptor | None:
    """Put the root that was verified into a store; None if its bytes are not at hand."""
    data = encode(verified.root)
    if Descriptor.of(data) != verified.at:
        return None
    if not store.has_root(verified.at):
        store.restore(CatalogRoot, verified.at.digest, data)
    return verified.at


def upstream_of(verified: Verified) -> Upstream:
    """What a catalog records of a mirror that it was synced from."""
    root = verified.root
    return Upstream(
        root.registry,
        root.revision,
        verified.at.digest,
        verified.root_version,
        verified.timestamp_version,
        root.time,
    )


def refuse_older(name: str, recorded: Upstream | None, found: Upstream) -> None:
    """Hold a mirror to what the catalog records of it, whatever was forgotten since.

    A newer root may come with other keys, and voids the numbers that the old ones gave, as in
    ``trust.memory``.

    Args:
        name: what errors call the mirror.
        recorded: what the catalog says that was synced from it; None if nothing ever was.
        found: what it offers now, verified.

    Raises:
        Rollback: it is older than what is recorded.
        Equivocation: it is another catalog of the same revision.
    """
    if recorded is None or recorded.registry != found.registry or found.root > recorded.root:
        return
    for what in ("root", "timestamp", "revision"):
        old, new = getattr(recorded, what), getattr(found, what)
        if new < old:
            raise Rollback(f"{name}: offers {what} {new}, but this mirror was synced from {old}")
    if found.revision == recorded.revision and found.catalog != recorded.catalog:
        raise Equivocation(
            f"{name}: offers another catalog as revision {found.revision} than the one that this "
            "mirror was synced from: there are two histories"
        )


# -- its kind -------------------------------------------------------------------------------------


class Mirror(Web, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="mirror"):
    """Another cnrmirror (an address, s3://…, or a folder), verified by the root file ``root``.

    ``at``: the moment (UTC) to verify for in the place of now, for a mirror that nobody signs any
    more; every run says that it did.
    """

    location: str
    root: str
    at: str = ""


class _Kind:
    settings = Mirror

    def check(self, settings: Mirror) -> Iterator[Problem]:
        """See ``Kind``."""
        if settings.at:
            try:
                Instant.parse(settings.at)
            except InputError as error:
                yield "at", error.message
        if settings.location.startswith(("http://", "https://")):
            yield from bad_base("location", settings.location)

    def open(self, name: str, settings: Mirror, room: SourceRoom) -> Source:
        """See ``Kind``."""
        location = settings.location
        at = Instant.parse(settings.at) if settings.at else None
        verified = room.verifying(settings.root, at)
        web: Reader | None = None
        if location.startswith(("http://", "https://")):
            web = room.http(location, settings, static=True)
        else:
            location = room.located(location)

        def reader() -> Reader:
            return web or room.reader(location)

        def connect() -> Remote:
            return verified(reader())

        away = web is not None or scheme_of(location) is not FOLDER
        return TracedMirror(
            name, connect, Store(room.cache, room.making), reader=reader if away else None
        )


KIND = _Kind()
