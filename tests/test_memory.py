"""Trust memory: what is older is refused, whatever is left of what is remembered."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnrmirror.model.errors import NewerFormat, NotTrusted, Rollback
from cnrmirror.model.format import KNOWN
from cnrmirror.trust.memory import HighWater, TrustMemory, check_high_water, newest

IDENTITY = "a" * 64
MARK = HighWater(2, 3, 40, 5, "2026-01-02T03:04:05", "d" * 64, ["t"], ["c"], {"1": IDENTITY})
UNKNOWN = msgspec.structs.replace(MARK, targets=0, timestamp_keys=None, catalog_keys=None)


def other(**changes: object) -> HighWater:
    return msgspec.structs.replace(MARK, **changes)


@pytest.mark.parametrize("old", [MARK, UNKNOWN], ids=["known keys", "unknown keys"])
@pytest.mark.parametrize(
    "new",
    [other(root=1), other(timestamp=39), other(revision=4, timestamp=41),
     other(digest="e" * 64, timestamp=41), other(root=3, revision=4),
     other(root=1, timestamp=99, revision=99)],
    ids=["root", "timestamp", "revision", "another catalog", "under a newer root", "older root"],
)  # fmt: skip
def test_what_is_older_is_refused(old: HighWater, new: HighWater) -> None:
    with pytest.raises(Rollback):
        check_high_water("it", old, new)


@pytest.mark.parametrize(
    "new",
    [MARK, other(timestamp=41, revision=6, digest="e" * 64),
     other(root=3, timestamp=1, timestamp_keys=["u"]),
     other(root=3, timestamp=1, timestamp_keys=["u"], revision=1, catalog_keys=["x"])],
    ids=["the same", "newer", "other refresh key", "both keys stolen"],
)  # fmt: skip
def test_what_is_not_older_is_accepted_and_what_a_new_root_voids(new: HighWater) -> None:
    check_high_water("it", MARK, new)


def test_targets_do_not_go_back_under_one_root() -> None:
    with pytest.raises(Rollback, match="targets"):
        check_high_water("it", MARK, other(targets=2, timestamp=41))
    check_high_water("it", UNKNOWN, other(targets=2, timestamp=41))


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 9)), max_size=4))
def test_of_several_memories_the_latest_counts_with_the_roots_of_all(
    marks: list[tuple[int, int]],
) -> None:
    known = [
        other(root=root, timestamp=version, roots={str(number): IDENTITY})
        for number, (root, version) in enumerate(marks)
    ]
    last = newest([None, *known])
    if last is None:
        assert not marks
    else:
        assert (last.root, last.timestamp) == max(marks)
        assert len(last.roots) == len(marks)


def test_a_memory_says_in_which_format_it_is_and_an_older_one_is_read(tmp_path: Path) -> None:
    memory = TrustMemory(tmp_path, IDENTITY)
    assert memory.recall() is None
    memory.keep(MARK)
    written = json.loads(memory.path.read_bytes())
    assert written.pop("format") == msgspec.to_builtins(KNOWN)
    memory.path.write_text(json.dumps(written))
    assert TrustMemory(tmp_path, IDENTITY).recall() == MARK


def test_a_memory_of_a_newer_program_is_named_as_such_and_not_written_over(tmp_path: Path) -> None:
    memory = TrustMemory(tmp_path, IDENTITY)
    newer = {
        **msgspec.to_builtins(MARK),
        "format": {"read": 1, "write": KNOWN.write + 1},
        "more": 1,
    }
    memory.path.write_text(json.dumps(newer))
    before = memory.path.read_bytes()
    assert memory.recall() is not None
    with pytest.raises(NewerFormat):
        memory.keep(other(timestamp=41))
    memory.path.write_text(json.dumps({"format": {"read": 2, "write": 2}, "other": True}))
    with pytest.raises(NewerFormat, match="newer cnrmirror"):
        memory.recall()
    memory.path.write_bytes(before[:-1])
    with pytest.raises(NotTrusted, match="remembers the newest"):
        memory.recall()


def test_who_pins_a_later_root_of_the_chain_is_held_to_the_same_memory(tmp_path: Path) -> None:
    TrustMemory(tmp_path, IDENTITY).keep(other(roots={"1": IDENTITY, "2": "b" * 64}))
    assert TrustMemory(tmp_path, "b" * 64).recall() is not None
    assert TrustMemory(tmp_path, "c" * 64).recall() is None
