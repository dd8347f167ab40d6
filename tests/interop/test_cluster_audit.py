"""An audit whose packages are read by a scheduler's workers, for real: the same report."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.push import push
from cnrmirror.model.errors import STALE_ACCEPTED, TrustError
from tests.conftest import NOW, chart_bytes
from tests.interop.clusters import ATTACKS, Cluster, Hostile, cluster, kill
from tests.interop.ports import free_port
from tests.machine import Machine
from tests.mirrors import make
from tests.test_scouts import DAMAGES

pytestmark = pytest.mark.interop
PACKAGES = 160
GOOD = STALE_ACCEPTED  # its metadata are good at another time than today


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audited")
    project = make(folder / "mirror", "audited")
    charts = []
    for number in range(PACKAGES):
        charts.append(folder / f"p{number}-1.0.0.tgz")
        charts[-1].write_bytes(chart_bytes(f"p{number}", "1.0.0"))
    push(project, charts, Override(namespace="ns"), NOW)
    return project.folder


@pytest.fixture
def mirror(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "mirror", symlinks=True))


class Host(NamedTuple):
    """A server of a mirror, and the file with its requests."""

    url: str
    log: Path

    @property
    def requests(self) -> list[str]:
        return [line.split()[6] for line in self.log.read_text().splitlines()]


@pytest.fixture
def host(mirror: Path, tmp_path: Path) -> Iterator[Host]:
    port = free_port()
    found = Host(f"http://127.0.0.1:{port}", tmp_path / "access.log")
    command = [sys.executable, "-m", "cnrmirror", "-C", str(mirror), "serve", "--port", str(port)]
    server = subprocess.Popen(
        [*command, "--access-log", str(found.log)], stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None and "http" in server.stderr.readline()
        yield found
    finally:
        server.terminate()
        server.communicate()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "cluster", {}) as found:
        yield found


class Auditor:
    """Who audits one mirror."""

    def __init__(self, folder: Path, mirror: Path, host: Host, workers: Cluster) -> None:
        self.machine = Machine(folder)
        root = str(mirror / "site/catalog/metadata/1.root.json")
        time = ("--at", NOW, "--strict", "--pages")
        self._run = ("--json", "check", "--from", host.url, "--root", root, *time)
        self._at = ("--cluster", workers.address, "--certificates", str(workers.certificates))

    def audit(self, with_workers: bool, code: int) -> dict[str, Any]:
        """The report, but for when it was made."""
        done = self.machine.run(*self._run, *(self._at if with_workers else ()))
        assert done.returncode == code, done.stderr
        return without_times(done.stdout)

    @property
    def with_workers(self) -> tuple[str, ...]:
        return (*self._run, *self._at)


def without_times(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return {key: value for key, value in found.items() if key not in ("began", "ended")}


@pytest.fixture
def auditor(tmp_path: Path, mirror: Path, host: Host, workers: Cluster) -> Auditor:
    return Auditor(tmp_path / "home", mirror, host, workers)


@pytest.mark.parametrize("damage", ["nothing", "an archive", "a document"])
def test_workers_find_what_one_process_finds(
    mirror: Path, host: Host, workers: Cluster, auditor: Auditor, damage: str
) -> None:
    DAMAGES[damage](mirror / "site")
    code = GOOD if damage == "nothing" else TrustError.exit_code
    for _ in range(2):
        workers.worker()
    workers.wait(2)
    alone = auditor.audit(False, code)
    before = len(host.requests)
    assert auditor.audit(True, code) == alone
    archives = [path for path in host.requests[before:] if path.startswith("/catalog/blobs/")]
    # By a worker alone: whoever asked would read all of them again. A chunk may be done twice.
    assert code != GOOD or len(archives) in (PACKAGES, PACKAGES + 50)


@pytest.mark.parametrize("how", ATTACKS.values(), ids=ATTACKS)
def test_a_hostile_worker_runs_no_code_here_and_the_report_is_the_same(
    mirror: Path, workers: Cluster, auditor: Auditor, tmp_path: Path, how: str
) -> None:
    DAMAGES["an archive"](mirror / "site")
    alone = auditor.audit(False, TrustError.exit_code)
    hostile = Hostile(tmp_path, "cnrmirror.audit.scout", "scout", how)
    worker = workers.worker(*hostile.options)
    found = auditor.audit(True, TrustError.exit_code)
    assert hostile.ran <= {worker.pid, workers.scheduler.pid}, "it ran in the auditor"
    notes = [note for note in found["notes"] if "read without workers: " not in note]
    assert found | {"notes": notes} == alone
    assert found["packages"] == PACKAGES


def test_a_scheduler_that_does_not_come_back_ends_the_help_and_not_the_audit(
    host: Host, workers: Cluster, auditor: Auditor
) -> None:
    alone = auditor.audit(False, GOOD)
    workers.worker()
    workers.wait(1)
    before = len(host.requests)
    run = auditor.machine.start(*auditor.with_workers)
    deadline = time.monotonic() + 60
    while len(host.requests) < before + PACKAGES and time.monotonic() < deadline:
        time.sleep(0.01)
    kill(workers.scheduler)
    out, errors = run.communicate(timeout=180)
    assert run.returncode == GOOD, errors
    found = without_times(out)
    (note,) = set(found["notes"]) - set(alone["notes"])
    assert note.startswith("the rest was read without workers: ") and workers.address in note
    assert found | {"notes": alone["notes"]} == alone


def test_a_scheduler_that_is_not_there_is_said_before_anything_is_read(
    host: Host, workers: Cluster, auditor: Auditor
) -> None:
    kill(workers.scheduler)
    done = auditor.machine.run(*auditor.with_workers)
    assert done.returncode == 12 and "cannot be reached" in done.stderr
    assert host.requests == []
