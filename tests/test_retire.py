"""Retention, applied by the commands themselves: what goes, when, and that nothing else does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnrmirror.archive.identify import Override
from cnrmirror.catalog.delta import revisions_from
from cnrmirror.catalog.retire import retired_files
from cnrmirror.mirror import change, gc, retire
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.settings import Retention
from cnrmirror.model.documents import CatalogRoot, RetentionFloor, blob_path, node_path
from tests.conftest import chart_bytes
from tests.mirrors import make, reopen

HOURS = int(os.environ.get("CNRMIRROR_REVISIONS", "720"))
BEGIN = datetime(2026, 1, 2, 3, 4, 5)


def hours(number: float) -> str:
    return (BEGIN + timedelta(hours=number)).isoformat()


def keeping(project: Project, revisions: int, grace_hours: float) -> Project:
    with (project.folder / "mirror.yaml").open("a") as file:
        file.write(f"\nretention: {{revisions: {revisions}, grace_hours: {grace_hours}}}\n")
    return reopen(project.folder)


def add(project: Project, name: str, release: str, now: str) -> None:
    path = project.folder.parent / f"{name}-{release}.tgz"
    path.write_bytes(chart_bytes(name, release))
    push(project, [path], Override(namespace="ns", release=release), now)


def catalog_files(project: Project) -> set[str]:
    base = project.site
    return {p.relative_to(base).as_posix() for p in (base / "catalog").rglob("*") if p.is_file()}


def needed(project: Project) -> set[str]:
    """What the retained revisions need, found by reading all of each."""
    kept = project.metadata.timestamp().kept
    found = set()
    for at, root in revisions_from(project.catalog, project.head().catalog, kept.revision):
        found |= {node_path(at.digest, CatalogRoot)}
        found |= {node_path(n.digest) for n in project.catalog.nodes(root.tree)}
        for ref in project.catalog.packages(root.tree):
            document = project.catalog.document(ref)
            found |= {node_path(ref.digest), *(node_path(f.digest) for f in document.facts)}
            found |= {blob_path(blob.digest) for blob in document.blobs()}
    return found


def test_a_long_history_keeps_its_number_of_files_and_is_whole(tmp_path: Path) -> None:
    """Hourly revisions over a month (CNRMIRROR_REVISIONS: longer), the window some days of them."""
    project = keeping(make(tmp_path / "m", "x"), 20, 100)
    for release in ("1.0.0", "1.0.1"):
        add(project, "a", release, hours(0))
    numbers = []
    for hour in range(1, HOURS + 1):
        release = f"1.0.{hour % 2}"
        change.set_channel(project, "ns/a", "stable", release, hours(hour))
        if hour > 300:
            numbers.append(len(catalog_files(project)))
    assert max(numbers) <= min(numbers) + 3 * 60
    kept = project.metadata.timestamp().kept
    head = project.root()
    assert 100 <= head.revision - kept.revision <= 160
    files = {f for f in catalog_files(project) if not f.startswith("catalog/metadata/")}
    assert files == needed(project)
    roles = project.metadata.signed_head().retained()
    assert {f"catalog/metadata/{v}.{role}.json" for role in roles for v in roles[role]} | {
        "catalog/metadata/timestamp.json"
    } == {f for f in catalog_files(project) if f.startswith("catalog/metadata/")}
    assert gc.collect(project, 20, 100, hours(HOURS + 1), dry_run=True).files == []


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["push", "push", "remove", "channel", "rollback", "copy"]),
        st.integers(0, 3), st.integers(0, 3),
    ), min_size=3, max_size=18,
)  # fmt: skip


@settings(max_examples=40)
@given(steps=STEPS, floor=st.integers(1, 12))
def test_what_goes_is_what_no_revision_needs_that_stays(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]], floor: int
) -> None:
    project = make(tmp_path_factory.mktemp("story") / "m", "x")
    for number, (what, name, other) in enumerate(steps):
        _do(project, what, name, other, hours(number))
    chain = revisions_from(project.catalog, project.head().catalog, 0)[::-1]
    count = min(floor, len(chain) - 1)
    gone = retired_files(project.store, chain[:count], chain[count:])
    assert len(gone) == len(set(gone))
    before = {f for f in catalog_files(project) if not f.startswith("catalog/metadata/")}
    for path in gone:
        (project.site / path).unlink()
    with project.signing(hours(99)):
        assert project.signer is not None
        project.signer.keep_from(RetentionFloor(revision=chain[count][1].revision), hours(99))
    assert before - set(gone) == needed(project)


def _do(project: Project, what: str, name: int, other: int, now: str) -> None:
    package, release = f"p{name}", f"1.0.{other}"
    document = project.catalog.get(project.tree(), f"ns/{package}")
    there = document.versions() if document else []
    match what:
        case "push":
            add(project, package, release, now)
        case "copy":  # one archive in two packages
            path = project.folder.parent / f"copy-{other}.tgz"
            path.write_bytes(chart_bytes("p0", f"1.0.{other}"))
            push(project, [path], Override(package=f"ns/q{name}", release=f"2.0.{other}"), now)
        case "remove" if release in there:
            change.remove(project, change.Removal(f"ns/{package}", release, None, "x"), now)
        case "channel" if there:
            change.set_channel(project, f"ns/{package}", "c", there[other % len(there)], now)
        case "rollback":
            number = project.root().revision * (name + 1) // 5
            change.rollback(project, str(number), now)


@pytest.fixture
def long(tmp_path: Path) -> Iterator[Project]:
    """A mirror of which the next revision is one at which old ones go."""
    project = keeping(make(tmp_path / "m", "x"), 5, 0)
    for release in ("1.0.0", "1.0.1"):
        add(project, "a", release, hours(0))
    for hour in range(1, 48):
        change.set_channel(project, "ns/a", "stable", f"1.0.{hour % 2}", hours(hour))
    assert project.root().revision == 49
    yield project


def test_killed_between_the_signature_and_the_removal_the_next_command_removes(
    long: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = catalog_files(long)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(retire, "_remove", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        change.set_channel(long, "ns/a", "other", "1.0.0", hours(50))
    assert before < catalog_files(long)
    with long.writing():
        pass
    files = {f for f in catalog_files(long) if not f.startswith("catalog/metadata/")}
    assert files == needed(long) and len(files) < len(before)


def test_killed_before_the_signature_nothing_goes(
    long: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = catalog_files(long)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(
            type(long.signer), "sign_revision",
            lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt),
        )  # fmt: skip
        change.set_channel(long, "ns/a", "other", "1.0.0", hours(50))
    with long.writing():
        pass
    assert before <= catalog_files(long) and not long.layout.retiring.exists()


def test_a_damaged_old_revision_keeps_nobody_from_making_a_new_one(long: Project) -> None:
    oldest = revisions_from(long.catalog, long.head().catalog, 0)[-2][0]
    Path(long.store.root_path(oldest.digest)).write_bytes(b"damaged")
    assert change.set_channel(long, "ns/a", "other", "1.0.0", hours(50)) is not None


def test_by_default_a_hundred_revisions_and_a_week_stay() -> None:
    assert Retention() == Retention(100, 168)
