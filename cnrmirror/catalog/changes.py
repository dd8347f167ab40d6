"""What changed from one revision to another, as people say it: releases, channels, tombstones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Node, PackageDocument

# What stands behind the name of a release or channel where a detail of it is meant.
_DETAILS = (" archive", " metadata", " created", " releases")


class Change(msgspec.Struct, frozen=True):
    """One thing that came (+), went (-) or is another now (~), and its value: the newer one."""

    change: Literal["+", "-", "~"]
    what: str
    value: str


def changes_between(catalog: CatalogReader, old: Node, new: Node) -> Iterator[Change]:
    """What changed from one tree to another; reads only the packages that differ."""
    for difference in catalog.diff(old, new):
        before = catalog.document(difference.old) if difference.old else None
        after = catalog.document(difference.new) if difference.new else None
        yield from document_changes(before, after)


def document_changes(old: PackageDocument | None, new: PackageDocument | None) -> list[Change]:
    """What changed from one document of a package to another; None: there is none.

    Example:
        ``~ ns/a:stable 1.1.0`` for a channel that moved: not also that its releases are others.
    """
    olds, news = _statements(old), _statements(new)
    return [
        Change("+" if key not in olds else "-" if key not in news else "~", key, value)
        for key, value in sorted({**olds, **news}.items())
        if olds.get(key) != news.get(key) and not _is_implied(key, olds, news)
    ]


def _is_implied(key: str, olds: dict[str, str], news: dict[str, str]) -> bool:
    """A detail of a release that came or went, or of a channel that moved: that says it all."""
    whole = next((key.removesuffix(end) for end in _DETAILS if key.endswith(end)), None)
    return whole is not None and olds.get(whole) != news.get(whole)


def _statements(document: PackageDocument | None) -> dict[str, str]:
    """All that a document says, each under its own name."""
    if document is None:
        return {}
    said = {}
    for release in document.releases:
        name = f"{document.package}@{release.release} ({release.media_type})"
        said[name] = release.content.digest
        said[f"{name} archive"] = release.blob.digest
        said[f"{name} metadata"] = Descriptor.of(bytes(release.metadata)).digest
        said[f"{name} created"] = release.created_at
    for channel in document.channels:
        said[f"{document.package}:{channel.name}"] = channel.current
        said[f"{document.package}:{channel.name} releases"] = " ".join(channel.releases)
    for stone in document.tombstones:
        name = f"{document.package}@{stone.release} ({stone.media_type})"
        said[f"{name} removed"] = stone.reason
    return said
