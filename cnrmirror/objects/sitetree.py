"""Bring a folder from one state of the site to the next, so that readers never notice.

Leaves are written before what refers to them and removed after it. A folder that does not exist
yet is written aside and appears whole, by one rename: that is also the fastest way to write many
files. What exists is replaced file by file, each atomically.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.resource import Alias, Base64Json, Resource
from cnrmirror.objects.files import link_or_copy, write_new
from cnrmirror.objects.store import Store

_TRIES = 5


class SiteTree:
    """The views below ``root``; blobs come from ``store``, files in the making go to its scratch.

    ``written`` and ``removed`` count files, for reports and for the tests of law 2.
    """

    def __init__(self, root: Path, store: Store) -> None:
        self._root = str(root)
        self._store = store
        self._serial = 0
        self.written = 0
        self.removed = 0

    def update(self, puts: Iterable[Resource], deletes: Iterable[str]) -> None:
        """Write ``puts`` in their order (leaves first), then remove ``deletes`` in theirs.

        Raises:
            OSError: the disk refused; running the same update again completes it.
            DamageError: a blob that a resource links to is not there.
        """
        tops: dict[str, str | None] = {self._root: None}
        placed = [
            (r, self._missing(f"{self._root}/{r.path}".rpartition("/")[0], tops)) for r in puts
        ]
        whole: dict[str, list[Resource]] = {}
        for resource, top in placed:
            if top:
                whole.setdefault(top, []).append(resource)
        for resource, top in placed:
            if not top:
                self._replace(f"{self._root}/{resource.path}", resource)
            elif top in whole:
                self._whole(top, whole.pop(top))
        for name in deletes:
            self._remove(name)

    def _missing(self, folder: str, tops: dict[str, str | None]) -> str | None:
        """The topmost folder on the way to ``folder`` that is not there; ``tops`` remembers."""
        if folder not in tops:
            above = self._missing(folder.rpartition("/")[0], tops)
            tops[folder] = above or (None if os.path.isdir(folder) else folder)
        return tops[folder]

    def _whole(self, top: str, resources: list[Resource]) -> None:
        os.makedirs(os.path.dirname(top), exist_ok=True)
        staged = self._temporary()
        os.mkdir(staged)
        made = {staged}
        for resource in resources:
            path = staged + f"{self._root}/{resource.path}"[len(top) :]
            folder = path.rpartition("/")[0]
            if folder not in made:
                os.makedirs(folder, exist_ok=True)
                made.add(folder)
            self._write(path, resource)
        try:
            _move(os.rename, staged, top)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            self._into(staged, top, resources)  # another process made it in the meantime

    def _into(self, staged: str, top: str, resources: list[Resource]) -> None:
        for resource in resources:
            path = f"{self._root}/{resource.path}"
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _move(os.replace, staged + path[len(top) :], path)
        shutil.rmtree(staged)

    def _replace(self, path: str, resource: Resource) -> None:
        temporary = self._temporary()
        self._write(temporary, resource)
        _move(os.replace, temporary, path)
        if isinstance(resource.body, Descriptor) and os.path.lexists(temporary):
            os.unlink(temporary)  # rename does nothing between two links of one file

    def _write(self, path: str, resource: Resource) -> None:
        self.written += 1
        match resource.body:
            case bytes() as data:
                write_new(path, [data])
            case Descriptor() as blob:
                link_or_copy(self._store.blob_path(blob.digest), path)
            case Base64Json() as form:
                with self._store.open_blob(form.blob) as stream:
                    write_new(path, form.chunks(stream))
            case Alias() as alias:
                os.symlink(alias.target, path)

    def _temporary(self) -> str:
        self._serial += 1
        return self._store.scratch_file(f"tree{self._serial}")

    def _remove(self, name: str) -> None:
        path = f"{self._root}/{name}"
        try:
            os.unlink(path)
            self.removed += 1
        except (FileNotFoundError, NotADirectoryError):
            pass
        folder = os.path.dirname(path)
        while folder != self._root:
            try:
                os.rmdir(folder)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    return
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    raise
            folder = os.path.dirname(folder)

    def make_way(self, paths: Iterable[str]) -> None:
        """Remove what is in the way of files at ``paths``: files and links in a folder's place."""
        clear = {self._root}
        for path in paths:
            here = f"{self._root}/{path}"
            self._clear_folder(here.rpartition("/")[0], clear)
            if os.path.isdir(here) and not os.path.islink(here):
                shutil.rmtree(here)

    def _clear_folder(self, folder: str, clear: set[str]) -> None:
        if folder in clear:
            return
        self._clear_folder(folder.rpartition("/")[0], clear)
        if os.path.islink(folder) or os.path.isfile(folder):
            os.unlink(folder)
        clear.add(folder)

    def differs(self, resource: Resource, same_blob: Callable[[str, Descriptor], bool]) -> str:
        """Why the file on disk is not this resource: ``""``, ``missing``, ``size``, ``digest``.

        Args:
            same_blob: whether the file at a path has the bytes of a blob (a hard link has).
        """
        path = f"{self._root}/{resource.path}"
        body = resource.body
        try:
            if isinstance(body, Alias):
                return "" if os.readlink(path) == body.target else "digest"
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return "missing"
        except OSError:
            return "digest"  # something else than a symlink is there
        size = len(body) if isinstance(body, bytes) else body.size
        if not os.path.isfile(path) or os.path.islink(path):
            return "size"
        if isinstance(body, bytes) and path.endswith(".gz") and _unpacks_to_the_same(path, body):
            return ""
        if status.st_size != size:
            return "size"
        if isinstance(body, Descriptor):
            return "" if same_blob(path, body) else "digest"
        with open(path, "rb") as stream:
            if isinstance(body, bytes):
                return "" if stream.read() == body else "digest"
            with self._store.open_blob(body.blob) as blob:
                same = all(stream.read(len(piece)) == piece for piece in body.chunks(blob))
        return "" if same else "digest"


def _move(move: Callable[[str, str], None], source: str, target: str) -> None:
    """Move a file or folder; another process may just have removed the target's folder."""
    for _ in range(_TRIES):
        try:
            return move(source, target)
        except FileNotFoundError:
            with contextlib.suppress(FileNotFoundError):
                os.makedirs(os.path.dirname(target), exist_ok=True)
    move(source, target)


def _unpacks_to_the_same(path: str, body: bytes) -> bool:
    """Whether a gzipped file is ``body``, or what another version of zlib makes of the same."""
    with open(path, "rb") as stream:
        data = stream.read()
    if data == body:
        return True
    expected = zlib.decompress(body, wbits=31)
    gunzip = zlib.decompressobj(wbits=31)
    try:
        same = gunzip.decompress(data, len(expected) + 1) == expected
    except zlib.error:
        return False
    return same and gunzip.eof and not gunzip.unused_data
