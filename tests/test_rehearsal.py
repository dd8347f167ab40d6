"""--dry-run: what changes the mirror says what it would change, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.machine import Machine

M = ("-C", "m")


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the lock, which each command that writes may make."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def kept(found: dict[str, bytes]) -> dict[str, bytes]:
    """Those of a mirror that are no cache."""
    return {k: v for k, v in found.items() if k.startswith("m/") and "/scratch/" not in k}


@pytest.fixture
def machine(tmp_path: Path, chart: Callable[..., Path]) -> Machine:
    machine = Machine(tmp_path / "machine")
    machine("init", "m")
    for release in ("1.0.0", "1.1.0"):
        machine(*M, "push", "--namespace", "ns", str(chart("a", release)))
    machine(*M, "channel", "set", "ns/a", "stable", "1.1.0")
    return machine


@pytest.fixture(autouse=True)
def unchanged(machine: Machine) -> Iterator[None]:
    before = files(machine.folder)
    yield
    assert files(machine.folder) == before


def test_a_push_says_which_releases_would_be_new(
    machine: Machine, chart: Callable[..., Path]
) -> None:
    said = machine(*M, "push", "--namespace", "ns", str(chart("a", "1.2.0")), "--dry-run")
    assert said.startswith("new\tns/a@1.2.0\thelm\t") and said.endswith("would be revision 4\n")


def test_a_push_of_what_is_there_would_change_nothing(
    machine: Machine, chart: Callable[..., Path]
) -> None:
    said = machine(*M, "push", "--namespace", "ns", str(chart("a", "1.1.0")), "--dry-run")
    assert said.endswith("nothing would change\n")


def test_a_push_that_would_be_refused_is_refused(
    machine: Machine, chart: Callable[..., Path]
) -> None:
    other = str(chart("b", "1.0.0"))
    wish = ("--as", "ns/a", "--release", "1.0.0")
    assert "1.0.0" in machine(*M, "push", *wish, other, "--dry-run", code=4)


def test_a_channel_says_where_it_would_point(machine: Machine) -> None:
    said = machine(*M, "channel", "set", "ns/a", "stable", "1.0.0", "--dry-run")
    assert said == "~\tns/a:stable\t1.0.0\nwould be revision 4\n"
    said = machine(*M, "channel", "remove", "ns/a", "stable", "--dry-run")
    assert said == "-\tns/a:stable\t1.1.0\nwould be revision 4\n"


def test_a_removal_says_what_would_go(machine: Machine) -> None:
    said = machine(*M, "remove", "ns/a@1.0.0", "--reason", "old", "--dry-run")
    assert "-\tns/a@1.0.0 (helm)\t" in said and said.endswith("would be revision 4\n")


def test_a_rollback_says_what_would_be_other_than_now(machine: Machine) -> None:
    said = machine(*M, "rollback", "1", "--dry-run")
    assert "-\tns/a:stable\t1.1.0\n" in said and "-\tns/a@1.1.0 (helm)\t" in said


def test_what_would_change_is_there_as_json(machine: Machine) -> None:
    found = json.loads(machine(*M, "channel", "set", "ns/a", "x", "1.0.0", "--dry-run", "--json"))
    assert found == {
        "revision": 4,
        "dry_run": True,
        "changes": [{"change": "+", "what": "ns/a:x", "value": "1.0.0"}],
    }


def test_the_rotation_of_a_key_says_which_keys_would_go_and_which_sign(machine: Machine) -> None:
    offline = next((machine.folder / "config").rglob("offline"))
    rotate = (*M, "keys", "rotate", "publish", "--dry-run", "--offline-keys")
    assert "would be replaced: signed by targets keys" in machine(*rotate, str(offline))
    assert "0 of the 1 keys" in machine(*rotate, str(machine.folder), code=9)


def test_an_import_says_what_would_be_taken_in(machine: Machine, tmp_path: Path) -> None:
    root = str(machine.folder / "m/site/catalog/metadata/1.root.json")
    receiver = Machine(tmp_path / "receiver")
    receiver("init", "m")
    before = files(receiver.folder)
    said = receiver(*M, "import", str(machine.folder / "m/site"), "--root", root, "--dry-run")
    assert said.endswith("1 package would be imported\n")
    # What was learned of the sender is remembered outside of the mirror, as by any look at it.
    assert kept(files(receiver.folder)) == kept(before)


def test_a_mirror_that_follows_says_what_it_would_become(machine: Machine, tmp_path: Path) -> None:
    root = str(machine.folder / "m/site/catalog/metadata/1.root.json")
    receiver = Machine(tmp_path / "receiver")
    receiver("init", "m", "--follow", root)
    said = receiver(*M, "import", str(machine.folder / "m/site"), "--dry-run")
    assert said.startswith("revision 3, ") and said.endswith("1 package would be imported\n")
    assert "nothing was imported" in receiver(*M, "log", code=5)
