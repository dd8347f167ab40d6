"""What a sync remembers: losing it loses no safety, deleting scratch loses nothing at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from cnrmirror.airgap.take import Terms, import_packages
from cnrmirror.archive.identify import Override
from cnrmirror.cli import cli
from cnrmirror.mirror import change
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project, newest_upstreams
from cnrmirror.mirror.push import push
from cnrmirror.model.documents import Upstream
from cnrmirror.model.errors import Equivocation, NewerFormat, Rollback
from cnrmirror.model.format import KNOWN
from cnrmirror.objects.folder import FolderReader
from cnrmirror.sources.mirror import refuse_older
from cnrmirror.sync.memory import remembered
from cnrmirror.sync.open import open_sources
from cnrmirror.sync.report import SourceReport
from cnrmirror.sync.run import sync
from cnrmirror.trust.verify import Policy, Trust
from tests.conftest import NOW, chart_bytes
from tests.hostile import hosting
from tests.mirrors import make, reopen
from tests.test_sync_faults import Counted

ROOT = Path(__file__).parents[1]


def now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat()


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# -- losing memory --------------------------------------------------------------------------------


class Pair:
    """A mirror that another one is synced from, and the host between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first = make(folder / "first", "first", now())
        self.second = make(folder / "second", "second", now())
        self.served = self.first.site
        root = self.first.metadata.path / "1.root.json"
        with (self.second.folder / "mirror.yaml").open("a") as config:
            config.write(f"sources:\n  up: {{type: mirror, location: /x, root: {root}}}\n")
        self.second = reopen(self.second.folder)

    def push(self, release: str, mirror: Project | None = None) -> None:
        path = self.folder / f"a-{release}.tgz"
        path.write_bytes(chart_bytes("a", release))
        push(mirror or self.first, [path], Override(namespace="ns"), now())

    def copy(self, name: str) -> Project:
        """The first mirror as it is now, elsewhere."""
        shutil.copytree(self.first.folder, self.folder / name, symlinks=True)
        return reopen(self.folder / name)

    def sync(self) -> SourceReport:
        sources = open_sources(self.second, [], {}, lambda location: FolderReader(self.served))
        (report,) = sync(self.second, sources, now()).sources
        assert check(self.second).findings == []
        return report

    def forget(self) -> None:
        shutil.rmtree(self.second.layout.state)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    found = Pair(tmp_path)
    found.push("1.0.0")
    found.push("2.0.0")
    yield found


def test_a_mirror_that_goes_back_is_refused_though_all_memory_is_lost(pair: Pair) -> None:
    old = pair.copy("old")
    pair.push("3.0.0")
    assert pair.sync().exit_code == 0
    pair.forget()
    before = files(pair.second.folder)
    pair.served = old.site
    report = pair.sync()
    assert report.exit_code == 9 and "was synced from" in report.error
    assert files(pair.second.site) == {
        name.removeprefix("site/"): data
        for name, data in before.items()
        if name.startswith("site/")
    }
    assert not list(pair.second.layout.trust_memory.glob("*"))
    assert pair.sync().exit_code == 9  # and again: nothing was learnt from it
    pair.served = pair.first.site
    assert pair.sync().exit_code == 0
    pair.push("4.0.0")
    assert pair.sync().exit_code == 0
    assert pair.second.document("ns/a").versions() == ["4.0.0", "3.0.0", "2.0.0", "1.0.0"]
    assert pair.second.root().upstreams["up"].revision == 4


def test_an_import_that_goes_back_is_refused_though_all_memory_is_lost(pair: Pair) -> None:
    def imported(site: Path) -> None:
        pinned = (pair.first.metadata.path / "1.root.json").read_bytes()
        layout = pair.second.layout
        trust = Trust(pinned, layout.trust_cache, layout.trust_memory)
        terms = Terms(trust, Policy(), datetime.now(UTC), now())
        import_packages(pair.second, FolderReader(site), terms)

    old = pair.copy("old")
    pair.push("3.0.0")
    imported(pair.first.site)
    pair.forget()
    before = files(pair.second.site)
    with pytest.raises(Rollback, match="older than what was imported before"):
        imported(old.site)
    assert files(pair.second.site) == before
    pair.push("4.0.0")
    imported(pair.first.site)
    assert pair.second.document("ns/a").versions()[0] == "4.0.0"


def test_a_fork_of_a_mirror_is_refused_though_all_memory_is_lost(pair: Pair) -> None:
    fork = pair.copy("fork")
    pair.push("3.0.0")
    assert pair.sync().exit_code == 0
    pair.forget()
    pair.push("9.0.0", fork)
    pair.served = fork.site
    report = pair.sync()
    assert report.exit_code == 9 and "two histories" in report.error
    assert "9.0.0" not in pair.second.document("ns/a").versions()


def test_a_mirror_of_another_registry_may_stand_at_any_revision(pair: Pair) -> None:
    pair.push("3.0.0")
    assert pair.sync().exit_code == 0
    other = make(pair.folder / "other", "other", now())
    text = (pair.second.folder / "mirror.yaml").read_text()
    text = text.replace("first/site/catalog/metadata/1.root", "other/site/catalog/metadata/1.root")
    (pair.second.folder / "mirror.yaml").write_text(text)
    pair.second = reopen(pair.second.folder)
    pair.push("5.0.0", other)
    pair.served = other.site
    assert pair.sync().exit_code == 0
    assert pair.second.root().upstreams["up"].registry == "other"


