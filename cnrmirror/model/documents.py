"""The catalog's documents; ``canonical`` says how they become bytes.

The only free fields are a release's ``metadata``, which is carried as normalised JSON text, and
what a newer program writes. Optional fields that are empty are left out. Bytes are named in
``blob``, ``attachments`` and ``facts`` only, so that no program loses what it does not understand.

::

    CatalogRoot ── tree ── Branch ── children[nibble] ── … ── Leaf ── packages[] ── PackageDocument

A node is chosen by the hex digits of sha256(package name). A subtree of at most ``LEAF_MAX``
packages is a Leaf, a larger one a Branch of up to 16 children: the shape follows from the content
alone, so the same packages give the same nodes, whatever the history.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

import msgspec

from cnrmirror.model.digest import Descriptor, DiffID, Digest, Size
from cnrmirror.model.errors import TooLarge
from cnrmirror.model.format import FIRST, Format
from cnrmirror.model.names import PackageName, default_release, newest_first, release_key
from cnrmirror.model.oci import HELM_PROVENANCE, PGP_SIGNATURE, ROLE, TAG

LEAF_MAX = 64
FACTS_MAX = 64
LOG_MAX = 30

Text = Annotated[str, msgspec.Meta(max_length=4096)]
Count = Size
MAX_ATTACHMENTS = 64


class Content(msgspec.Struct, frozen=True, rename={"media_type": "mediaType"}):
    """The ``content`` descriptor of a CNR manifest, verbatim from upstream.

    ``digest`` is the CNR digest (our DiffID) and ``size`` what the manifest claims of the gzip
    bytes; what is really there is the release's ``blob``.
    """

    digest: DiffID
    media_type: Text
    size: Size
    urls: list[Text] = []


class Attachment(
    msgspec.Struct, frozen=True, omit_defaults=True,
    rename={"media_type": "mediaType", "artifact_type": "artifactType"},
):  # fmt: skip
    """A blob that belongs to a release: a signature, provenance, an upstream's own manifest.

    The fields are those of an OCI content descriptor (image-spec 1.1); ``digest`` has no prefix.
    """

    media_type: Text
    digest: Digest
    size: Size
    artifact_type: Text = ""
    annotations: dict[Text, Text] = {}

    @property
    def blob(self) -> Descriptor:
        return Descriptor(self.digest, self.size)

    @property
    def role(self) -> str:
        """What it is to the release's OCI manifest: see ``oci.ROLE``; "" for anything else."""
        return self.annotations.get(ROLE, "")

    @property
    def is_provenance(self) -> bool:
        """Whether it is the ``.prov`` file of a chart."""
        return not self.role and self.media_type in (HELM_PROVENANCE, PGP_SIGNATURE)

    @property
    def is_cosign(self) -> bool:
        """Whether it is a signature of cosign's: under its tag, or as a referrer."""
        tag, kind = self.annotations.get(TAG, ""), self.artifact_type
        signed = self.role == "tag" and tag.endswith(".sig")
        return signed or (self.role == "referrer" and ("cosign" in kind or "sigstore" in kind))


def all_attachments(*some: Iterable[Attachment]) -> list[Attachment]:
    """Each of these attachments once, in the one order that is canonical. Raises TooLarge.

    Of what was repacked, the first stays: another program may have packed the same otherwise.
    """
    found: dict[bytes, Attachment] = {}
    for attachment in (a for each in some for a in each):
        if attachment.role != "repacked" or all(a.role != "repacked" for a in found.values()):
            found[msgspec.json.encode(attachment, order="sorted")] = attachment
    if len(found) > MAX_ATTACHMENTS:
        raise TooLarge(f"{len(found)} attachments of one release; there can be {MAX_ATTACHMENTS}")
    return [found[key] for key in sorted(found)]


def always(value: Any) -> Any:
    """A default that is written, too, in documents that leave out their empty optional fields."""
    return msgspec.field(default_factory=lambda: [*value] if isinstance(value, list) else value)


class Release(
    msgspec.Struct, frozen=True, omit_defaults=True, rename={"manifest_type": "mediaType"}
):
    """One release of a package in one media type."""

    release: Text
    media_type: Text
    created_at: Text
    manifest_type: Text
    content: Content
    blob: Descriptor
    metadata: msgspec.Raw = always(msgspec.Raw(b"null"))
    origin: Text = always("push")
    flags: list[Text] = always([])
    attachments: Annotated[list[Attachment], msgspec.Meta(max_length=MAX_ATTACHMENTS)] = []

    @property
    def key(self) -> tuple[str, str]:
        return self.release, self.media_type

    @property
    def blobs(self) -> list[Descriptor]:
        """Its archive, and whatever is attached to it."""
        return [self.blob, *(attachment.blob for attachment in self.attachments)]

    @property
    def signatures(self) -> list[str]:
        """The kinds of signatures that it carries: ``provenance``, ``cosign``; none is verified."""
        kinds = {
            "provenance": any(a.is_provenance for a in self.attachments),
            "cosign": any(a.is_cosign for a in self.attachments),
        }
        return [kind for kind, there in kinds.items() if there]


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


