"""Unpack an archive that was looked into: into a new folder, whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cnrmirror.model.errors import ConflictError, HostileArchive
from cnrmirror.objects.files import link_or_copy, storage_errors, sync_path, sync_tree

_PARTIAL = ".cnrmirror-partial-"


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A hidden folder in ``folder`` for what is in the making; gone afterwards.

    What a killed command left there is removed by the next one: nobody holds its lock.
    """
    with storage_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{_PARTIAL}*"):
            with _lock(old) as alone:
                if alone:
                    shutil.rmtree(old, ignore_errors=True)
        path = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
        with _lock(path):
            try:
                yield path
            finally:
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        yield alone
    finally:
        os.close(descriptor)


def free(target: Path) -> Path:
    """``target``, if there is nothing. Raises ConflictError."""
    if os.path.lexists(target):
        raise ConflictError(f"{target}: something is there already; move it away, or say --dest")
    return target


def place_file(made: Path, target: Path) -> None:
    """Let a finished file appear at ``target``, never over something else. Raises ConflictError."""
    sync_path(made)
    try:
        link_or_copy(str(made), str(target))
    except FileExistsError:
        free(target)
        raise
    sync_path(target.parent)


def extract(archive: BinaryIO, work: Path, target: Path) -> None:
    """Unpack an archive that ``archive.inspect`` accepted; ``target`` appears whole.

    Args:
        work: the staging folder.

    Raises:
        ConflictError: something is at ``target``.
        HostileArchive: the library refuses what the scanner let pass.
    """
    inner = work / "unpacked"
    inner.mkdir()
    try:
        with tarfile.open(fileobj=archive, mode="r:gz") as tar:
            tar.extractall(inner, filter="data")
            _set_modes(tar, inner)
    except (tarfile.TarError, EOFError, OverflowError, ValueError) as error:
        raise HostileArchive(f"the archive cannot be unpacked safely: {error}") from error
    free(target)
    sync_tree(inner)
    os.rename(inner, target)
    sync_path(target.parent)


def _set_modes(tar: tarfile.TarFile, folder: Path) -> None:
    """The modes that the archive says, less the umask, as ``tar`` sets them; never more than 0777.

    Folders from the innermost outwards, since one may not be entered any more afterwards.
    """
    mask = os.umask(0)
    os.umask(mask)
    members = {member.name.strip("/"): member for member in tar if not member.issym()}
    for name, member in sorted(members.items(), reverse=True):
        path = folder / name
        if not path.is_symlink():
            os.chmod(path, member.mode & 0o777 & ~mask)
