"""--dry-run: what changes the mirror says what it would change, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import click
import pytest

from tests.machine import ROOT, Machine
from tests.test_manners import every_command

M = ("-C", "m")


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the lock and compiled templates, which any command may make."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock" and not path.match("templates-*/*")
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


# -- build, refresh, upgrade -----------------------------------------------------------------------


def test_a_build_of_what_is_well_would_write_only_server_configurations(machine: Machine) -> None:
    said = machine(*M, "build", "--dry-run")
    assert said.startswith("0 files would be written, 0 removed; in hosts/: ")
    assert not (machine.folder / "m/hosts").exists()


def test_a_build_says_how_many_files_it_then_writes_and_removes(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "other")
    machine("init", "m")
    site = machine.folder / "m/site"
    (site / "index.html").write_text("another")
    (site / "cnr/api/v1/packages/index.json").unlink()
    (site / "cnr/more").write_text("more")
    before = files(machine.folder)
    would = json.loads(machine(*M, "build", "--dry-run", "--json"))
    assert files(machine.folder) == before
    did = json.loads(machine(*M, "build", "--json"))
    assert {k: would[k] for k in ("written", "removed", "facts")} == {
        "written": did["written"], "removed": did["removed"], "facts": None,
    }  # fmt: skip
    assert would["hosts"] == did["hosts"] and (did["written"], did["removed"]) == (2, 1)


def test_a_build_says_which_revision_a_change_of_the_views_would_make(
    tmp_path: Path, chart: Callable[..., Path]
) -> None:
    machine = Machine(tmp_path / "other")
    machine("init", "m")
    machine(*M, "push", "--namespace", "ns", str(chart("a", "1.0.0")))
    with (machine.folder / "m/mirror.yaml").open("a") as file:
        file.write("views: {look: {title: Ours}}\n")
    before = files(machine.folder)
    said = machine(*M, "build", "--dry-run")
    assert said.endswith("would be revision 2\n") and not said.startswith("0 files")
    assert files(machine.folder) == before
    machine(*M, "build")
    assert machine(*M, "log").startswith("2\t")


def test_a_build_of_facts_says_what_it_would_look_into(machine: Machine) -> None:
    assert machine(*M, "build", "--facts", "--dry-run").startswith("inspected 0 archives\n")


def test_a_refresh_says_what_it_would_sign_and_until_when_it_would_hold(machine: Machine) -> None:
    said = machine(*M, "refresh", "--dry-run")
    assert said.startswith("would sign timestamp\ntimestamp would be ")
    found = json.loads(machine(*M, "refresh", "--dry-run", "--json"))
    assert found["roles"] == ["timestamp"] and not found["freshness"]["refused"]


def test_a_refresh_that_is_late_would_sign_more(machine: Machine) -> None:
    machine.moved = timedelta(days=60)
    assert machine(*M, "refresh", "--dry-run").startswith("would sign catalog, snapshot, timestamp")


def test_a_refresh_without_keys_would_fail(machine: Machine) -> None:
    elsewhere = str(machine.folder / "none")
    assert "key" in machine(*M, "refresh", "--dry-run", code=9, XDG_CONFIG_HOME=elsewhere)


def test_a_refresh_that_would_not_help_ends_as_it_would(machine: Machine) -> None:
    machine.moved = timedelta(days=400)
    assert "targets expired" in machine(*M, "refresh", "--dry-run", code=18)


def test_an_upgrade_says_which_format_there_would_be(machine: Machine) -> None:
    assert "already: nothing to do" in machine(*M, "upgrade", "--dry-run")


# -- pull, adopt -----------------------------------------------------------------------------------


@pytest.fixture
def reader(machine: Machine, tmp_path: Path) -> Machine:
    """Somebody else, who has the mirror's root file."""
    other = Machine(tmp_path / "reader")
    (other.folder / "root.json").write_bytes(
        (machine.folder / "m/site/catalog/metadata/1.root.json").read_bytes()
    )
    return other


def test_a_pull_says_what_it_would_write_where_and_how_much_it_would_fetch(
    machine: Machine, reader: Machine
) -> None:
    asked = ("pull", "ns/a:stable", "--from", str(machine.folder / "m/site"),
             "--root", "root.json", "--dest", "out")  # fmt: skip
    said = reader(*asked, "--dry-run")
    assert said.startswith("would write out/ns_a_1.1.0, from an archive of ")
    assert not (reader.folder / "out").exists()
    found = json.loads(reader(*asked, "--dry-run", "--json"))
    assert found.pop("dry_run") and found == json.loads(reader(*asked, "--json"))
    assert "already" in reader(*asked, "--dry-run", code=4)


def test_an_adoption_says_what_it_would_make(machine: Machine, reader: Machine) -> None:
    before = files(reader.folder)
    asked = ("adopt", str(machine.folder / "m/site"), "new", "--root", "root.json")
    said = reader(*asked, "--dry-run")
    assert said.startswith("would make new: revision 3, 1 package, as published; 2 archives of ")
    new = reader(*asked, "--dry-run", "--new-root", "--offline-keys", "usb")
    assert "with new keys, as a registry of its own" in new
    assert files(reader.folder) == before and not (reader.folder / "new").exists()


def test_an_adoption_that_would_be_refused_is_refused(machine: Machine, reader: Machine) -> None:
    site = str(machine.folder / "m/site")
    reader("init", "there")
    asked = ("adopt", site, "there", "--root", "root.json")
    assert "already" in reader(*asked, "--dry-run", code=3)
    other = reader.folder / "there/site/catalog/metadata/1.root.json"
    assert reader("adopt", site, "new", "--root", str(other), "--dry-run", code=9)
    wrong = ("--new-root", "--offline-keys", "a", "--offline-keys", "b", "--dry-run")
    assert "3 root keys" in reader("adopt", site, "new", "--root", "root.json", *wrong, code=2)


# -- every command ---------------------------------------------------------------------------------

# What changes something and cannot be rehearsed: docs/manners.md says why.
NO_REHEARSAL = {
    "init", "serve", "keys renew", "root propose", "root sign", "root publish",
    "cluster certificates",
}  # fmt: skip
ONLY_LOOK = {
    "help", "completion", "channel list", "list", "show", "search", "images", "log", "diff", "cost",
    "report", "have", "check", "config check", "config show", "config schema", "keys list",
    "root status",
}  # fmt: skip


def test_what_changes_something_has_a_dry_run_or_the_documents_say_why_not() -> None:
    names = {
        name for name, command in every_command()
        if not isinstance(command, click.Group)
        and "dry_run" not in {parameter.name for parameter in command.params}
    }  # fmt: skip
    assert names == NO_REHEARSAL | ONLY_LOOK
    text = (ROOT / "docs/manners.md").read_text().partition("## What has no dry run")[2]
    assert all(f"`{name}`" in text for name in NO_REHEARSAL)
