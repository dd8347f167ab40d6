"""Processes that look at one's own mirror first: the same is found."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnrmirror.archive.identify import Override
from cnrmirror.audit.scout import Chunk, Scouts, chunks
from cnrmirror.cli import crews
from cnrmirror.cli.context import Context
from cnrmirror.crew.crew import Crew, CrewLost, local
from cnrmirror.mirror import check as checks
from cnrmirror.mirror import checkpart
from cnrmirror.mirror.check import check
from cnrmirror.mirror.checkpart import Good, look
from cnrmirror.mirror.places import access_of
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.settings import StoreAt
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import PackageRef
from cnrmirror.model.errors import InvalidDocument
from cnrmirror.model.resource import Resource
from cnrmirror.objects.parallel import AT_ONCE
from cnrmirror.objects.sitetree import SiteTree
from tests.conftest import NOW, chart_bytes
from tests.machine import Machine
from tests.mirrors import make
from tests.test_scouts import NO_ANSWER, Doing, first

PACKAGES = 20


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checked")
    project = make(folder / "mirror", "checked")
    charts = []
    for number in range(PACKAGES):
        for release in ("1.0.0", "1.1.0"):
            charts.append(folder / f"p{number}-{release}.tgz")
            charts[-1].write_bytes(chart_bytes(f"p{number}", release))
    push(project, charts, Override(namespace="ns"), NOW)
    return project.folder


@pytest.fixture
def mirror(original: Path, tmp_path: Path) -> Path:
    found = Path(shutil.copytree(original, tmp_path / "mirror", symlinks=True))
    check(Project(found))  # of a copy, nobody knows what its site stands at: it is compared first
    return found


def checked(mirror: Path, workers: Executor | Crew | None) -> dict[str, Any]:
    crew = Crew(2, lambda: workers) if isinstance(workers, Executor) else workers
    found: dict[str, Any] = msgspec.to_builtins(check(Project(mirror), crew))
    return found


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def folder_in_place_of(path: Path) -> None:
    path.unlink()
    path.mkdir()


def other_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])


def folders_in_place_of_archives(site: Path) -> None:
    for path in [path for path in (site / BLOBS).rglob("*") if path.is_file()]:
        folder_in_place_of(path)


def old_node(site: Path) -> None:
    folder = site / NODES / "sha256/ab"
    folder.mkdir(exist_ok=True)
    (folder / ("ab" * 32)).write_bytes(b"x")


BLOBS, NODES, PAGE = "catalog/blobs", "catalog/nodes", "packages/ns/p7/index.html"
DAMAGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda site: None,
    "an archive of other bytes": lambda site: other_bytes(first(site, BLOBS)),
    "an archive of another size": lambda site: longer(first(site, BLOBS)),
    "a missing archive": lambda site: first(site, BLOBS).unlink(),
    "folders in all archives' places": folders_in_place_of_archives,
    "a document": lambda site: other_bytes(document(site)),
    "a missing document": lambda site: document(site).unlink(),
    "a folder in a document's place": lambda site: folder_in_place_of(document(site)),
    "a page": lambda site: other_bytes(site / PAGE),
    "a missing page": lambda site: (site / PAGE).unlink(),
    "a list": lambda site: other_bytes(site / "packages/index.html"),
    "a file too much": lambda site: (site / "packages/ns/p7/more.html").write_bytes(b"x"),
    "a file among nodes": lambda site: (first(site, NODES).parent / "x").write_bytes(b"x"),
    "an old node": old_node,
}


def document(site: Path) -> Path:
    """The document of a package: the catalog can be walked without it."""
    project = Project(site.parent)
    ref = min(project.catalog.packages(project.tree()))
    return Path(project.store.node_path(ref.digest))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_other_processes_saw_changes_no_report(
    mirror: Path, damage: Callable[[Path], object]
) -> None:
    damage(mirror / "site")
    alone = checked(mirror, None)
    assert checked(mirror, AT_ONCE) == alone
    assert bool(alone["findings"]) == (damage is not DAMAGES["nothing"])
    crew = local(2)
    try:
        assert checked(mirror, crew) == alone
    finally:
        crew.close()


def test_what_is_good_is_looked_at_once(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    differs, trouble = SiteTree.differs, checkpart.trouble_with

    def counting(tree: SiteTree, resource: Resource, same: Any) -> str:
        seen[resource.path] += 1
        return differs(tree, resource, same)

    def reading(path: str, expected: Descriptor) -> checkpart.Trouble | None:
        seen[path] += 1
        return trouble(path, expected)

    monkeypatch.setattr(SiteTree, "differs", counting)
    monkeypatch.setattr(checkpart, "trouble_with", reading)
    monkeypatch.setattr(checks, "trouble_with", reading)
    checked(mirror, None)
    alone = Counter(seen)
    seen.clear()
    checked(mirror, AT_ONCE)
    assert seen == alone and set(seen.values()) == {1} and len(seen) > 300


@given(
    st.lists(st.integers(0, 50), max_size=40), st.integers(1, 10), st.integers(0, 100)
)  # fmt: skip
def test_parts_have_each_archive_once_and_are_no_larger_than_they_may_be(
    sizes: list[int], most: int, limit: int
) -> None:
    blobs = [Descriptor(f"{number:064x}", size) for number, size in enumerate(sizes)]
    parts = list(checkpart._cut(blobs, most, limit))
    assert [blob for part in parts for blob in part] == blobs
    for part in parts:
        assert 1 <= len(part) <= most
        assert len(part) == 1 or sum(blob.size for blob in part) <= limit


def lie(*digests: Any) -> Callable[[bytes], bytes]:
    """A good answer, and more."""

    def deed(data: bytes) -> bytes:
        good = json.loads(look(data))
        return json.dumps({**good, "digests": [*good["digests"], *digests]}).encode()

    return deed


BAD: dict[str, Callable[[bytes], bytes]] = {
    **NO_ANSWER,
    "calls something good that it was not asked for": lie("ab" * 32),
    "names no digest": lie("ab"),
    "names a number": lie(7),
    "is a full disk": lambda data: msgspec.json.encode(Good(failed="No space left on device")),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of packages and of archives, there are four parts."""
    monkeypatch.setattr(checkpart, "_EACH", 2)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("deed", BAD.values(), ids=BAD)
