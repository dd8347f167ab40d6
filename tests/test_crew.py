"""Units of work that others do: each one is done, whatever becomes of whoever does it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnrmirror.crew.crew import Crew, CrewLost, Job, carried_out
from cnrmirror.model.errors import InvalidDocument, StorageError
from cnrmirror.objects.files import locked
from tests.machine import ROOT


def double(data: bytes) -> bytes:
    return data * 2


def read(unit: int, answer: bytes) -> int:
    if answer == b"full":
        raise StorageError("the disk is full")
    if answer != str(unit).encode() * 2:
        raise InvalidDocument("not an answer")
    return unit * 2


JOB: Job[int, int] = Job(double, lambda unit: str(unit).encode(), read)


def raising(error: Exception) -> Callable[[bytes], bytes]:
    def fail(data: bytes) -> bytes:
        raise error

    return fail


BAD: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: b"",
    lambda data: b"full",
    raising(BrokenExecutor("killed")),
    raising(ValueError("lost")),
)


class Workers(Executor):
    """Does each unit when it is submitted, or what it is told to do instead."""

    def __init__(self, deeds: list[int]) -> None:
        self.deeds = deeds
        self.given: Counter[bytes] = Counter()
        self.made = 0

    def make(self) -> Executor:
        self.made += 1
        return self

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.given.update(args)
        number = self.deeds.pop() if self.deeds else 0
        try:
            future.set_result((BAD[number - 1] if number else fn)(*args))
        except Exception as error:
            future.set_exception(error)
        return future


@given(
    st.integers(0, 12), st.integers(1, 4), st.integers(1, 4),
    st.lists(st.integers(0, len(BAD)), max_size=60),
)  # fmt: skip
def test_each_unit_is_done_once_and_given_away_as_often_as_was_said(
    count: int, window: int, attempts: int, deeds: list[int]
) -> None:
    workers = Workers(list(deeds))
    crew = Crew(2, workers.make)
    found = list(carried_out(crew, JOB, range(count), window, attempts))
    assert sorted((report.unit, report.result) for report in found) == [
        (unit, unit * 2) for unit in range(count)
    ]
    for report in found:
        given = workers.given[str(report.unit).encode()]
        assert given == attempts if report.here else 1 <= given <= attempts
        assert bool(report.trouble) == (report.here or given > 1)


def test_units_are_taken_as_others_are_done() -> None:
    taken: list[int] = []

    def units() -> Any:
        for unit in range(20):
            taken.append(unit)
            yield unit

    reports = carried_out(Crew(1, Workers([]).make), JOB, units(), 3)
    next(reports)
    assert len(taken) <= 3


def test_what_cannot_be_done_here_either_is_an_error() -> None:
    job = JOB._replace(work=lambda data: b"full")
    with pytest.raises(StorageError, match="the disk is full"):
        list(carried_out(Crew(1, Workers([]).make), job, [1], 1))


def test_what_no_worker_can_do_is_done_here_as_the_job_says() -> None:
    job = JOB._replace(work=lambda data: b"full", here=double)
    found = list(carried_out(Crew(1, Workers([]).make), job, range(5), 2))
    assert sorted((r.result, r.here, r.trouble) for r in found) == [
        (2 * unit, True, "the disk is full") for unit in range(5)
    ]


def test_a_crew_that_is_gone_ends_the_work() -> None:
    def gone() -> None:
        raise CrewLost("no worker")

    with pytest.raises(CrewLost):
        list(carried_out(Crew(1, Workers([]).make, True, gone), JOB, range(3), 1))


_LOCKING = """
import sys, threading, time
from pathlib import Path
from cnrmirror.crew.processes import processes
from cnrmirror.objects.files import locked

if __name__ == "__main__":
    if sys.argv[2] == "threads":
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    with locked(Path(sys.argv[1]), 0), processes(3) as pool:
        list(pool.map(abs, range(10)))
        print("ready", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("how", ["fork", "threads"])
def test_processes_of_a_killed_command_end_and_hold_no_lock(tmp_path: Path, how: str) -> None:
    path, script = tmp_path / "lock", tmp_path / "locking.py"
    script.write_text(_LOCKING)
    command = [sys.executable, str(script), str(path), how]
    killed = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert killed.stdout is not None
    try:
        assert killed.stdout.readline() == "ready\n"
        killed.kill()
        with locked(path, 10):
            pass
        assert killed.stdout.read() == ""  # nobody is left who could write there
    except BaseException:
        os.killpg(killed.pid, signal.SIGKILL)
        raise
    finally:
        killed.wait()
        killed.stdout.close()
