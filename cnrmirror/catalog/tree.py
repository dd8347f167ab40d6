"""The catalog: a Merkle tree of package documents, read, changed and compared.

All operations cost what they touch: reading one package walks one path, changing K packages
rewrites K paths, and the difference of two revisions descends only where the digests differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from cnrmirror.model.canonical import encode
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import (
    LEAF_MAX,
    ArchiveFacts,
    Branch,
    CatalogRoot,
    ChildRef,
    Facts,
    Leaf,
    Node,
    PackageDocument,
    PackageRef,
    name_digest,
)
from cnrmirror.model.errors import DamageError, IncompleteError, InvalidDocument
from cnrmirror.objects.store import Store

EMPTY = Leaf("", [])
D = TypeVar("D", bound=msgspec.Struct)
Changes = Mapping[str, PackageRef | None]


class Difference(msgspec.Struct, frozen=True):
    """One package that is not the same in two revisions; None where it is absent."""

    name: str
    old: PackageRef | None
    new: PackageRef | None


class Subtree(msgspec.Struct, frozen=True):
    """A part of a tree: ``tree``, if it is at hand, or what ``child`` names."""

    prefix: str
    digest: str
    tree: Node | None = None
    child: ChildRef | None = None


class Nodes(Protocol):
    """Where documents are read from: a store, or a mirror elsewhere."""

    def get(self, digest: str, size: int, kind: type[D] | Any) -> D:
        """The document of this digest, size and kind, checked to be that."""


N = TypeVar("N", ChildRef, PackageRef)


class CatalogReader:
    """Reads catalog trees, and compares them. A tree is named by its root node."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def root(self, at: Descriptor) -> CatalogRoot:
        """The catalog root of this digest. Raises DamageError or InvalidDocument."""
        return self._nodes.get(at.digest, at.size, CatalogRoot)

    def history(self, at: Descriptor) -> Iterator[tuple[Descriptor, CatalogRoot]]:
        """The revisions from ``at`` backwards, as far as they are kept."""
        here: Descriptor | None = at
        while here is not None:
            root = self.root(here)
            yield here, root
            here = root.parent
            if here is not None and not self._has(here):
                return

    def _has(self, at: Descriptor) -> bool:
        try:
            self.root(at)
        except (DamageError, IncompleteError):
            return False
        return True

    def find(self, tree: Node, package: str) -> PackageRef | None:
        """Where the package's document is; None if there is no such package."""
        digits = name_digest(package)
        while isinstance(tree, Branch):
            child = tree.children.get(digits[len(tree.prefix)])
            if child is None:
                return None
            tree = self._child(tree, digits[len(tree.prefix)], child)
        return next((ref for ref in tree.packages if ref.name == package), None)

    def document(self, ref: PackageRef) -> PackageDocument:
        """The document behind a reference, checked to be of that very package."""
        document: PackageDocument = self._nodes.get(ref.digest, ref.size, PackageDocument)
        if document.package != ref.name:
            raise InvalidDocument(f"the document of {ref.name!r} is of {document.package!r}")
        return document

    def documents(self, refs: Iterable[PackageRef]) -> Iterator[PackageDocument]:
        """The documents behind many references, in their order."""
        return map(self.document, self._ahead(refs))

    def get(self, tree: Node, package: str) -> PackageDocument | None:
        """The document of a package; None if there is no such package."""
        ref = self.find(tree, package)
        return None if ref is None else self.document(ref)

    def facts(self, document: PackageDocument) -> dict[str, ArchiveFacts]:
        """The facts of a package, by the digest of the archive."""
        found: dict[str, ArchiveFacts] = dict(document.inline_facts)
        for node in document.facts:
            facts: Facts = self._nodes.get(node.digest, node.size, Facts)
            if facts.package != document.package:
                raise InvalidDocument(f"facts {node.digest} are of {facts.package!r}")
            found |= facts.archives
        return found

    def packages(self, tree: Node) -> Iterator[PackageRef]:
        """Every package, in the order of the tree."""
        if isinstance(tree, Leaf):
            yield from tree.packages
            return
        for nibble, child in self._children(tree):
            yield from self.packages(self._child(tree, nibble, child))

    def subtrees(self, tree: Node, most: int) -> Iterator[Subtree]:
        """A tree in its order, in the largest parts that have at most so many packages (or one
        leaf); the nodes above them are read, those in them are not.
        """
        if isinstance(tree, Leaf) or counts(tree)[0] <= most:
            yield Subtree(tree.prefix, Descriptor.of(encode(tree)).digest, tree)
            return
        for nibble, child in sorted(tree.children.items()):
            if child.packages <= max(most, LEAF_MAX):
                yield Subtree(tree.prefix + nibble, child.digest, None, child)
            else:
                yield from self.subtrees(self._child(tree, nibble, child), most)

    def subtree(self, part: Subtree) -> Node:
        """What ``subtrees`` named."""
        if part.tree is not None:
            return part.tree
        assert part.child is not None
        return self._child(Branch(part.prefix[:-1], {}), part.prefix[-1], part.child)

    def nodes(self, tree: Node) -> Iterator[ChildRef]:
        """Every inner node below a tree: what must be kept besides the package documents."""
        if isinstance(tree, Branch):
            for nibble, child in self._children(tree):
                yield child
                yield from self.nodes(self._child(tree, nibble, child))

    def _children(self, parent: Branch) -> Iterator[tuple[str, ChildRef]]:
        """The children, each of which is about to be read."""
        children = sorted(parent.children.items())
        yield from zip(
            (nibble for nibble, _ in children), self._ahead([c for _, c in children]), strict=True
        )

    def _ahead(self, nodes: Iterable[N]) -> Iterable[N]:
        """The same, which may be fetched several at a time before they are read one by one."""
        return nodes

    def _child(self, parent: Branch, nibble: str, child: ChildRef) -> Node:
        node: Node = self._nodes.get(child.digest, child.size, Node)
        prefix = parent.prefix + nibble
        if node.prefix != prefix:
            raise InvalidDocument(
                f"catalog node {child.digest} is for {node.prefix!r}, not for {prefix!r}"
            )
        if isinstance(node, Leaf):
            for ref in node.packages:
                if not name_digest(ref.name).startswith(prefix):
                    raise InvalidDocument(f"catalog node {child.digest} must not hold {ref.name!r}")
        return node

    def diff(self, old: Node, new: Node) -> Iterator[Difference]:
        """The packages that differ, reading only the subtrees that do."""
        if isinstance(old, Branch) and isinstance(new, Branch):
            for nibble in sorted(old.children.keys() | new.children.keys()):
                before, after = old.children.get(nibble), new.children.get(nibble)
                if before != after:
                    empty = Leaf(old.prefix + nibble, [])
                    yield from self.diff(
                        self._child(old, nibble, before) if before else empty,
                        self._child(new, nibble, after) if after else empty,
                    )
            return
        # At least one is a leaf, so at least one side is small.
        olds = {ref.name: ref for ref in self.packages(old)}
        news = {ref.name: ref for ref in self.packages(new)}
        for name in sorted(olds.keys() | news.keys()):
            if olds.get(name) != news.get(name):
                yield Difference(name, olds.get(name), news.get(name))

    def added(self, old: Node, new: Node) -> Iterator[Descriptor]:
        """The nodes and package documents below ``new`` that are not below ``old``."""
        if isinstance(new, Leaf):
            known = {ref.digest for ref in self.packages(old)}
            for ref in new.packages:
                if ref.digest not in known:
                    yield Descriptor(ref.digest, ref.size)
            return
        for nibble, child in sorted(new.children.items()):
            before = old.children.get(nibble) if isinstance(old, Branch) else None
            if before != child:
                yield Descriptor(child.digest, child.size)
                below: Node = old if isinstance(old, Leaf) else EMPTY
                if isinstance(old, Branch) and before:
                    below = self._child(old, nibble, before)
                yield from self.added(below, self._child(new, nibble, child))


