"""A bundle over what the receiver has already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from cnrmirror.bundle.read import BundleReader, pieces
from cnrmirror.model.errors import IncompleteError
from cnrmirror.objects.base import Reader, ViewForm, bounded


class Overlay(Reader):
    """Several readers as one: the first that has a file gives it.

    Args:
        first: the bundle.
        others: what the receiver has already; only for files that are named by their digest.
    """

    views: ViewForm = "none"

    def __init__(self, first: BundleReader, others: Sequence[Callable[[str], BinaryIO]]) -> None:
        self.name = first.name
        self._first = first
        self._others = others

    def close(self) -> None:
        """Nothing is held open."""
        self._first.close()

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """See ``interfaces.Reader``."""
        if self._first.has(path) or not path.startswith(("catalog/blobs/", "catalog/nodes/",
                                                         "catalog/targets/")):  # fmt: skip
            yield from self._first.fetch(path, max_bytes)
            return
        for opened in self._others:
            try:
                stream = opened(path)
            except FileNotFoundError:
                continue
            with stream:
                yield from bounded(pieces(stream), max_bytes, path)
            return
        raise IncompleteError(f"{self.name}: {path}: neither in this bundle nor here", path=path)
