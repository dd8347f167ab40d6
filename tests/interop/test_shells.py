"""Completion in zsh and fish, themselves."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.shells import completed
from tests.test_completion import LINES, folder

pytestmark = pytest.mark.interop

__all__ = ["folder"]  # the fixture


@pytest.fixture(params=["zsh", "fish"])
def shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if not shutil.which(name):
        assert not os.environ.get("CI"), f"{name} is not installed"
        pytest.skip(f"{name} is not installed")
    return name


@pytest.mark.parametrize(
    ("line", "words"),
    [*LINES, ("cnrmirror show ns/nginx@1.", ["ns/nginx@1.1.0", "ns/nginx@1.0.0"])],
)
def test_a_shell_completes_a_line(folder: Path, shell: str, line: str, words: list[str]) -> None:
    found = completed(shell, line, folder)
    assert sorted(found) == sorted(words)
