"""What tests of recipes share: a machine on which cnrmirror is installed, a mirror, its keys."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

from tests.conftest import chart_bytes
from tests.loopback import on_loopback
from tests.machine import ROOT, Machine

RECIPES = ROOT / "docs/recipes"


def online_keys(machine: Machine) -> str:
    """The publish and the refresh key of a machine's only mirror, one after the other."""
    found = sorted((machine.folder / "config/cnrmirror/keys").glob("*/*.pem"))
    assert [path.name.partition("-")[0] for path in found] == ["publish", "refresh"]
    return "".join(path.read_text() for path in found)


def tools(folder: Path, days: float = 0) -> Path:
    """A folder with ``cnrmirror``, as it would be installed, on a machine whose clock is off."""
    folder.mkdir(exist_ok=True)
    program = f"-m tests.moved {days * 86400}" if days else "-m cnrmirror"
    command = folder / "cnrmirror"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} {program} "$@"\n')
    command.chmod(0o755)
    return folder


def git(*words: str | Path, cwd: Path) -> str:
    """What git says, for a user who has no settings."""
    own = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(["git", *own, *words], cwd=cwd, env=environment, check=True, text=True,
                          capture_output=True).stdout  # fmt: skip


def repository(folder: Path, configuration: str) -> tuple[Path, str]:
    """A bare repository with ``mirror/`` and a package in ``charts/``; the mirror's keys."""
    machine = Machine(folder)
    work = folder / "work"
    work.mkdir()
    machine("init", str(work / "mirror"))
    with (work / "mirror/mirror.yaml").open("a") as file:
        file.write(configuration)
    (work / "charts").mkdir()
    (work / "charts/nginx-1.0.0.tgz").write_bytes(chart_bytes("nginx", "1.0.0"))
    git("init", "--quiet", "--initial-branch=main", cwd=work)
    git("add", ".", cwd=work)
    git("commit", "--quiet", "-m", "A mirror", cwd=work)
    git("clone", "--quiet", "--bare", work, folder / "remote", cwd=folder)
    shutil.copy(work / "mirror/site/catalog/metadata/1.root.json", folder / "root.json")
    return folder / "remote", online_keys(machine)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def web(folder: Path) -> Iterator[str]:
    """A plain web server for a folder: its address."""
    with on_loopback(partial(_Quiet, directory=str(folder))) as url:
        yield url
