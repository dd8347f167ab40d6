"""catalog.py with leaves of two or three packages: sparse, deep, emptied and one-sided trees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cnrmirror.catalog import tree as module
from cnrmirror.catalog.tree import EMPTY, CatalogReader, Difference, counts
from cnrmirror.model.canonical import encode
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import (
    ArchiveFacts,
    Branch,
    CatalogRoot,
    ChildRef,
    Facts,
    Leaf,
    Node,
    PackageDocument,
    PackageRef,
    Tombstone,
    name_digest,
)
from cnrmirror.model.errors import DamageError, DigestMismatch, InvalidDocument
from tests.conftest import NOW
from tests.nodes import (
    DEEP,
    FAR,
    MODELS,
    NAMES,
    NEAR,
    STORIES,
    TWIN,
    Memory,
    Model,
    below,
    in_memory,
    ref,
    refs_of,
)

LAW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
FULL = {name: ref(name) for name in NAMES}
Story = list[dict[str, PackageRef | None]]


@pytest.fixture(autouse=True, scope="module", params=[2, 3])
def leaf_max(request: pytest.FixtureRequest) -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LEAF_MAX", request.param)
        yield request.param


def check_shape(memory: Memory, tree: Node, leaf_max: int) -> None:
    """Raises AssertionError unless every node is what its place and its content make of it."""
    assert tree.prefix == ""
    for prefix, _, node in [("", "", tree), *below(memory, tree)]:
        refs = refs_of(memory, node)
        assert node.prefix == prefix
        assert all(name_digest(found.name).startswith(prefix) for found in refs)
        assert counts(node) == (len(refs), sum(found.releases for found in refs))
        if isinstance(node, Leaf):
            assert node.packages == sorted(node.packages)
            assert len(refs) <= leaf_max and (refs or node == EMPTY)
            continue
        assert len(refs) > leaf_max
        for child in node.children.values():
            inner = {digest: found for _, digest, found in below(memory, node)}[child.digest]
            assert child.size == len(memory.kept[child.digest])
            assert (child.packages, child.releases) == counts(inner)


def sizes(nodes: Counter[str] | list[str] | set[str], memory: Memory) -> set[Descriptor]:
    return {Descriptor(digest, len(memory.kept[digest])) for digest in nodes}


def digests(memory: Memory, tree: Node) -> set[str]:
    return {digest for _, digest, _ in below(memory, tree)}


@LAW
@given(STORIES)
@example([FULL, dict.fromkeys(NAMES)])
@example([FULL, dict.fromkeys([*NEAR, *FAR]), dict.fromkeys(DEEP[1:])])
def test_a_tree_is_what_a_dict_would_be_whatever_was_done_to_it(
    leaf_max: int, story: Story
) -> None:
    catalog, memory = in_memory()
    tree: Node = EMPTY
    model: Model = {}
    for changes in story:
        tree = catalog.change(tree, changes)
        model = {n: r for n, r in (model | changes).items() if r is not None}
        assert {found.name: found for found in catalog.packages(tree)} == model
        assert len(list(catalog.packages(tree))) == len(model)
        assert {name: catalog.find(tree, name) for name in NAMES} == {
            name: model.get(name) for name in NAMES
        }
        check_shape(memory, tree, leaf_max)
        assert tree == in_memory()[0].change(EMPTY, model)


@LAW
@given(MODELS, st.randoms(use_true_random=False))
def test_any_order_of_changes_gives_the_same_tree(model: Model, random: Any) -> None:
    catalog, _ = in_memory()
    names = list(model)
    random.shuffle(names)
    tree: Node = EMPTY
    for name in names:
        tree = catalog.change(tree, {name: model[name]})
    assert tree == catalog.change(EMPTY, model)


def parts_of(memory: Memory, tree: Node, most: int) -> list[tuple[str, str, Node]]:
    """What ``subtrees`` must name, as ``below`` has it: read past the code."""
    if isinstance(tree, Leaf) or counts(tree)[0] <= most:
        return [(tree.prefix, Descriptor.of(encode(tree)).digest, tree)]
    found: list[tuple[str, str, Node]] = []
    inner = {prefix: (digest, node) for prefix, digest, node in below(memory, tree)}
    for nibble in sorted(tree.children):
        digest, node = inner[tree.prefix + nibble]
        if isinstance(node, Leaf) or counts(node)[0] <= most:
            found.append((tree.prefix + nibble, digest, node))
        else:
            found += parts_of(memory, node, most)
    return found


@LAW
@given(MODELS, st.integers(1, 18))
@example(FULL, 1)
@example(FULL, 4)
@example({}, 3)
def test_the_subtrees_of_a_tree_are_the_largest_that_have_so_many(model: Model, most: int) -> None:
    catalog, memory = in_memory()
    tree = catalog.change(EMPTY, model)
    memory.reads.clear()
    parts = list(catalog.subtrees(tree, most))
    expected = parts_of(memory, tree, most)
    assert [(part.prefix, part.digest) for part in parts] == [each[:2] for each in expected]
    # Only what is above them was read.
    assert set(memory.reads).isdisjoint(digest for _, digest, node in expected)
    assert [catalog.subtree(part) for part in parts] == [node for _, _, node in expected]
    inside = [found for part in parts for found in catalog.packages(catalog.subtree(part))]
    assert inside == list(catalog.packages(tree))


def test_documents_come_in_the_order_of_their_references() -> None:
    catalog, _ = in_memory()
    documents = [PackageDocument(name, [], tombstones=[STONE]) for name in NAMES[:3]]
    refs = [catalog.put(document) for document in documents]
    asked = [found for found in reversed(refs) if found is not None]
    assert list(catalog.documents(asked)) == documents[::-1]


@LAW
@given(MODELS, STORIES)
@example(FULL, [dict.fromkeys(NAMES)])
@example({name: ref(name) for name in [*DEEP, *TWIN]}, [dict.fromkeys(TWIN)])
@example({name: ref(name) for name in [*DEEP, *TWIN]}, [dict.fromkeys([*DEEP, *TWIN[1:]])])
@example({name: ref(name) for name in DEEP[:2]}, [{name: ref(name) for name in DEEP[2:]}])
def test_differences_and_additions_are_exact_and_read_only_what_differs(
    old: Model, story: Story
) -> None:
    catalog, memory = in_memory()
    one = two = catalog.change(EMPTY, old)
    new = old
    for changes in story:
        two = catalog.change(two, changes)
        new = {n: r for n, r in (new | changes).items() if r is not None}
    for (first, before), (second, after) in [
        ((one, old), (two, new)),
        ((two, new), (one, old)),
        ((EMPTY, {}), (two, new)),
        ((two, new), (EMPTY, {})),
        ((two, new), (two, new)),
    ]:
        memory.reads.clear()
        found = sorted(catalog.diff(first, second), key=lambda difference: difference.name)
        names = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
        assert found == [Difference(n, before.get(n), after.get(n)) for n in names]
        assert Counter(memory.reads) == Counter(digests(memory, first) ^ digests(memory, second))
        memory.reads.clear()
        added = list(catalog.added(first, second))
        kept = {(r.digest, r.size) for r in after.values()}
        gone = {(r.digest, r.size) for r in before.values()}
        assert len(added) == len(set(added))
        assert set(added) == {Descriptor(*pair) for pair in kept - gone} | sizes(
            digests(memory, second) - digests(memory, first), memory
        )
        assert set(memory.reads) <= digests(memory, first) ^ digests(memory, second)
        assert max(Counter(memory.reads).values(), default=0) <= 1


def test_what_is_read_and_written_is_one_path_a_package() -> None:
    catalog, memory = in_memory()
    tree = catalog.change(EMPTY, FULL)
    for name in NAMES:
        path = {d for prefix, d, _ in below(memory, tree) if name_digest(name).startswith(prefix)}
        memory.reads.clear()
        assert catalog.find(tree, name) == FULL[name]
        assert Counter(memory.reads) == Counter(path)
        memory.reads.clear()
        written = set(memory.kept)
        changed = catalog.change(tree, {name: ref(name, 1)})
        assert Counter(memory.reads) == Counter(path)
        assert len(set(memory.kept) - written) == len(path)
        assert digests(memory, changed) <= set(memory.kept)


def test_the_top_node_is_not_stored() -> None:
    catalog, memory = in_memory()
    tree = catalog.change(EMPTY, FULL)
    assert set(memory.kept) == digests(memory, tree)
    assert catalog.change(EMPTY, {}) == EMPTY and catalog.change(tree, {}) == tree


def test_inner_nodes_are_listed_with_their_sizes_and_counts() -> None:
    catalog, memory = in_memory()
    tree = catalog.change(EMPTY, FULL)
    found = list(catalog.nodes(tree))
    assert sorted(found, key=lambda child: child.digest) == sorted(
        (ChildRef(d, len(memory.kept[d]), *counts(node)) for _, d, node in below(memory, tree)),
        key=lambda child: child.digest,
    )
    assert list(catalog.nodes(EMPTY)) == []


def test_packages_and_nodes_come_in_the_order_of_their_digests() -> None:
    catalog, memory = in_memory()
    tree = catalog.change(EMPTY, FULL)
    prefixes = {digest: prefix for prefix, digest, _ in below(memory, tree)}
    order = [prefixes[child.digest] for child in catalog.nodes(tree)]
    assert order == sorted(order)
    names = [(name_digest(found.name)[0], found.name) for found in catalog.packages(tree)]
    assert [digit for digit, _ in names] == sorted(digit for digit, _ in names)


def swapped(tree: Node) -> tuple[Branch, str, str]:
    """The tree with the first child in the second one's place, and the nibbles of both."""
    assert isinstance(tree, Branch)
    one, two, *_ = sorted(tree.children)
    return Branch(tree.prefix, {**tree.children, two: tree.children[one]}), one, two


