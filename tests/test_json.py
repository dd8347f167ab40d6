"""What --json prints has the shape that docs/json.schema.json says: every command, in a story."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from jsonschema import Draft202012Validator

from cnrmirror.cli import cli
from cnrmirror.cli.commands import COMMANDS
from tests.machine import Machine
from tests.shapes import NO_JSON, SHAPES, components

M = ("-C", "m")
FOUND, PARTS = components()
# The bytes of a document are closed: what no field is named for would be found here.
CLOSED = {
    name: {**part, "additionalProperties": False} if "properties" in part else part
    for name, part in PARTS.items()
}


def holds(name: str, text: str) -> Any:
    """What a command printed, once it is known to have its shape, and no field more."""
    value = json.loads(text)
    validator = Draft202012Validator({**FOUND[name], "$defs": CLOSED})
    assert [f"{e.json_path}: {e.message[:200]}" for e in validator.iter_errors(value)] == []
    return value


class Story:
    """A machine that asks for JSON, holds each answer against its shape, and notes the command."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.told: set[str] = set()

    def __call__(self, name: str, *arguments: str, code: int = 0, mirror: str = "m") -> Any:
        words = ("-C", mirror, "--json", *name.split(), *arguments)
        done = self.machine.run(*words)
        assert done.returncode == code, done.stdout + done.stderr
        for line in done.stderr.splitlines():
            if line.startswith("{"):
                holds("event", line)
        self.told.add(name)
        return holds(name, done.stdout)


def test_every_command_has_a_shape_or_a_reason_why_not() -> None:
    context = click.Context(cli)
    names = set()
    for name in COMMANDS:
        command = cli.get_command(context, name)
        below = command.commands if isinstance(command, click.Group) else None
        names |= {f"{name} {each}" for each in below} if below else {name}
    assert names == (SHAPES.keys() | NO_JSON.keys()) - {"--version"}


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(Machine(tmp_path / "machine"))


def test_what_every_command_prints_has_its_shape(story: Story, chart: Callable[..., Path]) -> None:
    folder = story.machine.folder
    holds("--version", story.machine.run("--json", "--version").stdout)
    made = holds("init", story.machine.run("--json", "init", "m").stdout)
    root, offline = made["root"], made["offline_keys"]
    story.told |= {"init", "--version"}
    story("help")
    story("help", "trust")
    change(story, chart)
    look(story, root)
    carry(story, folder, root)
    keep(story, folder, offline)
    assert story.told == SHAPES.keys()


def change(story: Story, chart: Callable[..., Path]) -> None:
    """The commands that make revisions."""
    for release in ("1.0.0", "1.1.0"):
        story("push", "--namespace", "ns", str(chart("a", release)))
    story("push", "--namespace", "ns", str(chart("a", "1.2.0")), "--dry-run")
    story("channel set", "ns/a", "stable", "1.1.0")
    story("channel set", "ns/a", "edge", "1.1.0", "--dry-run")
    story("channel list", "ns/a")
    story("channel set", "ns/a", "edge", "1.1.0")
    story("channel remove", "ns/a", "edge")
    story("remove", "ns/a@1.0.0", "--dry-run")
    assert story("remove", "ns/a@1.0.0")["revision"] == 6
    story("rollback", "5")


def look(story: Story, root: str) -> None:
    """The commands that only look."""
    story("list")
    story("show", "ns/a")
    story("show", "ns/a@1.1.0", "--from", "m/site", "--root", root)
    story("search", "a")
    story("images")
    assert [entry["revision"] for entry in story("log")] == [*range(7, -1, -1)]
    story("diff", "5", "6")
    story("cost")
    story("cost", "./place")
    story("config check")
    story("config show")
    story("config show", "--effective")
    story("keys list")


def carry(story: Story, folder: Path, root: str) -> None:
    """The commands that go elsewhere, and come from there."""
    story("publish", "./place", "--dry-run")
    story("publish", "./place")
    story("publish", "./place", "--audit")
    story("publish", "./place", "./other", "--dry-run")
    next((folder / "place").rglob("pull")).unlink()
    story("publish", "./place", "--audit", code=6)
    story("publish", "./place", "--audit", "--repair")
    story("pull", "ns/a", "--from", "m/site", "--root", root, "--dest", str(folder / "pulled"))
    story("check", "--from", "place", "--root", root)
    story("check", "--from", "place", "--from", "m/site", "--root", root)
    story("export", "./bundle", "--dry-run")
    story("export", "./bundle")
    story.machine("init", "n")
    story("import", "bundle", "--root", root, "--dry-run", mirror="n")
    story("import", "bundle", "--root", root, mirror="n")
    holds("adopt", story.machine.run("--json", "adopt", "place", "again", "--root", root).stdout)
    charts = folder / "charts"
    charts.mkdir()
    (charts / "bad-1.0.0.tgz").write_bytes(b"no archive")
    with (folder / "m/mirror.yaml").open("a") as file:
        file.write("sources:\n  c: {type: charts, folder: ../charts, namespace: ns}\n")
    story("sync", "--dry-run", code=14)
    story("sync", "--only-fetch")
    story("sync", code=14)
    story("cluster certificates", "certs")
    story("report", code=14)
    story.told.add("adopt")


def keep(story: Story, folder: Path, offline: str) -> None:
    """The commands that keep it well, and its keys."""
    story("check")
    next((folder / "m/site/cnr").rglob("pull")).unlink()
    story("check", code=6)
    story("build")
    story("build", "--facts")
    story("gc", "--dry-run")
    story("gc", "--revisions", "2", "--grace-hours", "0")
    story("upgrade")
    story("refresh")
    story("keys rotate", "publish", "--offline-keys", offline, "--dry-run")
    story("keys rotate", "online", "--offline-keys", offline)
    story("keys rotate", "publish", "--offline-keys", offline)
    story("keys renew", "--offline-keys", offline)
    story("root propose", "--out", "next.json")
    story("root sign", "next.json", "--offline-keys", offline)
    story("root status", "next.json")
    story("root publish", "next.json")
    story("remove", "ns/a@1.1.0", "--purge", "--dry-run")
    story("remove", "ns/a@1.1.0", "--purge")


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["-C", "m", "show", "ns/none"], "package-not-found", 5),
        (["-C", "m", "rollback", "9"], "package-not-found", 5),
        (["-C", "nowhere", "list"], "invalid-usage", 2),
        (["-C", "m", "push"], "invalid-usage", 2),
        (["nonsense"], "invalid-usage", 2),
        (["-C", "m", "push", "nothing.tgz", "--namespace", "ns"], "invalid-parameters", 3),
        (["list", "--from", "m/site"], "not-trusted", 9),
    ],
)
def test_a_failure_prints_its_code(
    story: Story, arguments: list[str], code: str, exit_code: int
) -> None:
    story.machine("init", "m")
    done = story.machine.run("--json", *arguments)
    assert done.returncode == exit_code
    assert holds("error", done.stdout)["code"] == code
