"""Random stories of two mirrors and two places: a publish always ends in equality.

``CNRMIRROR_STORIES=500`` tells more of them than CI does.
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cnrmirror.archive.identify import Override
from cnrmirror.audit.report import Order
from cnrmirror.audit.run import audit
from cnrmirror.mirror import change, gc
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.instant import Instant
from cnrmirror.model.signed import TIMESTAMP
from cnrmirror.objects.folder import FolderReader
from cnrmirror.trust.keys import PUBLISH, REFRESH, write_key
from cnrmirror.trust.verify import Policy, Trust
from tests.conftest import chart_bytes
from tests.mirrors import key, make
from tests.places import Killed
from tests.rivals import Arena
from tests.test_publish_races import sign_with, with_keys

STORIES = int(os.environ.get("CNRMIRROR_STORIES", "12"))
BEGIN = datetime.now(UTC) - timedelta(days=3)


class Story:
    """Two mirrors of one registry, "one" and "two", and two folders that both publish to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.minutes = 0
        self.pinned = b""
        start = make(folder / "start", "00000000-0000-4000-8000-000000000009", self.now())
        with (start.folder / "mirror.yaml").open("a") as file:
            file.write("\nretention: {revisions: 2, grace_hours: 0}\nlock_wait_seconds: 0\n")
        self.pinned = (start.metadata.path / "1.root.json").read_bytes()
        self.arenas = [Arena(folder / name, "folder") for name in ("x", "y")]
        for arena in self.arenas:
            arena.folder.mkdir()
        self.keys = folder / "keys"
        self.mirrors = [self._copy(start, name) for name in ("m0", "m1")]
        self.old: list[dict[int, Path]] = [{}, {}]
        self.there: set[str] = set()  # packages that must not be lost
        self.serial = 0

    def _copy(self, start: Project, name: str) -> Project:
        shutil.copytree(start.folder, self.folder / name, symlinks=True)
        project = Project(self.folder / name)
        with_keys(project, self.keys / name)
        return project

    def now(self) -> str:
        self.minutes += 30
        return str(Instant(BEGIN + timedelta(minutes=self.minutes)))

    # -- steps --

    def push(self, mirror: int, _: int) -> None:
        self.serial += 1
        name = f"p{self.serial}"
        path = self.folder / f"{name}.tgz"
        path.write_bytes(chart_bytes(name, "1.0.0"))
        push(self.mirrors[mirror], [path], Override(namespace=f"n{mirror}"), self.now())
        self.there.add(f"n{mirror}/{name}")

    def remove(self, mirror: int, number: int) -> None:
        project = self.mirrors[mirror]
        own = sorted(n for n in self.there if n.startswith(f"n{mirror}/"))
        if own:
            name = own[number % len(own)]
            if project.catalog.get(project.tree(), name):
                change.remove(project, change.Removal(name, "1.0.0", None, "x"), self.now())
                self.there.discard(name)

    def many(self, mirror: int, _: int) -> None:
        """More revisions than are retained."""
        for _ in range(6):
            self.push(mirror, 0)

    def gc(self, mirror: int, _: int) -> None:
        gc.collect(self.mirrors[mirror], 1, 0, self.now(), dry_run=False)

    def rollback(self, mirror: int, number: int) -> None:
        project = self.mirrors[mirror]
        history = list(project.catalog.history(project.head().catalog))
        before = {ref.name for ref in project.catalog.packages(project.tree())}
        change.rollback(project, str(history[number % len(history)][1].revision), self.now())
        after = {ref.name for ref in project.catalog.packages(project.tree())}
        self.there -= before - after

    def rotate(self, mirror: int, number: int) -> None:
        """Only the first mirror rotates, and the other one gets the key."""
        purpose = (PUBLISH, REFRESH)[number % 2]
        if mirror == 0:
            self.serial += 1
            new = key(f"{purpose} {self.serial}")
            for name in ("m0", "m1"):
                write_key(self.keys / name, purpose, new, None)
            offline = self.folder / "offline"
            sign_with(self.mirrors[0], purpose, new.public_key, offline, self.now())

    def publish(self, mirror: int, place: int, gate: object = None) -> None:
        project, arena = self.mirrors[mirror], self.arenas[place % 2]
        gate = gate if callable(gate) else lambda call: None
        arena.session(project, gate).publish(self.now())
        arena.readers_are_well()

    def kill(self, mirror: int, number: int) -> None:
        """A publish that is killed before one of its calls."""
        left = 3 + number * 7

        def gate(call: str) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Killed

        try:
            self.publish(mirror, number, gate)
        except Killed:
            pass
        self.arenas[number % 2].readers_are_well()

    def back(self, mirror: int, number: int) -> None:
        """The owner of a place puts an older copy of it back."""
        place, copies = self.arenas[number % 2].place, self.old[number % 2]
        if place.exists() and mirror:
            copies[len(copies)] = self.folder / f"old-{number % 2}-{len(copies)}"
            shutil.copytree(place, copies[len(copies) - 1], symlinks=True)
        elif copies:
            shutil.rmtree(place)
            shutil.copytree(copies[number % len(copies)], place, symlinks=True)

    def forget(self, mirror: int, _: int) -> None:
        """A mirror loses all that it remembers."""
        shutil.rmtree(self.mirrors[mirror].layout.state, ignore_errors=True)

    # -- the end --

    def settle(self) -> None:
        for turn in range(8):
            for mirror in (0, 1):
                for place in (0, 1):
                    self.publish(mirror, place)
            if turn and self._are_equal():
                break
        stand = {p.metadata.signed_head().timestamp: p for p in self.mirrors}
        last = stand[self.arenas[0].signed_files()[TIMESTAMP]]
        names = {r.name for r in last.catalog.packages(last.tree()) if r.releases}
        assert self.there <= names
        for arena in self.arenas:
            assert arena.signed_files()[TIMESTAMP] == last.metadata.signed_head().timestamp
            self._strict(arena)
            found = arena.session(last).audit(self.now(), repair=False)
            assert {f.problem for f in found} <= {"extra"}  # of revisions that were joined
            assert all(f.path.startswith("catalog/") for f in found)
            arena.session(last).audit(self.now(), repair=True)
            assert arena.session(last).audit(self.now(), repair=False) == []
        for project in self.mirrors:
            assert check(project).findings == []

    def _are_equal(self) -> bool:
        """Whether both places, and one of the mirrors, stand at the same."""
        there = {arena.signed_files().get(TIMESTAMP, b"") for arena in self.arenas}
        here = {project.metadata.signed_head().timestamp for project in self.mirrors}
        return len(there) == 1 and there <= here

    def _strict(self, arena: Arena) -> None:
        memory = arena.folder / f"reader-{self.minutes}"
        trust = Trust(self.pinned, memory / "cache", memory / "marks")
        at = BEGIN + timedelta(minutes=self.minutes)
        report = audit(FolderReader(arena.place), trust, Order(Policy(at=at), at, strict=True))
        assert {f.problem for f in report.findings} <= {"unused"}


STEP = st.tuples(
    st.sampled_from(
        ["push", "push", "remove", "many", "gc", "rollback", "rotate", "publish", "publish",
         "publish", "kill", "kill", "back", "forget"],
    ), st.integers(0, 1), st.integers(0, 7),
)  # fmt: skip


# After this, two mirrors that publish in turns once joined one another's joins without an end.
IN_TURNS = [
    ("kill", 1, 7), ("many", 1, 1), ("push", 0, 4), ("remove", 0, 4), ("publish", 1, 5),
    ("rollback", 1, 0), ("many", 1, 3),
]  # fmt: skip


@settings(max_examples=STORIES, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEP, min_size=4, max_size=14))
@example(steps=IN_TURNS)
@example(steps=[("rotate", 0, 0), ("publish", 0, 0), ("publish", 1, 0), ("publish", 1, 1)])
def test_whatever_happened_a_publish_ends_in_equality(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    story = Story(tmp_path_factory.mktemp("story"))
    for what, mirror, number in steps:
        getattr(story, what)(mirror, number)
    story.settle()
    shutil.rmtree(story.folder)
