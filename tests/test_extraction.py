"""Extraction: modes, users, what is in the way, kills, full disks, limits; the whole or nothing."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cnrmirror.archive import extract
from cnrmirror.archive.extract import staging
from cnrmirror.archive.scan import Limits
from cnrmirror.model.errors import CnrMirrorError, ConflictError, StorageError, TooLarge
from tests.extraction import (
    FAULTS,
    PARTIAL,
    TEXT,
    become,
    full_at_each_step,
    get,
    is_whole,
    killed_at_each_step,
    leave,
    make_mirror,
    names,
    packed,
    put,
    remote,
    run,
    target,
    tree,
    unpacked,
)  # fmt: skip

Call = Callable[..., Any]
# Root passes by all permissions: what holds for it says nothing of others, and the reverse.
USERS = {"root": 0, "ordinary": 65534} if os.geteuid() == 0 else {"ordinary": os.geteuid()}


@pytest.fixture(scope="module")
def site() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cnrmirror-extraction-"))
    yield make_mirror(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=USERS)
def user(request: pytest.FixtureRequest, site: Path) -> Iterator[Call]:
    """Calls a function as this user, in a process that is its own."""
    spawn = multiprocessing.get_context("spawn")
    uid = USERS[request.param]
    with ProcessPoolExecutor(1, spawn, initializer=become, initargs=(uid, site)) as process:
        yield lambda function, *arguments: process.submit(function, *arguments).result()


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty folder that every user may write to, under the usual umask."""
    folder = Path(tempfile.mkdtemp(prefix="cnrmirror-extraction-"))
    folder.chmod(0o777)
    before = os.umask(0o022)
    yield folder
    os.umask(before)
    subprocess.run(["chmod", "-R", "u+rwX", str(folder)], check=True)
    shutil.rmtree(folder)


# Modes


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o027, 0o077])
@pytest.mark.parametrize("mode", [0o555, 0o500, 0o000, 0o644, 0o777, 0o1777, 0o4755, 0o7777])
def test_a_mode_is_kept_less_the_umask_but_its_owner_can_always_read(
    user: Call, place: Path, mode: int, mask: int
) -> None:
    archive = packed(("./", mode), ("a/", mode), ("a/b/", mode), ("a/b/f", mode), ("c/f", 0o644))
    kept = mode & 0o777 & ~mask
    assert user(unpacked, archive, place / "x", mask) == {
        ".": ("folder", kept | 0o700), "a": ("folder", kept | 0o500),
        "a/b": ("folder", kept | 0o500), "a/b/f": ("file", kept | 0o400),
        "c": ("folder", 0o777 & ~mask), "c/f": ("file", 0o644 & ~mask),
    }  # fmt: skip


@pytest.mark.parametrize(
    "members",
    [
        [("a/f", 0o644), ("a/", 0o555)],
        [("a/b/f", 0o644), ("a/", 0o511), ("a/b/", 0o500)],
        [("a/", 0o555), ("a/b/f", 0o644), ("a/g", 0o600)],
        [("a/", 0o700), ("a/f", 0o644), ("a/", 0o555)],
        [("a/", 0o555), ("a/f", 0o644), ("a/", 0o700)],
        [("a/f", 0o644), ("./", 0o755), ("./a/", 0o750), ("a/./", 0o711)],
    ],
)
def test_folders_have_the_modes_and_times_that_tar_gives_in_whatever_order_they_come(
    user: Call, place: Path, members: list[tuple[str, int]]
) -> None:
    archive = packed(*members)
    found = user(unpacked, archive, place / "x", 0o022)
    (place / "tar").mkdir()
    tar = ["tar", "xz", "--no-same-permissions", "-C", str(place / "tar")]
    subprocess.run(tar, input=archive, check=True)
    (place / "tar").chmod(0o755)
    assert found == tree(place / "tar")
    assert (place / "x/a").stat().st_mtime == (place / "tar/a").stat().st_mtime


# Users


def test_a_pull_brings_the_whole_and_leaves_nothing_else(
    user: Call, site: Path, place: Path
) -> None:
    user(get, site, place / "new/dest")
    user(get, site, place / "new/dest", "good", True)
    assert names(place / "new/dest") == ["ns_good_1.0.0", "ns_good_1.0.0.tar.gz"]
    assert user(is_whole, target(place / "new/dest"))