def every_way_to_read(catalog: CatalogReader, tree: Node, digit: str) -> Iterator[Any]:
    name = next(n for n in NAMES if name_digest(n).startswith(digit))
    yield lambda: catalog.find(tree, name)
    yield lambda: list(catalog.packages(tree))
    yield lambda: list(catalog.nodes(tree))
    yield lambda: list(catalog.diff(EMPTY, tree))
    yield lambda: list(catalog.diff(Branch("", {}), tree))
    yield lambda: list(catalog.diff(tree, Branch("", {})))
    yield lambda: list(catalog.added(EMPTY, tree))


def test_a_node_in_anothers_place_is_refused() -> None:
    catalog, _ = in_memory()
    tree, one, two = swapped(catalog.change(EMPTY, FULL))
    digest = tree.children[two].digest
    for read in [
        *every_way_to_read(catalog, tree, two),
        lambda: catalog.change(tree, {next(n for n in NAMES if name_digest(n)[0] == two): None}),
        lambda: list(catalog.added(tree, Branch("", {**tree.children, two: tree.children["e"]}))),
    ]:
        with pytest.raises(InvalidDocument) as caught:
            read()
        assert str(caught.value) == f"catalog node {digest} is for {one!r}, not for {two!r}"


@pytest.mark.parametrize("place", [0, 1])
def test_a_leaf_that_holds_a_package_of_another_place_is_refused(place: int) -> None:
    catalog, memory = in_memory()
    digit = name_digest(FAR[0])[0]
    other = next(n for n in NAMES if name_digest(n)[0] != digit)
    held = [ref(FAR[0])]
    held.insert(place, ref(other))
    wrong = memory.put(Leaf(digit, held))
    tree = Branch("", {digit: ChildRef(wrong.digest, wrong.size, 2, 2)})
    for read in every_way_to_read(catalog, tree, digit):
        with pytest.raises(InvalidDocument) as caught:
            read()
        assert str(caught.value) == f"catalog node {wrong.digest} must not hold {other!r}"


