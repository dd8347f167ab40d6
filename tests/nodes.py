"""Catalog documents in memory, and names whose digests make sparse, deep and one-sided trees."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec
from hypothesis import strategies as st

from cnrmirror.catalog.tree import Catalog
from cnrmirror.model.canonical import decode, encode
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Branch, Leaf, Node, PackageRef
from cnrmirror.model.errors import DamageError
from cnrmirror.objects.store import Store

# Found by trial: digests of the first group begin with e960c4, of the second with e30242, of the
# third with cd. Four of six equal digits are one chain of branches with a single child each.
DEEP = [f"deep/p{n}" for n in (199811, 288911, 307074, 564703)]
TWIN = [f"deep/p{n}" for n in (352552, 444880, 537873, 595076)]
NEAR = [f"near/p{n}" for n in (135, 138, 170, 217, 227, 293)]
FAR = [f"far/p{n}" for n in range(12)]
NAMES = [*DEEP, *TWIN, *NEAR, *FAR]

Model = dict[str, PackageRef]


class Memory:
    """Documents by digest, in the bytes that a store would have; ``reads`` lists what was read."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.reads: list[str] = []

    def put(self, document: msgspec.Struct) -> Descriptor:
        data = encode(document)
        at = Descriptor.of(data)
        self.kept[at.digest] = data
        return at

    def get(self, digest: str, size: int, kind: Any) -> Any:
        self.reads.append(digest)
        if digest not in self.kept:
            raise DamageError(f"{digest}: missing")
        return decode(Descriptor(digest, size).check(self.kept[digest], digest), kind, digest)

    def data(self, digest: str, size: int, kind: object) -> bytes:
        self.reads.append(digest)
        if digest not in self.kept:
            raise DamageError(f"{digest}: missing")
        return Descriptor(digest, size).check(self.kept[digest], digest)

    def ahead(self, nodes: Iterable[Any]) -> Iterable[Any]:
        return nodes

    def parse(self, data: bytes, digest: str, kind: Any) -> Any:
        return decode(data, kind, digest)

    def restore(self, kind: object, digest: str, data: bytes) -> None:
        self.kept[digest] = data


def in_memory() -> tuple[Catalog, Memory]:
    """A catalog, and where it keeps its documents."""
    memory = Memory()
    return Catalog(cast(Store, memory)), memory


def ref(name: str, version: int = 0) -> PackageRef:
    """A reference to a document that nobody has; each version has other releases."""
    digest = Descriptor.of(f"{name} {version}".encode()).digest
    return PackageRef(name, digest, 100 + version, 1 + version)


def below(memory: Memory, tree: Node) -> list[tuple[str, str, Node]]:
    """Every node below a tree as (prefix that it must have, digest, node), read past the code."""
    found: list[tuple[str, str, Node]] = []
    if isinstance(tree, Branch):
        for nibble, child in tree.children.items():
            node: Node = decode(memory.kept[child.digest], Node, child.digest)
            found += [(tree.prefix + nibble, child.digest, node), *below(memory, node)]
    return found


def refs_of(memory: Memory, tree: Node) -> list[PackageRef]:
    """Every package of a tree, read past the code."""
    nodes = [tree, *(node for _, _, node in below(memory, tree))]
    return [found for node in nodes if isinstance(node, Leaf) for found in node.packages]


REFS = st.builds(ref, st.sampled_from(NAMES), st.integers(0, 2))
MODELS = st.lists(REFS, max_size=16).map(lambda refs: {r.name: r for r in refs})
# One-sided: only names of one group.
GROUPS = st.sampled_from([DEEP, TWIN, NEAR, FAR])
CHANGES = st.dictionaries(
    st.sampled_from(NAMES), st.none() | st.integers(0, 2), min_size=1, max_size=8
).map(lambda steps: {n: None if v is None else ref(n, v) for n, v in steps.items()})
# Whole groups taken out at once: what is left may have to become a leaf again, far above.
EMPTYINGS = GROUPS.map(dict[str, PackageRef | None].fromkeys)
FILLINGS = GROUPS.map(lambda group: {name: ref(name) for name in group})
STORIES = st.lists(st.one_of(CHANGES, EMPTYINGS, FILLINGS), max_size=8)
