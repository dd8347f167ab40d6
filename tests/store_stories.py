"""What happens to a mirror in a store: machines, their commands, and what is in their way.

``Story`` keeps account of what every command was told, and of what readers must find in the end.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cnrmirror.archive.identify import Override
from cnrmirror.audit.report import Order
from cnrmirror.audit.run import audit
from cnrmirror.mirror import change
from cnrmirror.mirror.home import online_folder
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.rotate import own_repository
from cnrmirror.model.documents import Head, Node
from cnrmirror.model.errors import (
    BadSignature,
    BusyError,
    ConflictError,
    DamageError,
    IncompleteError,
    NetworkError,
    NotFoundError,
    NotTrusted,
    ReleaseConflict,
)
from cnrmirror.model.instant import Instant
from cnrmirror.model.progress import Progress
from cnrmirror.model.resource import Resource
from cnrmirror.objects.base import Objects
from cnrmirror.objects.folder import FolderObjects, FolderReader
from cnrmirror.objects.memory import MemoryObjects
from cnrmirror.objects.store import Store
from cnrmirror.publish import upkeep
from cnrmirror.publish.shared import Shared
from cnrmirror.sync.open import open_sources
from cnrmirror.sync.run import sync
from cnrmirror.trust.keys import PUBLISH, REFRESH, write_key
from cnrmirror.trust.verify import Policy, Trust
from tests.conftest import chart_bytes
from tests.mirrors import key, make
from tests.places import Killed
from tests.rivals import Gate, Stepped
from tests.test_publish_races import sign_with

BEGIN = datetime.now(UTC) - timedelta(days=3)
Key = tuple[str, str]  # a package, a release
_SIGNED = re.compile(r"catalog/metadata/[0-9]+\.(?:root|targets|catalog|snapshot)\.json")
_NAMES = ("a", "b", "c")


def free(call: str) -> None:
    """A gate that lets all pass."""


class Recorded(Stepped):
    """A place that notes under which names signed files were ever written."""

    def __init__(self, inner: Objects, gate: Gate, written: dict[str, bytes]) -> None:
        super().__init__(inner, gate)
        self.written = written

    def create(self, resources: Sequence[Resource], progress: Progress) -> list[str]:
        known = super().create(resources, progress)
        self._note(r for r in resources if r.path not in known)
        return known

    def put(self, resources: Sequence[Resource], progress: Progress) -> None:
        super().put(resources, progress)
        self._note(resources)

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        tag = super().swap(key, data, expected)
        if key.endswith("/timestamp.json"):
            version = json.loads(data)["signed"]["version"]
            self._same(f"{version}.timestamp.json", data)
        return tag

    def _note(self, resources: Iterator[Resource] | Sequence[Resource]) -> None:
        for resource in resources:
            if _SIGNED.fullmatch(resource.path):
                assert isinstance(resource.body, bytes)
                self._same(resource.path, resource.body)

    def _same(self, name: str, data: bytes) -> None:
        assert self.written.setdefault(name, data) == data, f"{name}: written with other bytes"


class Machine:
    """A machine's folder; each command opens it anew."""

    def __init__(self, story: Story, name: str) -> None:
        self.story, self.name = story, name
        self.folder = story.folder / name
        self.said: list[str] = []

    def project(self, gate: Gate = free) -> Project:
        """The mirror, as a command has it that begins; ``gate`` is asked before each request."""
        project = Project(self.folder)
        partial = project.partial
        assert partial is not None
        partial._make_place = lambda store: Recorded(
            self.story.objects(store), gate, self.story.written
        )
        return project

    def shared(self, gate: Gate = free) -> Shared:
        project = self.project(gate)
        shared = Shared(project, self.said.append)
        project.signer = own_repository(project, None, self.said.append)
        return shared

    def opened(self, gate: Gate = free) -> Project:
        shared = self.shared(gate)
        shared.catch_up()
        return shared.project

    def listed(self) -> dict[Key, str]:
        project = self.opened()
        return contents(project)


