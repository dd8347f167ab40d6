"""remove: channels do not move by themselves, and what is purged is nowhere any more."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from tests.conftest import tar_gz
from tests.machine import Machine

M = ("-C", "m")
SECRET = b"a password that was pushed by mistake"


def chart(release: str, secret: bytes = b"") -> bytes:
    text = f"apiVersion: v1\nname: a\nversion: {release}\n".encode()
    return tar_gz({"a/Chart.yaml": text, "a/values.yaml": b"# " + secret})


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A mirror of three releases, one with a secret, published to two folders."""
    machine = Machine(tmp_path / "home")
    machine("init", "m")
    with (machine.folder / "m/mirror.yaml").open("a") as file:
        file.write("\npublish:\n  x: {to: ../x}\n  y: {to: ../y}\n")
    for release, secret in (("1.0.0", b""), ("1.1.0", SECRET), ("1.2.0", b"")):
        (machine.folder / f"a-{release}.tgz").write_bytes(chart(release, secret))
        note = machine.folder / "note.txt"
        note.write_bytes(b"with it: " + SECRET)
        attach = ("--attach", f"text/plain={note}") if secret else ()
        machine(*M, "push", "--namespace", "ns", f"a-{release}.tgz", *attach)
        machine(*M, "channel", "set", "ns/a", "stable", release)
    machine(*M, "channel", "set", "ns/a", "stable", "1.1.0")
    machine(*M, "publish")
    return machine


def leaks(folder: Path) -> list[str]:
    """Files below a folder in which the secret is, packed or not."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            if data[:2] == b"\x1f\x8b":
                data = gzip.decompress(data)
            if SECRET in data:
                found.append(path.relative_to(folder).as_posix())
    return found


def test_what_is_purged_is_nowhere_any_more_and_no_rollback_brings_it_back(
    machine: Machine,
) -> None:
    assert leaks(machine.folder / "m/site") and leaks(machine.folder / "x")
    said = machine(*M, "remove", "ns/a@1.1.0", "--purge", "--reason", "a secret")
    assert "2 blobs erased" in said and "revisions 3 to 7" in said and "dropped" in said
    for place in ("m", "x", "y"):
        assert leaks(machine.folder / place) == [], place
    machine(*M, "check")
    assert len(machine(*M, "log").splitlines()) == 1
    machine(*M, "rollback", "7", code=5)
    root = str(machine.folder / "m/site/catalog/metadata/1.root.json")
    for place in ("x", "y"):
        machine("check", "--from", place, "--root", root, "--strict")
    assert "a secret" in machine(*M, "log")


def test_what_was_removed_before_is_purged_from_the_history(machine: Machine) -> None:
    machine(*M, "remove", "ns/a@1.1.0", "--channels", "move")
    assert leaks(machine.folder / "m/site")
    machine(*M, "remove", "ns/a@1.1.0", "--purge")
    assert leaks(machine.folder / "m/site") == leaks(machine.folder / "x") == []
    machine(*M, "remove", "ns/a@1.1.0", "--purge", code=5)


def test_a_purge_says_beforehand_what_it_would_erase(machine: Machine) -> None:
    before = {p for p in machine.folder.rglob("*") if p.is_file()}
    said = machine(*M, "remove", "ns/a@1.1.0", "--purge", "--dry-run")
    assert said.count("blob\t") == 2 and "destination\tx" in said
    assert {p for p in machine.folder.rglob("*") if p.is_file()} == before


def test_bytes_that_another_release_has_are_not_said_to_be_erased(machine: Machine) -> None:
    machine(*M, "push", "--as", "ns/copy", "--release", "9.0.0", "a-1.1.0.tgz")
    assert "ns/copy@9.0.0" in machine(*M, "remove", "ns/a@1.1.0", "--purge", code=4)
    assert leaks(machine.folder / "m/site")


def test_a_destination_that_cannot_be_had_turns_the_exit_code(machine: Machine) -> None:
    shutil.rmtree(machine.folder / "y")
    (machine.folder / "y").write_text("no folder")
    said = machine(*M, "remove", "ns/a@1.1.0", "--purge", code=14)
    assert "the release is still there" in said
    assert leaks(machine.folder / "x") == []


# -- channels --------------------------------------------------------------------------------------


def test_a_channel_whose_release_goes_is_dropped_and_that_is_said(machine: Machine) -> None:
    said = machine(*M, "remove", "ns/a@1.1.0")
    assert "channel stable points at 1.1.0, and is dropped" in said and "channel set" in said
    assert machine(*M, "-q", "channel", "list", "ns/a") == ""


def test_a_channel_moves_if_that_is_said(machine: Machine) -> None:
    assert "dropped" not in machine(*M, "remove", "ns/a@1.1.0", "--channels", "move")
    assert machine(*M, "channel", "list", "ns/a").startswith("stable\t1.2.0")


def test_a_channel_that_points_elsewhere_stays(machine: Machine) -> None:
    assert "dropped" not in machine(*M, "remove", "ns/a@1.0.0")
    assert machine(*M, "channel", "list", "ns/a").startswith("stable\t1.1.0")