@pytest.mark.parametrize("tarball", [False, True])
@pytest.mark.parametrize(
    ("mode", "works"),
    [(0o555, False), (0o000, False), (0o666, False), (0o1777, True), (0o333, True)],
)
def test_a_dest_with_odd_permissions_is_used_or_refused_with_nothing_left(
    user: Call, site: Path, place: Path, mode: int, works: bool, tarball: bool
) -> None:
    dest = place / "dest"
    dest.mkdir()
    dest.chmod(mode)
    if user(os.geteuid) == 0 or works:
        user(get, site, dest, "good", tarball)
        dest.chmod(0o755)
        assert names(dest) == [target(dest, tarball=tarball).name]
        assert user(is_whole, target(dest, tarball=tarball))
        return
    for where in (dest, dest / "below"):
        with pytest.raises(StorageError, match="no permission"):
            user(get, site, where, "good", tarball)
    dest.chmod(0o755)
    assert names(dest) == []


def test_what_a_killed_pull_left_is_removed_whatever_its_modes(
    user: Call, site: Path, place: Path
) -> None:
    user(leave, place)
    user(get, site, place)
    assert names(place) == ["ns_good_1.0.0"]


def test_another_users_leftovers_that_one_cannot_enter_do_not_matter(
    user: Call, site: Path, place: Path
) -> None:
    old = place / f"{PARTIAL}other"
    old.mkdir(mode=0o700)
    old.chmod(0o000)
    user(get, site, place)
    left = [] if user(os.geteuid) == 0 else [old.name]
    assert names(place) == [*left, "ns_good_1.0.0"]


def test_nothing_that_only_looks_like_a_leftover_is_followed_or_waited_for(
    user: Call, site: Path, place: Path
) -> None:
    own = place / "own"
    user(os.makedirs, own / "inner")
    dest = place / "dest"
    dest.mkdir()
    dest.chmod(0o777)
    (dest / f"{PARTIAL}link").symlink_to(own)
    (dest / f"{PARTIAL}file").write_bytes(TEXT)
    os.mkfifo(dest / f"{PARTIAL}pipe")
    before = names(dest)
    user(get, site, dest)
    assert tree(own) == {".": ("folder", 0o755), "inner": ("folder", 0o755)}
    assert names(dest) == [*before, "ns_good_1.0.0"]


