"""For tests of extraction: archives that are hard to unpack, other users, kills and full disks."""

from __future__ import annotations

import contextlib
import errno
import functools
import gzip
import hashlib
import io
import os
import shutil
import signal
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from cnrmirror.archive.extract import unpack
from cnrmirror.archive.identify import Override
from cnrmirror.archive.scan import Limits
from cnrmirror.cli import cli
from cnrmirror.client.pull import pull
from cnrmirror.client.remote import Remote
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import CnrMirrorError, HostileArchive, StorageError, Tampered, TooLarge
from cnrmirror.model.names import Reference
from cnrmirror.objects.folder import FolderReader
from cnrmirror.trust.verify import Policy, Trust
from tests import mirrors
from tests.conftest import tar_gz

TEXT = b"name: a\nversion: 1.0.0\n"
PARTIAL = ".cnrmirror-partial-"


def packed(*members: tuple[str, int]) -> bytes:
    """An archive; a name that ends with a slash is a folder's, one with an arrow a symlink's."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, mode in members:
            member = tarfile.TarInfo(name)
            member.mode, member.mtime = mode, 1_700_000_000 + mode
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            elif "->" in name:
                member.name, member.linkname = name.split("->")
                member.type = tarfile.SYMTYPE
            else:
                member.size = len(TEXT)
            tar.addfile(member, io.BytesIO(TEXT))
    return gzip.compress(buffer.getvalue(), mtime=0)


# Every step that a pull can take, and folders that a careless program cannot clear away.
SHUT = (("./", 0o555), ("a/", 0o555), ("a/Chart.yaml", 0o444), ("a/no/", 0o000), ("a/no/f", 0o000),
        ("a/link->Chart.yaml", 0o777), ("a/z/deep/f", 0o4755))  # fmt: skip
GOOD = packed(*SHUT)
GOOD_TREE = {
    ".": ("folder", 0o755), "a": ("folder", 0o555), "a/Chart.yaml": ("file", 0o444),
    "a/link": ("link", 0o777), "a/no": ("folder", 0o500), "a/no/f": ("file", 0o400),
    "a/z": ("folder", 0o755), "a/z/deep": ("folder", 0o755), "a/z/deep/f": ("file", 0o755),
}  # fmt: skip
_CUT_TAR = gzip.compress(gzip.decompress(GOOD)[: 512 * 5 + 7], mtime=0)
_WRONG_CRC = GOOD[:-6] + bytes([GOOD[-6] ^ 1]) + GOOD[-5:]
# Archives with a fault that shows when nearly all is unpacked.
FAULTS: dict[str, tuple[bytes, Limits, type[CnrMirrorError]]] = {
    "cut-gzip": (GOOD[:-40], Limits(), HostileArchive),
    "cut-tar": (_CUT_TAR, Limits(), HostileArchive),
    "wrong-crc": (_WRONG_CRC, Limits(), HostileArchive),
    "climbs-out": (packed(*SHUT, ("../evil", 0o644)), Limits(), HostileArchive),
    "twice": (packed(*SHUT, ("a/Chart.yaml", 0o644)), Limits(), HostileArchive),
    "through-link": (packed(*SHUT, ("a/link/f", 0o644)), Limits(), HostileArchive),
    "one-too-many": (packed(*SHUT, ("b", 0o644)), Limits(members=len(SHUT)), TooLarge),
    "last-too-deep": (packed(*SHUT, ("a/z/1/2/f", 0o644)), Limits(depth=4), TooLarge),
    "other-content": (packed(*SHUT, ("a/more", 0o644)), Limits(), Tampered),
}
_DEEP = tar_gz({"a/Chart.yaml": TEXT, "a/b/c/f": b"#" * 4000}, pax_headers={"x": "y" * 300})
_ZEROS = tar_gz({"a/Chart.yaml": TEXT, "a/0": bytes(5 << 20)})
_ARCHIVES = {
    "good": GOOD, "deep": _DEEP, "zeros": _ZEROS,
    **{name: archive for name, (archive, _, _) in FAULTS.items()},
}  # fmt: skip


def make_mirror(folder: Path) -> Path:
    """A mirror that any user can read, and whose publisher signs whatever archive there is."""
    folder.chmod(0o755)
    now = datetime.now(UTC).isoformat()[:19]
    before = os.umask(0o022)
    try:
        project = mirrors.make(folder / "mirror", "extraction", now)
        (folder / "a-1.0.0.tgz").write_bytes(tar_gz({"a/Chart.yaml": TEXT}))
        push(project, [folder / "a-1.0.0.tgz"], Override(namespace="ns"), now)
        _sign_all(project, now)
    finally:
        os.umask(before)
    return project.site


def _sign_all(project: Project, now: str) -> None:
    model = project.document("ns/a")
    documents = {}
    for name, data in _ARCHIVES.items():
        tar = b""
        with contextlib.suppress(OSError, EOFError):
            tar = gzip.decompress(GOOD if name == "other-content" else data)
        blob = Descriptor.of(data)
        project.store.add_blob(blob, [data])
        content = msgspec.structs.replace(
            model.releases[0].content, digest=hashlib.sha256(tar).hexdigest()
        )
        release = msgspec.structs.replace(model.releases[0], blob=blob, content=content)
        document = msgspec.structs.replace(model, package=f"ns/{name}", releases=[release])
        documents[document.package] = document
    with project.writing():
        project.commit({**documents}, "forged", now)


def _root(site: Path) -> Path:
    return site / "catalog/metadata/1.root.json"


@functools.cache
def remote(site: Path) -> Remote:
    reader = FolderReader(site)
    with tempfile.TemporaryDirectory() as name:
        trust = Trust(_root(site).read_bytes(), Path(name, "cache"), Path(name, "marks"))
        return Remote(reader, trust.verify(reader, Policy(), datetime.now(UTC)))


def get(
    site: Path, dest: Path, name: str = "good", tarball: bool = False, limits: Limits = Limits()
) -> None:
    pull(remote(site), Reference.parse(f"ns/{name}"), None, dest, tarball, limits)


def target(dest: Path, name: str = "good", tarball: bool = False) -> Path:
    return dest / f"ns_{name}_1.0.0{'.tar.gz' if tarball else ''}"


def run(site: Path, *arguments: str) -> Result:
    """``cnrmirror pull``."""
    origin = ("--from", str(site), "--root", str(_root(site)))
    return CliRunner().invoke(cli, ["pull", *arguments, *origin])


def become(uid: int, site: Path) -> None:
    """Go on as this user. A first pull loads what this user may not be able to read."""
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as folder:
        get(site, Path(folder))
    if uid != os.geteuid():
        os.chown(mirrors._HOME, uid, uid)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


def unpacked(archive: bytes, folder: Path, mask: int) -> dict[str, tuple[str, int]]:
    """What an archive becomes under an umask."""
    before = os.umask(mask)
    try:
        unpack(io.BytesIO(archive), folder, Limits())
    finally:
        os.umask(before)
    return tree(folder)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


def tree(folder: Path) -> dict[str, tuple[str, int]]:
    """Kind and mode of everything in a folder, itself too."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        mode = path.lstat().st_mode
        kind = "folder" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "file"
        found[path.relative_to(folder).as_posix()] = (kind, stat.S_IMODE(mode))
    return found


