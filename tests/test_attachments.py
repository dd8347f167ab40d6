"""What belongs to a release goes where the release goes, and is checked as its archive is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cnrmirror.model.documents import MAX_ATTACHMENTS
from tests.conftest import chart_bytes
from tests.machine import Machine

PROVENANCE = b"-----BEGIN PGP SIGNED MESSAGE-----\n"
ATTACH = "application/pgp-signature=a.prov"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A mirror "m" that holds one release with one attachment, and its first root."""
    machine = Machine(tmp_path / "machine")
    (machine.folder / "a-1.0.0.tgz").write_bytes(chart_bytes("a", "1.0.0"))
    (machine.folder / "a.prov").write_bytes(PROVENANCE)
    machine("init", "m")
    machine("-C", "m", "push", "--namespace", "ns", "--attach", ATTACH, "a-1.0.0.tgz")
    shutil.copy(machine.folder / "m/site/catalog/metadata/1.root.json", machine.folder / "root")
    return machine


def attached(machine: Machine, mirror: str = "m") -> list[str]:
    document = json.loads(machine("-C", mirror, "--json", "show", "ns/a"))
    found = document["releases"][0].get("attachments", [])
    for each in found:
        digest = each["digest"]
        path = machine.folder / mirror / f"site/catalog/blobs/sha256/{digest[:2]}/{digest}"
        assert path.stat().st_size == each["size"]
    return [each["mediaType"] for each in found]


def test_a_second_push_adds_to_it_and_an_equal_one_changes_nothing(machine: Machine) -> None:
    again = ("-C", "m", "push", "--namespace", "ns", "a-1.0.0.tgz", "--attach")
    assert "nothing changed" in machine(*again, ATTACH)
    assert "attached\tns/a@1.0.0" in machine(*again, "text/plain=a.prov")
    assert sorted(attached(machine)) == ["application/pgp-signature", "text/plain"]
    assert "all well" in machine("-C", "m", "check")


def test_other_metadata_keeps_it_and_other_content_does_not(machine: Machine) -> None:
    (machine.folder / "metadata.json").write_text('{"note": 1}')
    push = ("-C", "m", "push", "--namespace", "ns", "--accept", "a-1.0.0.tgz")
    machine(*push, "--metadata", "metadata.json")
    assert attached(machine) == ["application/pgp-signature"]
    (machine.folder / "a-1.0.0.tgz").write_bytes(chart_bytes("a", "1.0.0", "other"))
    machine(*push)
    assert attached(machine) == []


@pytest.mark.parametrize(
    ("attach", "code"),
    [("a.prov", 2), ("text=a.prov", 2), ("text/plain=", 2), ("text/plain=missing", 3),
     ("text/pl ain=a.prov", 2), ("text/plain=.", 3)],
)  # fmt: skip
def test_bad_input_is_explained_and_changes_nothing(
    machine: Machine, attach: str, code: int
) -> None:
    push = ("-C", "m", "push", "--namespace", "ns", "a-1.0.0.tgz", "--attach", attach)
    assert "cnrmirror: " in machine(*push, code=code)
    assert "revision 1:" in machine("-C", "m", "check")


def test_it_belongs_to_one_release_and_is_bounded(machine: Machine) -> None:
    (machine.folder / "b-1.0.0.tgz").write_bytes(chart_bytes("b", "1.0.0"))
    push = ("-C", "m", "push", "--namespace", "ns", "--attach", "text/plain=a.prov")
    assert "one release" in machine(*push, "a-1.0.0.tgz", "b-1.0.0.tgz", code=2)
    many = [w for n in range(MAX_ATTACHMENTS) for w in ("--attach", f"text/x{n}=a.prov")]
    assert "attachments" in machine(*push, *many, "a-1.0.0.tgz", code=3)
    assert "revision 1:" in machine("-C", "m", "check")


def test_it_goes_through_sync_publish_export_and_import(machine: Machine) -> None:
    machine("init", "synced")
    with (machine.folder / "synced/mirror.yaml").open("a") as config:
        config.write("sources: {up: {type: mirror, location: ../out, root: ../root}}\n")
    machine("-C", "m", "publish", "./out")
    assert "all well" in machine("check", "--from", "out", "--root", "root", "--strict")
    machine("-C", "synced", "sync")
    machine("-C", "m", "export", "bundle")
    machine("init", "imported")
    machine("-C", "imported", "import", "bundle", "--root", "root")
    machine("init", "follower", "--follow", "root")
    machine("-C", "follower", "import", "bundle", "--root", "root")
    for mirror in ("synced", "imported", "follower"):
        assert attached(machine, mirror) == ["application/pgp-signature"]
        assert "2 blobs" in machine("-C", mirror, "check")
    # What is attached later comes with a difference.
    push = ("-C", "m", "push", "--namespace", "ns", "a-1.0.0.tgz")
    machine(*push, "--attach", "text/plain=a-1.0.0.tgz")
    machine(*push, "--attach", "text/other=root")
    (machine.folder / "have").write_text(machine("-C", "imported", "have"))
    machine("-C", "m", "export", "difference", "--since", "have")
    machine("-C", "imported", "import", "difference", "--root", "root")
    machine("-C", "follower", "import", "difference", "--root", "root")
    machine("-C", "m", "publish", "./out")
    machine("-C", "synced", "sync")
    for mirror in ("synced", "imported", "follower"):
        assert len(attached(machine, mirror)) == 3
        assert "3 blobs" in machine("-C", mirror, "check")


def test_a_missing_or_changed_one_is_found_and_gc_keeps_it_with_its_release(
    machine: Machine,
) -> None:
    machine("-C", "m", "gc")
    assert attached(machine) == ["application/pgp-signature"]
    document = json.loads(machine("-C", "m", "--json", "show", "ns/a"))
    digest = document["releases"][0]["attachments"][0]["digest"]
    path = machine.folder / f"m/site/catalog/blobs/sha256/{digest[:2]}/{digest}"
    path.chmod(0o644)
    path.write_bytes(PROVENANCE.swapcase())
    assert f"wrong\tcatalog/blobs/sha256/{digest[:2]}/{digest}" in machine(
        "-C", "m", "check", code=6
    )
    assert digest in machine("check", "--from", "m/site", "--root", "root", code=9)
    path.unlink()
    assert f"missing\tcatalog/blobs/sha256/{digest[:2]}/{digest}" in machine(
        "-C", "m", "check", code=6
    )