def test_what_was_synced_from_stays_recorded_and_a_sync_of_nothing_new_writes_nothing(
    pair: Pair,
) -> None:
    assert pair.second.root().upstreams == {}
    assert b"upstreams" not in catalog_root(pair.second)
    pair.sync()
    recorded = pair.second.root().upstreams
    verified = pair.first.root()
    assert recorded["up"] == Upstream(
        "first", 2, pair.first.head().catalog.digest, 1, recorded["up"].timestamp, verified.time
    )
    before = files(pair.second.site)
    assert pair.first.signer is not None
    pair.first.signer.sign_revision(pair.first.head(), now())
    assert pair.sync().exit_code == 0
    assert files(pair.second.site) == before
    change.remove(pair.second, change.Removal("ns/a", "1.0.0", None, "bad"), now())
    change.rollback(pair.second, "1", now())
    assert pair.second.root().upstreams == recorded


def catalog_root(project: Project) -> bytes:
    return Path(project.store.root_path(project.head().catalog.digest)).read_bytes()


UP = Upstream("r", 7, "a" * 64, 2, 30, NOW)


@pytest.mark.parametrize(
    ("changes", "error"),
    [({}, None), ({"revision": 8, "catalog": "b" * 64}, None), ({"timestamp": 31}, None),
     ({"revision": 6}, Rollback), ({"timestamp": 29}, Rollback), ({"root": 1}, Rollback),
     ({"catalog": "b" * 64}, Equivocation), ({"revision": 1, "registry": "other"}, None),
     ({"revision": 1, "timestamp": 1, "root": 3}, None)],
)  # fmt: skip
def test_what_is_recorded_of_a_mirror_is_the_least_that_it_must_offer(
    changes: dict[str, object], error: type[Exception] | None
) -> None:
    found = msgspec.structs.replace(UP, **changes)
    refuse_older("m", None, found)
    if error is None:
        refuse_older("m", UP, found)
    else:
        with pytest.raises(error):
            refuse_older("m", UP, found)


def test_of_two_catalogs_that_are_merged_the_newer_record_of_each_source_stays() -> None:
    later = msgspec.structs.replace(UP, revision=8)
    rooted = msgspec.structs.replace(UP, revision=1, root=3)
    assert newest_upstreams({"a": UP, "b": later}, {"a": later, "c": UP}) == {
        "a": later, "b": later, "c": UP,
    }  # fmt: skip
    assert newest_upstreams({"a": rooted}, {"a": later}) == {"a": rooted}


def test_a_memory_that_a_newer_program_wrote_is_named_as_such(pair: Pair) -> None:
    pair.sync()
    path = pair.second.layout.source_memory("up")
    memory = json.loads(path.read_bytes())
    assert memory["format"] == msgspec.to_builtins(KNOWN)
    path.write_text(json.dumps({"format": {"read": 99, "write": 99}, "what": "else"}))
    before = files(pair.second.folder)
    with pytest.raises(NewerFormat, match="newer cnrmirror"):
        pair.sync()
    assert files(pair.second.folder) == before
    result = CliRunner().invoke(cli, ["-C", str(pair.second.folder), "report"])
    assert isinstance(result.exception, NewerFormat)
    del memory["format"]
    path.write_text(json.dumps(memory))
    assert remembered(pair.second, "up") is not None  # the first program wrote none
    path.write_bytes(b"damaged")
    assert remembered(pair.second, "up") is None


# -- deleting scratch -----------------------------------------------------------------------------


def story(folder: Path, forgetful: bool) -> tuple[list[tuple[int, str]], dict[str, bytes]]:
    """A long story of syncs: what each command said, and the site in the end.

    Args:
        folder: where it takes place.
        forgetful: whether scratch is deleted before every command.
    """
    folder.mkdir()
    project = make(folder / "mirror", "story")
    registry = Counted(12)
    said: list[tuple[int, str]] = []

    def run(*words: str) -> None:
        if forgetful:
            shutil.rmtree(project.layout.scratch, ignore_errors=True)
        done = subprocess.run(
            [sys.executable, "-m", "cnrmirror", "-C", str(project.folder), *words],
            cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "SOURCE_DATE_EPOCH": "1767323045"},
        )  # fmt: skip
        assert all("expire" in line for line in done.stderr.splitlines())
        said.append((done.returncode, done.stdout))

    with hosting(folder) as host:
        host.fault = registry
        with (project.folder / "mirror.yaml").open("a") as config:
            config.write(
                f"sources:\n  up: {{type: registry, url: '{host.url}', deletes: follow}}\n"
            )
        run("--json", "sync", "--dry-run")
        run("--json", "sync")
        run("--json", "sync")
        registry.grow()
        run("--json", "sync")
        changed = chart_bytes("p3", "1.0.0", "changed")
        registry.blobs["ns/p3", "1.0.0"] = changed, "0" * 64
        run("--json", "sync")
        run("--json", "report")
        registry.names.remove("ns/p5")
        run("--json", "sync")
        run("--json", "sync")
        run("--json", "report")
        run("check")
    took = re.compile(r'"requests":\d+,"seconds":[\d.]+')  # that is what scratch saves
    text = [(code, took.sub("took", out.replace(host.url, "URL"))) for code, out in said]
    return text, files(project.site)


def test_a_story_of_syncs_is_the_same_though_scratch_is_deleted_before_every_command(
    tmp_path: Path,
) -> None:
    kept, forgotten = story(tmp_path / "kept", False), story(tmp_path / "forgotten", True)
    assert [code for code, _ in kept[0]] == [0, 0, 0, 0, 4, 4, 4, 4, 4, 18]
    assert forgotten[0] == kept[0]
    assert forgotten[1] == kept[1]