def test_a_damaged_or_missing_node_is_refused() -> None:
    catalog, memory = in_memory()
    tree = catalog.change(EMPTY, FULL)
    assert isinstance(tree, Branch)
    digit, child = next(iter(tree.children.items()))
    whole = memory.kept[child.digest]
    memory.kept[child.digest] = whole.replace(b"/p", b"/q")
    for read in every_way_to_read(catalog, tree, digit):
        with pytest.raises(DigestMismatch):
            read()
    memory.kept[child.digest] = whole + b" "
    with pytest.raises(DigestMismatch, match="bytes"):
        list(catalog.packages(tree))
    del memory.kept[child.digest]
    with pytest.raises(DamageError, match="missing"):
        list(catalog.packages(tree))


STONE = Tombstone("1.0.0", "helm", Descriptor.of(b"tar").digest, NOW, "gone")


def test_a_package_document_is_put_found_and_read_again() -> None:
    catalog, memory = in_memory()
    document = PackageDocument(FAR[0], [], [], [STONE])
    found = catalog.put(document)
    assert found is not None
    assert found == PackageRef(FAR[0], found.digest, len(memory.kept[found.digest]), 0)
    tree = catalog.change(EMPTY, {FAR[0]: found, **{n: ref(n) for n in NAMES[:9]}})
    assert catalog.get(tree, FAR[0]) == document == catalog.document(found)
    assert catalog.get(tree, FAR[1]) is None and catalog.get(EMPTY, FAR[0]) is None


