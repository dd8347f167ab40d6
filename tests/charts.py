"""Charts as views see them: documents and facts, without archives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import (
    ArchiveFacts,
    Attachment,
    Content,
    PackageDocument,
    Release,
)
from cnrmirror.views.base import Package

TIME = "2026-01-02T03:04:05"


def blob_of(text: str) -> Descriptor:
    return Descriptor.of(text.encode())


def release(
    version: str, media_type: str = "helm", *attachments: Attachment,
    flags: list[str] | None = None,
    at: str = TIME,
) -> Release:  # fmt: skip
    content = Content(blob_of(f"tar {version} {media_type}").digest, f"layer/{media_type}", 9)
    return Release(
        version, media_type, at, f"manifest/{media_type}", content,
        blob_of(f"archive {version} {media_type}"), flags=flags or [],
        attachments=list(attachments),
    )  # fmt: skip


def attached(text: str, media_type: str, artifact_type: str = "", **notes: str) -> Attachment:
    """A blob of this text; ``notes`` are annotations, with a dot where there is ``_``."""
    blob = blob_of(text)
    annotations = {f"cnrmirror.{key}": value for key, value in notes.items()}
    return Attachment(media_type, blob.digest, blob.size, artifact_type, annotations)


def package(name: str, *releases: Release, chart: Mapping[str, Any] | None = None) -> Package:
    """A package whose charts all say ``chart``, with the name and version that they have."""
    facts = {}
    for each in releases:
        if each.media_type == "helm":
            said = {"apiVersion": "v2", "name": name.partition("/")[2], "version": each.release}
            facts[each.blob.digest] = ArchiveFacts(2, {**said, **(chart or {})})
    return Package(PackageDocument(name, list(releases)).sorted(), facts)
