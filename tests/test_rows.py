"""The entries of the views by shard: a change touches few files, and lost ones are no harm."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnrmirror.archive.identify import Override
from cnrmirror.mirror import rows
from cnrmirror.mirror.build import Builder
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.rows import NO_FILES, KeptGroups, RowFiles, RowsLost, digits_for, shard_of
from cnrmirror.model.resource import Resource
from cnrmirror.views.base import Settings, WithoutPackages
from cnrmirror.views.groups import Changes, Edited, Grouped, Groups, every
from cnrmirror.views.oci import OciRegistry
from tests.conftest import NOW
from tests.mirrors import reopen

PACKAGES = [f"{namespace}/{name}" for namespace in "abcdef" for name in "xyz"]
SOME = st.dictionaries(st.sampled_from(PACKAGES), st.integers(), max_size=18)


class Sums(WithoutPackages):
    """Numbers; a group has their sum. Each stands with its namespace, and with its last digit."""

    name, version, tops = "sums", 1, ()
    row_type = summary_type = int

    def rows(self, package: str, entry: int) -> dict[str, int]:
        return {package.partition("/")[0]: entry, f"digit {entry % 10}": entry}

    def summary(self, name: str, rows: Mapping[str, int]) -> int:
        return sum(rows.values())

    def fixed(self) -> Iterator[Resource]:
        yield from ()


VIEW = Sums()


def seen(groups: Groups) -> dict[str, tuple[Any, dict[str, Any]]]:
    """All that they say."""
    return {name: (each, dict(groups.group(name))) for name, each in groups.summaries().items()}


def changed(before: dict[str, int], after: dict[str, int]) -> Changes:
    return {n: (before.get(n), after.get(n)) for n in {**before, **after}}


def files(project: Project) -> dict[str, int]:
    rows = project.layout.rows
    return {str(p.relative_to(rows)): p.stat().st_mtime_ns for p in rows.rglob("*.json")}


@pytest.fixture
def many(project: Project, chart: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(rows, "_FEW", 0)
    monkeypatch.setattr(rows, "_MANY", 0)
    for namespace in ("a", "b", "c", "d"):
        push(
            project, [chart("x", "1.0.0"), chart("y", "1.0.0")], Override(namespace=namespace), NOW
        )
    return reopen(project.folder)


def is_right(project: Project) -> bool:
    """Whether nothing is to be mended, in the site and by ``check``."""
    project = reopen(project.folder)
    mended = project.builder.rebuild(project.head())
    return mended == (0, 0) and not check(project).findings


@given(before=SOME, after=SOME)
def test_a_change_gives_what_all_of_it_gives(before: dict[str, int], after: dict[str, int]) -> None:
    groups = Edited(VIEW, Grouped(VIEW, before), changed(before, after))
    wanted = Grouped(VIEW, after)
    assert seen(groups) == seen(wanted)
    for name in wanted.summaries():
        assert list(groups.group(name)) == list(wanted.group(name)) == sorted(wanted.group(name))
    assert groups.group("none") == {}
    rows = {name for each in (before, after) for n, e in each.items() for name in VIEW.rows(n, e)}
    same = {n for n in rows if Grouped(VIEW, before).group(n) == wanted.group(n)}
    assert set(groups.touched) == rows - same


def test_all_rows_come_in_the_order_of_packages() -> None:
    entries = {f"{namespace}/{name}": ["x"] for namespace in ("b", "a-b", "a") for name in "yx"}
    groups = Grouped(OciRegistry(Settings()), entries)
    assert [package for package, _ in every(groups)] == sorted(entries)


@settings(deadline=None)
@given(st.lists(SOME, min_size=1, max_size=4), st.lists(st.integers(0, 9000), min_size=4))
def test_files_give_what_memory_gives(states: list[dict[str, int]], sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = RowFiles(Path(folder, "rows"), Path(folder))
        names, before = NO_FILES, dict[str, int]()
        types = {VIEW.name: (int, int)}
        for state, size in zip(states, sizes, strict=False):
            kept = files.open(names, types)[VIEW.name]
            edited = Edited(VIEW, kept, changed(before, state))
            names, before = files.write({VIEW.name: edited}, names, size), state
            files.keep_only(names)
            again = files.open(names, types)[VIEW.name]
            assert seen(again) == seen(Grouped(VIEW, state)) and again.group("none") == {}
            whole = RowFiles(Path(folder, "other"), Path(folder))
            assert whole.write({VIEW.name: Grouped(VIEW, state)}, NO_FILES, size) == names


def test_only_the_shards_of_groups_that_are_asked_for_are_read() -> None:
    read: list[tuple[str, bool]] = []
    all_of_it = Grouped(VIEW, dict.fromkeys(PACKAGES, 1))

    def shard(name: str, in_short: bool) -> dict[str, Any]:
        read.append((name, in_short))
        found = {g: all_of_it.group(g) for g in "abcdef" if shard_of(g, 2) == name}
        return {g: msgspec.Raw(msgspec.json.encode(rows)) for g, rows in found.items()}

    kept = KeptGroups(2, [shard_of(group, 2) for group in "abcdef"], int, shard)
    groups = Edited(VIEW, kept, {"a/x": (1, 2)})
    assert groups.group("a") == {"a/x": 2, "a/y": 1, "a/z": 1}
    assert read == [(shard_of("a", 2), False)]


def test_what_several_threads_ask_at_once_is_whole() -> None:
    slow = threading.Barrier(2)

    def shard(name: str, in_short: bool) -> dict[str, Any]:
        if name == "b":
            slow.wait(10)  # the other thread asks while this one has a part
        return {f"group {name}": 1}

    kept = KeptGroups(1, "abc", int, shard)
    with ThreadPoolExecutor(2) as executor:
        found = [executor.submit(lambda: len(kept.summaries())) for _ in range(2)]
    assert [each.result() for each in found] == [3, 3]


def test_folders_that_others_put_beside_rows_stay(
    many: Project, chart: Callable[..., Path]
) -> None:
    there = many.layout.rows / "helm/@eaDir"
    there.mkdir()
    push(many, [chart("x", "2.0.0")], Override(namespace="b"), NOW)
    assert there.is_dir() and is_right(many)


def test_rows_of_another_form_are_made_again(
    many: Project, chart: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_FORM", 10**6)
    monkeypatch.setattr(Builder, "rebuild", None)
    push(many, [chart("x", "2.0.0")], Override(namespace="b"), NOW)
    monkeypatch.undo()
    assert many.known_groups(many.head()) is None
    push(many, [chart("x", "3.0.0")], Override(namespace="b"), NOW)
    assert is_right(many)


def test_rows_that_cannot_be_read_at_all_end_no_command(
    many: Project, chart: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*args: object) -> dict[str, Any]:
        raise RowsLost

    monkeypatch.setattr(RowFiles, "_read", lost)
    push(many, [chart("x", "2.0.0")], Override(namespace="b"), NOW)
    monkeypatch.undo()
    assert is_right(many)


def test_shards_are_more_where_packages_are_many() -> None:
    assert [digits_for(n) for n in (0, 500, 501, 8000, 8001, 10**9)] == [0, 0, 1, 1, 2, 2]
    assert [len(shard_of("a", digits)) for digits in (0, 1, 2)] == [0, 1, 2]


def test_a_push_writes_the_rows_of_its_namespace_alone(
    many: Project, chart: Callable[..., Path]
) -> None:
    before = files(many)
    push(many, [chart("x", "2.0.0")], Override(namespace="c"), NOW)
    after = files(many)
    new = {name.rpartition("-")[0] for name, time in after.items() if before.get(name) != time}
    for view in ("cnr-v1", "helm", "pages"):
        assert {name for name in new if name.startswith(view)} == {f"{view}/{shard_of('c', 2)}"}
    assert not any(name.startswith("oci") for name in new), "its repository is as it was"
    assert len(after) == len(before)
    assert is_right(many)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda p: p.write_bytes(b"{}"),
                                   lambda p: p.write_bytes(p.read_bytes()[:-3])])  # fmt: skip
def test_rows_that_are_lost_or_damaged_are_made_again(
    many: Project, chart: Callable[..., Path], spoil: Callable[[Path], object]
) -> None:
    groups = many.known_groups(many.head())
    assert groups is not None
    before = {view: seen(each) for view, each in groups.items()}
    for path in many.layout.rows.glob(f"*/{shard_of('b', 2)}-*.json"):
        spoil(path)
    again = many.known_groups(many.head())
    assert again is not None
    # First the rows, and what lists of everything need; then the other way round.
    for view, each in before.items():
        assert all(again[view].group(name) == found for name, (_, found) in each.items())
    again = many.known_groups(many.head())
    assert again is not None
    assert {view: seen(each) for view, each in again.items()} == before
    push(many, [chart("x", "2.0.0")], Override(namespace="b"), NOW)
    assert is_right(many)


def test_that_rows_are_lost_says_nothing_against_the_files_of_the_site(
    many: Project, chart: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in many.layout.rows.glob("*/*.json"):
        path.write_bytes(b"[]")
    monkeypatch.delattr(Builder, "rebuild")
    push(many, [chart("x", "2.0.0")], Override(namespace="b"), NOW)
    monkeypatch.undo()
    assert is_right(many)


def test_who_may_not_read_rows_is_told_the_same_by_the_documents(
    many: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = many.head()

    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert many.known_groups(head) is None


def test_what_an_older_program_noted_is_made_again(
    many: Project, chart: Callable[..., Path]
) -> None:
    noted = msgspec.json.decode(many.layout.built.read_bytes())
    del noted["rows"]
    many.layout.built.write_bytes(msgspec.json.encode({**noted, "entries": {}}))
    push(many, [chart("x", "2.0.0")], Override(namespace="b"), NOW)
    assert is_right(many)


def test_rows_of_namespaces_that_are_gone_are_removed(
    many: Project, chart: Callable[..., Path]
) -> None:
    with many.signing(NOW):
        many.commit({"d/x": None, "d/y": None}, "gone", NOW)
    assert not [name for name in files(many) if f"/{shard_of('d', 2)}-" in name]
    assert is_right(many)
