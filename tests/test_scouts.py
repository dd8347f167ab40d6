"""Processes that look at packages of an audited mirror first: the same is found."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cnrmirror.audit.report import Audit, Order
from cnrmirror.audit.run import audit
from cnrmirror.audit.scout import Chunk, Scouts, Seen, scout
from cnrmirror.bundle.places import reader_for
from cnrmirror.crew.crew import Crew, CrewLost
from cnrmirror.objects.folder import FolderReader
from cnrmirror.objects.parallel import AT_ONCE
from cnrmirror.trust.verify import Policy, Trust
from tests.conftest import chart_bytes
from tests.gcs_double import google
from tests.hostile import hosting
from tests.machine import Machine
from tests.test_audit import CLOCK, META, original, site

__all__ = ["original", "site"]  # fixtures


def audited(source: str, site: Path, workers: Executor | Crew | None) -> Audit:
    root = (site / META / "1.root.json").read_bytes()
    trust = Trust(root, site.parent / "cache", site.parent / "marks")
    order = Order(Policy(), CLOCK, strict=True, pages=True)
    crew = Crew(2, lambda: workers) if isinstance(workers, Executor) else workers
    scouts = Scouts(crew, source) if crew else None
    return audit(reader_for(source), trust, order, scouts=scouts)


def said(report: Audit) -> dict[str, Any]:
    """All of a report but when it was made."""
    found: dict[str, Any] = msgspec.to_builtins(report)
    return {key: value for key, value in found.items() if key not in ("began", "ended")}


DAMAGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda site: None,
    "an archive": lambda site: first(site, "catalog/blobs").write_bytes(b"x"),
    "a document": lambda site: first(site, "catalog/nodes").write_bytes(b"x"),
    "a view": lambda site: (site / "packages/ns/p7/index.html").write_bytes(b"x"),
    "a form that some lack": lambda site: first(site, "cnr", "pull.json").unlink(),
    "a form that all lack": lambda site: lose(site, "pull.json"),
}


def lose(site: Path, name: str) -> None:
    for path in site.rglob(name):
        path.unlink()


def first(site: Path, below: str, name: str = "*") -> Path:
    return min(p for p in (site / below).rglob(name) if p.is_file() and not p.is_symlink())


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_other_processes_saw_changes_no_report(
    site: Path, damage: Callable[[Path], object]
) -> None:
    damage(site)
    with hosting(site) as host:
        for source in (str(site), host.url):
            alone, helped = (audited(source, site, each) for each in (None, AT_ONCE))
            assert said(alone) == said(helped)


def test_what_was_looked_at_is_not_read_again(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Counter[str] = Counter()
    fetch = FolderReader.fetch

    def counting(reader: FolderReader, path: str, max_bytes: int) -> Iterator[bytes]:
        read[path] += 1
        return fetch(reader, path, max_bytes)

    monkeypatch.setattr(FolderReader, "fetch", counting)
    audited(str(site), site, None)
    alone, read = Counter(read), Counter()
    audited(str(site), site, AT_ONCE)
    more = {path for path in read - alone if "/nodes/" not in path and META not in path}
    assert not [path for path in more if "/ns/p" in path or "/blobs/" in path]
    assert len([path for path in alone if "/ns/p" in path]) > 20


class Doing(Executor):
    """Does one thing with each chunk, one after the other; what is left is done well."""

    def __init__(self, *deeds: Callable[[bytes], bytes]) -> None:
        self.deeds = list(deeds)
        self.given = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.given += 1
        try:
            future.set_result((self.deeds.pop(0) if self.deeds else fn)(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def killed(data: bytes) -> bytes:
    raise BrokenExecutor


def lost(data: bytes) -> bytes:
    raise RuntimeError("whatever an engine says")


def lie(**changes: Any) -> Callable[[bytes], bytes]:
    """A good answer, but for its first note."""

    def deed(data: bytes) -> bytes:
        seen = json.loads(scout(data))
        seen["good"][0] |= changes
        return json.dumps(seen).encode()

    return deed


NO_ANSWER: dict[str, Callable[[bytes], bytes]] = {
    "is a killed process": killed,
    "is an engine's error": lost,
    "is no JSON": lambda data: b"\x80\x04",
    "is of another kind": lambda data: b"[]",
    "is too large": lambda data: b" " * (7 << 20),
}
"""What is none, whatever was asked."""
BAD: dict[str, Callable[[bytes], bytes]] = {
    **NO_ANSWER,
    "is of another package": lie(key="ab" * 32 + " 1"),
    "names a form that there is not": lie(lacking={"invented": ["packages/ns/p1"]}),
    "says something of its own": lie(notes=["send your keys to nobody"]),
    "is a full disk": lambda data: msgspec.json.encode(Seen(failed="No space left on device")),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk has few packages."""
    monkeypatch.setattr("cnrmirror.audit.scout._SIZE", 5)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("deed", BAD.values(), ids=BAD)
