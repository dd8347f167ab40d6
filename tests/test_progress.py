"""How far long work is: what a publish is going to send, and how a person or a program is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.cli.context import Bar
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.model.progress import Total
from cnrmirror.publish import engine
from tests.conftest import chart_bytes
from tests.machine import Machine
from tests.mirrors import make
from tests.places import Killed, WatchedObjects
from tests.test_manners import in_terminal
from tests.test_publish import NOW, session


class Watching:
    """Notes what it is told of the publish itself, not of the audit that may follow."""

    shown = True

    def __init__(self) -> None:
        self.total: int | Total | None = None
        self.steps = self.size = 0
        self._publishing = False

    def start(self, label: str, total: int | Total | None) -> None:
        self._publishing = label.startswith("Publishing")
        if self._publishing:
            self.total, self.steps, self.size = total, 0, 0

    def advance(self, steps: int = 1, size: int = 0) -> None:
        if self._publishing:
            self.steps += steps
            self.size += size

    def finish(self) -> None:
        pass


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make(tmp_path / "mirror", "00000000-0000-4000-8000-000000000002", NOW)


def add(project: Project, releases: Mapping[str, int]) -> None:
    """So many releases of each of these packages, as one revision."""
    folder = project.folder.parent / f"charts{project.head().revision}"
    folder.mkdir()
    for name, count in releases.items():
        for number in range(count):
            path = folder / f"{name}-1.{number}.0.tgz"
            path.write_bytes(chart_bytes(name, f"1.{number}.0"))
    push(project, [folder], Override(namespace="ns"), NOW, What())


def watched(project: Project, objects: dict[str, bytes]) -> Watching:
    """A publish that somebody looks at."""
    progress = Watching()
    project.progress = progress
    session(project, objects).publish(NOW)
    return progress


# -- the total of a publish ------------------------------------------------------------------------


def test_the_progress_of_a_publish_goes_to_the_total_that_it_began_with(project: Project) -> None:
    add(project, {f"p{n}": 2 for n in range(20)})
    objects: dict[str, bytes] = {}
    plan = session(project, objects).plan(NOW)
    progress = watched(project, objects)
    assert progress.total == Total(plan.puts, plan.bytes)
    assert (progress.steps, progress.size) == (plan.puts, plan.bytes)


def test_the_total_of_a_later_publish_is_what_it_sends(project: Project) -> None:
    add(project, {f"p{n}": 1 for n in range(20)})
    objects: dict[str, bytes] = {}
    watched(project, objects)
    add(project, {"p1": 3, "new": 1})
    plan = session(project, objects).plan(NOW)
    progress = watched(project, objects)
    assert progress.total == Total(plan.puts, plan.bytes) == Total(progress.steps, progress.size)


def test_the_total_of_many_packages_is_an_estimate_that_is_nearly_right(project: Project) -> None:
    add(project, {f"p{n:03}": 1 + n % 3 for n in range(130)})
    progress = watched(project, {})
    assert isinstance(progress.total, Total) and progress.total.about
    assert progress.total.steps == pytest.approx(progress.steps, rel=0.1)
    assert progress.total.size == pytest.approx(progress.size, rel=0.1)


def test_what_a_killed_publish_had_sent_is_not_in_the_total(project: Project) -> None:
    add(project, {f"p{n}": 1 for n in range(20)})
    objects: dict[str, bytes] = {}
    one = session(project, objects)
    assert isinstance(one.destination, WatchedObjects)
    left = iter(range(200))

    def tick(key: str) -> None:
        if next(left, None) is None:
            raise Killed

    one.destination.before = tick
    with pytest.raises(Killed):
        one.publish(NOW)
    progress = watched(project, objects)
    assert progress.total == Total(progress.steps, progress.size)


def test_a_saved_plan_knows_the_total(project: Project) -> None:
    add(project, {"p": 3})
    objects: dict[str, bytes] = {}
    plan = session(project, objects).plan(NOW)
    progress = Watching()
    project.progress = progress
    session(project, objects).publish(NOW, plan)
    assert progress.total == Total(plan.puts, plan.bytes) == Total(progress.steps, progress.size)


def test_nothing_is_counted_if_nobody_looks(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(project, {"p": 1})
    monkeypatch.setattr(engine, "count", None)  # to call it would fail
    session(project, {}).publish(NOW)


# -- what is shown ---------------------------------------------------------------------------------


def test_a_terminal_shows_files_and_bytes_of_how_many_and_the_time_left(
    tmp_path: Path, chart: Callable[..., Path]
) -> None:
    machine = Machine(tmp_path / "machine")
    machine("init", "m")
    machine("-C", "m", "push", "--namespace", "ns", str(chart("nginx", "1.0.0")))
    said = in_terminal(machine, "-C", "m", "publish", "./place", "--color", "never")
    found = re.search(r"(\d+)/(\d+) ([\d.]+ KiB) of ([\d.]+ KiB)(, \S+ \S+/s)? [\d:-]+", said)
    assert found and found[1] == found[2] and found[3] == found[4]
    assert f"{found[2]} written" in said and found[4] in said.rpartition("written")[2]


def test_events_tell_the_totals(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Bar(as_json=True)
    bar.start("Publishing", Total(30, 4000, about=True))
    bar.advance(30, 4100)
    bar.finish()
    first, last = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["event"], first["total"], first["total_bytes"]) == ("start", 30, 4000)
    assert (last["event"], last["done"], last["bytes"], last["about"]) == ("finish", 30, 4100, True)


@pytest.mark.parametrize(
    ("total", "told"), [(19, 0), (20, 2), (None, 2), (Total(1, 1 << 30), 2), (Total(19, 9), 0)]
)
def test_short_work_says_nothing_but_few_large_files_are_no_short_work(
    total: int | Total | None, told: int, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = Bar(as_json=True)
    bar.start("Publishing", total)
    bar.finish()
    assert len(capsys.readouterr().err.splitlines()) == told
