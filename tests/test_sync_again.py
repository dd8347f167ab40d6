"""A sync that looks only at what changed comes to what one comes to that looks at everything.

``CNRMIRROR_STORIES=100`` tells more stories than CI does.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cnrmirror.mirror import change, gc
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Channel, Content, PackageDocument, Release, Tombstone
from cnrmirror.model.errors import CnrMirrorError, NetworkError
from cnrmirror.model.instant import Instant
from cnrmirror.model.names import content_type
from cnrmirror.objects.base import Reader
from cnrmirror.objects.folder import FolderReader
from cnrmirror.sources.filters import Filter
from cnrmirror.sync import draft, look
from cnrmirror.sync.memory import remembered
from cnrmirror.sync.open import open_sources
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.report import SourceReport, SyncReport
from cnrmirror.sync.run import sync
from tests import mirrors
from tests.conftest import chart_bytes
from tests.mirrors import make, reopen

STORIES = int(os.environ.get("CNRMIRROR_STORIES", "8"))
BEGIN = datetime.now(UTC) - timedelta(days=3)
MANIFEST = "application/vnd.cnr.package-manifest.helm.v0.json"
PACKAGES = 90
ARCHIVES = 4


def archive(number: int) -> bytes:
    return chart_bytes("any", "1.0.0", str(number))


def release_of(project: Project, release: str, number: int, now: str) -> Release:
    data = archive(number)
    blob = Descriptor.of(data)
    project.store.add_blob(blob, [data])
    content = Content(_diff_ids()[number], content_type("helm", "cnr"), blob.size)
    return Release(release, "helm", now, MANIFEST, content, blob, origin="push")


def _diff_ids(known: dict[int, str] = {}) -> dict[int, str]:  # noqa: B006
    if not known:
        known.update(
            (n, Descriptor.of(gzip.decompress(archive(n))).digest) for n in range(ARCHIVES)
        )
    return known


class World:
    """Two mirrors and a folder of charts, and a mirror that is synced from them."""

    def __init__(self, folder: Path, settings: Mapping[str, str] = {}) -> None:
        self.folder, self.minutes = folder, 0
        self.ups = {name: make(folder / name, name, self.now()) for name in ("a", "b")}
        self.charts = folder / "charts"
        self.charts.mkdir()
        make(folder / "mine", "mine", self.now())
        with (folder / "mine" / "mirror.yaml").open("a") as config:
            config.write("sources:\n")
            for name, up in self.ups.items():
                config.write(
                    f"  {name}: {{type: mirror, location: {up.site}, root: {up.trusted_root}, "
                    f"parallel: 1{settings.get(name, '')}}}\n"
                )
            config.write(f"  c: {{type: charts, folder: {self.charts}, namespace: ns}}\n")
        self.mine = reopen(folder / "mine")
        self.down: set[str] = set()
        self.unreadable: set[str] = set()

    def now(self) -> str:
        self.minutes += 3
        return str(Instant(BEGIN + timedelta(minutes=self.minutes)))

    def edit(self, project: Project, change_one: Callable[[PackageDocument], PackageDocument],
             names: Sequence[str]) -> None:  # fmt: skip
        now = self.now()
        with project.signing(now):
            tree, changes = project.tree(), {}
            for name in names:
                old = project.catalog.get(tree, name) or PackageDocument(name, [])
                new = change_one(old).sorted()
                changes[name] = new if new.releases or new.tombstones else None
            project.commit(changes, "edit", now)

    def fill(self, project: Project, names: Sequence[str]) -> None:
        release = release_of(project, "1.0.0", 0, self.now())
        self.edit(project, lambda old: msgspec.structs.replace(old, releases=[release]), names)

    def sync(
        self, project: Project, names: Sequence[str] = ("a",), now: str = "",
        rules: Callable[[Rules], Rules] = lambda rules: rules, **options: Any,
    ) -> SyncReport:  # fmt: skip
        sources = open_sources(project, names, {}, self.reader)
        treated = [(source, rules(each)) for source, each in sources]
        return sync(project, treated, now or self.now(), **options)

    def reader(self, location: str) -> Reader:
        if location in self.down:
            raise NetworkError(f"{location}: down")
        return _Reader(Path(location), self.unreadable)


class _Reader(FolderReader):
    def __init__(self, folder: Path, unreadable: set[str]) -> None:
        super().__init__(folder)
        self._unreadable = unreadable

    def fetch(self, path: str, max_bytes: int, *arguments: Any, **options: Any) -> Any:
        if path.rpartition("/")[2] in self._unreadable:
            raise NetworkError(f"{path}: cannot be read")
        return super().fetch(path, max_bytes, *arguments, **options)


def names(some: Sequence[int]) -> list[str]:
    return [f"ns/p{number}" for number in some]


def forgetful(project: Project, folder: Path) -> Project:
    """A copy of a mirror that looks at everything: no mark is left."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(project.folder, folder, symlinks=True)
    for path in (folder / ".state/memory/sources").glob("*.json"):
        memory = json.loads(path.read_bytes())
        memory["settled"] = None
        path.write_text(json.dumps(memory))
    return reopen(folder)


