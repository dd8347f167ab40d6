"""What people see: at 50, 80 and 160 columns, with and without color, in a pipe, under cron.

The golden files are in tests/data/screens; CNRMIRROR_SCREENS=write makes them anew.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import chart_bytes
from tests.machine import ROOT, Machine

GOLDEN = Path(__file__).parent / "data/screens"
# What is different at each run: ids and digests, times, places, versions.
_VARIES = (
    (re.compile(r"\x1b\[\?25[lh]"), ""),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}"), "IDENTITY"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "D" * 64),
    (re.compile(r"\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{12}\b"), "D" * 12),
    (re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?| \d\d:\d\d UTC)"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "DATE"),
    (re.compile(r"\b\d+\.\d+ s\b"), "N s"),
)
# How much later people look: however long the tests take, it is three hours.
_LATER = str(3.1 * 3600)
COMMANDS = {
    "list": ["list"],
    "show": ["show", "charts/nginx"],
    "log": ["log"],
    "diff": ["diff", "0"],
    "channels": ["channel", "list", "charts/nginx"],
    "plan": ["publish", "./place", "--dry-run"],
    "rehearsal": ["remove", "charts/nginx@1.0.0", "--dry-run"],
    "check": ["check"],
    "mistake": ["show", "charts/nginks"],
    "help": ["--help"],
    "help-push": ["push", "--help"],
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Machine:
    machine = Machine(tmp_path_factory.mktemp("screens") / "machine")
    machine("init", "m")
    for name, release in (("nginx", "1.0.0"), ("nginx", "1.1.0"), ("a-name-that-is-long", "0.1.0")):
        path = machine.folder / f"{name}-{release}.tgz"
        path.write_bytes(chart_bytes(name, release))
        machine("-C", "m", "push", "--namespace", "charts", str(path))
    machine("-C", "m", "channel", "set", "charts/nginx", "stable", "1.1.0")
    return machine


def said(machine: Machine, words: list[str], columns: int | None, **environment: str) -> str:
    """What a command writes: to a terminal of so many columns, or into a pipe."""
    kinds = ("CONFIG", "STATE", "CACHE")
    homes = {f"XDG_{kind}_HOME": str(machine.folder / kind.lower()) for kind in kinds}
    left_out = ("CNRMIRROR_ALLOW_PAST", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")
    known = {k: v for k, v in os.environ.items() if k not in left_out}
    command = [sys.executable, "-m", "tests.moved", _LATER, "-C", "m", *words]
    more = {**known, **homes, "PYTHONPATH": str(ROOT), "TZ": "UTC", "TERM": "xterm", **environment}
    if columns is None:
        done = subprocess.run(
            command, cwd=machine.folder, env=more, stdin=subprocess.DEVNULL, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return tidied(done.stdout, machine)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        command, cwd=machine.folder, env=more, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    found = b""
    while piece := _read(master):
        found += piece
    os.close(master)
    process.wait()
    return tidied(found.replace(b"\r\n", b"\n"), machine)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # the other end is closed
        return b""


def tidied(data: bytes, machine: Machine) -> str:
    text = data.decode()
    for pattern, word in _VARIES:
        text = pattern.sub(word, text)
    return text.replace(str(machine.folder), "/HOME")


def held(name: str, text: str) -> None:
    """Compare with the golden file."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("CNRMIRROR_SCREENS") == "write":
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text


@pytest.mark.parametrize("columns", [50, 80, 160])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_terminal_shows_what_the_golden_file_has(
    machine: Machine, name: str, columns: int
) -> None:
    text = said(machine, COMMANDS[name], columns, NO_COLOR="1")
    assert "\x1b" not in text
    if name not in ("mistake", "rehearsal", "check", "plan", "diff"):  # which print lines
        widest = max(map(len, text.splitlines()))
        assert widest <= columns or name.startswith("help")
    held(f"{name}-{columns}", text)


@pytest.mark.parametrize("name", ["list", "log", "mistake", "diff"])
def test_a_terminal_shows_colors_as_the_golden_file_has_them(machine: Machine, name: str) -> None:
    text = said(machine, COMMANDS[name], 80)
    assert "\x1b[" in text or name == "diff"
    held(f"{name}-80-color", text.replace("\x1b", "ESC"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_pipe_gets_what_the_golden_file_has(machine: Machine, name: str) -> None:
    text = said(machine, COMMANDS[name], None)
    assert "\x1b" not in text
    held(f"{name}-pipe", text)


def test_cron_sends_no_mail_where_nothing_is_wrong(
    machine: Machine, chart: Callable[..., Path]
) -> None:
    """Without HOME's variables of a terminal, and quiet."""
    for words in (["-q", "refresh"], ["-q", "check"], ["-q", "publish", "./place"]):
        assert said(machine, words, None, TERM="", LANG="C") == ""
