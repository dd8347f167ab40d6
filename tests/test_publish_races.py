"""Two publishers never break a destination: at every moment, whoever sleeps or is killed where."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from securesystemslib.signer import Key

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.rotate import install_root
from cnrmirror.model.destination import DestinationState, Holder, Lease
from cnrmirror.model.errors import NotTrusted, Rollback, StorageError
from cnrmirror.model.progress import NoProgress
from cnrmirror.model.resource import Resource
from cnrmirror.model.signed import METADATA, TIMESTAMP
from cnrmirror.objects.base import STATE
from cnrmirror.objects.folder import FolderReader
from cnrmirror.objects.memory import MemoryObjects
from cnrmirror.publish.lease import HeldLease, LeaseLost, is_dead, is_over, this_process
from cnrmirror.trust import rotation
from cnrmirror.trust.keys import PUBLISH, REFRESH, KeyFolder, write_key
from cnrmirror.trust.signing import Repository
from cnrmirror.trust.verify import Policy, Trust
from tests.conftest import chart_bytes
from tests.mirrors import key, make, reopen
from tests.places import Killed
from tests.rivals import Arena, Baton

RACES = int(os.environ.get("CNRMIRROR_RACES", "20"))
# An hour ago, so that what happens later is not in the future of who verifies.
CLOCK = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)
NOW = CLOCK.isoformat()
KINDS = ("memory", "folder")


def later(minutes: float) -> str:
    return (CLOCK + timedelta(minutes=minutes)).isoformat()


def add(project: Project, name: str, release: str = "1.0.0") -> None:
    path = project.folder.parent / f"{name}-{release}.tgz"
    path.write_bytes(chart_bytes(name, release))
    push(project, [path], Override(namespace="ns", release=release), NOW)


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnrmirror.publish.look._POLL_SECONDS", 0)
    monkeypatch.setattr("cnrmirror.publish.session._PAUSE_SECONDS", 0)


class Rivals:
    """A destination with package a, and two copies of its mirror: one pushed b, the other c."""

    def __init__(self, arena: Arena, one: Project, two: Project, pinned: bytes) -> None:
        self.arena = arena
        self.one = one
        self.two = two
        self.pinned = pinned

    def copy(self, name: str) -> Rivals:
        arena = self.arena.copy(name)
        one, two = arena.take(self.one, "one"), arena.take(self.two, "two")
        return Rivals(arena, one, two, self.pinned)

    def settle(self) -> None:
        """Both publish once more; then both have everything, and so have readers."""
        for project in (self.one, self.two):
            self.arena.session(project).publish(later(40))
        assert self.arena.names(self.pinned) == ["ns/a", "ns/b", "ns/c"]
        self.arena.readers_are_well()
        last = self.two if self.is_equal(self.two) else self.one
        self.arena.session(last).audit(later(41), repair=True)
        assert self.arena.session(last).audit(later(42), repair=False) == []
        self.arena.readers_are_well()

    def is_equal(self, project: Project) -> bool:
        found = self.arena.signed_files()[TIMESTAMP]
        return found == project.metadata.signed_head().timestamp


@pytest.fixture(params=KINDS)
def rivals(request: pytest.FixtureRequest, tmp_path: Path) -> Rivals:
    return rivals_in(tmp_path, request.param)


def rivals_in(folder: Path, kind: str) -> Rivals:
    arena = Arena(folder, kind)
    start = make(folder / "start", "00000000-0000-4000-8000-000000000003", NOW)
    add(start, "a")
    arena.session(start).publish(NOW)
    one, two = arena.take(start, "one"), arena.take(start, "two")
    add(one, "b")
    add(two, "c")
    return Rivals(arena, one, two, (start.metadata.path / "1.root.json").read_bytes())


def calls_of_a_publish(rivals: Rivals) -> int:
    copy = rivals.copy("counted")
    calls: list[str] = []
    copy.arena.session(copy.one, calls.append).publish(NOW)
    return len(calls)


def test_a_publisher_that_sleeps_before_any_call_neither_breaks_nor_is_broken(
    rivals: Rivals,
) -> None:
    for moment in range(calls_of_a_publish(rivals)):
        case = rivals.copy(f"sleeps-{moment}")
        left = moment

        def gate(call: str, case: Rivals = case) -> None:
            nonlocal left
            left -= 1
            if left == -1:  # it sleeps for sixteen minutes now
                case.arena.session(case.two).publish(later(16))
                case.arena.readers_are_well()

        case.arena.session(case.one, gate).publish(NOW)
        case.arena.readers_are_well()
        case.settle()
        shutil.rmtree(case.arena.folder)


def test_a_publisher_that_is_killed_before_any_call_is_not_waited_for(rivals: Rivals) -> None:
    for moment in range(calls_of_a_publish(rivals)):
        case = rivals.copy(f"killed-{moment}")
        left = moment

        def gate(call: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        with pytest.raises(Killed):
            case.arena.session(case.one, gate).publish(NOW)
        case.arena.readers_are_well()
        case.arena.session(case.two).publish(NOW)
        case.settle()
        shutil.rmtree(case.arena.folder)


@pytest.mark.parametrize("seed", range(6))
def test_two_publishers_in_any_order_of_calls_lose_nothing(rivals: Rivals, seed: int) -> None:
    chance = random.Random(seed)
    last = 0

    def choose(waiting: Sequence[int]) -> int:
        # Long turns as well as short ones.
        nonlocal last
        if last not in waiting or chance.random() < (0.1, 0.5)[seed % 2]:
            last = chance.choice(waiting)
        return last

    baton = Baton(choose, rivals.arena.readers_are_well)
    sessions = [
        rivals.arena.session(project, baton.gate(number))
        for number, project in enumerate((rivals.one, rivals.two))
    ]
    errors = baton.run([lambda s=s: s.publish(NOW) for s in sessions])  # type: ignore[misc]
    assert errors == []
    assert rivals.arena.names(rivals.pinned) == ["ns/a", "ns/b", "ns/c"]
    rivals.settle()


def test_a_state_never_has_the_same_bytes_twice(tmp_path: Path) -> None:
    arena = Arena(tmp_path, "memory")
    project = make(tmp_path / "mirror", "00000000-0000-4000-8000-000000000003", NOW)
    add(project, "a")
    states: list[bytes] = []

    class Noting(MemoryObjects):
        def _swap(self, key: str, data: bytes, expected: str | None) -> None:
            super()._swap(key, data, expected)
            if key == STATE:
                states.append(data)

    session = arena.session(project)
    session.destination = Noting(project.store, arena.objects, "s3://memory/x")
    for number in range(3):
        add(project, "b", f"1.{number}.0")
        session.publish(NOW)
    assert len(states) == len(set(states)) > 6
    serials = [msgspec.json.decode(state, type=DestinationState).serial for state in states]
    assert serials == sorted(set(serials))


def test_a_lease_that_came_and_went_since_one_looked_is_noticed(project: Project) -> None:
    destination = MemoryObjects(project.store, {})
    head = project.head().catalog
    state = DestinationState()

    def lease(tag: str | None) -> HeldLease:
        return HeldLease(destination, state, tag, [None], head, NOW)

    with lease(None) as held:
        held.leave("", {}, "")
    tag = destination.read(STATE, 1 << 20)
    with pytest.raises(LeaseLost), lease(None):
        pass
    assert destination.read(STATE, 1 << 20) == tag


def test_signed_files_of_another_run_are_never_overwritten(rivals: Rivals) -> None:
    """A run that was killed left catalog and snapshot files under the versions of ours."""
    arena, one, two = rivals.arena, rivals.one, rivals.two
    head = two.metadata.signed_head()
    left = {
        f"{METADATA}/{name}": (two.metadata.path / name).read_bytes()
        for name in (
            f"{head.catalog.version}.catalog.json",
            f"{head.snapshot.version}.snapshot.json",
        )
    }
    for path, data in left.items():
        arena.session(two).destination.create([Resource(path, data)], NoProgress())
    arena.session(one).publish(NOW)
    found = arena.signed_files()
    assert {path: found[path] for path in left} == left
    assert one.metadata.signed_head().catalog.version > head.catalog.version
    assert arena.names(rivals.pinned) == ["ns/a", "ns/b"]
    rivals.settle()


def test_copies_of_one_folder_are_two_publishers(rivals: Rivals) -> None:
    """Both remember the same of the destination, and still one waits for the other."""
    one, two = rivals.one, rivals.two
    memories = [p.layout.memory / "destinations" for p in (one, two)]
    names = [sorted(path.name for path in m.rglob("*.json")) for m in memories if m.exists()]
    assert names[:1] == names[1:]
    msgspec.structs.force_setattr(two.config, "lock_wait_seconds", 0)
    busy: list[str] = []

    def gate(call: str) -> None:
        if call.startswith("put") and not busy:
            with pytest.raises(Exception, match="somebody else publishes there") as caught:
                rivals.arena.session(two).publish(NOW)
            busy.append(str(caught.value))

    rivals.arena.session(one, gate).publish(NOW)
    assert busy
    rivals.settle()


# -- keys ------------------------------------------------------------------------------------------


def with_keys(
    project: Project, folder: Path, refresh: str = REFRESH, publish: str = PUBLISH
) -> None:
    """The mirror signs with these keys from now on, and has no others."""
    for purpose, word in ((REFRESH, refresh), (PUBLISH, publish)):
        write_key(folder, purpose, key(word), None)
    project.signer = Repository(project.metadata.path, project.layout.making, KeyFolder(folder))


def rotate(project: Project, purpose: str, folder: Path) -> None:
    """A new key for a purpose; the folder is the only one that has it."""
    with_keys(project, folder, **{purpose: f"{purpose}-new"})
    sign_with(project, purpose, key(f"{purpose}-new").public_key, folder.parent / "offline", NOW)


def sign_with(project: Project, purpose: str, new: Key, offline: Path, now: str) -> None:
    """Make a key, whose private half is here, the one of a purpose."""
    signer = project.signer
    assert isinstance(signer, Repository)
    for purpose_of, word in (("targets", "targets"), ("root", "root-1"), ("root", "root-2")):
        with contextlib.suppress(StorageError):
            write_key(offline, purpose_of, key(word), None)
    if purpose == PUBLISH:
        with project.writing():
            signer.renew_targets(new, KeyFolder(offline), now)
            signer.sign_revision(project.head(), now)
    else:
        old = signer.root().roles["timestamp"].keyids[0]
        proposal = rotation.propose(signer, {old: new}, None, now)
        rotation.sign(proposal, KeyFolder(offline))
        install_root(project, signer, proposal, now)


@pytest.mark.parametrize("purpose", [REFRESH, PUBLISH])
def test_a_publisher_with_old_keys_refuses_in_words_and_writes_nothing(
    rivals: Rivals, tmp_path: Path, purpose: str
) -> None:
    arena, one, two = rivals.arena, rivals.one, rivals.two
    rotate(one, purpose, tmp_path / "keys-of-one")
    arena.session(one).publish(NOW)
    with_keys(two, tmp_path / "keys-of-two")
    before, head = arena.signed_files(), two.metadata.signed_head()
    with pytest.raises(NotTrusted, match=f"rotated.*the {purpose} key.*copy it there"):
        arena.session(two).publish(NOW)
    with pytest.raises(NotTrusted, match="rotated"):
        arena.session(two).publish(NOW)
    assert arena.signed_files() == before and two.metadata.signed_head() == head
    assert arena.names(rivals.pinned) == ["ns/a", "ns/b"]
    add(one, "d")
    arena.session(one).publish(NOW)
    assert arena.names(rivals.pinned) == ["ns/a", "ns/b", "ns/d"]
    # With the new keys at hand, the other takes the rotation over, and joins.
    shutil.copytree(tmp_path / "keys-of-one", tmp_path / "keys-of-two", dirs_exist_ok=True)
    arena.session(two).publish(NOW)
    assert arena.names(rivals.pinned) == ["ns/a", "ns/b", "ns/c", "ns/d"]
    assert two.metadata.signed_head().kept.root == one.metadata.signed_head().kept.root
    arena.session(one).publish(NOW)


@pytest.mark.parametrize("purpose", [REFRESH, PUBLISH])
@pytest.mark.parametrize("ahead", ["diverged", "ahead"])
def test_a_rotation_is_published_although_the_destination_went_ahead_with_old_keys(
    rivals: Rivals, tmp_path: Path, purpose: str, ahead: str
) -> None:
    arena, one, two = rivals.arena, rivals.one, rivals.two
    if ahead == "ahead":
        one = arena.take(reopen(rivals.arena.folder / "start"), "third")
    arena.session(two).publish(NOW)
    add(two, "d")
    arena.session(two).publish(NOW)
    rotate(one, purpose, tmp_path / "keys-of-one")
    arena.session(one).publish(NOW)
    new = "b" if ahead == "diverged" else ""
    assert arena.names(rivals.pinned) == [f"ns/{n}" for n in "abcd" if n in f"a{new}cd"]
    with_keys(two, tmp_path / "keys-of-two")
    add(two, "e")
    with pytest.raises(NotTrusted, match="rotated"):
        arena.session(two).publish(NOW)


def test_a_sleeper_that_must_not_sign_any_more_says_which_views_it_wrote(
    rivals: Rivals, tmp_path: Path
) -> None:
    arena, one, two = rivals.arena, rivals.one, rivals.two
    rotate(one, REFRESH, tmp_path / "keys-of-one")
    with_keys(two, tmp_path / "keys-of-two")
    slept = False

    def gate(call: str) -> None:
        nonlocal slept
        if call.startswith("put") and not slept:
            slept = True
            arena.session(one).publish(later(16))

    with pytest.raises(NotTrusted, match="rotated"):
        arena.session(two, gate).publish(NOW)
    arena.session(one).publish(later(17))
    assert arena.names(rivals.pinned) == ["ns/a", "ns/b"]
    assert {p.problem for p in arena.session(one).audit(later(18), repair=False)} <= {"extra"}
    arena.session(one).audit(later(18), repair=True)
    assert arena.session(one).audit(later(19), repair=False) == []


def test_a_repair_leaves_a_newer_root_alone(rivals: Rivals, tmp_path: Path) -> None:
    """The publisher that rotated was killed between its new root and its timestamp."""
    arena, one, two = rivals.arena, rivals.one, rivals.two
    rotate(one, REFRESH, tmp_path / "keys-of-one")

    def gate(call: str) -> None:
        if call == f"swap {TIMESTAMP}":
            raise Killed

    with pytest.raises(Killed):
        arena.session(one, gate).publish(NOW)
    with_keys(two, tmp_path / "keys-of-two")
    before = arena.signed_files()
    for work in (
        lambda: arena.session(two).publish(NOW),
        lambda: arena.session(two).audit(NOW, repair=True),
    ):
        with pytest.raises(Exception, match=r"rotated|run 'publish' first"):
            work()
    assert arena.signed_files() == before
    arena.session(one).publish(NOW)
    assert arena.names(rivals.pinned) == ["ns/a", "ns/b"]


# -- leases ----------------------------------------------------------------------------------------


def test_a_lease_is_over_when_its_process_is_or_after_a_quarter_hour(project: Project) -> None:
    here = this_process()
    head = project.head().catalog
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    def lease(holder: Holder, run: str = "1") -> Lease:
        return Lease(run, holder, NOW, [None], head)

    def after(minutes: float) -> datetime:
        return datetime.fromisoformat(later(minutes)).replace(tzinfo=UTC)

    replace = msgspec.structs.replace
    assert is_over(lease(here, ""), after(0))
    assert is_dead(lease(here)), "its run is none of this process"
    assert is_dead(lease(replace(here, pid=ended.pid, started="1")))
    assert is_dead(lease(replace(here, pid=os.getppid(), started="1"))), "another process by now"
    assert not is_dead(lease(replace(here, boot="another machine")))
    assert not is_dead(lease(replace(here, namespace="another container")))
    assert not is_dead(lease(Holder()))
    assert not is_over(lease(Holder()), after(15)) and is_over(lease(Holder()), after(15.1))


def test_a_failed_run_gives_its_lease_back_and_says_where_the_views_stand(rivals: Rivals) -> None:
    def gate(call: str) -> None:
        if call == f"swap {TIMESTAMP}":
            raise OSError("the cable")

    with pytest.raises(OSError, match="cable"):
        rivals.arena.session(rivals.one, gate).publish(NOW)
    found = rivals.arena.session(rivals.one).destination.read(STATE, 1 << 20)
    assert found is not None
    lease = msgspec.json.decode(found[0], type=DestinationState).lease
    assert lease is not None and lease.run == ""
    assert lease.to == rivals.one.head().catalog and lease.states
    rivals.settle()


# -- real processes --------------------------------------------------------------------------------


def test_real_publishers_at_once_lose_nothing(tmp_path: Path) -> None:
    rivals = rivals_in(tmp_path, "folder")
    chance = random.Random(1)
    for race in range(RACES):
        case = rivals.copy(f"race-{race}")
        command = [sys.executable, "-m", "cnrmirror", "-C"]
        to = [str(case.arena.place)]
        running = [
            subprocess.Popen(
                [*command, str(project.folder), "publish", *to],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for project in (case.one, case.two)
        ]  # fmt: skip
        if race % 4 == 3:
            with_kill = running[chance.randrange(2)]
            try:
                with_kill.wait(0.3 + chance.random())
            except subprocess.TimeoutExpired:
                with_kill.kill()
        for process in running:
            output = process.communicate(timeout=120)[0]
            assert process.returncode in (0, -9), output
        case.arena.readers_are_well()
        case.settle()
        shutil.rmtree(case.arena.folder)


class _Overtaken(FolderReader):
    """A reader to whom something happens just before it reads the timestamp, or another file."""

    def __init__(
        self, folder: Path, happens: list[Callable[[], object]], before: str = TIMESTAMP
    ) -> None:
        super().__init__(folder)
        self._happens = happens
        self._before = before

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        if path.startswith(self._before) and self._happens:
            self._happens.pop()()
        return super().fetch(path, max_bytes)


@pytest.mark.parametrize("purpose", [REFRESH, PUBLISH])
def test_a_reader_that_is_overtaken_by_a_rotation_looks_again(tmp_path: Path, purpose: str) -> None:
    rivals = rivals_in(tmp_path, "folder")
    arena, one = rivals.arena, rivals.one
    rotate(one, purpose, tmp_path / "keys-of-one")
    reader = _Overtaken(arena.place, [lambda: arena.session(one).publish(NOW)])
    trust = Trust(rivals.pinned, tmp_path / "cache", tmp_path / "marks")
    verified = trust.verify(reader, Policy(), datetime.now(UTC))
    assert verified.at == one.head().catalog


def test_a_reader_who_is_overtaken_by_another_process_looks_again(
    project: Project, chart: Callable[..., Path], tmp_path: Path
) -> None:
    push(project, [chart("x", "1.0.0")], Override(namespace="ns"), NOW)
    shutil.copytree(project.site, tmp_path / "older", symlinks=True)

    def trust() -> Trust:
        return Trust(project.trusted_root.read_bytes(), tmp_path / "cache", tmp_path / "marks")

    def another() -> None:
        push(project, [chart("x", "2.0.0")], Override(namespace="ns"), NOW)
        trust().verify(FolderReader(project.site), Policy(), datetime.now(UTC))

    # It has read an older timestamp by then, and accepts it after the other one accepted a newer.
    reader = _Overtaken(project.site, [another], "catalog/targets/")
    assert trust().verify(reader, Policy(), datetime.now(UTC)).at == project.head().catalog
    with pytest.raises(Rollback):
        trust().verify(FolderReader(tmp_path / "older"), Policy(), datetime.now(UTC))