def plain(report: SourceReport) -> SourceReport:
    return msgspec.structs.replace(report.folded(), unchanged=0, seconds=0, requests=0)


def outcome(project: Project, run: Callable[[], SyncReport]) -> Any:
    """What is to be the same whatever was looked at."""
    try:
        report = run()
    except CnrMirrorError as error:
        return error.message
    memories = {name: remembered(project, name) for name in project.config.sources}
    left = {name: (m.channels, m.filter) for name, m in memories.items() if m}
    counts = [dict(sorted(source.counts.items())) for source in report.sources]
    told = [plain(source) for source in report.sources]
    return report.exit_code, told, counts, left, project.head().catalog, project.root()


# -- stories --------------------------------------------------------------------------------------

SETTINGS = (
    "",
    ", deletes: follow",
    ", deletes: follow, max_shrink: 0.02, changes: accept",
    ", filter: {newest: 1}, changes: accept",
    ", filter: {channels: [stable]}, deletes: follow, max_shrink: 1",
    ', filter: {exclude: ["ns/p1*"]}, changes: fail',
    ", names: {ns/p1: ns/p2, ns/p3: other/p3, ns/p2: ns/p1}",
    ", names: {ns/*: here/*}, deletes: follow",
    ", names: {ns/p4: ns/p5}, changes: accept",
)