def test_modes_in_another_users_leftovers_are_not_changed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their owner could put a link in the place of a folder that is about to be changed."""
    leave(place)
    someone = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: someone)
    monkeypatch.setattr(os, "chmod", lambda *_: pytest.fail("a mode was changed"))
    with staging(place):
        pass


def test_a_pull_that_goes_on_keeps_its_folder_when_another_begins(
    user: Call, site: Path, place: Path
) -> None:
    with staging(place) as work:
        user(get, site, place)
        assert names(place) == [work.name, "ns_good_1.0.0"]
    assert names(place) == ["ns_good_1.0.0"]


@pytest.mark.parametrize("when", ["before the lock", "between"])
def test_a_pull_whose_new_folder_another_took_for_a_leftover_makes_a_second(
    site: Path, place: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    remote(site)
    make, lock = tempfile.mkdtemp, extract._lock
    calls: list[str] = []

    def made(prefix: str, dir: Path) -> str:
        path = str(make(prefix=prefix, dir=dir))
        if when == "before the lock" and not calls:
            calls.append(path)
            os.rmdir(path)
        return path

    @contextlib.contextmanager
    def locked(folder: Path) -> Iterator[bool]:
        with lock(folder) as alone:
            if when == "between" and not calls:
                calls.append(str(folder))
                folder.rmdir()
            yield alone

    monkeypatch.setattr(tempfile, "mkdtemp", made)
    monkeypatch.setattr(extract, "_lock", locked)
    get(site, place)
    assert names(place) == ["ns_good_1.0.0"]
    assert calls


def test_a_folder_that_can_never_be_locked_is_given_up_and_none_is_left(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "_lock", lambda _: contextlib.nullcontext(False))
    with pytest.raises(StorageError, match="can be made and locked"), staging(place):
        pass
    assert names(place) == []


# What is there already

KINDS = ["file", "folder", "folder with a file", "link to a folder", "dangling link"]


@pytest.mark.parametrize("tarball", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_at_the_target_stays_as_it_is(
    site: Path, place: Path, kind: str, tarball: bool
) -> None:
    dest = place / "dest"
    dest.mkdir()
    put(kind, target(dest, tarball=tarball))
    before = tree(place)
    with pytest.raises(ConflictError, match="exists already"):
        get(site, dest, tarball=tarball)
    assert tree(place) == before


@pytest.mark.parametrize("tarball", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("late", ["while it is unpacked", "at the last moment"])
def test_what_appears_at_the_target_meanwhile_stays_as_it_is(
    site: Path, place: Path, monkeypatch: pytest.MonkeyPatch, late: str, kind: str, tarball: bool
) -> None:
    dest = place / "dest"
    there = target(dest, tarball=tarball)
    module, name = (os, "link" if tarball else "rename") if late == "at the last moment" else (
        extract, "sync_path" if tarball else "sync_tree")  # fmt: skip
    real = getattr(module, name)

    def slow(*arguments: Any) -> Any:
        if not os.path.lexists(there):
            put(kind, there)
        return real(*arguments)

    monkeypatch.setattr(module, name, slow)
    if kind == "folder" and not tarball and late == "at the last moment":
        get(site, dest)  # rename takes an empty folder's place: nothing is lost
        assert is_whole(there)
        return
    with pytest.raises(ConflictError, match="exists already"):
        get(site, dest, tarball=tarball)
    monkeypatch.undo()
    assert names(dest) == [there.name]
    (place / "expected/dest").mkdir(parents=True)
    put(kind, place / "expected/dest" / there.name)
    shutil.rmtree(place / "other", ignore_errors=True)
    assert tree(dest) == tree(place / "expected/dest")


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [("file", 2, "is a file"), ("dangling link", 8, "dest: "), ("link to a folder", 0, "ns_good")],
)
def test_a_dest_that_is_no_folder_is_refused_and_a_link_to_one_is_followed(
    site: Path, place: Path, kind: str, code: int, said: str
) -> None:
    (place / "in").mkdir()
    put(kind, place / "in/dest")
    before = tree(place)
    done = run(site, "ns/good", "--dest", str(place / "in/dest"))
    error = done.exception
    assert code == (error.exit_code if isinstance(error, CnrMirrorError) else done.exit_code)
    assert said in (error.message if isinstance(error, CnrMirrorError) else done.output)
    if code:
        assert tree(place) == before
    else:
        assert is_whole(place / "other/ns_good_1.0.0")
        assert names(place / "other") == ["ns_good_1.0.0"]


# Kills and full disks

FORMS = pytest.mark.parametrize(
    ("tarball", "has_links"), [(False, True), (True, True), (True, False)]
)


@FORMS
def test_a_pull_that_is_killed_at_any_step_leaves_a_leftover_that_the_next_removes(
    user: Call, site: Path, place: Path, tarball: bool, has_links: bool
) -> None:
    assert user(killed_at_each_step, site, place / "dest", tarball, has_links) > 10


@FORMS
def test_a_disk_that_is_full_at_any_step_leaves_nothing_or_the_whole(
    user: Call, site: Path, place: Path, tarball: bool, has_links: bool
) -> None:
    assert user(full_at_each_step, site, place / "dest", tarball, has_links) > 3


@pytest.mark.parametrize("name", FAULTS)
def test_an_archive_with_a_fault_at_its_endleaves_nothing(
    user: Call, site: Path, place: Path, name: str
) -> None:
    _, limits, error = FAULTS[name]
    with pytest.raises(error):
        user(get, site, place / "dest", name, False, limits)
    assert names(place) == ["dest"]
    assert names(place / "dest") == []


# Limits


@pytest.mark.parametrize(
    ("key", "package", "most"),
    [
        ("packed", "deep", 100), ("unpacked", "deep", 1000), ("member", "deep", 22),
        ("members", "deep", 1), ("name", "deep", 3), ("depth", "deep", 1),
        ("extended_header", "deep", 10), ("ratio", "zeros", None),
    ],
)  # fmt: skip
def test_a_package_past_a_limit_is_refused_with_the_option_that_admits_it(
    site: Path, place: Path, key: str, package: str, most: int | None
) -> None:
    option = f"--max-{key.replace('_', '-')}"
    value = str(most or getattr(Limits(), key))
    for _ in range(5):
        done = run(site, f"ns/{package}", "--dest", str(place), option, value)
        if not done.exception:
            break
        assert isinstance(done.exception, TooLarge)
        assert names(place) == []
        message = done.exception.message
        assert f"limits.{key} is {value}; {option} " in message
        better = re.search(rf"{option} (\d+) \(or more\) allows it", message)
        assert better and int(better[1]) > int(value), message
        value = better[1]
    assert done.exit_code == 0
    assert value != str(most or getattr(Limits(), key))
    assert names(place) == [target(place, package).name]
