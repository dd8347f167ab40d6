"""What lies between two revisions, in an order that is safe to bring it in."""

from __future__ import annotations

from collections.abc import Iterator

from cnrmirror.catalog.metadata import MetadataFolder
from cnrmirror.catalog.tree import EMPTY, Catalog, CatalogReader
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, Node, blob_path, node_path
from cnrmirror.model.errors import DamageError
from cnrmirror.model.resource import Resource
from cnrmirror.model.signed import METADATA, SignedHead

BLOB_TYPE = "application/gzip"


def revisions(catalog: CatalogReader, edition: SignedHead) -> list[tuple[Descriptor, CatalogRoot]]:
    """The revisions that the edition says are kept, newest first."""
    found = []
    for at, root in catalog.history(edition.at):
        found.append((at, root))
        if root.revision <= edition.kept.revision:
            break
    return found


def immutable_files(
    catalog: Catalog, edition: SignedHead, known: CatalogRoot | None
) -> Iterator[list[Resource]]:
    """Blobs, nodes and catalog roots that an edition has and a place with ``known`` lacks.

    In batches; a catalog root comes only after everything that it needs.
    """
    chosen = []
    for at, root in revisions(catalog, edition):
        if known is not None and root.revision <= known.revision:
            break
        chosen.append((at, root))
    sent: set[str] = set()
    before: Node = known.tree if known else EMPTY
    for at, root in reversed(chosen):
        batch: list[Resource] = []
        for resource in _below(catalog, before, root.tree, sent):
            batch.append(resource)
            if len(batch) >= 2000:
                yield batch
                batch = []
        yield batch
        path = node_path(at.digest, CatalogRoot)
        yield [Resource(path, _bytes(catalog.store.root_path(at.digest)), cache="immutable")]
        before = root.tree


def _below(catalog: Catalog, old: Node, new: Node, sent: set[str]) -> Iterator[Resource]:
    facts: set[Descriptor] = set()
    for difference in catalog.diff(old, new):
        had = catalog.document(difference.old) if difference.old else None
        has = catalog.document(difference.new) if difference.new else None
        here = has.blobs() if has else set()
        there = had.blobs() if had else set()
        for blob in sorted(here - there):
            if blob.digest not in sent:
                sent.add(blob.digest)
                yield Resource(blob_path(blob.digest), blob, BLOB_TYPE, "immutable")
        facts |= set(has.facts if has else ()) - set(had.facts if had else ())
    for node in (*sorted(facts), *catalog.added(old, new)):
        if node.digest not in sent:
            sent.add(node.digest)
            data = _bytes(catalog.store.node_path(node.digest))
            yield Resource(node_path(node.digest), data, cache="immutable")


def metadata_files(
    folder: MetadataFolder, edition: SignedHead, known: SignedHead | None
) -> list[Resource]:
    """The signed files that an edition has and a place at ``known`` lacks; roots first.

    The timestamp is not among them: it comes last, and by itself.
    """
    kept = edition.kept
    first = {
        "root": known.kept.root + 1 if known else 1,
        "targets": known.targets.version + 1 if known else 1,
        "catalog": max(kept.catalog, known.catalog.version + 1 if known else 0),
        "snapshot": max(kept.snapshot, known.snapshot.version + 1 if known else 0),
    }
    last = {
        "root": kept.root,
        "targets": edition.targets.version,
        "catalog": edition.catalog.version,
        "snapshot": edition.snapshot.version,
    }
    found = []
    for role in ("root", "targets", "catalog", "snapshot"):
        for version in range(first[role], last[role] + 1):
            name = f"{version}.{role}.json"
            if (folder.path / name).exists():
                found.append(Resource(f"{METADATA}/{name}", folder.read(name), cache="no-cache"))
    return found


def _bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        raise DamageError(f"{path}: this node is missing; restore it from a copy") from None
