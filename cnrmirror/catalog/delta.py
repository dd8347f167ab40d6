"""What lies between two revisions: listed to be sent, or brought from a mirror elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import msgspec

from cnrmirror.catalog.metadata import MetadataFolder
from cnrmirror.catalog.nodes import LayeredNodes
from cnrmirror.catalog.tree import EMPTY, CatalogReader
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, Facts, Node, node_path
from cnrmirror.model.errors import DamageError, IncompleteError
from cnrmirror.model.progress import Progress
from cnrmirror.model.resource import Resource
from cnrmirror.model.signed import METADATA, SignedHead
from cnrmirror.objects.base import archive
from cnrmirror.objects.files import sync_filesystem
from cnrmirror.objects.store import Store

_BATCH = 2000


# -- listing ---------------------------------------------------------------------------------------


def revisions(catalog: CatalogReader, head: SignedHead) -> list[tuple[Descriptor, CatalogRoot]]:
    """The revisions that are retained at a signed head, newest first."""
    return revisions_from(catalog, head.at, head.kept.revision)


def revisions_from(
    catalog: CatalogReader, at: Descriptor, floor: int
) -> list[tuple[Descriptor, CatalogRoot]]:
    """The revisions from ``at`` down to the one of the number ``floor``, newest first."""
    found = []
    for here, root in catalog.history(at):
        found.append((here, root))
        if root.revision <= floor:
            break
    return found


def immutable_files(
    store: Store, catalog: CatalogReader, head: SignedHead, known: CatalogRoot | None
) -> Iterator[list[Resource]]:
    """Blobs, nodes and catalog roots that a destination lacks, in batches.

    A catalog root comes only after everything that it needs.

    Args:
        store: has all of them.
        catalog: reads the store, and what only the destination still has of ``known``.
        head: what the destination is to stand at.
        known: the revision that it has; None for an empty one.
    """
    chosen = _since(catalog, revisions(catalog, head), known)
    sent: set[str] = set()
    before: Node = known.tree if known else EMPTY
    for at, root in reversed(chosen):
        yield from _batches(_below(store, catalog, before, root.tree, sent))
        path = node_path(at.digest, CatalogRoot)
        data = store.data(at.digest, at.size, CatalogRoot)
        yield [Resource(path, data, cache="immutable")]
        before = root.tree


def _since(
    catalog: CatalogReader,
    retained: list[tuple[Descriptor, CatalogRoot]],
    known: CatalogRoot | None,
) -> list[tuple[Descriptor, CatalogRoot]]:
    """The revisions, newest first, down to the newest that ``known`` is, or comes from.

    It is not always among them: of two revisions that were merged, one is no parent.
    """
    chosen = []
    theirs = known
    for at, root in retained:
        while theirs is not None and theirs.revision > root.revision:
            theirs = _parent(catalog, theirs)
        cut_off = known is not None and theirs is None and root.revision <= known.revision
        if root == theirs or cut_off:
            break
        chosen.append((at, root))
    return chosen


def _parent(catalog: CatalogReader, root: CatalogRoot) -> CatalogRoot | None:
    """The revision before, if it is retained."""
    try:
        return catalog.root(root.parent) if root.parent else None
    except (DamageError, IncompleteError):
        return None


def _batches(resources: Iterator[Resource]) -> Iterator[list[Resource]]:
    batch: list[Resource] = []
    for resource in resources:
        batch.append(resource)
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    yield batch


def _below(
    store: Store, catalog: CatalogReader, old: Node, new: Node, sent: set[str]
) -> Iterator[Resource]:
    """The blobs and nodes of ``new`` that are neither in ``old`` nor in ``sent``."""
    nodes: list[Descriptor] = []
    for difference in catalog.diff(old, new):
        had = catalog.document(difference.old) if difference.old else None
        has = catalog.document(difference.new) if difference.new else None
        if has is not None:
            for blob in sorted(has.blobs() - (had.blobs() if had else set())):
                if blob.digest not in sent:
                    sent.add(blob.digest)
                    yield archive(blob)
            nodes += [f for f in has.facts if had is None or f not in had.facts]
    for node in chain(nodes, catalog.added(old, new)):
        if node.digest not in sent:
            sent.add(node.digest)
            data = store.data(node.digest, node.size, None)
            yield Resource(node_path(node.digest), data, cache="immutable")


def metadata_files(
    folder: MetadataFolder, head: SignedHead, known: SignedHead | None
) -> list[Resource]:
    """The signed files of ``head`` that a destination at ``known`` lacks; roots first.

    The timestamp is not among them: it comes last, and by itself.
    """
    found = []
    for role, versions in head.retained_since(known).items():
        for version in versions:
            name = f"{version}.{role}.json"
            data = folder.find(name)
            if data is not None:
                found.append(Resource(f"{METADATA}/{name}", data, cache="no-cache"))
    return found


# -- bringing --------------------------------------------------------------------------------------


class Span(msgspec.Struct, frozen=True):
    """Revisions that follow one another: the tree before them, and their roots, oldest first.

    ``tree``: one more tree, of which the root is not wanted.
    """

    before: Node
    roots: list[tuple[Descriptor, CatalogRoot]]
    tree: Node | None = None


class Brought(msgspec.Struct, frozen=True):
    """How many blobs were brought, and how many bytes they have."""

    blobs: int = 0
    bytes: int = 0


def bring(
    span: Span,
    nodes: LayeredNodes,
    blob: Callable[[Descriptor], Iterator[bytes]],
    progress: Progress,
) -> Brought:
    """Bring into a store what the revisions of a span need, and then their roots.

    A root that survives a power cut finds all that it needs: roots are put after a sync.

    Args:
        span: what is to be in the store.
        nodes: reads documents, and keeps in the store those that it lacks (``keep``).
        blob: reads a blob elsewhere; its last piece comes only when all are known to be right.
        progress: a step is a blob.

    Raises:
        TrustError, IncompleteError, NetworkError: something cannot be had; no root was put.
    """
    store = nodes.store
    catalog = CatalogReader(nodes)
    brought: list[Descriptor] = []
    before = span.before
    for tree in (*(root.tree for _, root in span.roots), *([span.tree] if span.tree else [])):
        for wanted in _needed(catalog, nodes, before, tree):
            if not store.has_blob(wanted):
                store.add_blob(wanted, blob(wanted))
                brought.append(wanted)
                progress.advance(1, wanted.size)
        before = tree
    store.root.mkdir(parents=True, exist_ok=True)
    sync_filesystem(store.root)
    for at, _ in span.roots:
        nodes.data(at.digest, at.size, CatalogRoot)  # reading keeps them, as they are there
    return Brought(len(brought), sum(item.size for item in brought))


def _needed(
    catalog: CatalogReader, nodes: LayeredNodes, old: Node, new: Node
) -> Iterator[Descriptor]:
    """The blobs of each package that ``new`` has other than ``old``; reading keeps the nodes."""
    for difference in catalog.diff(old, new):
        if difference.new is not None:
            document = catalog.document(difference.new)
            for fact in document.facts:
                nodes.get(fact.digest, fact.size, Facts)
            yield from sorted(document.blobs())
    for _ in catalog.added(old, new):
        pass
