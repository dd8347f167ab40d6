"""Processes that look at packages of an audited mirror first: the same is found."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cnrmirror.audit.journal import Noted
from cnrmirror.audit.report import Audit, Order
from cnrmirror.audit.run import audit
from cnrmirror.audit.scout import Chunk, Scouts, scout
from cnrmirror.bundle.places import reader_for
from cnrmirror.objects.folder import FolderReader
from cnrmirror.objects.parallel import AT_ONCE
from cnrmirror.trust.verify import Policy, Trust
from tests.hostile import hosting
from tests.machine import Machine
from tests.test_audit import CLOCK, META, original, site

__all__ = ["original", "site"]  # fixtures


def audited(source: str, site: Path, executor: Executor | None) -> Audit:
    root = (site / META / "1.root.json").read_bytes()
    trust = Trust(root, site.parent / "cache", site.parent / "marks")
    order = Order(Policy(), CLOCK, strict=True, pages=True)
    scouts = Scouts(executor, source) if executor else None
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
    """Does one thing with every chunk."""

    def __init__(self, deed: Callable[[bytes], bytes]) -> None:
        self.deed = deed

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(self.deed(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def killed(data: bytes) -> bytes:
    raise BrokenExecutor


def test_a_killed_process_and_notes_of_other_packages_cost_nothing(site: Path) -> None:
    DAMAGES["a view"](site)
    other = msgspec.json.encode([Noted("ab" * 32 + " 1")])
    alone = said(audited(str(site), site, None))
    for deed in (killed, lambda data: other, lambda data: b"[]"):
        assert said(audited(str(site), site, Doing(deed))) == alone


def test_a_mirror_that_is_gone_meanwhile_gives_no_notes(tmp_path: Path) -> None:
    chunk = Chunk(str(tmp_path / "none"), {}, True, {}, False, [])
    assert scout(msgspec.json.encode(chunk)) == b"[]"


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
    assert "goes with --from" in machine("-C", "m", "check", "--workers", "2", code=2)
