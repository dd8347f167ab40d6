"""Another cnrmirror: a site by URL, folder or bucket, verified from its root.

What was read of its tree stays in a folder, so that the next look transfers only the nodes that
differ between the two revisions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cnrmirror.catalog import CatalogReader
from cnrmirror.client import Remote, RemoteNodes
from cnrmirror.descriptor import Descriptor
from cnrmirror.documents import Channel, encode
from cnrmirror.errors import DamageError, InvalidDocument
from cnrmirror.files import write_new
from cnrmirror.interfaces import Listing, Offer, Progress, stage
from cnrmirror.store import Store

D = TypeVar("D", bound=msgspec.Struct)


class KeptNodes:
    """Nodes of a mirror elsewhere, each fetched once.

    Args:
        remote: fetches and checks.
        store: where they stay; what is there is checked again when it is read.
    """

    def __init__(self, remote: RemoteNodes, store: Store) -> None:
        self._remote = remote
        self._store = store

    def get(self, digest: str, size: int, kind: type[D] | Any) -> D:
        """The document of this digest, from the store or from afar."""
        try:
            kept: D = self._store.get(digest, size, kind)
            return kept
        except (DamageError, InvalidDocument):
            pass
        document: D = self._remote.get(digest, size, kind)
        path = Path(self._store.node_path(digest))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._store.scratch_file(f"{digest}.node")
        write_new(temporary, [encode(document)])
        Path(temporary).replace(path)
        return document


class MirrorSource:
    """A mirror elsewhere.

    Args:
        name: what mirror.yaml calls it.
        connect: verifies the mirror and gives its current revision.
        store: where its nodes are kept between two runs.
    """

    def __init__(self, name: str, connect: Callable[[], Remote], store: Store) -> None:
        self.name = name
        self._connect = connect
        self._store = store
        self._remote: Remote | None = None
        self._blobs: dict[str, Descriptor] = {}

    def look(self, progress: Progress) -> Listing:
        """See ``interfaces.Source``. Raises TrustError and StaleError, too."""
        self._remote = self._connect()
        nodes = KeptNodes(RemoteNodes(self._remote.fetcher), self._store)
        catalog = CatalogReader(nodes)
        refs = sorted(catalog.packages(self._remote.verified.root.tree))
        found: list[Offer] = []
        channels: dict[str, list[Channel]] = {}
        with stage(progress, f"Reading {self.name}", len(refs)) as step:
            for ref in refs:
                document = catalog.document(ref)
                for item in document.releases:
                    self._blobs[item.blob.digest] = item.blob
                    found.append(
                        Offer(
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
                        )
                    )
                if document.channels:
                    channels[document.package] = document.channels
                step.advance()
        return Listing(found, channels, [], list(self._remote.verified.notes))

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``interfaces.Source``."""
        assert self._remote is not None
        yield from self._remote.blob(self._blobs[offer.place])