def test_a_bad_answer_costs_another_try_and_no_word_of_the_report(
    mirror: Path, deed: Callable[[bytes], bytes]
) -> None:
    DAMAGES["a page"](mirror / "site")
    DAMAGES["an archive of other bytes"](mirror / "site")
    alone = checked(mirror, None)
    doing = Doing(deed, deed)
    assert checked(mirror, doing) == alone
    assert 8 < doing.given <= 16


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("deed", BAD.values(), ids=BAD)
def test_what_no_worker_looks_at_is_looked_at_here(
    mirror: Path, deed: Callable[[bytes], bytes]
) -> None:
    DAMAGES["a page"](mirror / "site")
    DAMAGES["an archive of other bytes"](mirror / "site")
    alone = checked(mirror, None)
    found = checked(mirror, Doing(*[deed] * 100))
    more = [note for note in found["notes"] if note not in alone["notes"]]
    counts = [note.partition(" were read without workers: ")[0] for note in more]
    assert counts == [f"{PACKAGES} packages", f"{2 * PACKAGES} blobs"]
    assert found | {"notes": alone["notes"]} == alone


def test_an_answer_to_another_part_is_none_to_this_one(mirror: Path) -> None:
    project = Project(mirror)
    empty = checkpart._empty(project)
    refs = list(project.catalog.packages(project.tree()))
    one, other = (msgspec.structs.replace(empty, packages=[ref]) for ref in refs[:2])
    said = look(msgspec.json.encode(other))
    assert checkpart._answered(other, said).digests == [refs[1].digest]
    with pytest.raises(InvalidDocument, match="not asked for"):
        checkpart._answered(one, said)


@pytest.mark.usefixtures("small")
def test_a_crew_that_is_gone_ends_its_help_and_not_the_check(mirror: Path) -> None:
    DAMAGES["a page"](mirror / "site")
    alone = checked(mirror, None)
    doing = Doing()

    def require() -> None:
        if doing.given > 2:
            raise CrewLost("no worker for 120 seconds")

    found = checked(mirror, Crew(1, lambda: doing, True, require))
    assert set(found.pop("notes")) == {
        *alone.pop("notes"),
        "the rest was read without workers: no worker for 120 seconds",
    }
    assert found == alone


def test_a_part_that_cannot_be_looked_at_says_why() -> None:
    for data in (b"", b"{}", b"\x80"):
        assert msgspec.json.decode(look(data), type=Good).failed


