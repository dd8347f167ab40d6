"""Every example of a help text runs, in a mirror like the one that it speaks of.

The manual pages and the page of commands are made of the same texts. What documents show is run by
tests/tutorial.py, tests/test_recipes.py and tests/test_python_api.py; of the others, test_docs.py
checks that the commands and options exist: they name places of a reader's own.
"""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cnrmirror.cli import cli
from cnrmirror.cli.commands import COMMANDS
from tests.conftest import chart_bytes
from tests.machine import ROOT, Machine

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
_CONFIGURATION = """
sources:
  quay: {type: charts, folder: ../charts, namespace: q}
publish:
  production: {to: ../production}
"""


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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with a mirror, ``w``, and what the examples take for granted around it."""
    folder = tmp_path_factory.mktemp("world")
    machine = Machine(folder / "machine")
    machine("init", "w")
    w = machine.folder / "w"
    for release in ("1.0.0", "1.1.0", "1.2.0"):
        (w / "one.tgz").write_bytes(chart_bytes("nginx", release))
        machine("-C", "w", "push", "--namespace", "charts", "w/one.tgz")
    machine("-C", "w", "channel", "set", "charts/nginx", "stable", "1.2.0")
    (w / "elasticsearch.tar.gz").write_bytes(chart_bytes("elasticsearch", "2.2.1"))
    (w / "nginx-1.2.0.tgz").write_bytes(chart_bytes("nginx", "1.2.0"))
    (w / "nginx-1.2.0.tgz.prov").write_text("signed\n")
    for place in ("nginx", "elasticsearch", "my-mirror"):
        (w / place).mkdir()
    for place in ("nginx", "elasticsearch"):
        text = f"apiVersion: v2\nname: {place}\nversion: 3.0.0\n"
        (w / place / "Chart.yaml").write_text(text)
    shutil.copyfile(w / "site/catalog/metadata/1.root.json", w / "root.json")
    (machine.folder / "charts").mkdir()
    (machine.folder / "charts/b.tgz").write_bytes(chart_bytes("b", "1.0.0"))
    with (w / "mirror.yaml").open("a") as file:
        file.write(_CONFIGURATION)
    machine("-C", "w", "sync")
    machine("-C", "w", "publish", "./w/bucket")
    machine("-C", "w", "publish", "production")
    for name in ("site", "my-mirror/site"):
        shutil.copytree(w / "site", w / "usb" / name if name == "site" else w / name, symlinks=True)
    offline = next((machine.folder / "config").rglob("offline"))
    shutil.copytree(offline, w / "usb/keys")
    machine("-C", "w", "root", "propose", "--out", "w/next.json")
    machine("root", "sign", "w/next.json", "--offline-keys", "w/usb/keys")
    for place in ("A", "B", "C", "USB", "media-c", "metrics", "out"):
        (w / place).mkdir()
    (w / "home/.config/fish/completions").mkdir(parents=True)
    return machine.folder


@pytest.fixture(scope="module")
def url(world: Path) -> Iterator[str]:
    """The mirror's address, at which it is served."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cnrmirror", "-C", str(world / "w"), "serve", "--port", "0"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        machine = Machine(world)
        for place in (url, "w/usb/site"):
            machine("list", "--from", place, "--root", "w/root.json")
        check = ("check", "--from", url, "--root", "w/root.json")
        machine(*check, "--report", "w/day1.json")
        yield url
    finally:
        process.terminate()
        process.wait(30)
        if process.stderr:
            process.stderr.close()


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
    programs = folder / "programs"
    programs.mkdir()
    (programs / "cnrmirror").write_text(f'#!/bin/sh\nexec {sys.executable} -m cnrmirror "$@"\n')
    (programs / "cnrmirror").chmod(0o755)
    homes = {f"XDG_{k}_HOME": str(folder / k.lower()) for k in ("CONFIG", "STATE", "CACHE")}
    done = subprocess.run(
        ["bash", "-c", line], cwd=w, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=120, check=False,
        env={**os.environ, **homes, "HOME": str(w / "home"), "PYTHONPATH": str(ROOT),
             "PATH": f"{programs}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout + done.stderr
