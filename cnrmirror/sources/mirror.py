"""Another cnrmirror: a site by URL, folder or bucket, verified from its root.

What was read of its tree stays in a folder, so that the next look transfers only the nodes that
differ between the two revisions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor
from typing import TypeVar

import msgspec

from cnrmirror.catalog.nodes import LayeredNodes, RemoteNodes
from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.client.remote import Remote
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Channel, PackageDocument, PackageRef, Tombstone
from cnrmirror.model.errors import CnrMirrorError
from cnrmirror.model.progress import Progress, stage
from cnrmirror.objects.parallel import AT_ONCE, in_parallel
from cnrmirror.objects.store import Store
from cnrmirror.sources.base import Hole, Listing, Offer

D = TypeVar("D", bound=msgspec.Struct)


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
    ) -> None:
        self.name = name
        self._connect = connect
        self._store = store
        self._wanted = wanted
        self._at_hand = at_hand
        self._part = part
        self._remote: Remote | None = None
        self._blobs: dict[str, Descriptor] = {}

    def look(
        self,
        progress: Progress,
        known: Collection[tuple[str, str]] = (),
        executor: Executor = AT_ONCE,
    ) -> Listing:
        """See ``Source``. Raises TrustError and StaleError, too."""
        remote = self._remote = self._connect()
        nodes = LayeredNodes(self._store, RemoteNodes(remote.fetcher), keep=True)
        catalog = CatalogReader(nodes)
        refs = sorted(filter(self._wanted, catalog.packages(remote.verified.root.tree)))
        found: list[Offer] = []
        channels: dict[str, list[Channel]] = {}
        tombstones: dict[str, list[Tombstone]] = {}
        holes: list[Hole] = []

        def read(ref: PackageRef) -> PackageDocument | Hole:
            try:
                return catalog.document(ref)
            except CnrMirrorError as error:
                return Hole(ref.name, error.message, ref.name)

        with stage(progress, f"Reading {self.name}", len(refs)) as step:
            for document in in_parallel(read, refs, executor):
                if isinstance(document, Hole):
                    holes.append(document)
                else:
                    found += self._offers(document)
                    if document.channels:
                        channels[document.package] = document.channels
                    if document.tombstones:
                        tombstones[document.package] = document.tombstones
                step.advance()
        if not self._part:
            nodes.forget_others()
        notes = list(remote.verified.notes)
        return Listing(found, channels, holes, notes, not self._part, tombstones)

    def _offers(self, document: PackageDocument) -> Iterator[Offer]:
        for item in filter(lambda release: self._at_hand(release.blob), document.releases):
            self._blobs[item.blob.digest] = item.blob
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
            )

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``Source``."""
        assert self._remote is not None
        yield from self._remote.blob(self._blobs[offer.place])
