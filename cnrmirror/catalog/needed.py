"""What a package document names: all that must be where the document is."""

from __future__ import annotations

from collections.abc import Iterator

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import PackageDocument


def blobs_of(document: PackageDocument) -> list[Descriptor]:
    """Every blob that a document names, each once, sorted by digest."""
    return sorted(document.blobs())


def needed(document: PackageDocument) -> Iterator[str]:
    """The digest of everything that a document names, blobs and nodes."""
    return (named.digest for named in (*blobs_of(document), *document.facts))