def contents(project: Project) -> dict[Key, str]:
    """The digests of all releases."""
    found = {}
    for ref in project.catalog.packages(project.tree()):
        for release in project.catalog.document(ref).releases:
            found[ref.name, release.release] = release.content.digest
    return found


class Story:
    """Machines that share the keys and a store.

    Args:
        folder: for all of it.
        seed: the story's chance.
        kind: ``folder`` or ``memory``.
    """

    def __init__(self, folder: Path, seed: int, kind: str = "folder", machines: int = 2) -> None:
        self.folder, self.kind = folder, kind
        self.chance = random.Random(seed)
        self.place = folder / "place"
        self.bucket: dict[str, bytes] = {}
        self.written: dict[str, bytes] = {}
        self.minutes = 0
        self.serial = itertools.count(1)
        # What must be there; what may be, because nobody was told how a command ended: what is left
        # of that in a folder may still come into the store, or be given up.
        self.there: dict[Key, str] = {}
        self.maybe: set[Key] = set()
        self.ever: set[Key] = set()
        self.told: list[str] = []
        self.depth = 0
        self.untidy = False
        self.steps = 0
        self._begin(machines)

    def _begin(self, machines: int) -> None:
        self.identity = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        first = make(self.folder / "start", self.identity, self.now())
        self.pinned = (first.metadata.path / "1.root.json").read_bytes()
        grace, cache = self.chance.choice((0, 60)), self.chance.choice((1, 1024))
        to = self.place if self.kind == "folder" else "s3://memory/x"
        charts = self.folder / "charts"
        charts.mkdir()
        settings = (
            "retention: {revisions: 2, grace_hours: 0}\nlock_wait_seconds: 0\n"
            f"sources:\n  local: {{type: charts, folder: {charts}, namespace: synced}}\n"
            f"store: {{to: '{to}', grace_minutes: {grace}, cache_mib: {cache}}}\n"
        )
        configuration = (first.folder / "mirror.yaml").read_text()
        self.machines = [Machine(self, f"m{number}") for number in range(machines)]
        for machine in self.machines:
            machine.folder.mkdir()
            (machine.folder / "mirror.yaml").write_text(f"{configuration}\n{settings}")
            (machine.folder / "root.json").write_bytes(self.pinned)
        layout = Project(self.machines[0].folder).layout
        shutil.copytree(first.site / "catalog", layout.catalog)
        layout.making.mkdir(parents=True, exist_ok=True)
        self.machines[0].shared().share()

    def objects(self, store: Store) -> Objects:
        if self.kind == "folder":
            return FolderObjects(self.place, store)
        return MemoryObjects(store, self.bucket, "s3://memory/x")

    def now(self) -> str:
        self.minutes += 1
        return str(Instant(BEGIN + timedelta(minutes=self.minutes)))

    def end(self) -> None:
        shutil.rmtree(online_folder(self.identity), ignore_errors=True)
        shutil.rmtree(self.folder)

    # -- commands: each tells what it must have changed, and does it --

    def push(self, machine: Machine, gate: Gate) -> None:
        name = self.chance.choice((*_NAMES, f"n{next(self.serial)}"))
        wanted = (f"ns/{name}", f"{next(self.serial)}.0.0")
        self._push(machine, gate, wanted, "")

    def push_taken(self, machine: Machine, gate: Gate) -> None:
        """Another content of a release."""
        if not self.there:
            return
        wanted = self.chance.choice(sorted(self.there))
        if not wanted[0].startswith("ns/"):
            return
        with contextlib.suppress(ReleaseConflict):
            self._push(machine, gate, wanted, f"other {next(self.serial)}")

    def _push(self, machine: Machine, gate: Gate, wanted: Key, text: str) -> None:
        name = wanted[0].partition("/")[2]
        path = self.folder / f"{name}-{next(self.serial)}.tgz"
        path.write_bytes(chart_bytes(name, wanted[1], text))
        victims = [wanted]
        with self._uncertain(victims):
            project = machine.opened(gate)
            report = push(project, [path], Override(namespace="ns"), self.now())
            digest = report.pushed[0].digest
        known = self.there.get(wanted)
        if known is not None and known != digest:
            raise AssertionError(f"{wanted}: accepted twice, with {known} and {digest}")
        self.there[wanted] = digest
        self.ever.add(wanted)

    def remove(self, machine: Machine, gate: Gate) -> None:
        if not self.there:
            return
        name, release = self.chance.choice(sorted(self.there))
        steps = self.steps
        with self._uncertain([(name, release)]):
            project = machine.opened(gate)
            change.remove(project, change.Removal(name, release, None, "x"), self.now())
        self._gone((name, release), steps)
        self.told.append(f"gone {name}@{release}")

    def channel(self, machine: Machine, gate: Gate) -> None:
        if not self.there:
            return
        name, release = self.chance.choice(sorted(self.there))
        channel = self.chance.choice(("stable", "beta"))
        project = machine.opened(gate)
        if self.chance.random() < 0.7:
            change.set_channel(project, name, channel, release, self.now())
        else:
            change.remove_channel(project, name, channel, None, self.now())

    def rollback(self, machine: Machine, gate: Gate) -> None:
        number = self.chance.randrange(3)
        steps = self.steps
        # What was removed may come again.
        with self._uncertain(sorted(self.ever)):
            project = machine.opened(gate)
            base = _noting_its_base(project)
            history = list(itertools.islice(project.catalog.history(project.head().catalog), 3))
            revision = history[number % len(history)][1]
            change.rollback(project, str(revision.revision), self.now())
            after = contents(project)
        for each in base.keys() - after.keys():
            self._gone(each, steps)
        # What was removed before is there again.
        for each, digest in after.items():
            self.there.setdefault(each, digest)
            if steps != self.steps:
                self.maybe.add(each)

    def _gone(self, each: Key, steps: int) -> None:
        """It was removed; if others did something meanwhile, nobody knows in which order."""
        self.there.pop(each, None)
        if steps != self.steps:
            self.maybe.add(each)

    def refresh(self, machine: Machine, gate: Gate) -> None:
        project = machine.opened(gate)
        with project.writing():
            project.signer.refresh(self.now())  # type: ignore[union-attr]

    def gc(self, machine: Machine, gate: Gate) -> None:
        machine.opened(gate)
        upkeep.collect(machine.shared(gate), 1, 0, self.now(), dry_run=False)

    def build(self, machine: Machine, gate: Gate) -> None:
        machine.opened(gate)
        upkeep.mend(machine.shared(gate), self.now())

    def upgrade(self, machine: Machine, gate: Gate) -> None:
        machine.opened(gate).upgrade(self.now())

    def look(self, machine: Machine, gate: Gate) -> None:
        machine.opened(gate)

    def check(self, machine: Machine, gate: Gate) -> None:
        machine.opened(gate)
        if self.kind == "folder":
            upkeep.check(machine.shared(gate))

    def sync(self, machine: Machine, gate: Gate) -> None:
        name = f"s{next(self.serial)}"
        wanted = (f"synced/{name}", "1.0.0")
        (self.folder / "charts" / f"{name}.tgz").write_bytes(chart_bytes(name, "1.0.0"))
        with self._uncertain([wanted]):
            project = machine.opened(gate)
            report = sync(project, open_sources(project, (), os.environ, _no_reader), self.now())
            assert not report.sources[0].error, report
            after = contents(project)
        # The folder has all that was ever there; what was removed comes again.
        for each, digest in after.items():
            if each[0].startswith("synced/"):
                self.there.setdefault(each, digest)
                self.ever.add(each)

    def rotate(self, machine: Machine, gate: Gate) -> None:
        purpose = self.chance.choice((PUBLISH, REFRESH))
        new = key(f"{purpose} {self.identity} {next(self.serial)}")
        project = machine.opened(gate)
        write_key(online_folder(self.identity), purpose, new, None)
        sign_with(project, purpose, new.public_key, self.folder / "offline", self.now())

    def forget(self, machine: Machine, gate: Gate) -> None:
        what = machine.folder / ".state"
        if self.chance.random() < 0.5:
            what /= "scratch"
        shutil.rmtree(what, ignore_errors=True)

    # -- what is in their way --

    @contextlib.contextmanager
    def _uncertain(self, victims: Sequence[Key]) -> Iterator[None]:
        """Where a command ends in this way, nobody knows whether it is done."""
        try:
            yield
        except (Killed, NetworkError, BusyError, DamageError, IncompleteError):
            for each in victims:
                self.there.pop(each, None)
            self.maybe.update(victims)
            self.ever.update(victims)
            raise

    def step(self, what: str, number: int, trouble: str = "") -> None:
        """One command of one machine.

        Args:
            trouble: "" for none, or what happens before one of its requests: it is killed, the
                network fails, or it waits while another machine runs commands.
        """
        self.steps += 1
        machine = self.machines[number % len(self.machines)]
        if what == "rotate" and trouble != "wait":
            trouble = ""  # between a new root and what it signs, others wait for who rotates
        moment = int(self.chance.triangular(0, 60, 5))
        gate = self._gate(trouble, moment, number) if trouble else free
        self.told.append(f"{'> ' * self.depth}{machine.name}: {what} {trouble}@{moment}")
        try:
            getattr(self, what)(machine, gate)
        except (
            Killed, ConflictError, NetworkError, BusyError, NotFoundError, BadSignature, NotTrusted,
            DamageError, IncompleteError,
        ) as error:  # fmt: skip
            self.told.append(f"{'> ' * self.depth}{machine.name}: {what}: {error!r}")
            self._justify(error, what, trouble)

    def _justify(self, error: BaseException, what: str, trouble: str) -> None:
        """Nobody is refused without a reason."""
        quiet = not trouble and not self.depth and not self.maybe and not self.lost
        if isinstance(error, ConflictError) and quiet:
            assert what == "push_taken", error
        if isinstance(error, BadSignature | NotTrusted):
            # Between a new root and what it signs, or of two who rotate keys at once.
            assert self.rotating and (self.told_nested or trouble == "wait"), error
        if isinstance(error, DamageError | IncompleteError):
            # Without grace, what somebody still reads or wants goes.
            assert self.told_nested and any("> " in t and "gc" in t for t in self.told), error
        if isinstance(error, NetworkError):
            assert trouble == "network", error
        if isinstance(error, BusyError):
            assert self.depth or trouble == "wait" or self.rotating, error

    @property
    def lost(self) -> bool:
        """Whether a command was ended on its way, of which something may be left."""
        return any("Killed" in text or "NetworkError" in text or "BusyError" in text
                   for text in self.told)  # fmt: skip

    def _gate(self, trouble: str, moment: int, number: int) -> Gate:
        left = moment

        def gate(call: str) -> None:
            nonlocal left
            left -= 1
            if left == -1:
                if trouble == "kill":
                    raise Killed
                if trouble == "network":
                    raise NetworkError("the network is gone")
                self.depth += 1
                for _ in range(self.chance.randrange(1, 4)):
                    self.step(self.chance.choice(NESTED), number + 1)
                self.depth -= 1
            elif left < 0 and trouble == "network" and self.chance.random() < 0.5:
                raise NetworkError("the network is gone")

        return gate

    # -- the end --

    def settle(self) -> None:
        """All is well, for every machine and for readers."""
        finished = [self._finish(machine) for machine in self.machines]
        finished = [self._finish(machine) for machine in self.machines]
        if not any(finished):
            # A lease was taken from who rotated keys, and everybody's state is gone.
            self.told.append("nobody can go on")
            return
        assert all(finished)
        for machine in self.machines:
            found = machine.listed()
            certain = self.there.keys() - self.maybe
            lacking = {k: v for k, v in self.there.items() if k in certain and found.get(k) != v}
            assert not lacking, (machine.name, lacking)
            odd = found.keys() - self.there.keys() - self.maybe
            assert not odd, (machine.name, odd)
        heads = {machine.opened().metadata.read("timestamp.json") for machine in self.machines}
        assert len(heads) == 1
        self._readers()
        self._tidy()

    def _finish(self, machine: Machine) -> bool:
        """Bring what is left of commands to its end; False if it waits for another machine."""
        try:
            self.refresh(machine, free)
        except (ConflictError, DamageError, IncompleteError) as error:
            assert self.lost or self.maybe, error
            assert "this one has not begun" in str(error.__notes__)
            self.refresh(machine, free)
        except BadSignature as error:
            assert self.rotating and self.told_nested, error
            return False
        return True

    def _readers(self) -> None:
        if self.kind != "folder":
            return
        base = self.folder / f"reader-{self.minutes}"
        trust = Trust(self.pinned, base / "cache", base / "marks")
        order = Order(Policy(), datetime.now(UTC), strict=True)
        report = audit(FolderReader(self.place), trust, order)
        assert not report.error, report.error
        assert {f.problem for f in report.findings} <= {"unused", "extra"}, report.findings

    def _tidy(self) -> None:
        if self.kind == "folder":
            # What killed runs left is too much, and nothing else is wrong.
            found = upkeep.check(self.machines[0].shared())
            assert not found.error, found.error
            assert {f.problem for f in found.findings} <= {"extra"}, found.findings
            untidy = self.lost or self.told_nested or self.untidy
            assert untidy or not found.findings, found.findings
        upkeep.mend(self.machines[-1].shared(), self.now())
        if self.kind == "folder":
            for machine in self.machines:
                machine.opened()
                found = upkeep.check(machine.shared())
                assert (found.error, found.findings) == ("", []), found
            self._readers()
        else:
            now = str(Instant(datetime.now(UTC).replace(microsecond=0)))
            assert upkeep.lacking(self.machines[-1].shared(), now) == []

    @property
    def rotating(self) -> bool:
        return any("rotate" in text for text in self.told)

    @property
    def told_nested(self) -> bool:
        return any(text.startswith("> ") for text in self.told)