def test_a_package_of_which_nothing_is_left_has_no_document() -> None:
    catalog, memory = in_memory()
    assert catalog.put(PackageDocument(FAR[0], [])) is None
    assert memory.kept == {}


def test_the_document_of_another_package_is_refused() -> None:
    catalog, memory = in_memory()
    at = memory.put(PackageDocument(FAR[1], [], [], [STONE]))
    wrong = PackageRef(FAR[0], at.digest, at.size, 0)
    with pytest.raises(InvalidDocument) as caught:
        catalog.document(wrong)
    assert str(caught.value) == f"the document of {FAR[0]!r} is of {FAR[1]!r}"
    with pytest.raises(InvalidDocument, match="is of"):
        catalog.get(catalog.change(EMPTY, {FAR[0]: wrong}), FAR[0])


def test_the_facts_of_a_package_are_those_of_its_document_and_of_its_nodes() -> None:
    catalog, memory = in_memory()
    facts = [ArchiveFacts(1, {"name": str(number)}) for number in range(3)]
    nodes = [memory.put(Facts(FAR[0], {str(number) * 64: facts[number]})) for number in (0, 1)]
    document = PackageDocument(FAR[0], [], facts=nodes, inline_facts={"2" * 64: facts[2]})
    assert catalog.facts(document) == {str(n) * 64: fact for n, fact in enumerate(facts)}
    stranger = memory.put(Facts(FAR[1], {}))
    with pytest.raises(InvalidDocument) as caught:
        catalog.facts(PackageDocument(FAR[0], [], facts=[stranger]))
    assert str(caught.value) == f"facts {stranger.digest} are of {FAR[1]!r}"


def chain(memory: Memory, length: int) -> list[tuple[Descriptor, CatalogRoot]]:
    """So many revisions, each after the one before it; newest first."""
    found: list[tuple[Descriptor, CatalogRoot]] = []
    for number in range(length):
        parent = found[0][0] if found else None
        root = CatalogRoot("id", number, NOW, "push", 0, 0, EMPTY, parent)
        found.insert(0, (memory.put(root), root))
    return found


def test_history_goes_back_to_the_first_revision() -> None:
    catalog, memory = in_memory()
    revisions = chain(memory, 4)
    assert list(catalog.history(revisions[0][0])) == revisions
    assert catalog.root(revisions[1][0]) == revisions[1][1]


def test_history_ends_where_the_revision_before_is_not_kept_any_more() -> None:
    catalog, memory = in_memory()
    revisions = chain(memory, 4)
    del memory.kept[revisions[2][0].digest]
    assert list(catalog.history(revisions[0][0])) == revisions[:2]
    with pytest.raises(DamageError):
        list(catalog.history(revisions[2][0]))


def test_something_else_than_a_catalog_root_is_no_revision() -> None:
    catalog, memory = in_memory()
    leaf = memory.put(EMPTY)
    with pytest.raises(InvalidDocument):
        catalog.root(leaf)
    (_, root), *_ = chain(memory, 1)
    on_a_leaf = CatalogRoot("id", 1, NOW, "push", 0, 0, root.tree, leaf)
    with pytest.raises(InvalidDocument):
        list(catalog.history(memory.put(on_a_leaf)))
