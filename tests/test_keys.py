"""Keys and roots by the command line: made, listed, rotated, carried between two machines."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from securesystemslib.signer import CryptoSigner

from tests.conftest import chart_bytes
from tests.machine import Machine


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    machine = Machine(tmp_path_factory.mktemp("made") / "mirror")
    (machine.folder / "pw").write_text("a passphrase of this test\n")
    machine("init", "m", "--offline-keys", "vault", "--passphrase-file", "pw")
    (machine.folder / "a-1.0.0.tgz").write_bytes(chart_bytes("a", "1.0.0"))
    machine("-C", "m", "push", "--namespace", "ns", "a-1.0.0.tgz")
    return machine.folder


@pytest.fixture
def mirror(made: Path, tmp_path: Path) -> Machine:
    """A machine with a mirror "m" of one package, its offline keys in "vault"."""
    shutil.copytree(made, tmp_path / "mirror", symlinks=True)
    return Machine(tmp_path / "mirror")


@pytest.fixture
def reader(tmp_path: Path, mirror: Machine) -> Machine:
    """Another machine, which has pinned the root and pulled once."""
    machine = Machine(tmp_path / "reader")
    shutil.copy(mirror.folder / "m/site/catalog/metadata/1.root.json", machine.folder / "root.json")
    machine("list", "--from", str(mirror.folder / "m"), "--root", "root.json")
    return machine


def keys(machine: Machine) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in json.loads(machine("--json", "-C", "m", "keys", "list")):
        found.setdefault(row["role"], []).append(row["key"])
    return found


def test_init_says_what_to_pin_and_keeps_private_keys_private(mirror: Machine) -> None:
    private = [*mirror.folder.rglob("*.pem")]
    assert len(private) == 6  # three roots, targets, publish, refresh
    for path in private:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not path.is_relative_to(mirror.folder / "m")
    for path in (mirror.folder / "vault").iterdir():
        assert b"OPENSSH" in path.read_bytes()  # encrypted
    said = mirror("init", "again")
    assert "NOT protected" in said and "sha256" in said and "1.root.json" in said
    mirror("init", "m", code=3)


def test_git_keeps_the_catalog_of_a_new_mirror_and_no_key_nor_scratch(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine")
    machine("init", "m", "--offline-keys", "m/keys")
    root = machine.folder / "m/site/catalog/metadata/1.root.json"
    machine("init", "follower", "--follow", str(root))
    (machine.folder / "m/site/x.pem").write_text("a file of a package")
    (machine.folder / "m/secrets").mkdir()
    (machine.folder / "m/secrets/token").write_text("secret")
    (machine.folder / ".gitignore").write_text("*.json\n")  # of the repository around it
    subprocess.run(["git", "init", "-q"], cwd=machine.folder, check=True)
    subprocess.run(["git", "add", "."], cwd=machine.folder, check=True)
    listed = subprocess.run(["git", "ls-files"], cwd=machine.folder, check=True, text=True,
                            capture_output=True).stdout.splitlines()  # fmt: skip
    mine = {path.removeprefix("m/") for path in listed if path.startswith("m/")}
    metadata = {f"site/catalog/metadata/{name}" for name in ("1.root.json", "timestamp.json")}
    assert mine >= {".gitignore", "mirror.yaml", ".state/memory/revisions", "site/x.pem", *metadata}
    assert not [path for path in mine if path.startswith((".state/scratch", "keys", "secrets"))]
    assert "follower/.gitignore" in listed


def test_init_leaves_a_gitignore_that_is_there(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine")
    (machine.folder / "m").mkdir()
    (machine.folder / "m/.gitignore").write_text("mine\n")
    machine("init", "m")
    assert (machine.folder / "m/.gitignore").read_text() == "mine\n"


def test_without_its_keys_nothing_can_be_changed(mirror: Machine, tmp_path: Path) -> None:
    stranger = Machine(tmp_path / "stranger")
    mirror_folder = str(mirror.folder / "m")
    before = (mirror.folder / "m/site/catalog/metadata/timestamp.json").read_bytes()
    said = stranger("-C", mirror_folder, "push", "--namespace", "x",
                    str(mirror.folder / "a-1.0.0.tgz"), code=9)  # fmt: skip
    assert "publish key" in said
    assert (mirror.folder / "m/site/catalog/metadata/timestamp.json").read_bytes() == before
    key = next((mirror.folder / "config").rglob("publish-*.pem"))
    key.chmod(0o644)
    assert "chmod 600" in mirror("-C", "m", "channel", "set", "ns/a", "x", "1.0.0", code=9)


def test_a_mirror_without_a_known_root_is_not_read(mirror: Machine, tmp_path: Path) -> None:
    stranger = Machine(tmp_path / "stranger")
    source = str(mirror.folder / "m")
    assert "--root" in stranger("list", "--from", source, code=9)
    assert "TRUST ON FIRST USE" in stranger("list", "--from", source, "--trust-on-first-use")
    assert "ns/a" in stranger("list", "--from", source)


def test_refresh_signs_again_and_says_what_expires(mirror: Machine, reader: Machine) -> None:
    before = json.loads((mirror.folder / "m/site/catalog/metadata/timestamp.json").read_text())
    mirror("-C", "m", "refresh")
    after = json.loads((mirror.folder / "m/site/catalog/metadata/timestamp.json").read_text())
    assert after["signed"]["version"] == before["signed"]["version"] + 1
    assert after["signed"]["meta"] == before["signed"]["meta"]
    assert "ns/a" in reader("search", "a", "--from", str(mirror.folder / "m"))


def test_online_keys_are_rotated_and_readers_follow(mirror: Machine, reader: Machine) -> None:
    before = keys(mirror)
    offline = ("--offline-keys", "vault", "--passphrase-file", "pw")
    assert "passphrase" in mirror("-C", "m", "keys", "rotate", "publish", *offline[:2], code=3)
    mirror("-C", "m", "keys", "rotate", "publish", *offline)
    mirror("-C", "m", "keys", "rotate", "refresh", *offline)
    after = keys(mirror)
    assert after["catalog"] != before["catalog"]
    assert after["timestamp"] != before["timestamp"]
    assert after["root"] == before["root"]
    assert "ns/a" in reader("list", "--from", str(mirror.folder / "m"))
    mirror("-C", "m", "keys", "renew", *offline)
    said = reader("check", "--from", str(mirror.folder / "m"), "--strict")
    assert "all well" in said


def test_a_lost_root_key_is_replaced_across_two_machines(
    mirror: Machine, reader: Machine, tmp_path: Path
) -> None:
    """One file goes from the mirror's machine to the vault's and back."""
    vault = Machine(tmp_path / "offline")
    shutil.move(mirror.folder / "vault", vault.folder / "vault")
    (vault.folder / "pw").write_text("a passphrase of this test\n")
    lost = keys(mirror)["root"][2]
    next((vault.folder / "vault").glob(f"*-{lost[:8]}.pem")).unlink()
    new = ("--new-keys", str(tmp_path / "new"), "--passphrase-file", "pw")
    mirror("-C", "m", "root", "propose", "--out", "next.json", "--replace", lost[:8], *new)
    assert "0 of 2" in mirror("root", "status", "next.json")
    mirror("-C", "m", "root", "publish", "next.json", code=9)
    shutil.copy(mirror.folder / "next.json", vault.folder)
    said = vault("root", "sign", "next.json", "--offline-keys", "vault",
                 "--passphrase-file", "pw")  # fmt: skip
    assert "complete: " in said
    shutil.copy(vault.folder / "next.json", mirror.folder)
    mirror("-C", "m", "root", "publish", "next.json")
    mirror("-C", "m", "root", "publish", "next.json")  # as after one that was killed
    assert lost not in keys(mirror)["root"]
    assert "ns/a" in reader("list", "--from", str(mirror.folder / "m"))
    assert "all well" in reader("check", "--from", str(mirror.folder / "m"), "--strict")


def test_a_key_behind_a_signers_uri_signs_too(mirror: Machine, reader: Machine) -> None:
    """``file2:`` stands for all URIs of securesystemslib (awskms:, gcpkms:, hsm: …)."""
    signer = CryptoSigner.generate_ed25519()
    private = serialization.load_pem_private_key(signer.private_bytes, None)
    (mirror.folder / "elsewhere.pem").write_bytes(signer.private_bytes)
    (mirror.folder / "public.pem").write_bytes(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    with (mirror.folder / "m/mirror.yaml").open("a") as config:
        config.write(f'trust:\n  publish: "file2:{mirror.folder}/elsewhere.pem"\n')
    mirror("-C", "m", "keys", "rotate", "publish", "--offline-keys", "vault",
           "--passphrase-file", "pw", "--public-key", "public.pem")  # fmt: skip
    mirror("-C", "m", "channel", "set", "ns/a", "stable", "1.0.0")
    assert "1.0.0" in reader("show", "ns/a:stable", "--from", str(mirror.folder / "m"))
    (mirror.folder / "elsewhere.pem").unlink()
    mirror("-C", "m", "channel", "set", "ns/a", "edge", "1.0.0", code=9)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("pull", "ns/a"), 2),
        (("pull", "ns/a", "--from", "ftp://x"), 3),
        (("pull", "ns/a", "--from", "nowhere"), 3),
        (("pull", "ns/a", "--from", "s3://UPPER"), 3),
        (("pull", "ns", "--from", "m"), 3),
        (("pull", "ns/a", "--from", "http://127.0.0.1:1", "--root", "root.json"), 12),
        (("pull", "ns/a", "--from", "m", "--at", "yesterday"), 2),
        (("pull", "ns/a", "--from", "m", "--allow-expired", "forever"), 2),
        (("pull", "ns/a", "--from", "m", "--allow-expired", "²d"), 2),
        (("pull", "ns/a", "--from", "m", "--expect", "12"), 3),
        (("pull", "ns/a", "--from", "m", "--root", "a-1.0.0.tgz"), 9),
        (("pull", "ns/b", "--from", "m", "--root", "root.json"), 5),
        (("root", "status", "a-1.0.0.tgz"), 3),
        (("root", "status", "nothing"), 3),
        (("root", "sign", "root.json", "--offline-keys", "vault"), 3),
        (("-C", "m", "root", "propose", "--out", "x", "--replace", "zz"), 2),
    ],
)
def test_bad_input_is_explained(mirror: Machine, arguments: tuple[str, ...], code: int) -> None:
    shutil.copy(mirror.folder / "m/site/catalog/metadata/1.root.json", mirror.folder / "root.json")
    mirror(*arguments, code=code)


def test_metadata_that_expired_and_was_allowed_has_an_exit_code_of_its_own(
    mirror: Machine, reader: Machine
) -> None:
    source = str(mirror.folder / "m")
    now = datetime.now(UTC).isoformat()
    assert "NOT fresh" in reader("list", "--from", source, "--at", now, code=13)
    reader("pull", "ns/a", "--from", source, "--at", now, "--tarball", code=13)


def test_init_never_replaces_a_damaged_mirror(mirror: Machine) -> None:
    metadata = mirror.folder / "m/site/catalog/metadata"
    (metadata / "timestamp.json").unlink()
    before = (metadata / "1.root.json").read_bytes()
    mirror("init", "m", code=3)
    assert (metadata / "1.root.json").read_bytes() == before


def test_a_rotation_that_was_killed_half_way_harms_no_reader(
    mirror: Machine, reader: Machine
) -> None:
    """New targets are there, the catalog is still signed by the old key; then cron refreshes."""
    source = mirror.folder / "m"
    rotated = shutil.copytree(source, mirror.folder / "rotated")
    mirror("-C", "rotated", "keys", "rotate", "publish", "--offline-keys", "vault",
           "--passphrase-file", "pw")  # fmt: skip
    shutil.copy(rotated / "site/catalog/metadata/2.targets.json", source / "site/catalog/metadata")
    mirror("-C", "m", "refresh")
    assert "ns/a" in reader("list", "--from", str(source))
    mirror("-C", "m", "channel", "set", "ns/a", "x", "1.0.0")
    assert "ns/a" in reader("list", "--from", str(source))


def test_a_root_is_not_begun_that_cannot_be_finished(mirror: Machine) -> None:
    for key in (mirror.folder / "config").rglob("publish-*.pem"):
        key.unlink()
    mirror("-C", "m", "keys", "rotate", "refresh", "--offline-keys", "vault",
           "--passphrase-file", "pw", code=9)  # fmt: skip
    assert not (mirror.folder / "m/site/catalog/metadata/2.root.json").exists()


def test_a_sample_vouches_only_for_itself(mirror: Machine, reader: Machine) -> None:
    source = mirror.folder / "m"
    assert "all well" in reader("check", "--from", str(source), "--sample", "1")
    blob = next((source / "site/catalog/blobs").rglob("*/*/*"))
    blob.write_bytes(b"!")
    reader("check", "--from", str(source), "--sample", "1", code=9)
    reader("check", "--from", str(source), code=9)


OFFLINE = ("--offline-keys", "vault", "--passphrase-file", "pw")


def another_registry(proposal: Any) -> None:
    proposal["proposed"]["signed"]["x-registry"] = "another"


def another_version(proposal: Any) -> None:
    proposal["proposed"]["signed"]["version"] += 4


def other_roles(proposal: Any) -> None:
    roles = proposal["proposed"]["signed"]["roles"]
    roles["mirrors"] = roles["root"]


def another_kind(proposal: Any) -> None:
    proposal["proposed"]["signed"]["consistent_snapshot"] = False


@pytest.mark.parametrize("change", [another_registry, another_version, other_roles, another_kind])
def test_a_root_that_no_one_would_propose_is_not_signed(
    mirror: Machine, change: Callable[[Any], None]
) -> None:
    mirror("-C", "m", "root", "propose", "--out", "next.json")
    mirror("root", "status", "next.json")
    proposal = json.loads((mirror.folder / "next.json").read_text())
    change(proposal)
    wrong = json.dumps(proposal)
    (mirror.folder / "next.json").write_text(wrong)
    mirror("root", "status", "next.json", code=3)
    mirror("root", "sign", "next.json", *OFFLINE, code=3)
    assert (mirror.folder / "next.json").read_text() == wrong


def test_who_signs_a_root_sees_which_keys_come_and_go(mirror: Machine) -> None:
    gone = keys(mirror)["root"][2]
    said = mirror("-C", "m", "root", "propose", "--out", "next.json", "--replace", gone,
                  "--new-keys", "new", "--threshold", "3")  # fmt: skip
    come = json.loads((mirror.folder / "next.json").read_text())["proposed"]["signed"]["roles"]
    new = next(k for k in come["root"]["keyids"] if k not in keys(mirror)["root"])
    for text in (said, mirror("root", "status", "next.json"),
                 mirror("root", "sign", "next.json", *OFFLINE)):  # fmt: skip
        assert f"root key {gone} is removed" in text
        assert f"root key {new} is added (its file ends with -{new[:8]}.pem)" in text
        assert "three of three root keys must sign from now on" in text


@pytest.mark.parametrize(("purpose", "missing"), [("publish", "targets"), ("refresh", "root")])
def test_a_rotation_that_cannot_be_signed_leaves_nothing_behind(
    mirror: Machine, purpose: str, missing: str
) -> None:
    for path in (mirror.folder / "vault").glob(f"{missing}-*.pem"):
        path.unlink()
    before = files(mirror.folder)
    said = mirror("-C", "m", "keys", "rotate", purpose, *OFFLINE, code=9)
    assert "keys that must sign were found" in said
    assert files(mirror.folder) == before
    mirror("-C", "m", "channel", "set", "ns/a", "stable", "1.0.0")


def test_new_targets_are_not_written_where_the_refresh_key_is_missing(mirror: Machine) -> None:
    key = next((mirror.folder / "config").rglob("refresh-*.pem"))
    kept = key.rename(mirror.folder / "kept.pem")
    before = files(mirror.folder)
    assert "refresh key" in mirror("-C", "m", "keys", "rotate", "publish", *OFFLINE, code=9)
    assert "refresh key" in mirror("-C", "m", "keys", "renew", *OFFLINE, code=9)
    assert files(mirror.folder) == before
    kept.rename(key)
    mirror("-C", "m", "channel", "set", "ns/a", "stable", "1.0.0")


def files(folder: Path) -> dict[str, int]:
    """Every file but locks, and when it was written."""
    return {str(p): p.lstat().st_mtime_ns for p in folder.rglob("*")
            if p.is_file() and p.name != "lock"}  # fmt: skip


def test_a_push_without_keys_writes_nothing(mirror: Machine, tmp_path: Path) -> None:
    (mirror.folder / "b-1.0.0.tgz").write_bytes(chart_bytes("b", "1.0.0"))
    before = files(mirror.folder)
    stranger = Machine(tmp_path / "stranger")
    stranger("-C", str(mirror.folder / "m"), "push", "--namespace", "ns",
             str(mirror.folder / "b-1.0.0.tgz"), code=9)  # fmt: skip
    assert files(mirror.folder) == before


def test_a_refresh_says_when_readers_refuse_the_mirror_all_the_same(mirror: Machine) -> None:
    def after(days: int) -> None:
        mirror.moved = timedelta(days=days)

    after(200)  # the root is renewed, targets are not
    mirror("-C", "m", "refresh")
    mirror("-C", "m", "root", "propose", "--out", "next.json")
    mirror("root", "sign", "next.json", *OFFLINE)
    mirror("-C", "m", "root", "publish", "next.json")
    after(370)
    said = mirror("-C", "m", "refresh", code=18)
    assert "targets expired on" in said and "root expire" not in said
    mirror("-C", "m", "keys", "renew", *OFFLINE)
    mirror("-C", "m", "refresh")
    after(370 + 380)
    assert "root expired on" in mirror("-C", "m", "refresh", code=18)


def test_init_takes_online_keys_that_are_elsewhere(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home")
    made = CryptoSigner.generate_ed25519()
    private = machine.folder / "elsewhere.pem"
    private.write_bytes(made.private_bytes)
    public = serialization.load_pem_private_key(made.private_bytes, None).public_key()
    (machine.folder / "public.pem").write_bytes(
        public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    output = machine("init", "m", "--publish-key", f"file2:{private}", "public.pem")
    assert made.public_key.keyid in output
    assert not list((machine.folder / "config").rglob("publish-*.pem"))
    (machine.folder / "a-1.0.0.tgz").write_bytes(chart_bytes("a", "1.0.0"))
    machine("-C", "m", "push", "--namespace", "ns", "a-1.0.0.tgz")