def is_whole(path: Path) -> bool:
    """All that a pull of ``good`` brings is there, with its modes."""
    if path.is_file():
        return path.read_bytes() == GOOD
    read = (path / "a/link").read_bytes(), (path / "a/z/deep/f").read_bytes()
    return tree(path) == GOOD_TREE and read == (TEXT, TEXT)


def put(kind: str, path: Path) -> None:
    """Put something of this kind there; links lead to ``other``, next to the folder."""
    if kind == "file":
        path.write_bytes(b"mine")
        return
    if kind.startswith("folder"):
        path.mkdir()
        if kind == "folder with a file":
            (path / "mine").write_bytes(b"mine")
        return
    if kind == "link to a folder":
        (path.parent.parent / "other").mkdir()
    path.symlink_to(path.parent.parent / "other")


def leave(dest: Path) -> None:
    """What a killed pull leaves, and worse."""
    inner = dest / f"{PARTIAL}old/unpacked/a/no/way"
    inner.mkdir(parents=True)
    (inner / "f").write_bytes(TEXT)
    for folder in (inner, inner.parent):
        folder.chmod(0o000)
    inner.parents[1].chmod(0o555)


_STEPS = ("mkdir", "open", "write", "fchmod", "chmod", "utime", "symlink", "link", "rename",
          "fsync", "close", "unlink", "rmdir")  # fmt: skip
_MAKING = ("mkdir", "open", "write", "symlink", "link", "rename", "fsync")


@contextlib.contextmanager
def _tripwire(
    steps: tuple[str, ...], at: int, trip: Callable[[], None], has_links: bool
) -> Iterator[list[str]]:
    """Calls ``trip`` before step ``at`` of those that change the disk; gives the steps taken."""
    taken: list[str] = []

    def watched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            # A full disk keeps nobody from opening what is there.
            if steps is _STEPS or name != "open" or arguments[1] & os.O_CREAT:
                taken.append(name)
                if len(taken) == at:
                    trip()
            if name == "link" and not has_links:
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))
            return real(*arguments, **named)

        return step

    with pytest.MonkeyPatch.context() as patch:
        for name in steps:
            patch.setattr(os, name, watched(name, getattr(os, name)))
        yield taken


def _remove_whole(there: Path) -> None:
    """Make room for the next pull, if this one brought anything. It must be all of it."""
    if there.exists():
        assert is_whole(there)
        if there.is_file():
            there.unlink()
            return
        for path in ("a", "a/no"):
            (there / path).chmod(0o700)
        shutil.rmtree(there)


def killed_at_each_step(site: Path, dest: Path, tarball: bool, has_links: bool) -> int:
    """Kill pulls, each one step later than the last, until one is done. Gives how many.

    Call it where no other thread runs: it forks.
    """
    for at in range(1, 1000):
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):

                def kill() -> None:
                    os.kill(os.getpid(), signal.SIGKILL)

                with _tripwire(_STEPS, at, kill, has_links):
                    get(site, dest, tarball=tarball)
                os._exit(0)
            os._exit(1)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        _remove_whole(target(dest, tarball=tarball))
        left = names(dest)
        assert len(left) <= 1 and all(name.startswith(PARTIAL) for name in left), (at, left)
        if ended != -signal.SIGKILL:
            assert (ended, left) == (0, [])
            return at
    raise AssertionError("it never ends")


def full_at_each_step(site: Path, dest: Path, tarball: bool, has_links: bool) -> int:
    """Pull with a disk that is full at one step, each time one later. Gives how many."""

    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for at in range(1, 1000):
        there = target(dest, tarball=tarball)
        with _tripwire(_MAKING, at, full, has_links) as taken:
            try:
                get(site, dest, tarball=tarball)
            except StorageError as error:
                assert "the disk is full" in error.message
            else:
                assert there.exists()
        _remove_whole(there)
        assert names(dest) == [], at
        if len(taken) < at:
            return at
    raise AssertionError("it never ends")
