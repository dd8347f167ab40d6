"""What each command says when the clock goes on, or back, and how it ends."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cnrmirror.model.freshness import Expiry, Freshness
from cnrmirror.model.instant import Instant
from tests.conftest import chart_bytes
from tests.machine import Machine

ROOT_FILE = "m/site/catalog/metadata/1.root.json"
FROM = ("--from", "pub", "--root", ROOT_FILE)
CHECK, REFRESH, PUBLISH = (
    ("-C", "m", "check"),
    ("-C", "m", "refresh"),
    ("-C", "m", "publish", "pub"),
)
PUSH = ("-C", "m", "push", "--namespace", "ns", "a-1.0.1.tgz")
EXPORT, KEYS, REPORT = (
    ("-C", "m", "export", "out"),
    ("-C", "m", "keys", "list"),
    ("-C", "m", "report"),
)
PULL, LIST, AUDIT = ("pull", "ns/a", *FROM, "--dest", "d"), ("list", *FROM), ("check", *FROM)
OFFLINE = ("--offline-keys", "vault")
RENEW = ("-C", "m", "keys", "renew", *OFFLINE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    machine = Machine(tmp_path_factory.mktemp("made") / "home")
    machine("init", "m", *OFFLINE, "--solo")
    for release in ("1.0.0", "1.0.1"):
        (machine.folder / f"a-{release}.tgz").write_bytes(chart_bytes("a", release))
    machine("-C", "m", "push", "--namespace", "ns", "a-1.0.0.tgz")
    machine("-C", "m", "publish", "./pub")
    return machine.folder


@pytest.fixture
def machine(made: Path, tmp_path: Path) -> Machine:
    """A mirror "m", published to "pub" just now, its offline keys in "vault"."""
    shutil.copytree(made, tmp_path / "home", symlinks=True)
    return Machine(tmp_path / "home")


# A command, the code with which it ends, and words of what it says. A row is a day of its own.
TABLE: dict[float, list[tuple[tuple[str, ...], int, str]]] = {
    1: [
        (CHECK, 0, "readers accept the mirror until"),
        (AUDIT, 0, "all well"),
        (PULL, 0, ""),
        (PUBLISH, 0, "readers accept the mirror until"),
        (EXPORT, 0, "readers accept the mirror until"),
        (KEYS, 0, "readers accept the mirror until"),
        ((*CHECK, "--fresh-for", "7d"), 18, "in 6 days"),
        ((*CHECK, "--fresh-for", "5d"), 0, ""),
        ((*AUDIT, "--fresh-for", "7d"), 18, "only"),
    ],
    6.5: [
        (CHECK, 0, "timestamp expires on"),
        (PUBLISH, 0, "cnrmirror refresh"),
        (PULL, 0, ""),
    ],
    8: [
        (CHECK, 18, "readers refuse the mirror: its timestamp expired on"),
        (PUBLISH, 0, "timestamp expired on"),
        (EXPORT, 0, "timestamp expired on"),
        (KEYS, 0, "timestamp expired on"),
        (LIST, 10, "expired"),
        (AUDIT, 10, "expired"),
        (REFRESH, 0, "readers accept the mirror until"),
        (PUBLISH, 0, "readers accept the mirror until"),
        (CHECK, 0, ""),
        (PULL, 0, ""),
    ],
    100: [
        (CHECK, 18, "cnrmirror refresh"),
        (PULL, 10, "expired"),
        (REFRESH, 0, ""),
        (PUBLISH, 0, ""),
        (PULL, 0, ""),
    ],
    366: [
        (CHECK, 18, "keys renew"),
        (REFRESH, 18, "targets expired on"),
        (PUBLISH, 0, "root propose"),
        (PULL, 10, "expired"),
        (RENEW, 0, "signed for another year"),
        (CHECK, 0, "readers accept the mirror until"),
        (PUBLISH, 0, ""),
        (PULL, 0, ""),
    ],
    3652: [
        (CHECK, 18, "expired"),
        (PUSH, 0, ""),
        (CHECK, 18, "root expired on"),
        (RENEW, 0, ""),
        (PUBLISH, 0, ""),
        (AUDIT, 0, "all well"),
    ],
    # A clock that is behind what was signed.
    -1: [
        (REFRESH, 10, "set the clock"),
        (PUSH, 10, "set the clock"),
        (RENEW, 10, "set the clock"),
        (PULL, 10, "set the clock"),
        (CHECK, 0, "readers accept the mirror until"),
    ],
    -366: [(REFRESH, 10, "set the clock"), (PUBLISH, 0, ""), (AUDIT, 10, "set the clock")],
}  # fmt: skip


@pytest.mark.parametrize("days", TABLE, ids=str)
def test_what_each_command_says_so_many_days_later(machine: Machine, days: float) -> None:
    machine.moved = timedelta(days=days)
    for arguments, code, words in TABLE[days]:
        done = machine.run(*arguments)
        said = done.stdout + done.stderr
        assert (done.returncode, words in said) == (code, True), f"{arguments}: {code}: {said}"


def test_a_clock_that_ran_ahead_for_a_while_is_no_end(machine: Machine) -> None:
    machine.moved = timedelta(days=3652)
    machine(*REFRESH, code=18)
    machine.moved = timedelta(0)
    assert "--allow-past" in machine(*REFRESH, code=10)
    machine("--allow-past", *REFRESH)
    machine(*CHECK)
    machine(*PUBLISH)
    machine(*PULL)


def test_a_command_that_refuses_the_time_writes_nothing(machine: Machine) -> None:
    before = {p: p.read_bytes() for p in (machine.folder / "m/site").rglob("*") if p.is_file()}
    epoch = str(int((datetime.now(UTC) - timedelta(days=30)).timestamp()))
    for arguments in (REFRESH, PUSH, ("-C", "m", "remove", "ns/a@1.0.0"), ("init", "late")):
        machine(*arguments, code=10, SOURCE_DATE_EPOCH=epoch)
    after = {p: p.read_bytes() for p in (machine.folder / "m/site").rglob("*") if p.is_file()}
    assert after == before
    assert not (machine.folder / "late").exists()


def test_what_is_signed_for_a_reproducible_build_is_signed_if_it_is_said(machine: Machine) -> None:
    machine("init", "late", CNRMIRROR_ALLOW_PAST="1", SOURCE_DATE_EPOCH="1767323045")
    machine("-C", "late", "check", code=18)


def test_a_clock_that_is_a_little_behind_makes_nothing_expire_sooner(machine: Machine) -> None:
    def good_until() -> str:
        file = machine.folder / "m/site/catalog/metadata/timestamp.json"
        return str(json.loads(file.read_text())["signed"]["expires"])

    before = good_until()
    machine.moved = timedelta(minutes=-5)
    machine(*REFRESH)
    assert good_until() == before


def test_freshness_is_told_to_machines(machine: Machine) -> None:
    found = json.loads(machine.run("--json", *CHECK).stdout)["freshness"]
    assert found["role"] == "timestamp" and not found["refused"] and 6 < found["days"] <= 7
    assert json.loads(machine.run("--json", *PUBLISH).stdout)["good_until"] == found["good_until"]


def test_the_first_role_that_expires_decides() -> None:
    now = Instant.parse("2026-01-02T03:04:05")
    roles = [Expiry(now.plus(timedelta(days=d)), role) for role, d in
             (("root", 300), ("targets", 2), ("timestamp", 6))]  # fmt: skip
    freshness = Freshness(roles)
    assert freshness.first.role == "targets"
    assert [role.role for role in freshness.soon(now)] == ["targets"]
    assert not freshness.is_refused(now) and freshness.is_refused(now, timedelta(days=2))