def _noting_its_base(project: Project) -> dict[Key, str]:
    """Fills with what was there when the next revision of a project was made."""
    base: dict[Key, str] = {}
    commit = project.commit_tree

    def noting(tree: Node, message: str, now: str) -> Head | None:
        base.update(contents(project))
        return commit(tree, message, now)

    project.commit_tree = noting  # type: ignore[method-assign,assignment]
    return base


def _no_reader(*arguments: object, **named: object) -> Objects:
    raise AssertionError("no source of these tests is elsewhere")


COMMANDS = (
    "push", "push", "push", "push", "push_taken", "remove", "channel", "channel", "rollback",
    "refresh", "gc", "build", "upgrade", "look", "check", "sync", "rotate", "forget",
)  # fmt: skip
# While another command waits.
NESTED = (
    "push", "push", "push", "push_taken", "remove", "channel", "rollback", "refresh", "gc", "build",
    "sync", "rotate", "look",
)  # fmt: skip
TROUBLES = ("", "", "", "kill", "network", "wait", "wait")


def tell(folder: Path, seed: int, kind: str = "folder", length: int = 0) -> Story:
    """One story to its end; what was told of it is printed if it ends badly."""
    chance = random.Random(seed)
    story = Story(folder, seed, kind, machines=chance.choice((2, 2, 3)))
    try:
        for _ in range(length or chance.randrange(3, 12)):
            story.step(chance.choice(COMMANDS), chance.randrange(6), chance.choice(TROUBLES))
        story.settle()
    except BaseException:
        print(f"story {seed} ({kind}):", *story.told, sep="\n  ")
        raise
    return story


Tell = Callable[[Path, int, str], Story]
Names = Mapping[Key, str]
