"""A person's machine: commands with a home of their own, and a clock that may be off."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Machine:
    """A home of its own: configuration, state, cache.

    Attributes:
        moved: by how much its clock is off.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.moved = timedelta(0)
        folder.mkdir(exist_ok=True)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command as it ends."""
        moved = ["tests.moved", str(self.moved.total_seconds())]
        program = moved if self.moved else ["cnrmirror"]
        done = subprocess.run(
            [sys.executable, "-m", *program, *arguments], cwd=self.folder, timeout=120,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            env=self._environment | environment,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that still runs."""
        return subprocess.Popen(
            [sys.executable, "-m", "cnrmirror", *arguments], cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self._environment,
        )  # fmt: skip

    @property
    def _environment(self) -> dict[str, str]:
        kinds = ("CONFIG", "STATE", "CACHE")
        homes = {f"XDG_{kind}_HOME": str(self.folder / kind.lower()) for kind in kinds}
        # The tests sign for fixed times; a machine does so only if it says so.
        own = {k: v for k, v in os.environ.items() if k != "CNRMIRROR_ALLOW_PAST"}
        return {**own, **homes, "PYTHONPATH": str(ROOT)}

    def __call__(self, *arguments: str, code: int = 0, **environment: str) -> str:
        """What a command says that ends with ``code``."""
        done = self.run(*arguments, **environment)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr
