"""Programs that a test needs: found, run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


def program(name: str, how: str) -> str:
    """The path of a program; skips without it, fails in CI."""
    found = shutil.which(name, path=f"{BIN}:{os.environ['PATH']}")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing, and CI must not skip this test")
        pytest.skip(f"{name} is not on this machine: {how}")
    return found


def said(*words: str | Path) -> str:
    """What a program says that ends with 0."""
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