def test_a_bad_answer_costs_another_try_and_no_word_of_the_report(
    site: Path, deed: Callable[[bytes], bytes]
) -> None:
    DAMAGES["a view"](site)
    alone = said(audited(str(site), site, None))
    doing = Doing(scout, deed, deed)
    assert said(audited(str(site), site, doing)) == alone
    assert 4 < doing.given <= 10


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("deed", BAD.values(), ids=BAD)
def test_what_no_worker_looks_at_is_looked_at_here(
    site: Path, deed: Callable[[bytes], bytes]
) -> None:
    DAMAGES["a view"](site)
    alone = said(audited(str(site), site, None))
    doing = Doing(*[deed] * 100)
    found = said(audited(str(site), site, doing))
    more = [note for note in found["notes"] if note not in alone["notes"]]
    assert more and all("packages were read without workers: " in note for note in more)
    assert sum(int(note.partition(" ")[0]) for note in more) == 20
    assert found | {"notes": alone["notes"]} == alone
    assert doing.given == 12


def test_a_crew_that_is_gone_ends_its_help_and_not_the_audit(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnrmirror.audit.scout._SIZE", 2)
    DAMAGES["a view"](site)
    alone = said(audited(str(site), site, None))
    doing = Doing()

    def require() -> None:
        if doing.given > 2:
            raise CrewLost("no worker for 120 seconds")

    found = said(audited(str(site), site, Crew(1, lambda: doing, True, require)))
    assert found["notes"].pop(0) == "the rest was read without workers: no worker for 120 seconds"
    assert found == alone and doing.given < 10


def test_a_mirror_that_is_gone_meanwhile_gives_no_notes(tmp_path: Path) -> None:
    chunk = Chunk(str(tmp_path / "none"), {}, True, {}, False, [])
    seen = msgspec.json.decode(scout(msgspec.json.encode(chunk)), type=Seen)
    assert seen.failed and not seen.good
    assert msgspec.json.decode(scout(b"{}"), type=Seen).failed


@pytest.mark.usefixtures("small")
def test_a_process_that_is_killed_in_the_midst_costs_only_time(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = tmp_path / "once"
    alone = said(audited(str(site), site, None))

    def scouting(data: bytes) -> bytes:
        with contextlib.suppress(FileExistsError):
            once.mkdir()
            os.kill(os.getpid(), signal.SIGKILL)
        return scout(data)

    # Processes that are forked find the function by its name, in this test's own memory.
    monkeypatch.setattr(scouting, "__qualname__", "scout")
    monkeypatch.setattr(scouting, "__module__", scout.__module__)
    monkeypatch.setattr("cnrmirror.audit.scout.scout", scouting)
    fork = multiprocessing.get_context("fork")
    crew = Crew(2, lambda: ProcessPoolExecutor(2, fork))
    try:
        assert said(audited(str(site), site, crew)) == alone
    finally:
        crew.close()
    assert once.is_dir()


def test_the_command_says_the_same_with_processes(site: Path, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home")
    root = (
        "--root",
        str(site / META / "1.root.json"),
        "--at",
        str((CLOCK + timedelta(days=1)).date()),
    )
    run = ("--json", "check", "--strict", "--from", str(site), *root)
    alone = json.loads(machine.run(*run).stdout)
    helped = json.loads(machine.run(*run, "--workers", "2").stdout)
    for report in (alone, helped):
        del report["began"], report["ended"]
    assert alone == helped and alone["packages"] == 20
    machine("init", "m")
    machine("cluster", "certificates", "certs")
    at = ("--cluster", "tls://127.0.0.1:1", "--certificates", "certs")
    check, place = ("-C", "m", "check"), ("--from", "https://m.example.com")
    assert "without --cluster" in machine(*check, *place, *at, "--workers", "2", code=2)
    assert "go together" in machine(*check, *place, *at[:2], code=2)
    assert "other disks" in machine(*check, *place, "--from", str(site), *at, code=2)
    assert "tls://HOST:PORT" in machine(*check, *place, at[0], "tcp://h:1", *at[2:], code=2)


def test_processes_read_a_place_that_was_read_here_before(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home")
    machine("init", "m")
    chart = tmp_path / "a-1.0.0.tgz"
    chart.write_bytes(chart_bytes("a", "1.0.0"))
    machine("-C", "m", "push", "--namespace", "ns", str(chart))
    with google() as service:
        with (machine.folder / "m/mirror.yaml").open("a") as file:
            file.write(f"publish: {{there: {{to: 'gs://site/x', endpoint: '{service.url}'}}}}\n")
        machine("-C", "m", "publish", "there")
        root = f"m/site/{META}/1.root.json"
        check = ("check", "--from", "gs://site/x", "--root", root, "--workers", "2")
        text = machine(*check, STORAGE_EMULATOR_HOST=service.url)
    assert "1 package, 1 release" in text and "all well" in text and "without workers" not in text
