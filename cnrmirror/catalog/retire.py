"""What only revisions need that are not retained any more.

What such a revision had, and no later one has, is found by going through the differences from it to
the head: what a step takes away is garbage, unless a later step brings it back. Nothing is listed,
and nothing is read that did not change; only where a blob goes, every document is asked whether it
needs that blob, too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec

from cnrmirror.catalog.needed import blobs_of
from cnrmirror.catalog.tree import CatalogReader, Nodes
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import (
    CatalogRoot,
    Node,
    blob_path,
    node_path,
)

Revision = tuple[Descriptor, CatalogRoot]
_REMEMBERED = 2000


class _Named(msgspec.Struct, frozen=True):
    """Digests of nodes (documents and facts among them) and of blobs."""

    nodes: set[str]
    blobs: set[str]


def retired_files(
    nodes: Nodes, going: Sequence[Revision], staying: Sequence[Revision]
) -> list[str]:
    """The files (``catalog/…``) that revisions need which go, and none that stays; roots first.

    Args:
        nodes: reads the documents of all of them.
        going: the revisions that go, oldest first.
        staying: those that follow, oldest first, up to the head.
    """
    catalog = CatalogReader(_Remembering(nodes))
    trees = [root.tree for _, root in (*going, *staying)]
    garbage = _Named(set(), set())
    for number, (old, new) in enumerate(pairwise(trees)):
        goes, comes = _below(catalog, new, old), _below(catalog, old, new)
        # A blob may be of several packages: what a revision had that stays is none, either.
        kept = [comes] if number < len(going) else [comes, goes]
        if number < len(going):
            garbage = _Named(garbage.nodes | goes.nodes, garbage.blobs | goes.blobs)
        for needed in kept:
            garbage = _Named(garbage.nodes - needed.nodes, garbage.blobs - needed.blobs)
    blobs = garbage.blobs
    for ref in catalog.packages(trees[-1]) if blobs else ():
        blobs -= {blob.digest for blob in blobs_of(catalog.document(ref))}
    return [
        *(node_path(at.digest, CatalogRoot) for at, _ in going),
        *map(node_path, sorted(garbage.nodes)),
        *map(blob_path, sorted(blobs)),
    ]


def _below(catalog: CatalogReader, old: Node, new: Node) -> _Named:
    """What is below ``new``, and not below ``old``."""
    nodes = {node.digest for node in catalog.added(old, new)}
    blobs: set[str] = set()
    for difference in catalog.diff(old, new):
        had = catalog.document(difference.old) if difference.old else None
        has = catalog.document(difference.new) if difference.new else None
        if has is not None:
            known = had.blobs() if had else set()
            blobs |= {blob.digest for blob in has.blobs() - known}
            nodes |= {fact.digest for fact in has.facts if had is None or fact not in had.facts}
    return _Named(nodes, blobs)


class _Remembering(Nodes):
    """Documents that are read several times, one step after the other."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._found: OrderedDict[str, Any] = OrderedDict()

    def get(self, digest: str, size: int, kind: Any) -> Any:
        """See ``Nodes``."""
        if digest not in self._found:
            self._found[digest] = self._nodes.get(digest, size, kind)
            if len(self._found) > _REMEMBERED:
                self._found.popitem(last=False)
        return self._found[digest]
