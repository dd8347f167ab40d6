"""A folder as a destination: a web root, a mounted share, what rsync takes from.

Every file appears by rename. Blobs are copied, not linked: the folder may be on another medium,
and nothing that happens to it may reach the mirror's own.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from cnrmirror.model.digest import CHUNK, Descriptor
from cnrmirror.model.errors import (
    IncompleteError,
    InputError,
    NetworkError,
    Outdated,
    StorageError,
    Tampered,
)
from cnrmirror.model.progress import Progress
from cnrmirror.model.resource import Alias, Base64Json, Resource
from cnrmirror.objects.base import (
    PIECE,
    STATE_FOLDER,
    Listed,
    Objects,
    Reader,
    ViewForm,
    bounded,
    check_path,
)
from cnrmirror.objects.files import locked, storage_errors, sync_filesystem, write_new
from cnrmirror.objects.modes import closed_words, is_closed
from cnrmirror.objects.store import Store


class FolderReader(Reader):
    """A site in a folder of this machine: a copy, a mounted disk.

    Only regular files are read, and no symlink is followed on the way to them.
    """

    views: ViewForm = "files"

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self.folder = self._folder = folder

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """See ``base.Reader``."""
        where = f"{self.name}/{path}"
        descriptor = self._open(check_path(path))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Tampered(f"{where}: not a file")
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            try:
                yield from bounded(iter(lambda: stream.read(PIECE), b""), max_bytes, where)
            except OSError as error:
                raise NetworkError(f"{where}: cannot be read: {error.strerror}") from error

    def close(self) -> None:
        """Nothing is held open between two reads."""

    def _open(self, path: str) -> int:
        *folders, name = path.split("/")
        where = f"{self.name}/{path}"
        try:
            here = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise NetworkError(f"{self.name}: {error.strerror}: is the medium there?") from error
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            for folder in folders:
                below = os.open(folder, flags | os.O_DIRECTORY, dir_fd=here)
                os.close(here)
                here = below
            return os.open(name, flags, dir_fd=here)
        except FileNotFoundError:
            raise IncompleteError(f"{where}: missing", path=path) from None
        except (NotADirectoryError, IsADirectoryError):
            raise Tampered(f"{where}: not a file in a folder") from None
        except OSError as error:
            if error.errno in (40, 6):  # ELOOP: a symlink; ENXIO: a socket or FIFO
                raise Tampered(f"{where}: not a regular file") from error
            raise NetworkError(f"{where}: {error.strerror}") from error
        finally:
            os.close(here)


_SCRATCH = f"{STATE_FOLDER}/tmp"
_LOCK = f"{STATE_FOLDER}/lock"
_LOCK_WAIT = 10
_ATTEMPTS = 10
_LEFT_BEHIND_SECONDS = 86400
# What Windows, and so exFAT and NTFS media in Windows, cannot name.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.I)
_FORBIDDEN = re.compile(r'[<>:"|?*\\]|[. ]$')


class FolderObjects(Objects):
    """A folder.

    Args:
        folder: where the site goes; made if it is not there.
        store: the mirror's blobs.
        portable: refuse names that exFAT, NTFS or Windows cannot keep apart or at all.
    """

    def __init__(self, folder: Path, store: Store, portable: bool = False) -> None:
        self.name = str(folder)
        self.requests = 0
        self.notes: list[str] = []
        self._folder = folder
        self._reader = FolderReader(folder)
        self._store = store
        self._portable = portable
        self._folded: dict[str, str] = {}
        self._seen: set[str] = set()
        self._real: set[str] = set()
        self._run = uuid.uuid4().hex[:8]
        self._serial = 0
        self._prepared = False

    def close(self) -> None:
        """Nothing is held open."""

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """See ``base.Reader``."""
        return self._reader.fetch(path, max_bytes)

    def read(self, key: str, max_bytes: int) -> tuple[bytes, str] | None:
        """See ``base.Objects``."""
        self.requests += 1
        with storage_errors(self.name):
            try:
                with open(self._folder / key, "rb") as stream:
                    data = stream.read(max_bytes + 1)
            except FileNotFoundError:
                return None
        if len(data) > max_bytes:
            raise Tampered(f"{self.name}/{key}: longer than {max_bytes} bytes")
        return data, _tag(data)

    def size(self, key: str) -> int | None:
        """See ``base.Objects``."""
        self.requests += 1
        with storage_errors(self.name):
            try:
                return os.stat(self._folder / key).st_size
            except FileNotFoundError:
                return None

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """See ``base.Objects``."""
        with storage_errors(self.name):
            self._prepare()
            with locked(self._folder / _LOCK, _LOCK_WAIT):
                found = self.read(key, 64 << 20)
                if (found[1] if found else None) != expected:
                    raise Outdated(f"{self.name}/{key}: somebody else published meanwhile")
                sync_filesystem(self._folder)
                self._place(Resource(key, data))
                sync_filesystem(self._folder)
                if is_closed(os.stat(self._folder / key)):
                    self.note(closed_words(self._folder))
        return _tag(data)

    def note(self, note: str) -> None:
        """Say something once that a publisher should know."""
        if note not in self.notes:
            self.notes.append(note)

    def create(self, resources: Sequence[Resource], progress: Progress) -> list[str]:
        """See ``base.Objects``. Raises InputError for a name that cannot be there."""
        return [r.path for r in self._each(resources, progress) if not self._place(r, anew=True)]

    def put(self, resources: Sequence[Resource], progress: Progress) -> None:
        """See ``base.Objects``. Raises InputError for a name that cannot be there."""
        for resource in self._each(resources, progress):
            self._place(resource)

    def _each(self, resources: Sequence[Resource], progress: Progress) -> Iterator[Resource]:
        with storage_errors(self.name):
            self._prepare()
            for resource in resources:
                if self._portable:
                    self._check_portable(resource.path)
                yield resource
                progress.advance(1, resource.size)

    def _prepare(self) -> None:
        """The folder for files in the making is there; what killed runs left in it is not."""
        scratch = self._folder / _SCRATCH
        if self._prepared:
            return
        scratch.mkdir(parents=True, exist_ok=True)
        for path in scratch.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.lstat().st_mtime < time.time() - _LEFT_BEHIND_SECONDS:
                    path.unlink()
        self._prepared = True

    def _check_portable(self, path: str) -> None:
        for part in path.split("/"):
            if _DEVICES.fullmatch(part) or _FORBIDDEN.search(part):
                raise InputError(
                    f"{path}: the name {part!r} cannot be on exFAT or NTFS; leave that package out"
                )
        here = ""
        for part in path.split("/"):
            self._fold_what_is_there(here)
            here = f"{here}/{part}" if here else part
            other = self._folded.setdefault(here.lower(), here)
            if other != here:
                raise InputError(f"{other} and {here} are one file on exFAT or NTFS")

    def _fold_what_is_there(self, folder: str) -> None:
        if folder in self._seen:
            return
        self._seen.add(folder)
        try:
            names = os.listdir(self._folder / folder)
        except FileNotFoundError:
            return
        for name in names:
            there = f"{folder}/{name}" if folder else name
            self._folded.setdefault(there.lower(), there)

    def _place(self, resource: Resource, anew: bool = False) -> bool:
        """Write one file; False if it must be ``anew`` and there is one already."""
        self.requests += 1
        path = f"{self._folder}/{resource.path}"
        if anew and os.path.lexists(path):
            return False
        temporary = self._temporary()
        self._write(resource, temporary)
        for _ in range(_ATTEMPTS):
            self._make_real(os.path.dirname(resource.path))
            try:
                return self._name_new(temporary, path) if anew else self._name(temporary, path)
            except FileNotFoundError:
                self._real.clear()  # another publisher took the empty folder away
        raise StorageError(
            f"{path}: another program removes its folder again and again: stop that, and try again",
            path=path,
        )

    @staticmethod
    def _name(temporary: str, path: str) -> bool:
        """Give a new file its name, whatever has it."""
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)  # an alias was a folder here, at a destination without links
        os.replace(temporary, path)
        return True

    def _name_new(self, temporary: str, path: str) -> bool:
        """Give a new file its name, unless there is one of that name; False then."""
        try:
            os.link(temporary, path, follow_symlinks=False)
            new = True
        except FileExistsError:
            new = False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                raise
            # No hard links here (exFAT): alone with the folder, as a swap is.
            with locked(self._folder / _LOCK, _LOCK_WAIT):
                new = not os.path.lexists(path)
                if new:
                    os.rename(temporary, path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        return new

    def _temporary(self) -> str:
        self._serial += 1
        # Several processes, of several machines, may write into one folder.
        name = f"{os.getpid()}.{self._run}.{self._serial}"
        return f"{self._folder}/{_SCRATCH}/{name}"

    def _write(self, resource: Resource, temporary: str) -> None:
        match resource.body:
            case bytes() as data:
                write_new(temporary, [data])
            case Descriptor() as blob:
                with self._store.open_blob(blob) as stream:
                    write_new(temporary, iter(lambda: stream.read(CHUNK), b""))
            case Base64Json() as form:
                with self._store.open_blob(form.blob) as stream:
                    write_new(temporary, form.chunks(stream))
            case Alias() as alias:
                try:
                    os.symlink(alias.target, temporary)
                except PermissionError as error:
                    raise InputError(
                        f"{self.name}: there are no symlinks here: set links: false for this target"
                    ) from error

    def _make_real(self, folder: str) -> None:
        """The folder is there and no link: a link would lead into what it is an alias of."""
        if folder in self._real:
            return
        path = f"{self._folder}/{folder}"
        if folder:
            self._make_real(os.path.dirname(folder))
            if os.path.islink(path):
                os.unlink(path)
        os.makedirs(path, exist_ok=True)
        self._real.add(folder)

    def delete(self, keys: Sequence[str]) -> list[str]:
        """See ``base.Objects``; folders that are empty then go, too."""
        with storage_errors(self.name):
            for key in keys:
                self.requests += 1
                (self._folder / key).unlink(missing_ok=True)
                parent = (self._folder / key).parent
                while parent != self._folder:
                    try:
                        parent.rmdir()
                    except OSError:
                        break
                    parent = parent.parent
            self._real.clear()
        return []

    def listing(self) -> Iterator[Listed]:
        """See ``base.Objects``."""
        with storage_errors(self.name):
            yield from self._walk(str(self._folder))

    def _walk(self, base: str) -> Iterator[Listed]:
        for folder, folders, names in os.walk(base, onerror=_fail):
            here = os.path.relpath(folder, base)
            if here == ".":
                folders[:] = [name for name in folders if name != STATE_FOLDER]
            self.requests += 1
            links = [name for name in folders if os.path.islink(f"{folder}/{name}")]
            for name in (*names, *links):
                try:
                    status = os.lstat(f"{folder}/{name}")
                except FileNotFoundError:  # somebody removed it since
                    continue
                yield Listed(name if here == "." else f"{here}/{name}", status.st_size, "")

    def holds(self, listed: Listed, resource: Resource) -> bool:
        """See ``base.Objects``."""
        with storage_errors(self.name):
            try:
                return self._is(self._folder / listed.key, listed, resource)
            except FileNotFoundError:  # somebody removed it since
                return False

    def _is(self, path: Path, listed: Listed, resource: Resource) -> bool:
        body = resource.body
        if isinstance(body, Alias):
            return path.is_symlink() and os.readlink(path) == body.target
        size = len(body) if isinstance(body, bytes) else body.size
        if path.is_symlink() or listed.size != size:
            return False
        with path.open("rb") as stream:
            if isinstance(body, bytes):
                return stream.read() == body
            blob = body.blob if isinstance(body, Base64Json) else body
            with self._store.open_blob(blob) as kept:
                pieces = body.chunks(kept) if isinstance(body, Base64Json) else _pieces(kept)
                return all(stream.read(len(piece)) == piece for piece in pieces)


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: stream.read(CHUNK), b"")


def _fail(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