class Image(msgspec.Struct, frozen=True, omit_defaults=True):
    """A container image that a chart names: ``docker.io/library/nginx:1.25``, written out in full.

    ``why``: where it was found. ``sure`` is false where the tag is a guess. ``digest``
    (``sha256:HEX``): what the chart pins it to.
    """

    ref: Text
    why: Text
    sure: bool = True
    digest: Text = ""

    def __str__(self) -> str:
        return f"{self.ref}@{self.digest}" if self.digest else self.ref


class ArchiveFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one look into an archive told. ``extractor`` is the version of the look.

    ``chart`` holds the known fields of Chart.yaml, with the dependencies of requirements.yaml;
    ``images`` what it names, sorted. ``first`` is ``chart`` as an older extractor saw it first, if
    that differs: what was made of it has a digest that people pin. ``unreadable``: the field of
    Chart.yaml because of which Helm reads none.
    """

    extractor: Count = always(1)
    chart: dict[Text, Any] = {}
    images: list[Image] = []
    first: dict[Text, Any] = {}
    unreadable: Text = ""


class PackageDocument(
    msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="package"
):
    """All that is known of one package. Sorted: releases newest first, channels by name.

    What one look into the archives told stands in ``inline_facts``, by the digest of the archive,
    or in the nodes that ``facts`` name, if it is too much.
    """

    package: Text
    releases: list[Release]
    channels: list[Channel] = always([])
    tombstones: list[Tombstone] = always([])
    facts: list[Descriptor] = []
    inline_facts: dict[Digest, ArchiveFacts] = {}

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

    def blobs(self) -> set[Descriptor]:
        """Every archive and attachment that the package needs."""
        return {blob for release in self.releases for blob in release.blobs}

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
            sorted(self.facts),
            self.inline_facts,
        )


class PackageRef(msgspec.Struct, frozen=True, order=True):
    """Where a package's document is, and how many releases it holds."""

    name: Text
    digest: Digest
    size: Size
    releases: Count


class Leaf(msgspec.Struct, frozen=True, tag_field="kind", tag="leaf"):
    """Up to LEAF_MAX packages whose name digests begin with ``prefix``, sorted by name."""

    prefix: Text
    packages: list[PackageRef]


class ChildRef(msgspec.Struct, frozen=True):
    """Where a child node is, and how much lies below it."""

    digest: Digest
    size: Size
    packages: Count
    releases: Count


class Branch(msgspec.Struct, frozen=True, tag_field="kind", tag="branch"):
    """More than LEAF_MAX packages, by the next hex digit of their name digests."""

    prefix: Text
    children: dict[str, ChildRef]


Node = Leaf | Branch


class Facts(msgspec.Struct, frozen=True, tag_field="kind", tag="facts"):
    """Facts of up to FACTS_MAX archives of one package, by the digest of the archive."""

    package: Text
    archives: dict[Digest, ArchiveFacts]


class Upstream(msgspec.Struct, frozen=True):
    """The revision of another mirror that a source was synced from.

    ``root`` and ``timestamp`` are the versions of the signed files that vouched for it, ``time`` is
    that of its catalog. Whoever has lost what it remembers of that mirror finds here how old it
    may be at the most.
    """

    registry: Text
    revision: Count
    catalog: Digest
    root: Count
    timestamp: Count
    time: Text


class Logged(msgspec.Struct, frozen=True):
    """An earlier revision, as a later one remembers it; the message may be cut."""

    revision: Count
    time: Text
    message: Text
    packages: Count
    releases: Count


class RootFile(msgspec.Struct, frozen=True):
    """The signed root with which a reader of this revision may begin: its version and sha256."""

    version: Count
    digest: Digest


class CatalogRoot(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="catalog"):
    """One revision: everything the mirror holds, and the revision before it.

    ``settings``: what views take from mirror.yaml. ``upstreams``: by the name of the source.
    ``log``: the last ``LOG_MAX`` revisions before this one, newest first: who has one revision can
    show what changed. ``root``: the root in force when it was made.
    """

    registry: Text
    revision: Count
    time: Text
    message: Text
    packages: Count
    releases: Count
    tree: Node
    parent: Descriptor | None = always(None)
    format: Format = always(FIRST)
    settings: dict[Text, Any] = {}
    upstreams: dict[Text, Upstream] = {}
    log: list[Logged] = []
    root: RootFile | None = None


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
_LOGGED_MESSAGE = 200


def log_after(root: CatalogRoot) -> list[Logged]:
    """The log of the revision that follows one."""
    last = Logged(
        root.revision, root.time, root.message[:_LOGGED_MESSAGE], root.packages, root.releases
    )
    return [last, *root.log[: LOG_MAX - 1]]


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
