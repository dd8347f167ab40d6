"""OCI manifests of releases that came with none: made by functions that never change.

A manifest's digest is what people pin and sign. It follows from the archive, from what its
Chart.yaml said when it was first looked at, and from its provenance file alone: not from time, the
mirror, or other releases. ``tests/test_oci.py`` holds digests; whoever has to change a function
here makes a second one for new releases instead.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Attachment, Release
from cnrmirror.model.oci import (
    EMPTY_CONFIG,
    HELM_CONFIG,
    HELM_LAYER,
    HELM_PROVENANCE,
    OCI_INDEX,
    OCI_MANIFEST,
)

EMPTY = b"{}"
_IMAGE = "org.opencontainers.image."

encode = msgspec.json.Encoder(order="sorted").encode


def described(media_type: str, body: bytes | Descriptor, **more: Any) -> dict[str, Any]:
    """A content descriptor (image-spec 1.1, descriptor.md) of bytes, or of a blob."""
    found = Descriptor.of(body) if isinstance(body, bytes) else body
    return {"mediaType": media_type, "digest": f"sha256:{found.digest}", "size": found.size, **more}


def chart_manifest(
    fields: Mapping[str, Any], archive: Descriptor, provenance: Descriptor | None
) -> tuple[bytes, bytes]:
    """The manifest of a chart as ``helm push`` writes it, without the time; and its config.

    Args:
        fields: ``chartfields.typed`` of what its Chart.yaml said first.
    """
    config = encode(fields)
    layers = [described(HELM_LAYER, archive)]
    if provenance:
        layers.append(described(HELM_PROVENANCE, provenance))
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(HELM_CONFIG, config),
        "layers": layers,
        "annotations": _of_chart(fields),
    }
    return encode(document), config


def _of_chart(fields: Mapping[str, Any]) -> dict[str, str]:
    found = {
        "title": fields.get("name"), "version": fields.get("version"),
        "description": fields.get("description"), "url": fields.get("home"),
        "source": next(iter(fields.get("sources", [])), None),
    }  # fmt: skip
    people = [
        f"{m.get('name', '')} ({m['email']})" if "email" in m else m.get("name", "")
        for m in fields.get("maintainers", [])
    ]
    found["authors"] = ", ".join(filter(None, people))
    return {f"{_IMAGE}{key}": text for key, text in found.items() if text}


def other_manifest(package: str, release: Release) -> bytes:
    """The manifest of any other format: an artifact of one layer (image-spec 1.1, manifest.md)."""
    title = f"{package.replace('/', '_')}_{release.release}.tar.gz"
    layer = described(
        release.content.media_type, release.blob, annotations={f"{_IMAGE}title": title}
    )
    return _artifact(
        release.manifest_type, layer, annotations={f"{_IMAGE}version": release.release}
    )


def attachment_manifest(attachment: Attachment, subject: dict[str, Any]) -> bytes:
    """The manifest by which an attachment refers to the manifest that it belongs to."""
    annotations = {"annotations": attachment.annotations} if attachment.annotations else {}
    layer = described(attachment.media_type, attachment.blob, **annotations)
    kind = attachment.artifact_type or attachment.media_type
    return _artifact(kind, layer, subject=subject)


def _artifact(kind: str, layer: dict[str, Any], **more: Any) -> bytes:
    empty = described(EMPTY_CONFIG, EMPTY, data=base64.b64encode(EMPTY).decode())
    document = {
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": kind, "config": empty,
        "layers": [layer], **more,
    }  # fmt: skip
    return encode(document)


def error(code: str, message: str) -> bytes:
    """An error document (distribution-spec 1.1, "Error Codes")."""
    return encode({"errors": [{"code": code, "message": message}]}) + b"\n"


def index_of(manifests: list[dict[str, Any]]) -> bytes:
    """An index over manifests: a list, which may change."""
    return encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})
