"""The entries of the views by shard: a change touches few files, and lost ones are no harm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.build import Builder
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.rows import Rows, shard_of
from cnrmirror.views.base import within
from tests.conftest import NOW
from tests.mirrors import reopen

PACKAGES = [f"{namespace}/{name}" for namespace in "abcdef" for name in "xyz"]
SOME = st.dictionaries(st.sampled_from(PACKAGES), st.integers(), max_size=18)


def files(project: Project) -> dict[str, int]:
    rows = project.layout.rows
    return {str(p.relative_to(rows)): p.stat().st_mtime_ns for p in rows.rglob("*.json")}


@pytest.fixture
def many(project: Project, chart: Callable[..., Path]) -> Project:
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


@given(before=SOME, fresh=SOME, gone=st.sets(st.sampled_from(PACKAGES)))
def test_a_change_gives_what_it_gives_in_one_mapping(
    before: dict[str, int], fresh: dict[str, int], gone: set[str]
) -> None:
    names = gone | fresh.keys()
    wanted = {p: n for p, n in before.items() if p not in names} | fresh
    rows = Rows.of(before).updated(fresh, names)
    for package in PACKAGES:
        assert rows.get(package) == wanted.get(package)
    assert rows.shards == {shard_of(p) for p in wanted}
    assert dict(within(rows, {"a", "f"})) == dict(within(wanted, {"a", "f"}))
    assert dict(rows) == dict(rows.items()) == wanted and len(rows) == len(wanted)
    assert dict(Rows.of(before)) == before


def test_only_the_shards_of_namespaces_that_are_asked_for_are_read() -> None:
    read: list[str] = []

    def shard(name: str) -> dict[str, int]:
        read.append(name)
        return {p: 1 for p in PACKAGES if shard_of(p) == name}

    rows = Rows({shard_of(p) for p in PACKAGES}, shard)
    changed = rows.updated({"a/x": 2}, ["a/x"])
    assert dict(within(changed, {"a"})) == {"a/x": 2, "a/y": 1, "a/z": 1}
    assert read == [shard_of("a/x")]


def test_a_push_writes_the_rows_of_its_namespace_alone(
    many: Project, chart: Callable[..., Path]
) -> None:
    before = files(many)
    push(many, [chart("x", "2.0.0")], Override(namespace="c"), NOW)
    after = files(many)
    new = {name.rpartition("-")[0] for name, time in after.items() if before.get(name) != time}
    assert {name.rpartition("/")[2] for name in new} == {shard_of("c/x")}
    assert len(after) == len(before)
    assert is_right(many)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda p: p.write_bytes(b"{}"),
                                   lambda p: p.write_bytes(p.read_bytes()[:-3])])  # fmt: skip
def test_rows_that_are_lost_or_damaged_are_made_again(
    many: Project, chart: Callable[..., Path], spoil: Callable[[Path], object]
) -> None:
    for path in many.layout.rows.glob(f"*/{shard_of('b/x')}-*.json"):
        spoil(path)
    assert many.known_entries(many.head()) is None
    push(many, [chart("x", "2.0.0")], Override(namespace="b"), NOW)
    assert is_right(many)
    assert many.known_entries(many.head()) is not None


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
    assert many.known_entries(head) is None


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
    assert not [name for name in files(many) if f"/{shard_of('d/x')}-" in name]
    assert is_right(many)
