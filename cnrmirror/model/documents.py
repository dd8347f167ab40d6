"""The catalog's documents and the one way in which they become bytes.

Canonical JSON: UTF-8, keys sorted, no white space, no duplicate keys, no floats. Encoding what was
decoded gives the same bytes, and ``decode`` insists on it, so a document has exactly one digest.
The only free field is a release's ``metadata``, which is carried as normalised JSON text.

::

    CatalogRoot ── tree ── Branch ── children[nibble] ── … ── Leaf ── packages[] ── PackageDocument

A node is chosen by the hex digits of sha256(package name). A subtree of at most ``LEAF_MAX``
packages is a Leaf, a larger one a Branch of up to 16 children: the shape follows from the content
alone, so the same packages give the same nodes, whatever the history.
"""

from __future__ import annotations

import hashlib
from copy import deepcopy
from typing import Annotated, Any, TypeVar

import msgspec

from cnrmirror.model.digest import Descriptor, DiffID, Digest, Size
from cnrmirror.model.names import PackageName, default_release, newest_first, release_key

LEAF_MAX = 64

Text = Annotated[str, msgspec.Meta(max_length=4096)]
Count = Size
_EMPTY_METADATA = msgspec.Raw(b"null")


class Content(msgspec.Struct, frozen=True, rename={"media_type": "mediaType"}):
    """The ``content`` descriptor of a CNR manifest, verbatim from upstream.

    ``digest`` is the CNR digest (our DiffID) and ``size`` what the manifest claims of the gzip
    bytes; what is really there is the release's ``blob``.
    """

    digest: DiffID
    media_type: Text
    size: Size
    urls: list[Text] = []


class Release(msgspec.Struct, frozen=True, rename={"manifest_type": "mediaType"}):
    """One release of a package in one media type."""

    release: Text
    media_type: Text
    created_at: Text
    manifest_type: Text
    content: Content
    blob: Descriptor
    metadata: msgspec.Raw = _EMPTY_METADATA
    origin: Text = "push"
    flags: list[Text] = []

    @property
    def key(self) -> tuple[str, str]:
        return self.release, self.media_type


class Channel(msgspec.Struct, frozen=True, order=True):
    """A movable name: ``current`` is what it means now, ``releases`` what it ever meant."""

    name: Text
    current: Text
    releases: list[Text]


class Tombstone(msgspec.Struct, frozen=True):
    """A release that was here and was taken away, when and why."""

    release: Text
    media_type: Text
    digest: DiffID
    removed_at: Text
    reason: Text


class PackageDocument(msgspec.Struct, frozen=True, tag_field="kind", tag="package"):
    """All that is known of one package. Sorted: releases newest first, channels by name."""

    package: Text
    releases: list[Release]
    channels: list[Channel] = []
    tombstones: list[Tombstone] = []

    @property
    def name(self) -> PackageName:
        return PackageName.parse(self.package)

    def versions(self, media_type: str | None = None) -> list[str]:
        """Distinct releases, newest first; of one media type, if one is given."""
        found = dict.fromkeys(
            r.release for r in self.releases if media_type in (None, r.media_type)
        )
        return list(found)

    def of_release(self, release: str) -> list[Release]:
        """The formats of one exact release, sorted by media type."""
        return [r for r in self.releases if r.release == release]

    def default(self) -> str | None:
        return default_release(self.versions())

    def find(self, release: str, media_type: str) -> Release | None:
        for candidate in self.releases:
            if candidate.key == (release, media_type):
                return candidate
        return None

    def sorted(self) -> PackageDocument:
        """The same content in the one order that is canonical."""
        by_type = sorted(self.releases, key=lambda r: r.media_type)
        return PackageDocument(
            self.package,
            sorted(by_type, key=lambda r: release_key(r.release), reverse=True),
            sorted(
                Channel(c.name, c.current, newest_first(dict.fromkeys(c.releases)))
                for c in self.channels
            ),
            sorted(self.tombstones, key=lambda t: (t.release, t.media_type, t.removed_at)),
        )


class PackageRef(msgspec.Struct, frozen=True, order=True):
    """Where a package's document is, and how many releases it holds."""

    name: Text
    digest: DiffID
    size: Size
    releases: Count


class Leaf(msgspec.Struct, frozen=True, tag_field="kind", tag="leaf"):
    """Up to LEAF_MAX packages whose name digests begin with ``prefix``, sorted by name."""

    prefix: Text
    packages: list[PackageRef]


class ChildRef(msgspec.Struct, frozen=True):
    """Where a child node is, and how much lies below it."""

    digest: DiffID
    size: Size
    packages: Count
    releases: Count


class Branch(msgspec.Struct, frozen=True, tag_field="kind", tag="branch"):
    """More than LEAF_MAX packages, by the next hex digit of their name digests."""

    prefix: Text
    children: dict[str, ChildRef]


Node = Leaf | Branch


class Upstream(msgspec.Struct, frozen=True):
    """Up to which state of another mirror this one took packages in."""

    registry: Text
    revision: Count
    catalog: Digest
    root: Count
    timestamp: Count
    time: Text


def always(value: Any) -> Any:
    """A default that is written, too, in documents that leave out their empty optional fields."""
    return msgspec.field(default_factory=lambda: deepcopy(value))


class CatalogRoot(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="catalog"):
    """One revision: everything the mirror holds, and the revision before it.

    ``upstreams``: by the name of the source.
    """

    registry: Text
    revision: Count
    time: Text
    message: Text
    packages: Count
    releases: Count
    tree: Node
    parent: Descriptor | None = always(None)
    upstreams: dict[Text, Upstream] = {}


class Head(msgspec.Struct, frozen=True):
    """What the one mutable pointer says: which root is current."""

    catalog: Descriptor
    revision: Count


class RetentionFloor(msgspec.Struct, frozen=True):
    """From which versions and revision on superseded files are kept, and the newest root.

    It stands in the signed timestamp, so that a file that was taken away can be told from one that
    was collected, and a client from which the newest root is kept back can know.
    """

    catalog: Count = 1
    snapshot: Count = 1
    revision: Count = 0
    root: Count = 1


D = TypeVar("D", bound=msgspec.Struct)


def name_digest(package: str) -> str:
    """The hex digits that place a package in the tree."""
    return hashlib.sha256(package.encode()).hexdigest()


def node_path(digest: str, kind: type[Any] | Any = None) -> str:
    """Where a node or catalog root lies in every mirror."""
    if kind is CatalogRoot:
        return f"catalog/targets/{digest}.catalog.json"
    return f"catalog/nodes/sha256/{digest[:2]}/{digest}"


def blob_path(digest: str) -> str:
    """Where a blob lies in every mirror."""
    return f"catalog/blobs/sha256/{digest[:2]}/{digest}"
