"""docs/recovery.md, rehearsed: whatever is lost, the way back that it names, and both readers.

The old reader has pulled before; the new one comes afterwards, with the root that it is given.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.conftest import chart_bytes
from tests.machine import Machine

M = ("-C", "m")
ROOT = "root.json"
OFFLINE = ("--offline-keys", "vault")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    owner = Machine(tmp_path_factory.mktemp("made") / "owner")
    owner("init", "m", *OFFLINE)
    shutil.copy(owner.folder / "m/site/catalog/metadata/1.root.json", owner.folder / ROOT)
    for number in range(4):
        file = owner.folder / f"a-1.0.{number}.tgz"
        file.write_bytes(chart_bytes("a", f"1.0.{number}"))
    push(owner, 0)
    push(owner, 1)
    owner(*M, "channel", "set", "ns/a", "stable", "1.0.0")
    owner(*M, "publish", "./pub")
    return owner.folder


@pytest.fixture
def owner(made: Path, tmp_path: Path) -> Machine:
    """A mirror "m" with two releases, published to "pub"; offline keys in "vault"."""
    shutil.copytree(made, tmp_path / "owner", symlinks=True)
    return Machine(tmp_path / "owner")


@pytest.fixture
def old(tmp_path: Path, owner: Machine) -> Machine:
    """A reader that has pulled before."""
    return reader(tmp_path, owner, "old")


def reader(tmp_path: Path, owner: Machine, name: str, root: str = ROOT) -> Machine:
    machine = Machine(tmp_path / name)
    pub = str(owner.folder / "pub")
    machine("pull", "ns/a", "--from", pub, "--root", str(owner.folder / root), "--dest", "first")
    return machine


def push(owner: Machine, number: int, mirror: str = "m", code: int = 0) -> str:
    return owner("-C", mirror, "push", "--namespace", "ns", f"a-1.0.{number}.tgz", code=code)


def goes_on(owner: Machine, old: Machine, tmp_path: Path, mirror: str = "m") -> None:
    """The mirror is well; a release that is pushed and published comes to old and new readers."""
    owner("-C", mirror, "check")
    push(owner, 3, mirror)
    owner("-C", mirror, "publish", "./pub")
    for machine in (old, reader(tmp_path, owner, "new")):
        said = machine("show", "ns/a", "--from", str(owner.folder / "pub"))
        assert "1.0.3" in said and "1.0.0" in said
    strict = ("check", "--from", "pub", "--root", ROOT, "--strict")
    assert owner.run(*strict).returncode in (0, 19)


# -- the project -----------------------------------------------------------------------------------


def test_mirror_yaml_is_lost(owner: Machine, old: Machine, tmp_path: Path) -> None:
    (owner.folder / "m/mirror.yaml").unlink()
    owner(*M, "list", code=2)
    said = owner("adopt", "m/site", "m", "--root", ROOT)
    assert "its keys are here" in said
    goes_on(owner, old, tmp_path)


def test_what_it_remembers_is_lost(owner: Machine, old: Machine, tmp_path: Path) -> None:
    shutil.rmtree(owner.folder / "m/.state")
    goes_on(owner, old, tmp_path)


def reader_of_what_a_backup_lacks(owner: Machine, tmp_path: Path) -> Machine:
    """Somebody who has seen a release that the mirror, which is put back, has no more."""
    shutil.copytree(owner.folder / "m", owner.folder / "backup", symlinks=True)
    push(owner, 2)
    owner(*M, "publish", "./pub")
    old = reader(tmp_path, owner, "old")
    shutil.rmtree(owner.folder / "m")
    (owner.folder / "backup").rename(owner.folder / "m")
    return old


def test_a_backup_is_put_back_that_is_older_than_what_readers_have_seen(
    owner: Machine, tmp_path: Path
) -> None:
    old = reader_of_what_a_backup_lacks(owner, tmp_path)
    said = owner(*M, "publish", "./pub")
    assert "an older copy was restored" in said and "ahead of this mirror" in said
    owner(*M, "publish", "./pub", "--catch-up")
    assert "1.0.2" in owner(*M, "show", "ns/a")
    goes_on(owner, old, tmp_path)


def test_what_is_pushed_into_an_older_backup_is_joined_with_what_is_published(
    owner: Machine, tmp_path: Path
) -> None:
    old = reader_of_what_a_backup_lacks(owner, tmp_path)
    assert "an older copy was restored" in push(owner, 3)
    assert "an older copy was restored" not in owner(*M, "publish", "./pub")
    said = owner(*M, "show", "ns/a")
    assert "1.0.2" in said and "1.0.3" in said
    goes_on(owner, old, tmp_path)


def test_a_backup_is_put_back_and_no_place_has_what_came_after_it(
    owner: Machine, tmp_path: Path
) -> None:
    """The site is served as it lies."""
    site = ("--from", str(owner.folder / "m"))
    shutil.copytree(owner.folder / "m", owner.folder / "backup", symlinks=True)
    push(owner, 2)
    old = Machine(tmp_path / "old")
    old("list", *site, "--root", str(owner.folder / ROOT))
    shutil.rmtree(owner.folder / "m")
    (owner.folder / "backup").rename(owner.folder / "m")
    old("list", *site, code=9)
    assert "an older copy was restored" in push(owner, 3)
    assert "1.0.3" in old("show", "ns/a", *site)
    owner(*M, "check")
    owner(*M, "refresh")
    old("pull", "ns/a", *site, "--dest", "d")


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [("publish",), ("refresh",), ("publish", "refresh")], ids=str)
def test_online_keys_are_lost(
    owner: Machine, old: Machine, tmp_path: Path, lost: tuple[str, ...]
) -> None:
    for purpose in lost:
        for file in (owner.folder / "config").rglob(f"{purpose}-*.pem"):
            file.unlink()
    said = push(owner, 2, code=9)
    assert f"keys rotate {lost[0]}" in said
    owner(*M, "keys", "rotate", lost[0] if len(lost) == 1 else "online", *OFFLINE)
    goes_on(owner, old, tmp_path)


@pytest.mark.parametrize("role", ["root-2", "targets"])
def test_an_offline_key_is_lost(owner: Machine, old: Machine, tmp_path: Path, role: str) -> None:
    (file,) = (owner.folder / "vault").glob(f"{role}-*.pem")
    file.unlink()
    keyid = file.stem.rpartition("-")[2]
    owner(*M, "root", "propose", "--out", "next.json", "--replace", keyid, "--new-keys", "vault")
    owner("root", "sign", "next.json", *OFFLINE)
    owner(*M, "root", "publish", "next.json")
    owner(*M, "publish", "./pub")
    goes_on(owner, old, tmp_path)


# -- the machine -----------------------------------------------------------------------------------


@pytest.fixture
def served(owner: Machine) -> Iterator[str]:
    """The published folder, behind the plainest of hosts."""
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(owner.folder / "pub")
    )
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("of", ["folder", "http", "bundle"])
def test_only_what_was_published_is_left_and_the_keys(
    owner: Machine, old: Machine, tmp_path: Path, served: str, of: str
) -> None:
    owner(*M, "export", "bundle")
    shutil.rmtree(owner.folder / "m")
    place = {"folder": "pub", "http": served, "bundle": "bundle"}[of]
    owner("adopt", place, "again", "--root", ROOT)
    assert "stable" in owner("-C", "again", "channel", "list", "ns/a")
    assert len(owner("-C", "again", "log").splitlines()) == 4
    goes_on(owner, old, tmp_path, "again")


def test_only_what_was_published_is_left_and_the_offline_keys(
    owner: Machine, old: Machine, tmp_path: Path
) -> None:
    shutil.rmtree(owner.folder / "m")
    shutil.rmtree(owner.folder / "config")
    said = owner("adopt", "pub", "m", "--root", ROOT)
    assert "keys rotate online" in said
    owner(*M, "keys", "rotate", "online", *OFFLINE)
    goes_on(owner, old, tmp_path)


def test_what_is_left_is_expired_for_long(owner: Machine, old: Machine) -> None:
    shutil.rmtree(owner.folder / "m")
    for machine in (owner, old):
        machine.moved = timedelta(days=800)
    old("list", "--from", str(owner.folder / "pub"), code=10)
    owner("adopt", "pub", "m", "--root", ROOT)
    owner(*M, "keys", "renew", *OFFLINE)
    owner(*M, "publish", "./pub")
    assert "ns/a" in old("list", "--from", str(owner.folder / "pub"))


def test_an_adoption_that_was_broken_off_goes_on(owner: Machine) -> None:
    blob = next(p for p in (owner.folder / "pub/catalog/blobs").rglob("*") if p.is_file())
    data = blob.read_bytes()
    blob.unlink()
    owner("adopt", "pub", "again", "--root", ROOT, code=11)
    blob.write_bytes(data)
    owner("adopt", "pub", "again", "--root", ROOT)
    owner("-C", "again", "check")
    said = owner("adopt", "pub", "again", "--root", ROOT, code=3)
    assert "there is a mirror here already" in said


def test_a_mirror_is_not_adopted_with_a_root_that_does_not_vouch_for_it(owner: Machine) -> None:
    owner("init", "other")
    root = "other/site/catalog/metadata/1.root.json"
    owner("adopt", "pub", "again", "--root", root, code=9)
    owner("adopt", "pub", "another", "--root", root, "--new-root", code=9)
    assert not (owner.folder / "another").exists() and not (owner.folder / "again").exists()


# -- the owner -------------------------------------------------------------------------------------


def test_the_owner_is_gone_with_all_keys(owner: Machine, old: Machine, tmp_path: Path) -> None:
    heir = Machine(tmp_path / "heir")
    pub = str(owner.folder / "pub")
    root = str(owner.folder / ROOT)
    heir("adopt", pub, "m", "--root", root, "--new-root", "--offline-keys", "vault")
    assert "1.0.0" in heir(*M, "channel", "list", "ns/a")
    heir(*M, "check")
    said = heir(*M, "publish", pub, code=9)
    assert "another registry" in said
    heir(*M, "publish", "./mine")
    new_root = str(heir.folder / "m/site/catalog/metadata/1.root.json")
    mine = str(heir.folder / "mine")
    for machine in (old, Machine(tmp_path / "new")):
        machine("list", "--from", mine, "--root", root, code=9)
        assert "ns/a" in machine("list", "--from", mine, "--root", new_root)
        machine("pull", "ns/a:stable", "--from", mine, "--dest", "theirs")


# -- a receiver that was away for long -------------------------------------------------------------


def test_a_follower_that_is_further_behind_than_the_sender_retains_gets_a_whole_bundle(
    owner: Machine, tmp_path: Path
) -> None:
    away = Machine(tmp_path / "away")
    owner(*M, "export", "first")
    away("init", "copy", "--follow", str(owner.folder / ROOT))
    copy = ("-C", "copy")
    away(*copy, "import", str(owner.folder / "first"))
    have = tmp_path / "have.json"
    have.write_text(away.run(*copy, "have").stdout)
    push(owner, 2)
    owner(*M, "gc", "--revisions", "1", "--grace-hours", "0")
    assert "this is a whole bundle" in owner(*M, "export", "next", "--since", str(have))
    away(*copy, "import", str(owner.folder / "next"))
    away(*copy, "check")
    strict = ("check", "--from", "copy", "--root", str(owner.folder / ROOT), "--strict")
    assert "all well" in away(*strict)
