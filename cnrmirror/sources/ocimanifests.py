"""OCI manifests from outside, checked field by field, and what of them is a release.

The forms are those of image-spec 1.1 and of Docker's schema 2. Only sha256 digests are known.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from cnrmirror.model import oci, typed
from cnrmirror.model.canonical import parse_json
from cnrmirror.model.digest import HEX64
from cnrmirror.model.errors import InvalidDocument, InvalidName
from cnrmirror.model.names import check_media_type
from cnrmirror.sources.answers import refuse_page

MAX_MANIFEST = 4 << 20
INDEXES = (oci.OCI_INDEX, oci.DOCKER_LIST)
MANIFESTS = (oci.OCI_MANIFEST, oci.DOCKER_MANIFEST)
_OLD_HELM_LAYER = "application/tar+gzip"
_GZIPPED_TAR = ("tar+gzip", ".tar.gzip", "/gzip", "/x-gzip", "/x-tar+gzip")
_CNR = re.compile(r"application/vnd\.(?:cnr|appr)\.package(-manifest)?\.[^.]+\.v[0-9][^/]*")
_MAX_MEMBERS = 1000
_MAX_LAYERS = 1000
_MAX_ANNOTATIONS = 100
_Text = Annotated[str, msgspec.Meta(max_length=4096)]
_Type = Annotated[str, msgspec.Meta(max_length=255)]
_Digest = Annotated[str, msgspec.Meta(pattern="^sha256:[0-9a-f]{64}$")]
_Notes = Annotated[dict[_Text, _Text], msgspec.Meta(max_length=_MAX_ANNOTATIONS)]


class Named(msgspec.Struct, frozen=True, rename="camel"):
    """A content descriptor: what a manifest names."""

    media_type: _Type
    digest: _Digest
    size: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
    artifact_type: _Type | None = None
    annotations: _Notes | None = None

    @property
    def hex(self) -> str:
        return self.digest.removeprefix("sha256:")


class _Body(msgspec.Struct, frozen=True, rename="camel"):
    media_type: _Type | None = None
    artifact_type: _Type | None = None
    config: Named | None = None
    layers: Annotated[list[Named], msgspec.Meta(max_length=_MAX_LAYERS)] | None = None
    manifests: Annotated[list[Named], msgspec.Meta(max_length=_MAX_MEMBERS)] | None = None
    subject: Named | None = None
    annotations: _Notes | None = None


class Manifest(msgspec.Struct, frozen=True):
    """A manifest or an index, verbatim and read."""

    data: bytes
    digest: str
    media_type: str
    artifact_type: str
    config: Named | None
    layers: list[Named]
    members: list[Named]
    subject: str
    annotations: dict[str, str]

    @property
    def names(self) -> Iterator[Named]:
        """The blobs that it names."""
        if self.config is not None:
            yield self.config
        yield from self.layers


class Content(msgspec.Struct, frozen=True):
    """What a manifest holds for a mirror: one archive of a media type.

    ``manifest_type`` is the full type of a CNR manifest, or "" where it names none.
    """

    media_type: str
    manifest_type: str
    archive: Named


class LeftOut(msgspec.Struct, frozen=True):
    """Why a manifest is no release."""

    why: Literal["image", "artifact", "index"]
    what: str = ""


def read(data: bytes, where: str, told: str = "") -> Manifest:
    """The manifest in these bytes.

    Args:
        data: as they came.
        where: what errors call it.
        told: the media type that the answer has; what the manifest says itself goes before.

    Raises:
        InvalidDocument, TooLarge: not a manifest.
    """
    refuse_page(data, where, "a manifest")
    try:
        found = typed.convert(parse_json(data, where, MAX_MANIFEST), _Body)
    except msgspec.ValidationError as error:
        raise InvalidDocument(f"{where}: not a manifest: {error}") from error
    media_type = found.media_type or told.partition(";")[0].strip()
    if media_type not in (*MANIFESTS, *INDEXES):
        media_type = oci.OCI_MANIFEST if found.manifests is None else oci.OCI_INDEX
    if (media_type in INDEXES) != (found.manifests is not None):
        raise InvalidDocument(f"{where}: not a manifest: its fields are not those of its type")
    if found.manifests is None and (found.config is None or found.layers is None):
        raise InvalidDocument(f"{where}: not a manifest: it has no config or no layers")
    config = found.config
    return Manifest(
        data, hashlib.sha256(data).hexdigest(), media_type,
        found.artifact_type or (config.media_type if config else ""), config, found.layers or [],
        found.manifests or [], found.subject.hex if found.subject else "", found.annotations or {},
    )  # fmt: skip


def content_of(manifest: Manifest) -> Content | LeftOut:
    """The archive of a manifest, or why it is no release.

    Raises:
        InvalidDocument: it says that it is a chart or a package, and has not one archive.
    """
    if manifest.media_type in INDEXES:
        return LeftOut("index", manifest.artifact_type)
    if manifest.config is not None and manifest.config.media_type == oci.HELM_CONFIG:
        known = (oci.HELM_LAYER, _OLD_HELM_LAYER)
        archives = [layer for layer in manifest.layers if layer.media_type in known]
        return Content("helm", "", _one(archives, "a chart"))
    for text in (manifest.artifact_type, *(layer.media_type for layer in manifest.layers)):
        if media_type := cnr_type(text):
            break
    else:
        image = manifest.artifact_type.endswith((".image.v1+json", "image.config.v1+json"))
        return LeftOut("image" if image else "artifact", manifest.artifact_type)
    is_manifest_type = bool(cnr_type(manifest.artifact_type))
    archives = [layer for layer in manifest.layers if layer.media_type.endswith(_GZIPPED_TAR)]
    full = manifest.artifact_type if is_manifest_type and "-manifest." in text else ""
    return Content(media_type, full, _one(archives, f"a package of type {media_type}"))


def cnr_type(text: str) -> str:
    """The short media type that the full type of a CNR manifest or archive names; "" if none."""
    if not _CNR.fullmatch(text):
        return ""
    try:
        return check_media_type(text)
    except InvalidName:
        return ""


def format_of(member: Named) -> str:
    """The media type that the member of an index says it has; "" if it says none that we know."""
    text = member.artifact_type or ""
    return "helm" if text == oci.HELM_CONFIG else cnr_type(text)


def provenance_of(manifest: Manifest) -> list[Named]:
    """The provenance files of a chart."""
    return [layer for layer in manifest.layers if layer.media_type == oci.HELM_PROVENANCE]


def referrers_in(value: Any, where: str) -> list[Named]:
    """The manifests that a list of referrers names. Raises InvalidDocument."""
    try:
        return typed.convert(value, _Body).manifests or []
    except msgspec.ValidationError as error:
        raise InvalidDocument(f"{where}: not a list of referrers: {error}") from error


def hex_of(tag: str) -> tuple[str, str]:
    """The digest and the ending of a tag that speaks of a manifest: ``sha256-HEX.sig``.

    ("", "") for any other tag.
    """
    found = tag.removeprefix("sha256-") if tag.startswith("sha256-") else ""
    digest, dot, ending = found.partition(".")
    return (digest, dot + ending) if HEX64.fullmatch(digest) else ("", "")


def _one(archives: list[Named], what: str) -> Named:
    if len(archives) != 1:
        raise InvalidDocument(f"{what} with {len(archives)} archives; there must be one")
    return archives[0]
