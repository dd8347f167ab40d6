"""A Dask scheduler and its workers on loopback, with certificates of both sides."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.interop.ports import free_port, listens
from tests.machine import ROOT

_A_START = 60


class Cluster:
    """A scheduler and workers, each a process group of its own.

    Args:
        folder: for certificates and logs.
        environment: what the workers know: the bucket's credentials.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.certificates = folder / "certificates"
        self._environment = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
        self._environment |= {
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
            "DASK_DISTRIBUTED__WORKER__DAEMON": "True",
        }
        self.workers: list[subprocess.Popen[bytes]] = []
        folder.mkdir(exist_ok=True)
        made = [sys.executable, "-m", "cnrmirror", "cluster", "certificates", "-q"]
        subprocess.run([*made, str(self.certificates)], check=True, env=self._environment)
        self.begin()

    def begin(self) -> None:
        """A scheduler, at a new port."""
        self.port = free_port()
        self.address = f"tls://127.0.0.1:{self.port}"
        self.scheduler = self._start(
            "scheduler", "scheduler", "--host", "127.0.0.1", "--port", str(self.port),
            "--protocol", "tls",
        )  # fmt: skip
        deadline = time.monotonic() + _A_START
        while not listens(self.port):
            assert time.monotonic() < deadline, (self.folder / "scheduler.log").read_text()
            time.sleep(0.1)

    def worker(self, *more: str, limit: str = "") -> subprocess.Popen[bytes]:
        """One more worker; ``limit`` is said to the shell before it."""
        name = f"w{len(self.workers)}"
        found = self._start(
            name, "worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", "--name", name,
            "--local-directory", str(self.folder / name), *more, limit=limit,
        )  # fmt: skip
        self.workers.append(found)
        return found

    def _start(
        self, name: str, part: str, *arguments: str, limit: str = ""
    ) -> subprocess.Popen[bytes]:
        own = self.certificates
        command = [
            sys.executable, "-m", "distributed.cli.dask_" + part, *arguments, "--no-dashboard",
            "--dashboard-address", "127.0.0.1:0",
            "--tls-ca-file", str(own / "ca.pem"), "--tls-cert", str(own / f"{part}.pem"),
            "--tls-key", str(own / f"{part}-key.pem"),
        ]  # fmt: skip
        if limit:
            command = ["bash", "-c", f'{limit}; exec "$@"', "bash", *command]
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=log, env=self._environment, start_new_session=True,
                cwd=self.folder,
            )  # fmt: skip

    def wait(self, count: int) -> None:
        """Until so many workers are there."""
        text, deadline = "", time.monotonic() + _A_START
        while text.count("Register worker addr") < count:
            assert time.monotonic() < deadline, text
            time.sleep(0.1)
            text = (self.folder / "scheduler.log").read_text()

    def end(self) -> None:
        """All of it."""
        for process in (*self.workers, self.scheduler):
            kill(process)
        self.workers.clear()


def kill(process: subprocess.Popen[Any]) -> None:
    """A process that was started here, and what it started in its group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def kill_child(process: subprocess.Popen[bytes]) -> bool:
    """The worker below its nanny, which starts another one; whether there was one."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        if b"spawn_main" in command:
            os.kill(int(child), signal.SIGKILL)
            return True
    return False


@contextmanager
def cluster(folder: Path, environment: dict[str, str]) -> Iterator[Cluster]:
    """A scheduler as long as the block lasts."""
    found = Cluster(folder, environment)
    try:
        yield found
    finally:
        found.end()


_HOSTILE = """
import os
import MODULE as module
from distributed import get_worker
import pickle

class Attack:
    def __reduce__(self):
        return os.system, ("touch PROOF-$PPID",)

class Error(Exception):
    def __reduce__(self):
        return os.system, ("touch PROOF-$PPID",)

well = module.WORK

def work(data):
    HOW

module.WORK = work
"""
ATTACKS = {
    "returns what runs code": "return Attack()",
    "raises what runs code": "raise Error()",
    "warns with what runs code": (
        'get_worker().log_event("warn", {"category": pickle.dumps(Attack()), '
        '"message": pickle.dumps(Attack())}); return well(data)'
    ),
}
"""What a hostile worker does with a unit of work, as ``Hostile`` takes it."""


class Hostile:
    """A worker that does something else; where it made others run code, is seen.

    Args:
        folder: for its file, and for the proof.
        module, work: the function that it should run.
        how: what it does instead; ``well(data)`` is what it should do.
    """

    def __init__(self, folder: Path, module: str, work: str, how: str) -> None:
        self._folder = folder
        file = folder / "hostile.py"
        words = {"MODULE": module, "WORK": work, "HOW": how, "PROOF": str(folder / "proof")}
        text = _HOSTILE
        for word, value in words.items():
            text = text.replace(word, value)
        file.write_text(text)
        self.options = ("--preload", str(file), "--no-nanny")

    @property
    def ran(self) -> set[int]:
        """The processes in which it ran code."""
        return {int(path.name.rpartition("-")[2]) for path in self._folder.glob("proof-*")}
