"""Where the documents of a catalog are read from: a mirror elsewhere, or a store in front of it."""

from __future__ import annotations

import os
from typing import Any, TypeVar

import msgspec

from cnrmirror.model.canonical import MAX_NODE_BYTES, decode
from cnrmirror.model.digest import Descriptor, checked
from cnrmirror.model.documents import PackageDocument, node_path
from cnrmirror.model.errors import DamageError, InvalidDocument, InvalidName, Tampered, TooLarge
from cnrmirror.model.names import PackageName, check_channel, check_media_type, check_release
from cnrmirror.objects.base import Reader, read
from cnrmirror.objects.store import Store

D = TypeVar("D", bound=msgspec.Struct)


class RemoteNodes:
    """Documents of a mirror elsewhere, each bounded and checked before it is parsed."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def get(self, digest: str, size: int, kind: type[D] | Any) -> D:
        """The document of this digest. Raises Tampered, IncompleteError, NetworkError."""
        document: D = self.parse(self.data(digest, size, kind), digest, kind)
        return document

    def data(self, digest: str, size: int, kind: object) -> bytes:
        """Its bytes, as they are there. Raises Tampered, IncompleteError, NetworkError."""
        path = node_path(digest, kind)
        where = f"{self._reader.name}/{path}"
        if size > MAX_NODE_BYTES:
            raise Tampered(f"{where}: a document of {size} bytes")
        return checked(Descriptor(digest, size), read(self._reader.fetch(path, size)), where)

    def parse(self, data: bytes, digest: str, kind: type[D] | Any) -> D:
        """The document in its bytes. Raises Tampered, NewerFormat."""
        where = f"{self._reader.name}/{node_path(digest, kind)}"
        try:
            document: D = decode(data, kind, where)
            if isinstance(document, PackageDocument):
                _check_names(document)
        except (InvalidName, InvalidDocument, TooLarge) as error:
            raise Tampered(f"{where}: {error.message}") from error
        return document


def _check_names(document: PackageDocument) -> None:
    """Every name in a document, before it becomes part of a path. Raises InvalidName."""
    PackageName.parse(document.package)
    for release in document.releases:
        check_release(release.release)
        if check_media_type(release.media_type) != release.media_type:
            raise InvalidName(f"{release.media_type!r} is not a short media type")
    for channel in document.channels:
        check_channel(channel.name)


class LayeredNodes:
    """Documents from a store; those that it lacks come from elsewhere, and stay as they are there.

    Args:
        store: asked first; what is there is checked when it is read.
        elsewhere: asked for what is missing or damaged in the store; checks what it gives.
        keep: put into the store what came from elsewhere.
    """

    def __init__(
        self, store: Store, elsewhere: RemoteNodes | LayeredNodes, keep: bool = False
    ) -> None:
        self.store = store
        self._elsewhere = elsewhere
        self._keep = keep
        self.used: set[str] = set()

    def get(self, digest: str, size: int, kind: type[D] | Any) -> D:
        """See ``tree.Nodes``."""
        self.used.add(digest)
        try:
            kept: D = self.store.get(digest, size, kind)
            return kept
        except DamageError:
            document: D = self.parse(self.data(digest, size, kind), digest, kind)
            return document

    def data(self, digest: str, size: int, kind: object) -> bytes:
        """The bytes of a document, from the store or from elsewhere."""
        try:
            return self.store.data(digest, size, kind)
        except DamageError:
            data = self._elsewhere.data(digest, size, kind)
        if self._keep:
            # Only what can be read is kept; the bytes are kept as they are.
            self.parse(data, digest, kind)
            self.store.restore(kind, digest, data)
        return data

    def parse(self, data: bytes, digest: str, kind: type[D] | Any) -> D:
        """See ``RemoteNodes.parse``."""
        document: D = self._elsewhere.parse(data, digest, kind)
        return document

    def forget_others(self) -> None:
        """Remove from the store the nodes that were not asked for."""
        for path, digest, _ in self.store.walk("nodes"):
            if digest not in self.used:
                os.unlink(path)
