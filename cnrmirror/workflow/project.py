"""A mirror project on disk, and the one way in which a revision is made.

``commit``: blobs and nodes are on the disk → synced → the pointer moves → the views follow. Killed
before the pointer moves, nothing has happened; killed after it, the next command brings the views
up to the revision, from the one they stand at (``.state/built.json``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from cnrmirror import config
from cnrmirror.catalog import EMPTY, Catalog, counts
from cnrmirror.descriptor import Descriptor
from cnrmirror.documents import CatalogRoot, Head, Node, PackageDocument, decode, encode
from cnrmirror.errors import DamageError, InvalidDocument, NotFoundError
from cnrmirror.files import locked, replace_durably, storage_errors, sync_filesystem
from cnrmirror.interfaces import NoProgress, Pointer, Progress
from cnrmirror.site.views import Views
from cnrmirror.store import Store
from cnrmirror.workflow.build import Builder

_MAX_HEAD_BYTES = 4096


class HeadFile:
    """The pointer as a plain file (unsigned): ``catalog/metadata/head.json``."""

    def __init__(self, path: Path, scratch: Path) -> None:
        self._path = path
        self._scratch = scratch

    def read(self) -> Head | None:
        """The current head; None only if there has never been one."""
        try:
            with self._path.open("rb") as stream:
                data = stream.read(_MAX_HEAD_BYTES)
        except FileNotFoundError:
            return None
        try:
            return decode(data, Head, str(self._path))
        except InvalidDocument as error:
            raise DamageError(f"{error.message}; restore the file from a copy") from error

    def write(self, head: Head) -> None:
        """Make ``head`` current, atomically and durably."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(self._path, encode(head), self._scratch)


class Project:
    """A folder with a mirror.yaml.

    Args:
        folder: the project.
        progress: where long work tells how far it is.
    """

    def __init__(self, folder: Path, progress: Progress | None = None) -> None:
        self.folder = folder
        self.config = config.load(folder / config.FILE_NAME)
        self.site = folder / "site"
        self.state = folder / ".state"
        self.progress = progress or NoProgress()
        self.store = Store(self.site / "catalog", self.state / "tmp")
        self.catalog = Catalog(self.store)
        self.pointer: Pointer = HeadFile(
            self.site / "catalog" / "metadata" / "head.json", self.state / "tmp"
        )
        views = Views(self.config.views, self.config.url)
        self.builder = Builder(folder, self.store, self.catalog, views, self.progress)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Alone with the mirror; what a killed command left unfinished is finished first.

        Raises:
            BusyError: another command worked all the while.
            StorageError: the disk refuses.
        """
        with storage_errors(str(self.folder)):
            (self.state / "tmp").mkdir(parents=True, exist_ok=True)
            with locked(self.state / "lock", self.config.lock_wait_seconds):
                self.builder.sweep()
                self.builder.bring_up(self.pointer.read())
                yield

    def head(self) -> Head | None:
        """The current revision's head; None for a mirror that never held anything."""
        return self.pointer.read()

    def root(self) -> CatalogRoot | None:
        """The current revision's catalog root."""
        head = self.head()
        return None if head is None else self.catalog.root(head.catalog)

    def tree(self) -> Node:
        """The current revision's tree; an empty one for a new mirror."""
        root = self.root()
        return EMPTY if root is None else root.tree

    def document(self, package: str) -> PackageDocument:
        """The document of a package. Raises NotFoundError."""
        document = self.catalog.get(self.tree(), package)
        if document is None:
            raise NotFoundError(f"there is no package {package}; see 'cnrmirror list'")
        return document

    def revision(self, text: str) -> tuple[Descriptor, CatalogRoot]:
        """The revision of a number, a digest (or the beginning of one), or ``head``.

        Raises:
            NotFoundError: no such revision is kept.
        """
        head = self.head()
        if head is not None:
            for at, root in self.catalog.history(head.catalog):
                if text in (str(root.revision), "head") or (
                    len(text) >= 8 and at.digest.startswith(text)
                ):
                    return at, root
        raise NotFoundError(f"there is no revision {text!r}; see 'cnrmirror log'")

    def commit(
        self, changes: Mapping[str, PackageDocument | None], message: str, now: str
    ) -> Head | None:
        """Make a revision in which these packages are as given; call it while ``writing``.

        Returns:
            The new head, or None if nothing changed: then nothing was written.
        """
        refs = {n: None if d is None else self.catalog.put(d) for n, d in changes.items()}
        return self.commit_tree(self.catalog.change(self.tree(), refs), message, now)

    def commit_tree(self, tree: Node, message: str, now: str) -> Head | None:
        """As ``commit``, with the whole tree given."""
        head = self.head()
        if tree == self.tree():
            return None
        packages, releases = counts(tree)
        root = CatalogRoot(
            registry=self.config.id,
            revision=head.revision + 1 if head else 1,
            time=now,
            message=message,
            packages=packages,
            releases=releases,
            tree=tree,
            parent=head.catalog if head else None,
        )
        new = Head(self.store.put(root), root.revision)
        sync_filesystem(self.site)
        self.pointer.write(new)
        self.builder.bring_up(new)
        return new


def create(folder: Path, identity: str) -> Project:
    """A new, empty mirror. Raises InvalidDocument if the folder holds one already."""
    path = folder / config.FILE_NAME
    with storage_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise InvalidDocument(f"{path}: there is a mirror here already")
        path.write_text(config.first_text(identity), encoding="utf-8")
    project = Project(folder)
    with project.writing():
        pass
    return project
