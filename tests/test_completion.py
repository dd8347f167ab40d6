"""Completion in bash: commands, options, and the words that a mirror knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.machine import Machine
from tests.shells import completed


@pytest.fixture
def folder(tmp_path: Path, chart: Callable[..., Path]) -> Path:
    """A mirror that a person stands in."""
    machine = Machine(tmp_path / "machine")
    machine("init", "m")
    for name, release in (("nginx", "1.0.0"), ("nginx", "1.1.0"), ("redis", "2.0.0")):
        machine("-C", "m", "push", "--namespace", "ns", str(chart(name, release)))
    machine("-C", "m", "channel", "set", "ns/nginx", "stable", "1.0.0")
    with (machine.folder / "m/mirror.yaml").open("a") as file:
        file.write("sources: {quay: {type: registry, url: 'https://quay.example/cnr'}}\n")
        file.write("publish: {production: {to: ../place}}\n")
    return machine.folder / "m"


LINES = [
    ("cnrmirror pub", ["publish"]),
    ("cnrmirror publish --dr", ["--dry-run"]),
    ("cnrmirror keys r", ["renew", "rotate"]),
    ("cnrmirror keys rotate ", ["publish", "refresh", "online"]),
    ("cnrmirror completion ", ["bash", "zsh", "fish"]),
    ("cnrmirror show ns/n", ["ns/nginx"]),
    ("cnrmirror channel set ", ["ns/nginx", "ns/redis"]),
    ("cnrmirror channel set ns/nginx st", ["stable"]),
    ("cnrmirror channel set ns/nginx stable ", ["1.1.0", "1.0.0"]),
    ("cnrmirror rollback ", ["4", "3", "2", "1", "0"]),
    ("cnrmirror list --namespace n", ["ns"]),
    ("cnrmirror sync ", ["quay"]),
    ("cnrmirror publish pro", ["production"]),
    ("cnrmirror help exit", ["exit-codes"]),
    ("cnrmirror show nothing/", []),
]


@pytest.mark.parametrize(("line", "words"), LINES)
def test_bash_completes_a_line(folder: Path, line: str, words: list[str]) -> None:
    assert completed("bash", line, folder) == words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        # Readline has what stands before a ':' or '@' already.
        ("cnrmirror show ns/nginx@1.", ["1.1.0", "1.0.0"]),
        ("cnrmirror show ns/nginx:", ["stable"]),
        ("cnrmirror remove ns/redis@", ["2.0.0"]),
    ],
)
def test_bash_completes_what_stands_behind_a_colon_or_an_at(
    folder: Path, line: str, words: list[str]
) -> None:
    assert completed("bash", line, folder) == words


def test_a_path_is_left_to_the_shell(folder: Path) -> None:
    assert completed("bash", "cnrmirror push ./x", folder) == ["compopt -o default"]


def test_a_folder_without_a_mirror_has_no_words_and_is_no_error(tmp_path: Path) -> None:
    assert completed("bash", "cnrmirror show n", tmp_path) == []
