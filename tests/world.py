"""A machine with a mirror, and what the examples of help texts and documents take for granted."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import chart_bytes
from tests.machine import ROOT, Machine

_CONFIGURATION = """
sources:
  quay: {type: charts, folder: ../charts, namespace: q}
publish:
  production: {to: ../production}
"""


def make(folder: Path) -> Path:
    """A machine with a mirror, ``w``, and what the examples take for granted around it."""
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


@contextlib.contextmanager
def served(world: Path) -> Iterator[str]:
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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One such machine for the tests of a file."""
    return make(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def url(world: Path) -> Iterator[str]:
    """The mirror's address, at which it is served."""
    with served(world) as url:
        yield url
