"""catalog.py: the tree's shape follows from its content; differences are exact."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnrmirror.catalog.tree import EMPTY, Catalog, counts
from cnrmirror.model.canonical import decode, encode
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import LEAF_MAX, Branch, CatalogRoot, Leaf, PackageRef
from cnrmirror.model.errors import DamageError, DigestMismatch, InvalidDocument, NewerFormat
from cnrmirror.model.format import Format
from cnrmirror.objects.store import Store


def ref(number: int, version: int = 0) -> PackageRef:
    digest = Descriptor.of(f"{number} {version}".encode()).digest
    return PackageRef(f"ns/p{number}", digest, 10, 1 + version)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder: Path = tmp_path_factory.mktemp("catalog")
    (folder / "tmp").mkdir()
    return Catalog(Store(folder, folder / "tmp"))


SETS = st.dictionaries(st.integers(0, 400), st.integers(0, 2), max_size=300)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(SETS, SETS)
def test_any_history_gives_the_tree_of_the_content(
    catalog: Catalog, first: dict[int, int], second: dict[int, int]
) -> None:
    one = catalog.change(EMPTY, {f"ns/p{n}": ref(n, v) for n, v in first.items()})
    steps = {f"ns/p{n}": None for n in first} | {f"ns/p{n}": ref(n, v) for n, v in second.items()}
    two = catalog.change(one, steps)
    assert two == catalog.change(EMPTY, {f"ns/p{n}": ref(n, v) for n, v in second.items()})
    assert {r.name: r for r in catalog.packages(two)} == {
        f"ns/p{n}": ref(n, v) for n, v in second.items()
    }
    assert counts(two) == (len(second), sum(1 + v for v in second.values()))
    expected = {n for n in first.keys() | second.keys() if first.get(n) != second.get(n)}
    assert {d.name for d in catalog.diff(one, two)} == {f"ns/p{n}" for n in expected}
    for n in expected:
        found = catalog.find(two, f"ns/p{n}")
        assert found == (ref(n, second[n]) if n in second else None)


def test_a_leaf_splits_and_comes_back(catalog: Catalog) -> None:
    full = {f"ns/p{n}": ref(n) for n in range(LEAF_MAX)}
    leaf = catalog.change(EMPTY, full)
    assert isinstance(leaf, Leaf)
    branch = catalog.change(leaf, {"ns/p999": ref(999)})
    assert isinstance(branch, Branch)
    assert catalog.change(branch, {"ns/p999": None}) == leaf


ROOT = CatalogRoot("id", 1, "2026-01-02T03:04:05", "push", 0, 0, EMPTY)


def test_a_document_must_be_canonical_and_of_its_kind() -> None:
    data = encode(ROOT)
    assert decode(data, CatalogRoot, "x").revision == 1
    for wrong in (data + b" ", data.replace(b'"catalog"', b'"leaf"'), b"{}", b"", b"[" * 99999,
                  data.replace(b'"revision":1', b'"revision":1,"revision":1'),
                  data.replace(b'"revision":1', b'"revision":1.0'),
                  data[:-1] + b',"a":1}'):  # fmt: skip
        with pytest.raises(InvalidDocument):
            decode(wrong, CatalogRoot, "x")


def test_a_field_that_a_newer_program_wrote_is_passed_over() -> None:
    data = encode(ROOT)[:-1] + b',"x":{"a":[1,2.50,"\\u0007"]}}'
    assert decode(data, CatalogRoot, "x") == ROOT


@pytest.mark.parametrize("newer", [{"read": 2, "write": 2}, {"read": 9, "write": 1}])
def test_a_newer_format_is_named_whatever_else_is_in_it(newer: dict[str, int]) -> None:
    data = msgspec.json.encode({"format": newer, "kind": "something", "tree": 7}, order="sorted")
    with pytest.raises(NewerFormat, match="newer cnrmirror"):
        decode(data, CatalogRoot, "x")


def test_a_root_without_a_format_is_of_the_first() -> None:
    old = encode(ROOT).replace(b'"format":{"read":1,"write":1},', b"")
    assert decode(old, CatalogRoot, "x").format == Format(1, 1)


def test_a_node_is_checked_before_it_is_believed(catalog: Catalog) -> None:
    store = catalog.store
    node = store.put(Leaf("", [ref(1)]))
    path = Path(store.node_path(node.digest))
    path.write_bytes(path.read_bytes().replace(b"ns/p1", b"ns/p2"))
    with pytest.raises(DigestMismatch):
        store.get(node.digest, node.size, Leaf)
    path.unlink()
    with pytest.raises(DamageError, match="missing"):
        store.get(node.digest, node.size, Leaf)
