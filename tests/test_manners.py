"""What every command has: -q, -v, --color, suggestions, help that is whole."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import click
import pytest

from cnrmirror.cli import cli
from cnrmirror.cli.commands import COMMANDS
from cnrmirror.cli.context import sized
from cnrmirror.model.near import did_you_mean
from tests.hostile import hosting
from tests.machine import ROOT, Machine

M = ("-C", "m")
ROOT_FILE = "m/site/catalog/metadata/1.root.json"


@pytest.fixture
def machine(tmp_path: Path, chart: Callable[..., Path]) -> Machine:
    machine = Machine(tmp_path / "machine")
    machine("init", "m")
    machine(*M, "push", "--namespace", "ns", str(chart("nginx", "1.0.0")))
    machine(*M, "channel", "set", "ns/nginx", "stable", "1.0.0")
    return machine


def every_command() -> Iterator[tuple[str, click.Command]]:
    """All commands, also those below others, by how they are called."""
    context = click.Context(cli)
    for name in COMMANDS:
        found = cli.get_command(context, name)
        assert found is not None
        yield name, found
        if isinstance(found, click.Group):
            yield from ((f"{name} {below}", each) for below, each in found.commands.items())


# -- quiet -----------------------------------------------------------------------------------------


def test_a_quiet_command_that_did_what_it_was_to_do_says_nothing(
    machine: Machine, chart: Callable[..., Path]
) -> None:
    for command in (
        ["refresh"],
        ["push", "--namespace", "ns", str(chart("nginx", "1.1.0"))],
        ["channel", "set", "ns/nginx", "edge", "1.1.0"],
        ["remove", "ns/nginx@1.0.0"],
        ["rollback", "2"],
        ["build"],
        ["check"],
        ["gc"],
        ["publish", str(machine.folder / "place")],
        ["publish", str(machine.folder / "place"), "--audit", "--repair"],
        ["export", str(machine.folder / "bundle")],
    ):
        said = machine(*M, *command, "-q")
        if command[0] != "remove":  # which dropped a channel
            assert said == "", command


def test_a_quiet_sync_says_what_is_wrong_and_nothing_else(
    machine: Machine, chart: Callable[..., Path]
) -> None:
    charts = machine.folder / "charts"
    charts.mkdir()
    chart("other", "1.0.0").rename(charts / "other-1.0.0.tgz")
    with (machine.folder / "m/mirror.yaml").open("a") as file:
        file.write("sources:\n  c: {type: charts, folder: ../charts, namespace: ns}\n")
    assert machine(*M, "-q", "sync") == ""
    (charts / "bad-1.0.0.tgz").write_bytes(b"no archive")
    said = machine(*M, "-q", "sync", code=14)
    assert "c\thole\t" in said and "bad-1.0.0" in said and "nothing changed" not in said
    assert machine(*M, "-q", "report", code=14) == said


def test_a_quiet_question_is_answered(machine: Machine) -> None:
    assert machine(*M, "list", "-q").startswith("ns/nginx\t1.0.0\t")
    assert machine(*M, "-q", "log").count("\n") == 3


def test_a_quiet_check_says_what_it_found(machine: Machine) -> None:
    next((machine.folder / "m/site/cnr").rglob("pull")).unlink()
    assert "missing\t" in machine(*M, "check", "-q", code=6)


# -- verbose ---------------------------------------------------------------------------------------


def test_verbose_tells_each_request_without_its_query(machine: Machine) -> None:
    site = machine.folder / "m/site"
    root = str(site / "catalog/metadata/1.root.json")
    with hosting(site) as host:
        said = machine("list", "-v", "--from", host.url, "--root", root)
    lines = [line for line in said.splitlines() if " s  GET " in line]
    assert any("/catalog/metadata/timestamp.json: 200, " in line for line in lines)
    assert not any("?" in line for line in lines)


def test_verbose_tells_what_an_error_came_from(machine: Machine) -> None:
    (machine.folder / "m/mirror.yaml").write_text("id: x\nviews: {dialect: x}\n")
    assert "because of" not in machine(*M, "list", code=3)
    assert "because of: ValidationError: Invalid enum value" in machine(*M, "-v", "list", code=3)


def test_verbose_ends_where_an_error_is_its_own_cause(machine: Machine) -> None:
    def refuses(handler: BaseHTTPRequestHandler, path: Path) -> bool:
        handler.send_error(401)
        return True

    with hosting(machine.folder / "m/site") as host:
        host.fault = refuses
        said = machine("-v", "list", "--from", host.url, "--root", ROOT_FILE, code=16)
    assert said.count("because of") == 1


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "meant"),
    [
        (["psh"], 2, "did you mean 'push'"),
        (["push", "--namspace"], 2, "'--namespace'"),
        (["keys", "rotat"], 2, "did you mean 'rotate'?"),
        ([*M, "show", "ns/ngnx"], 5, "did you mean 'ns/nginx'?"),
        ([*M, "show", "n/nginx"], 5, "did you mean 'ns/nginx'?"),
        ([*M, "channel", "set", "ns/nginx", "stable", "1.0.1"], 5, "did you mean '1.0.0'?"),
        ([*M, "channel", "remove", "ns/nginx", "stabel"], 5, "did you mean 'stable'?"),
        ([*M, "show", "ns/nginx:stabl"], 5, "did you mean 'stable'?"),
        ([*M, "show", "ns/nginx@1.0.1"], 5, "did you mean '1.0.0'?"),
        (["pull", "ns/nginx:stabl", "--from", "m/site", "--root", ROOT_FILE], 5, "'stable'?"),
        ([*M, "sync", "kuay"], 2, "did you mean 'quay'?"),
        ([*M, "publish", "producton"], 2, "did you mean 'production'?"),
        (["help", "trsut"], 2, "did you mean 'trust'?"),
    ],
)
def test_a_mistyped_word_is_told_what_it_may_have_meant(
    machine: Machine, arguments: list[str], code: int, meant: str
) -> None:
    with (machine.folder / "m/mirror.yaml").open("a") as file:
        file.write("sources: {quay: {type: registry, url: 'https://quay.example/cnr'}}\n")
        file.write("publish: {production: {to: ../place}}\n")
    assert meant in machine(*arguments, code=code)


def test_what_is_like_nothing_gets_no_suggestion() -> None:
    assert did_you_mean("xyz", ["push", "publish"]) == ""
    assert did_you_mean("b", ["a/b", "c/b"]) == "; did you mean 'a/b' or 'c/b'?"


def test_a_namespace_alone_makes_no_name_a_suggestion() -> None:
    names = ["charts/nginx", "charts/x", "charts/blog"]
    assert did_you_mean("charts/ngnx", names) == "; did you mean 'charts/nginx'?"
    assert did_you_mean("charts/wordpress", names) == ""


def test_a_mirror_of_which_nothing_can_be_read_has_no_sums(machine: Machine) -> None:
    said = machine("check", "--from", "http://127.0.0.1:1", "--root", ROOT_FILE, code=12)
    assert "no catalog was read" in said and "Connection refused" in said
    assert "revision -1" not in said and "Errno" not in said


# -- help ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [50, 80, 160])
def test_no_sentence_of_a_help_text_is_cut(columns: int) -> None:
    for name, command in [("", cli), *every_command()]:
        # A command remembers the names of its help option: those that all have.
        settings = {**cli.context_settings, "terminal_width": columns}
        with click.Context(command, info_name=name, **settings) as context:
            text = command.get_help(context)
            assert "..." not in text.replace("]...", "").replace("PATH...", "").replace(
                "BUNDLE...", ""
            ), name


def test_every_command_says_what_it_does_and_takes_what_all_take() -> None:
    for name, command in every_command():
        assert command.help, name
        assert {"quiet", "verbose", "as_json", "color", "mirror_folder"} <= {
            parameter.name for parameter in command.params
        }, name
        options = [option for p in command.params for option in p.opts if option[0] == "-"]
        assert len(options) == len(set(options)), name


def test_options_of_all_may_stand_before_and_behind_the_command(machine: Machine) -> None:
    before, behind = machine("--json", *M, "list"), machine("list", *M, "--json")
    assert before == behind and json.loads(before)[0]["name"] == "ns/nginx"


def test_help_shows_topics_and_commands(machine: Machine) -> None:
    assert "exit-codes\tExit codes\n" in machine("help")
    assert machine("help", "air-gap") == machine("help", "airgap")
    assert machine("help", "trust") == (ROOT / "docs/trust.md").read_text()
    assert "Usage: " in machine("help", "push") and "--channel" in machine("help", "push")


def test_the_version_tells_python_and_the_libraries(machine: Machine) -> None:
    found = json.loads(machine("--json", "--version"))
    assert found["python"] == sys.version.split()[0]
    assert machine("--version").startswith(f"cnrmirror {found['cnrmirror']}, Python ")
    said = importlib.metadata.requires("cnrmirror") or []
    names = {re.split(r"[^\w.-]", line)[0] for line in said if "extra ==" not in line}
    assert found["libraries"] == {name: importlib.metadata.version(name) for name in names}


# -- colors, sizes ---------------------------------------------------------------------------------


def in_terminal(machine: Machine, *arguments: str, **environment: str) -> str:
    """What a command writes to a terminal of 80 columns."""
    master, slave = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-m", "cnrmirror", *arguments], cwd=machine.folder, stdout=slave,
            stderr=slave, stdin=slave, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "TERM": "xterm",
                 **environment},
        )  # fmt: skip
        os.close(slave)
        said = b""
        while piece := _read(master):
            said += piece
        return said.decode()
    finally:
        os.close(master)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # the other end is closed
        return b""


RED = "\x1b[31m"


def test_a_terminal_gets_colors_unless_they_are_not_wanted(machine: Machine) -> None:
    wrong = (*M, "show", "ns/none")
    assert RED in in_terminal(machine, *wrong)
    assert RED not in in_terminal(machine, *wrong, "--color", "never")
    assert RED not in in_terminal(machine, *wrong, NO_COLOR="1")
    assert RED not in machine(*wrong, code=5)
    assert RED in machine(*wrong, "--color=always", code=5)
    assert "\x1b[1m" in in_terminal(machine, *M, "list")
    assert "\x1b[" not in in_terminal(machine, *M, "list", "--color", "never")
    assert "\x1b[" not in in_terminal(machine, *M, "list", NO_COLOR="1")


def test_what_is_empty_says_so_and_prints_nothing_that_a_script_reads(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine")
    machine("init", "m")
    done = machine.run(*M, "list")
    assert (done.stdout, done.stderr) == ("", "no packages\n")
    assert machine(*M, "list", "-q") == ""
    assert json.loads(machine(*M, "list", "--json")) == []


def test_sizes_are_read_in_powers_of_1024() -> None:
    assert [sized(n) for n in (0, 1, 1023, 1024, 1 << 20, (1 << 20) - 1, 5 << 40)] == [
        "0 bytes", "1 byte", "1023 bytes", "1.0 KiB", "1.0 MiB", "1.0 MiB", "5.0 TiB",
    ]  # fmt: skip
