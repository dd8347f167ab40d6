"""Every example of a help text runs, in a mirror like the one that it speaks of.

The manual pages and the page of commands are made of the same texts. What documents show is run by
tests/test_blocks.py.
"""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cnrmirror.cli import cli
from cnrmirror.cli.commands import COMMANDS
from tests.recipes import tools

NOT_RUN = {
    "cnrmirror serve --port 8080": "it serves until it is stopped: tests/test_serve.py",
    "curl http://127.0.0.1:8080/cnr/api/v1/packages": "asks the one before",
    "cnrmirror -C my-mirror serve": "it serves until it is stopped: tests/test_serve.py",
    "cnrmirror export again --again bundle.json --volume 2": "wants a bundle of volumes of which "
    "one is lost: tests/test_airgap.py",
    "cnrmirror export /media/usb/bundle --since their-have.json": "wants what a receiver said: "
    "tests/test_airgap.py",
    "cnrmirror import /media/usb1/bundle /media/usb2/bundle --expect receipt.txt": "wants a bundle "
    "on two media: tests/test_airgap.py",
    "cnrmirror have > have.json": "wants a mirror that took something in: tests/test_airgap.py",
}


def every_command(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{above}{name}", command
        if isinstance(command, click.Group):
            yield from every_command(command, f"{above}{name} ")


def examples(command: click.Command) -> list[str]:
    """The lines of a help text's examples; one that goes on in the next line is joined."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    found = "\n".join(p.removeprefix("\b\n") for p in paragraphs if p.startswith("\b"))
    return [" ".join(line.split()) for line in found.replace("\\\n", " ").splitlines()]


ALL = [("", line) for line in examples(cli)] + [
    (name, line) for name, command in every_command(cli) for line in examples(command)
]


def test_every_command_has_an_example() -> None:
    assert {name.partition(" ")[0] for name, _ in ALL} >= COMMANDS.keys()
    assert [name for name, command in every_command(cli) if not examples(command)] == []
    assert NOT_RUN.keys() <= {line for _, line in ALL}


@pytest.mark.parametrize(
    ("name", "line"), [pair for pair in ALL if pair[1] not in NOT_RUN],
    ids=lambda text: text.replace("cnrmirror ", "")[:60],
)  # fmt: skip
def test_an_example_runs(world: Path, url: str, tmp_path: Path, name: str, line: str) -> None:
    shutil.copytree(world, tmp_path / "machine", symlinks=True)
    folder = tmp_path / "machine"
    w = folder / "w"
    root_key = next((w / "usb/keys").glob("root-1-*.pem")).stem.rpartition("-")[2]
    meant = {
        "https://mirror.example.com": url, "https://other.example.com": f"{url}/",
        "init my-mirror --store s3://my-bucket/registry": "init my-mirror --store ./new",
        "s3://my-bucket/registry": "./bucket", "/media/usb/site": str(world / "w/usb/site"),
        "/media/usb/": "usb/", "/media/usb": "USB", "/media/c": "media-c",
        "/var/lib/node_exporter/": "metrics/", "--dest /tmp": "--dest out", "BUNDLE": "site",
        "3fa9c1d2": root_key,
    }  # fmt: skip
    for said, word in meant.items():
        line = line.replace(said, word)
    if " init " in line or "adopt ./bucket" in line:
        shutil.rmtree(w / "my-mirror")
    if "propose" in line:
        (w / "next.json").unlink()
    if name == "":  # they go on with the mirror that the first one made
        line = line.replace("-C my-mirror", "-C .")
    programs = tools(folder / "programs")
    homes = {f"XDG_{k}_HOME": str(folder / k.lower()) for k in ("CONFIG", "STATE", "CACHE")}
    done = subprocess.run(
        ["bash", "-c", line], cwd=w, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=120, check=False,
        env={**os.environ, **homes, "HOME": str(w / "home"),
             "PATH": f"{programs}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout + done.stderr
