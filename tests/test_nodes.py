"""catalog/nodes.py: documents from a store; what it lacks comes from elsewhere, as it is there."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cnrmirror.catalog.nodes import LayeredNodes
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import PackageDocument
from cnrmirror.model.errors import DamageError, InvalidDocument
from tests.nodes import Memory

DOCUMENT = PackageDocument("ns/a", [])


def layered(here: Any, there: Any, keep: bool = True) -> LayeredNodes:
    return LayeredNodes(here, there, keep)


@pytest.mark.parametrize("where", ["here", "there"])
def test_nodes_come_from_the_store_or_from_elsewhere_and_stay(where: str) -> None:
    here, there = Memory(), Memory()
    at = {"here": here, "there": there}[where].put(DOCUMENT)
    assert layered(here, there).get(at.digest, at.size, PackageDocument) == DOCUMENT
    assert there.reads == ([at.digest] if where == "there" else [])
    assert here.get(at.digest, at.size, PackageDocument) == DOCUMENT


def test_nothing_stays_that_is_not_to_be_kept() -> None:
    here, there = Memory(), Memory()
    at = there.put(DOCUMENT)
    assert layered(here, there, keep=False).get(at.digest, at.size, PackageDocument) == DOCUMENT
    assert here.kept == {}


def test_a_damaged_node_is_replaced() -> None:
    here, there = Memory(), Memory()
    at = there.put(DOCUMENT)
    here.kept[at.digest] = b"x" * at.size
    with pytest.raises(DamageError):
        here.get(at.digest, at.size, PackageDocument)
    assert layered(here, there).get(at.digest, at.size, PackageDocument) == DOCUMENT
    assert here.kept == there.kept


def test_fields_that_are_not_known_stay_in_what_is_kept() -> None:
    here, there = Memory(), Memory()
    text = msgspec.json.decode(msgspec.json.encode(DOCUMENT))
    data = msgspec.json.encode({**text, "summary": "by a newer program"}, order="sorted")
    at = Descriptor.of(data)
    there.kept[at.digest] = data
    assert layered(here, there).get(at.digest, at.size, PackageDocument) == DOCUMENT
    assert here.kept[at.digest] == data


def test_a_node_that_nobody_has_is_damage() -> None:
    at = Descriptor.of(b"")
    with pytest.raises(DamageError, match=at.digest):
        layered(Memory(), Memory()).get(at.digest, at.size, PackageDocument)


def test_what_is_not_of_the_kind_that_was_asked_for_is_not_kept() -> None:
    here, there = Memory(), Memory()
    at = there.put(Descriptor("0" * 64, 1))
    with pytest.raises(InvalidDocument):
        layered(here, there).get(at.digest, at.size, PackageDocument)
    assert here.kept == {}
