"""The protocol of publishing as a small model, checked over every order of steps.

Two publishers of one destination; between any two of their steps one may be killed (and comes
again), or sleep until its lease counts as over. Each step is one call to the destination; only the
last look at the lease and the removal after it are taken as one, since no destination can make a
removal conditional. The program's steps are in ``publish/session.py`` and ``publish/engine.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

Revision = frozenset[str]
ALL = frozenset("abc")


class Timestamp(NamedTuple):
    """What is current: the snapshot file that it names, and the bytes that this must have."""

    version: int
    key: int
    snapshot: int
    content: tuple[Revision, int]  # the revision, and who signed it


class Lease(NamedTuple):
    run: int  # 0: given back
    over: bool  # silent for too long, or known to be dead
    states: frozenset[Revision]


class Publisher(NamedTuple):
    """One publisher; ``run`` differs for every attempt to take the lease."""

    step: str
    revision: Revision
    run: int
    key: int
    version: int = 1
    snapshot: int = 1
    seen_serial: int = 0
    seen: Timestamp | None = None
    known: frozenset[Revision] = frozenset()
    disturbed: frozenset[Revision] = frozenset()
    kills: int = 0


class World(NamedTuple):
    serial: int
    lease: Lease | None
    root: int
    timestamp: Timestamp
    snapshots: tuple[tuple[int, tuple[Revision, int]], ...]
    views: Revision
    publishers: tuple[Publisher, Publisher]
    sleeps: int
    excused: bool = False  # one was killed after it had lost its lease: views may be old

    def file(self, version: int) -> tuple[Revision, int] | None:
        return dict(self.snapshots).get(version)

    def having(self, number: int, publisher: Publisher, **changes: Any) -> World:
        both = list(self.publishers)
        both[number] = publisher
        return self._replace(publishers=(both[0], both[1]), **changes)


class Rules(NamedTuple):
    """What the protocol insists on; a test takes away one after the other."""

    serial: bool = True  # the state never has the same bytes twice
    confirm: bool = True  # the timestamp is read again when the lease is taken
    create_only: bool = True  # signed files are never overwritten
    fence: bool = True  # who takes over from a sleeper changes the timestamp
    roots: bool = True  # a newer root is looked for before anything is written
    remembers: bool = True  # a run that lost its lease remembers what it disturbed


def steps(world: World, rules: Rules) -> Iterator[World]:
    """Every world that is one step away."""
    lease = world.lease
    if lease and lease.run and not lease.over and world.sleeps:
        yield world._replace(lease=lease._replace(over=True), sleeps=world.sleeps - 1)
    for number, publisher in enumerate(world.publishers):
        if publisher.step in ("done", "refused"):
            continue
        if publisher.kills and publisher.step != "look":
            yield _killed(world, number)
        yield from _step(world, number, rules)


def _killed(world: World, number: int) -> World:
    """Its memory is gone, what is signed on its disk is not; its own lease is known to be over."""
    publisher, lease = world.publishers[number], world.lease
    holds = bool(lease and lease.run == publisher.run)
    if lease and holds:
        lease = lease._replace(over=True)
    wrote = publisher.step in ("sign", "renew", "root", "swap", "remove", "let go", "give back")
    again = publisher._replace(
        step="look", run=publisher.run + 2, kills=publisher.kills - 1,
        known=frozenset(), disturbed=frozenset(), seen=None,
    )  # fmt: skip
    lost = (wrote and not holds) or bool(publisher.disturbed)
    return world.having(number, again, lease=lease, excused=world.excused or lost)


def _step(world: World, number: int, rules: Rules) -> Iterator[World]:
    p = world.publishers[number]
    lost = p._replace(
        step="look", run=p.run + 2,
        disturbed=p.disturbed | ({p.revision} | p.known if rules.remembers else set()),
    )  # fmt: skip
    holds = world.serial == p.seen_serial
    match p.step:
        case "look":
            yield world.having(number, p._replace(step="look 2", seen_serial=world.serial))
        case "look 2":
            yield from _looked(world, number, rules)
        case "take":
            if not holds:
                yield world.having(number, p._replace(step="look", run=p.run + 2))
                return
            lease = Lease(p.run, False, p.known)
            mine = p._replace(step="confirm", seen_serial=world.serial + 1)
            yield world.having(number, mine, lease=lease, serial=world.serial + 1)
        case "confirm":
            fine = world.timestamp == p.seen or not rules.confirm
            p = p._replace(seen=world.timestamp)
            yield world.having(number, p._replace(step="put" if fine else "let go"))
        case "put":
            stale = any(state != p.revision for state in p.known)
            views = p.revision if stale else world.views
            yield world.having(number, p._replace(step="sign"), views=views)
        case "sign":
            content = (p.revision, number)
            there = world.file(p.snapshot)
            if there == content or p.snapshot == world.timestamp.snapshot:
                yield world.having(number, p._replace(step="renew"))
            elif there is None or not rules.create_only:
                files = tuple(sorted({**dict(world.snapshots), p.snapshot: content}.items()))
                yield world.having(number, p._replace(step="renew"), snapshots=files)
            else:  # signed again, above
                yield world.having(number, p._replace(snapshot=p.snapshot + 1))
        case "renew":
            yield world.having(number, p._replace(step="root") if holds else lost)
        case "root":
            yield world.having(number, p._replace(step="swap"), root=max(world.root, p.key))
        case "swap":
            if world.timestamp != p.seen:
                yield world.having(number, p._replace(step="let go"))
                return
            new = Timestamp(p.version, p.key, p.snapshot, (p.revision, number))
            if p.version == world.timestamp.version:
                new = world.timestamp  # nothing to say, and no fence
            elif p.snapshot == world.timestamp.snapshot:
                new = world.timestamp._replace(version=p.version)
            yield world.having(number, p._replace(step="remove", seen=new), timestamp=new)
        case "remove":  # as a repair does: what nobody needs goes
            files = tuple(f for f in world.snapshots if f[0] == world.timestamp.snapshot)
            if holds:
                yield world.having(number, p._replace(step="give back"), snapshots=files)
            else:
                yield world.having(number, lost)
        case "let go":  # it looks again; whoever comes first knows where the views may stand
            if not holds:
                yield world.having(number, lost)
                return
            given = Lease(0, True, p.known | {p.revision})
            serial = world.serial + 1 if rules.serial else 0
            yield world.having(number, lost, lease=given, serial=serial)
        case "leave word":  # it must not sign, but says which views it may have written
            if not holds:
                yield world.having(number, p._replace(step="look"))
                return
            states = p.disturbed | (held.states if (held := world.lease) else frozenset())
            word = Lease(0, True, states | {p.revision})
            refused = p._replace(step="refused", disturbed=frozenset())
            yield world.having(number, refused, lease=word, serial=world.serial + 1)
        case "give back":
            if not holds:
                yield world.having(number, lost)
                return
            serial = world.serial + 1 if rules.serial else 0
            done = p._replace(step="done", seen=None, known=frozenset(), disturbed=frozenset())
            yield world.having(number, done, lease=None, serial=serial)


def _looked(world: World, number: int, rules: Rules) -> Iterator[World]:
    """The timestamp is read: wait, refuse, join, or take the lease."""
    p, there, lease = world.publishers[number], world.timestamp, world.lease
    if world.serial != p.seen_serial:
        # The state that was read is another by now: taking it will fail, whatever was seen.
        yield world.having(number, p._replace(step="look"))
        return
    if lease and lease.run and not lease.over:
        yield world.having(number, p._replace(step="look"))
        return
    if rules.roots and world.root > p.key:
        yield world.having(number, p._replace(step="leave word" if p.disturbed else "refused"))
        return
    revision, sleeper = p.revision | there.content[0], bool(lease and lease.run)
    new = revision != there.content[0] or p.key > there.key
    known = frozenset({there.content[0]}) | p.disturbed | (lease.states if lease else frozenset())
    if not (new or sleeper or lease or p.disturbed):
        yield world.having(number, p._replace(step="done", revision=revision))
        return
    version = there.version + (1 if rules.fence or new else 0)
    # A fence is another timestamp for the same files; what is new has a snapshot of its own.
    snapshot = there.snapshot if not new else max(p.snapshot, there.snapshot + 1)
    yield world.having(number, p._replace(
        step="take", revision=revision, seen=there, known=known, version=version, snapshot=snapshot,
    ))  # fmt: skip


def start(
    revisions: tuple[str, str] = ("ab", "ac"), keys: tuple[int, int] = (1, 1),
    kills: tuple[int, int] = (1, 0), sleeps: int = 1,
) -> World:  # fmt: skip
    """A destination with package a, and two publishers that have more, or newer keys."""
    first = Timestamp(1, 1, 1, (frozenset("a"), 9))
    one, two = (
        Publisher("look", frozenset(revision), number, key, kills=killed)
        for number, (revision, key, killed) in enumerate(
            zip(revisions, keys, kills, strict=True), 1
        )
    )
    files = ((1, first.content),)
    return World(0, None, 1, first, files, frozenset("a"), (one, two), sleeps)


def explore(first: World, rules: Rules) -> dict[World, list[World]]:
    """Every world that can be reached, and those that are one step away from it."""
    found: dict[World, list[World]] = {}
    left = deque([first])
    while left:
        world = left.popleft()
        if world not in found:
            found[world] = list(steps(world, rules))
            left.extend(found[world])
    return found


def faults(first: World, rules: Rules = Rules()) -> set[str]:
    """What goes wrong anywhere."""
    found: set[str] = set()
    worlds = explore(first, rules)
    for world, following in worlds.items():
        if world.file(world.timestamp.snapshot) != world.timestamp.content:
            found.add("the timestamp names what is not there")
        for after in following:
            if after.timestamp.key < world.timestamp.key:
                found.add("a revoked key is current again")
        if not following:
            found.update(_faults_at_the_end(world, rules))
    if len(_that_end(worlds)) < len(worlds):
        found.add("somebody waits for ever")
    return found


def _faults_at_the_end(world: World, rules: Rules) -> Iterator[str]:
    for number in (0, 1, 0):
        world = _once_more(world, number, rules)
    wanted = frozenset().union(*(p.revision for p in world.publishers if p.step != "refused"))
    if not wanted <= world.timestamp.content[0]:
        yield "somebody's package is lost"
    if world.views != world.timestamp.content[0] and not world.excused:
        yield "the views are old"


def _once_more(world: World, number: int, rules: Rules) -> World:
    """One publisher publishes once more, alone and undisturbed."""
    p = world.publishers[number]
    world = world.having(number, p._replace(step="look", run=p.run + 2, kills=0), sleeps=0)
    while world.publishers[number].step not in ("done", "refused"):
        world = next(_step(world, number, rules))
    return world


def _that_end(worlds: dict[World, list[World]]) -> set[World]:
    """The worlds from which an end can be reached."""
    before: dict[World, list[World]] = {world: [] for world in worlds}
    for world, following in worlds.items():
        for after in following:
            before[after].append(world)
    left = [world for world, following in worlds.items() if not following]
    found = set(left)
    while left:
        for world in before[left.pop()]:
            if world not in found:
                found.add(world)
                left.append(world)
    return found


@pytest.mark.parametrize("revisions", [("ab", "ac"), ("ab", "a"), ("a", "ac")])
def test_two_publishers_never_break_a_destination_nor_lose_a_package(
    revisions: tuple[str, str],
) -> None:
    assert faults(start(revisions)) == set()


@pytest.mark.parametrize("keys", [(2, 1), (1, 2)])
def test_a_revoked_key_never_becomes_current_again(keys: tuple[int, int]) -> None:
    assert faults(start(keys=keys)) == set()


@pytest.mark.parametrize(
    ("first", "rules", "fault"),
    [
        (start(), Rules(create_only=False), "the timestamp names what is not there"),
        (start(("ab", "a")), Rules(fence=False), "the timestamp names what is not there"),
        (start(), Rules(serial=False, confirm=False), "the timestamp names what is not there"),
        (start(), Rules(remembers=False), "the views are old"),
        (start(keys=(2, 1)), Rules(roots=False), "a revoked key is current again"),
    ],
    ids=["overwrite", "no-fence", "ABA", "forget", "no-look-at-roots"],
)
def test_without_one_of_its_rules_the_model_shows_what_goes_wrong(
    first: World, rules: Rules, fault: str
) -> None:
    assert fault in faults(first, rules)