class Story(World):
    def __init__(self, folder: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        settings = {name: self.dice.choice(SETTINGS) for name in ("a", "b")}
        super().__init__(folder, settings)
        for name in ("own", "p1"):
            (self.charts / f"{name}-1.0.0.tgz").write_bytes(chart_bytes(name, "1.0.0"))
        half = names(range(0, PACKAGES // 2 + 5)), names(range(PACKAGES // 2 - 5, PACKAGES))
        for up, some in zip(self.ups.values(), half, strict=True):
            self.fill(up, some)

    def some(self) -> list[str]:
        """Few packages, often the same."""
        most = self.dice.choice((8, PACKAGES))
        return names(sorted({self.dice.randrange(most) for _ in range(self.dice.randint(1, 3))}))

    def changed(self, project: Project) -> Callable[[PackageDocument], PackageDocument]:
        wish = f"1.{self.dice.randrange(4)}.0"
        new = release_of(project, wish, self.dice.randrange(ARCHIVES), self.now())
        what = self.dice.choice(("put", "put", "drop", "drop", "channel", "no channel", "stone"))

        def one(old: PackageDocument) -> PackageDocument:
            releases = {r.release: r for r in old.releases}
            channels = {c.name: c for c in old.channels}
            release = self.dice.choice(sorted(releases) or [wish])
            stones = list(old.tombstones)
            if what == "put":
                releases[wish] = new
            elif what in ("drop", "stone"):
                gone = releases.pop(release, None)
                if what == "stone" and gone:
                    stones.append(Tombstone(release, "helm", gone.content.digest, NOW, "bad"))
            elif what == "channel" and releases:
                current = self.dice.choice(sorted(releases))
                channels["stable"] = Channel("stable", current, sorted(releases, reverse=True))
            elif what == "no channel":
                channels.clear()
            kept = [
                Channel(c.name, c.current, [r for r in c.releases if r in releases])
                for c in channels.values() if c.current in releases
            ]  # fmt: skip
            return PackageDocument(
                old.package, list(releases.values()), kept,
                [t for t in stones if t.release not in releases],
            )  # fmt: skip

        return one

    def step(self) -> None:
        act = self.dice.choice(
            ("a", "a", "a", "b", "b", "mine", "mine", "chart", "chart", "no chart", "rollback",
             "gc", "gc up", "down", "unreadable", "unreadable", "readable", "dry", "only fetch",
             "killed")
        )  # fmt: skip
        self.down.clear()
        if act in self.ups:
            self.edit(self.ups[act], self.changed(self.ups[act]), self.some())
        elif act == "mine":
            self.edit(self.mine, self.changed(self.mine), self.some())
        elif act == "chart":
            name = self.some()[0].partition("/")[2]
            text = str(self.dice.randrange(2))
            (self.charts / f"{name}-1.0.0.tgz").write_bytes(chart_bytes(name, "1.0.0", text))
        elif act == "no chart":
            for path in self.charts.glob("p*"):
                path.unlink()
        elif act == "rollback":
            change.rollback(self.mine, str(max(1, self.mine.root().revision - 2)), self.now())
        elif act == "gc":
            gc.collect(self.mine, self.dice.choice((1, 2)), 0, self.now(), dry_run=False)
        elif act == "gc up":
            gc.collect(self.ups["a"], 1, 0, self.now(), dry_run=False)
        elif act == "down":
            self.down = {str(self.ups[self.dice.choice("ab")].site)}
        elif act == "unreadable":
            self.hide(self.ups[self.dice.choice("ab")])
        elif act == "readable":
            self.unreadable.clear()
        elif act == "killed":
            self.kill()
        else:
            self.sync(self.mine, self.asked(), dry_run=act == "dry", only_fetch=act != "dry")

    def hide(self, up: Project) -> None:
        """Something new that cannot be read: a document, or an archive."""
        some = self.some()
        self.edit(up, self.changed(up), some)
        refs = [up.catalog.find(up.tree(), name) for name in some]
        self.unreadable |= {ref.digest for ref in refs if ref and self.dice.random() < 0.5}
        if self.dice.random() < 0.3:
            self.unreadable.add(Descriptor.of(archive(self.dice.randrange(ARCHIVES))).digest)

    def kill(self) -> None:
        """A sync that ends before its revision is made."""

        def commit(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        original = self.mine.commit
        self.mine.commit = commit  # type: ignore[method-assign]
        try:
            self.sync(self.mine, self.asked())
        except KeyboardInterrupt:
            pass
        finally:
            self.mine.commit = original  # type: ignore[method-assign]

    def asked(self) -> list[str]:
        return self.dice.choice(([], [], ["a"], ["a", "b"], ["b"], ["a", "c"], ["c"]))

    def options(self) -> dict[str, Any]:
        if self.dice.random() < 0.15:
            return {"keep": True}
        if self.dice.random() < 0.1:
            return {"rules": lambda r: msgspec.structs.replace(r, filter=Filter(newest=1))}
        return {"dry_run": True} if self.dice.random() < 0.1 else {}

    def compare(self) -> None:
        """A sync, and one that remembers no mark."""
        twin = forgetful(self.mine, self.folder / "twin")
        now, asked, options = self.now(), self.asked(), self.options()
        whole = outcome(twin, lambda: self.sync(twin, asked, now, **options))
        found = outcome(self.mine, lambda: self.sync(self.mine, asked, now, **options))
        assert found == whole


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many packages were looked at, each time that not all were."""
    found: list[int] = []
    original = look._part

    def part(*arguments: Any, **options: Any) -> Any:
        looked = original(*arguments, **options)
        if looked is not None:
            found.append(len(looked.packages or ()))
        return looked

    monkeypatch.setattr(look, "_part", part)
    return found


NOW = str(Instant(BEGIN))


@pytest.mark.parametrize("seed", range(STORIES))
def test_what_changed_comes_to_what_everything_comes_to(
    tmp_path: Path, seed: int, parts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(tmp_path, seed)
    if seed % 4 == 3:
        for module in (draft, look):
            monkeypatch.setattr(module, "MOST", 12)
    for _ in range(3):
        story.compare()
    for _ in range(12):
        for _ in range(story.dice.randint(0, 2)):
            story.step()
        story.compare()
    assert parts or seed % 4 == 3


# -- one at a time --------------------------------------------------------------------------------

ALL = names(range(PACKAGES))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A mirror that has all that a has, and knows so."""
    found = World(tmp_path)
    found.fill(found.ups["a"], ALL)
    found.sync(found.mine)
    found.sync(found.mine)
    return found


def put(world: World, up: str, name: str, release: str, number: int = 0) -> None:
    new = release_of(world.ups[up], release, number, world.now())
    world.edit(
        world.ups[up],
        lambda old: msgspec.structs.replace(old, releases=[*old.releases, new]),
        [name],
    )


def point(world: World, up: str, name: str, release: str) -> None:
    stable = [Channel("stable", release, [release])]
    world.edit(world.ups[up], lambda old: msgspec.structs.replace(old, channels=stable), [name])


def drop(world: World, up: str, some: Sequence[str]) -> None:
    world.edit(world.ups[up], lambda old: PackageDocument(old.package, []), some)


def one(report: SyncReport) -> SourceReport:
    (found,) = report.sources
    return found


def mark(world: World, source: str = "a") -> Any:
    memory = remembered(world.mine, source)
    return memory.settled if memory else None


def test_only_the_package_that_changed_is_looked_at(world: World, parts: list[int]) -> None:
    put(world, "a", "ns/p7", "1.1.0", 1)
    report = one(world.sync(world.mine))
    assert parts == [1] and report.fetched == 1 and report.exit_code == 0
    assert (report.offered, report.wanted, report.unchanged) == (91, 91, 89)
    assert [(a.kind, a.release) for a in report.actions] == [("same", "1.0.0"), ("fetch", "1.1.0")]
    again = one(world.sync(world.mine))
    assert parts == [1, 1] and again.counts["same"] == 91 and again.fetched == 0
    world.sync(world.mine)
    assert parts == [1, 1, 0]


def test_what_is_remembered_does_not_name_what_is_the_same(world: World) -> None:
    memory = remembered(world.mine, "a")
    assert memory and memory.report.actions == [] and memory.report.unchanged == PACKAGES
    assert memory.settled and memory.settled.open == []


def test_a_package_that_changed_here_is_looked_at(world: World, parts: list[int]) -> None:
    change.remove(world.mine, change.Removal("ns/p3", "1.0.0", None, "no good"), world.now())
    report = one(world.sync(world.mine))
    assert parts == [1] and [a.kind for a in report.actions] == ["kept"]
    report = one(world.sync(world.mine))  # it has to be said again
    assert parts == [1, 1] and [a.kind for a in report.actions] == ["kept"]


def test_a_source_whose_only_change_is_a_removal_offers_something(
    tmp_path: Path, parts: list[int]
) -> None:
    world = World(tmp_path, {"a": ", deletes: follow"})
    world.fill(world.ups["a"], ALL)
    for _ in range(2):
        world.sync(world.mine)
    parts.clear()
    drop(world, "a", ["ns/p5"])
    report = one(world.sync(world.mine))
    assert parts == [1] and report.exit_code == 0
    assert [a.kind for a in report.actions] == ["drop"] and report.offered == PACKAGES - 1


def test_too_many_removals_are_refused_by_the_number_of_all(
    tmp_path: Path, parts: list[int]
) -> None:
    world = World(tmp_path, {"a": ", deletes: follow, max_shrink: 0.1"})
    world.fill(world.ups["a"], ALL)
    for _ in range(2):
        world.sync(world.mine)
    parts.clear()
    drop(world, "a", names(range(10)))
    report = one(world.sync(world.mine))
    assert parts == [10] and report.shrunk and f"10 of {PACKAGES} releases" in report.notes[0]
    assert mark(world) is None


@pytest.mark.parametrize("lost", ["ours", "memory", "rules", "keep"])
def test_where_it_cannot_be_told_what_changed_everything_is_looked_at(
    world: World, parts: list[int], lost: str
) -> None:
    put(world, "a", "ns/p7", "1.1.0", 1)
    options: dict[str, Any] = {}
    if lost == "ours":
        change.remove(world.mine, change.Removal("ns/p3", "1.0.0", None, "no good"), world.now())
        os.unlink(world.mine.store.root_path(mark(world).ours.digest))
    elif lost == "memory":
        world.mine.layout.source_memory("a").unlink()
    elif lost == "rules":
        options = {"rules": lambda r: msgspec.structs.replace(r, max_shrink=1.0)}
    else:
        options = {"keep": True}
    report = one(world.sync(world.mine, **options))
    assert parts == [] and report.unchanged == 0 and report.fetched == 1


def test_a_source_whose_former_revision_is_lost_is_looked_at_whole(
    world: World, parts: list[int]
) -> None:
    put(world, "a", "ns/p7", "1.1.0", 1)
    os.unlink(world.ups["a"].store.root_path(mark(world).theirs.digest))
    shutil.rmtree(world.mine.layout.upstream_cache("a"))
    assert one(world.sync(world.mine)).fetched == 1 and parts == []


def test_more_changes_than_are_worth_it_are_looked_at_with_everything(
    world: World, parts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "MOST", 3)
    for number in range(4):
        put(world, "a", f"ns/p{number}", "1.1.0", 1)
    assert one(world.sync(world.mine)).fetched == 4 and parts == []


def test_a_run_that_is_killed_leaves_the_former_mark(world: World, parts: list[int]) -> None:
    before = mark(world)
    put(world, "a", "ns/p7", "1.1.0", 1)

    def commit(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    original, world.mine.commit = world.mine.commit, commit  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        world.sync(world.mine)
    world.mine.commit = original  # type: ignore[method-assign]
    assert mark(world) == before
    assert one(world.sync(world.mine)).fetched == 1 and parts == [1, 1]


def test_a_source_that_is_down_for_a_night_is_not_looked_at_whole(
    world: World, parts: list[int]
) -> None:
    before = mark(world)
    world.down = {str(world.ups["a"].site)}
    assert one(world.sync(world.mine)).exit_code == 12 and mark(world) == before
    world.down.clear()
    put(world, "a", "ns/p7", "1.1.0", 1)
    assert one(world.sync(world.mine)).fetched == 1 and parts == [1]


def test_what_is_kept_of_a_source_is_that_of_one_revision(world: World, parts: list[int]) -> None:
    def kept() -> set[str]:
        folder = world.mine.layout.upstream_cache("a")
        return {path.name for path in folder.rglob("*") if path.is_file()}

    def revision() -> set[str]:
        up = world.ups["a"]
        tree, at = up.tree(), up.head().catalog.digest
        nodes = {node.digest for node in up.catalog.nodes(tree)}
        return {*nodes, *(r.digest for r in up.catalog.packages(tree)), f"{at}.catalog.json"}

    assert kept() == (before := revision())
    for number in range(3):
        put(world, "a", f"ns/p{number}", "1.1.0", 1)
        drop(world, "a", [f"ns/p{50 + number}"])
        world.sync(world.mine, dry_run=True)
        assert kept() == before
        world.sync(world.mine)
        assert kept() == (before := revision())
    # Below 64 packages the tree has one leaf, and above branches.
    drop(world, "a", names(range(10, 45)))
    world.sync(world.mine)
    assert kept() == revision() and len(parts) == 7


def test_sources_of_other_kinds_in_the_same_run_are_looked_at_first(
    world: World, parts: list[int]
) -> None:
    for name in ("own", "p7"):
        (world.charts / f"{name}-1.0.0.tgz").write_bytes(chart_bytes(name, "1.0.0"))
    first, second = world.sync(world.mine, ["a", "c"]).sources
    assert parts == [2] and first.counts["same"] == PACKAGES
    assert [(a.package, a.kind) for a in second.actions] == [
        ("ns/own", "fetch"), ("ns/p7", "shadowed"),
    ]  # fmt: skip
    world.sync(world.mine, ["a", "c"])
    assert parts == [2, 2]


def test_a_channel_that_an_earlier_source_gave_is_given_when_that_one_is_not_asked(
    world: World, parts: list[int]
) -> None:
    put(world, "b", "ns/p7", "2.0.0", 1)
    point(world, "a", "ns/p7", "1.0.0")
    point(world, "b", "ns/p7", "2.0.0")
    for _ in range(3):
        world.sync(world.mine, ["a", "b"])
    assert world.mine.document("ns/p7").channels[0].current == "1.0.0"
    count = len(parts)
    world.sync(world.mine, ["b"])
    assert len(parts) == count + 1
    assert world.mine.document("ns/p7").channels[0].current == "2.0.0"


def test_a_package_that_a_later_source_changed_is_looked_at_again(
    tmp_path: Path, parts: list[int]
) -> None:
    world = World(tmp_path, {"a": ', filter: {releases: "<2.0.0"}'})
    world.fill(world.ups["a"], ALL)
    put(world, "a", "ns/p7", "2.0.0", 1)
    both = [Channel("stable", "2.0.0", ["2.0.0", "1.0.0"])]
    world.edit(
        world.ups["a"], lambda old: msgspec.structs.replace(old, channels=both), ["ns/p7"]
    )  # fmt: skip
    for _ in range(2):
        world.sync(world.mine, ["a", "b"])
    assert world.mine.document("ns/p7").channels[0].current == "1.0.0"
    put(world, "b", "ns/p7", "2.0.0", 1)
    world.sync(world.mine, ["a", "b"])  # when a had its turn, 2.0.0 was not there yet
    parts.clear()
    world.sync(world.mine, ["a"])
    assert parts == [1] and world.mine.document("ns/p7").channels[0].current == "2.0.0"


def test_marks_of_two_runs_are_not_used_together(world: World, parts: list[int]) -> None:
    world.fill(world.ups["b"], ["ns/p7"])
    for _ in range(2):
        world.sync(world.mine, ["b"])
    count = len(parts)
    report = world.sync(world.mine, ["a", "b"])
    assert [s.counts["shadowed"] for s in report.sources] == [0, 1] and len(parts) == count
    world.sync(world.mine, ["a", "b"])
    assert len(parts) == count + 2


def test_archives_that_were_only_fetched_are_taken_in_by_the_next_run(
    world: World, parts: list[int]
) -> None:
    put(world, "a", "ns/p7", "1.1.0", 1)
    assert one(world.sync(world.mine, only_fetch=True)).fetched == 1
    assert world.mine.document("ns/p7").versions() == ["1.0.0"]
    report = one(world.sync(world.mine))
    assert report.fetched == 1 and parts == [1, 1]
    assert world.mine.document("ns/p7").versions() == ["1.1.0", "1.0.0"]


def test_a_mirror_in_a_store_elsewhere_is_synced_in_part(
    tmp_path: Path, parts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(folder: Path, identity: str, now: str) -> Project:
        monkeypatch.setattr(mirrors, "STORE", str(tmp_path / "bucket") * (identity == "mine"))
        return mirrors.make(folder, identity, now)

    monkeypatch.setattr(f"{__name__}.make", made)
    world = World(tmp_path)
    world.fill(world.ups["a"], ALL)
    for _ in range(2):
        world.sync(world.mine)
    parts.clear()
    put(world, "a", "ns/p7", "1.1.0", 1)
    report = one(world.sync(world.mine))
    assert parts == [1] and (report.fetched, report.unchanged) == (1, 89)
    assert world.mine.document("ns/p7").versions() == ["1.1.0", "1.0.0"]
    assert world.mine.config.store is not None