class Catalog(CatalogReader):
    """Reads and writes catalog trees in a store."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.store = store

    def _ahead(self, nodes: Iterable[N]) -> Iterable[N]:
        return self.store.ahead(nodes)

    def put(self, document: PackageDocument) -> PackageRef | None:
        """Store a package document; None if nothing is left in it, not even a tombstone."""
        if not document.releases and not document.tombstones:
            return None
        node = self.store.put(document)
        return PackageRef(document.package, node.digest, node.size, len(document.releases))

    def change(self, tree: Node, changes: Changes) -> Node:
        """The tree with these packages put in, replaced, or (None) taken out.

        New nodes are stored, except the top one, which lives in the catalog root.
        """
        keyed = sorted((name_digest(name), name, ref) for name, ref in changes.items())
        return self._changed(tree, keyed) or EMPTY

    def _changed(
        self, node: Node, changes: list[tuple[str, str, PackageRef | None]]
    ) -> Node | None:
        if isinstance(node, Leaf):
            refs = {ref.name: ref for ref in node.packages}
            for _, name, ref in changes:
                if ref is None:
                    refs.pop(name, None)
                else:
                    refs[name] = ref
            return self._build(node.prefix, list(refs.values()))
        depth = len(node.prefix)
        groups: dict[str, list[tuple[str, str, PackageRef | None]]] = {}
        for change in changes:
            groups.setdefault(change[0][depth], []).append(change)
        children = dict(node.children)
        for nibble, group in groups.items():
            child = children.get(nibble)
            old = self._child(node, nibble, child) if child else Leaf(node.prefix + nibble, [])
            new = self._changed(old, group)
            if new is None:
                children.pop(nibble, None)
            else:
                children[nibble] = self._child_ref(new)
        if sum(child.packages for child in children.values()) > LEAF_MAX:
            return Branch(node.prefix, children)
        # Few enough for one leaf: the shape must not remember that there were more.
        kept = Branch(node.prefix, children)
        return self._build(node.prefix, list(self.packages(kept)))

    def _build(self, prefix: str, refs: list[PackageRef]) -> Node | None:
        if not refs:
            return None
        if len(refs) <= LEAF_MAX:
            return Leaf(prefix, sorted(refs))
        groups: dict[str, list[PackageRef]] = {}
        for ref in refs:
            groups.setdefault(name_digest(ref.name)[len(prefix)], []).append(ref)
        built = {nibble: self._build(prefix + nibble, group) for nibble, group in groups.items()}
        return Branch(prefix, {n: self._child_ref(node) for n, node in built.items() if node})

    def _child_ref(self, node: Node) -> ChildRef:
        stored = self.store.put(node)
        return ChildRef(stored.digest, stored.size, *counts(node))


def counts(tree: Node) -> tuple[int, int]:
    """How many packages and releases a tree holds."""
    if isinstance(tree, Leaf):
        return len(tree.packages), sum(ref.releases for ref in tree.packages)
    below = tree.children.values()
    return sum(c.packages for c in below), sum(c.releases for c in below)