@pytest.mark.usefixtures("small")
def test_a_process_that_is_killed_in_the_midst_costs_only_time(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = tmp_path / "once"
    alone = checked(mirror, None)

    def looking(data: bytes) -> bytes:
        with contextlib.suppress(FileExistsError):
            once.mkdir()
            os.kill(os.getpid(), signal.SIGKILL)
        return look(data)

    # Processes that are forked find the function by its name, in this test's own memory.
    monkeypatch.setattr(looking, "__qualname__", "look")
    monkeypatch.setattr(looking, "__module__", look.__module__)
    monkeypatch.setattr(checkpart, "look", looking)
    fork = multiprocessing.get_context("fork")
    crew = Crew(2, lambda: ProcessPoolExecutor(2, fork))
    try:
        assert checked(mirror, crew) == alone
    finally:
        crew.close()
    assert once.is_dir()


# -- a mirror in a store --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "at",
    [
        StoreAt(to="s3://bucket/a", endpoint="http://127.0.0.1:9", region="r", path_style=False),
        StoreAt(to="gs://bucket/a", endpoint="http://127.0.0.1:9"),
        StoreAt(to="/srv/mirror", portable=True),
    ],
)
def test_a_worker_is_told_how_a_store_is_read(at: StoreAt) -> None:
    scouts = Scouts(local(1), at.to, access_of(at))
    ref = PackageRef("ns/a", "ab" * 32, 1, 1)
    (chunk,) = chunks(scouts, {}, False, {}, False, [ref])
    heard = msgspec.json.decode(msgspec.json.encode(chunk), type=Chunk)
    assert heard.access_of_source() == access_of(at)


TIMES = ("began", "ended", "time")


def without_times(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return {key: value for key, value in found.items() if key not in TIMES}


@pytest.mark.parametrize("store", [(), ("--store", "elsewhere")], ids=["folder", "store"])
def test_the_command_says_the_same_with_processes(tmp_path: Path, store: tuple[str, ...]) -> None:
    machine = Machine(tmp_path / "home")
    machine("init", "m", *store)
    charts = []
    for number in range(5):
        charts.append(tmp_path / f"p{number}-1.0.0.tgz")
        charts[-1].write_bytes(chart_bytes(f"p{number}", "1.0.0"))
    machine("-C", "m", "push", "--namespace", "ns", *map(str, charts))
    site = machine.folder / ("elsewhere" if store else "m/site")
    check = ("-C", "m", "--json", "check")
    for code in (0, 6):
        alone, helped = (machine.run(*check, *more) for more in ((), ("--workers", "2")))
        assert (alone.returncode, helped.returncode) == (code, code), helped.stderr
        assert without_times(alone.stdout) == without_times(helped.stdout)
        assert bool(without_times(helped.stdout)["findings"]) == bool(code)
        other_bytes(first(site, BLOBS))


def test_a_folder_may_have_a_name_that_is_no_text(mirror: Path) -> None:
    other = Path(os.fsdecode(os.fsencode(mirror.parent) + b"/\xff"))
    mirror.rename(other)
    found = checked(other, AT_ONCE)
    assert found["findings"] == [] and found["packages"] == PACKAGES


def test_workers_elsewhere_look_at_no_folder_of_this_machine(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home")
    machine("init", "m")
    machine("init", "n", "--store", "elsewhere")
    machine("cluster", "certificates", "certs")
    at = ("--cluster", "tls://127.0.0.1:1", "--certificates", "certs")
    for mirror in ("m", "n"):
        assert "must be in a bucket" in machine("-C", mirror, "check", *at, code=2)
        assert "without --cluster" in machine("-C", mirror, "check", *at, "--workers", "2", code=2)


@pytest.mark.parametrize("name", ["CNRMIRROR_KEYS", "CNRMIRROR_KEYS_FD"])
def test_a_check_on_a_cluster_has_no_keys_in_its_environment(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    runs: list[tuple[list[str], dict[str, str]]] = []

    def run(command: list[str], env: dict[str, str], **options: Any) -> Any:
        runs.append((command, env))
        return subprocess.CompletedProcess(command, 6)

    monkeypatch.setattr(subprocess, "run", run)
    wish = crews.Wish(None, "tls://127.0.0.1:1", tmp_path)
    context, project = Context(str(mirror)), Project(mirror)
    monkeypatch.delenv("CNRMIRROR_KEYS", raising=False)
    monkeypatch.delenv("CNRMIRROR_KEYS_FD", raising=False)
    assert crews.check_apart(context, project, wish, []) is None and runs == []
    monkeypatch.setenv(name, "7")
    assert crews.check_apart(context, project, wish, ["--fresh-for", "3d"]) == 6
    ((command, environment),) = runs
    assert name not in environment and "PATH" in environment
    assert command[3:] == [
        "-C", str(mirror), "check", "--fresh-for", "3d",
        "--cluster", "tls://127.0.0.1:1", "--certificates", str(tmp_path),
    ]  # fmt: skip
