"""A bundle served as it lies: what ``serve`` needs of a mirror, read from its volumes."""

from __future__ import annotations

from typing import BinaryIO

from cnrmirror.bundle.read import BundleReader
from cnrmirror.catalog.nodes import RemoteNodes
from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.mirror.config import Config
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Head, Node, blob_path
from cnrmirror.model.errors import InputError
from cnrmirror.model.signed import MAX_BYTES, METADATA, TIMESTAMP, FileInfo, signed_head_of
from cnrmirror.objects.base import read
from cnrmirror.views.site import ViewEntries


class BundleMirror:
    """A whole bundle as a mirror that is read only.

    Every document is checked against the digest that names it. Signatures are for clients to check:
    the signed files are served with the rest.

    Raises:
        InputError: the bundle continues from another, or is a part.
        DamageError: its metadata is damaged.
    """

    def __init__(self, fetcher: BundleReader) -> None:
        contents = fetcher.contents
        if contents.since_revision >= 0 or contents.cut.is_part:
            raise InputError(
                f"{fetcher.name}: only a whole bundle can be served; this one continues from "
                "another, or holds a part: import it"
            )
        self._fetcher = fetcher
        self.config = Config(contents.registry)
        self.catalog = CatalogReader(RemoteNodes(fetcher))

        def get(name: str, info: FileInfo) -> bytes:
            return read(fetcher.fetch(f"{METADATA}/{name}", MAX_BYTES))

        timestamp = read(fetcher.fetch(TIMESTAMP, MAX_BYTES))
        edition = signed_head_of(timestamp, get, f"{fetcher.name}: {METADATA}")
        self._head = Head(edition.at, edition.revision)
        self._tree = self.catalog.root(edition.at).tree

    def head(self) -> Head:
        """See ``serve.Served``."""
        return self._head

    def tree(self) -> Node:
        """See ``serve.Served``."""
        return self._tree

    def known_entries(self, head: Head) -> ViewEntries | None:
        """See ``serve.Served``: they have to be read."""
        return None

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """See ``serve.Served``."""
        return self._fetcher.open(blob_path(blob.digest))

    def open_file(self, path: str) -> BinaryIO:
        """See ``serve.Served``."""
        return self._fetcher.open(path)
