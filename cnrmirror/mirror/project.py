"""A mirror project on disk, and the one way in which a revision is made.

``commit``: blobs and nodes are on the disk → synced → the pointer moves → the views follow. Killed
before the pointer moves, nothing has happened; killed after it, the next command brings the views
up to the revision, from the one they stand at (``scratch/built.json``).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from cnrmirror.catalog.metadata import MetadataFolder
from cnrmirror.catalog.tree import EMPTY, Catalog, counts
from cnrmirror.mirror import config
from cnrmirror.mirror.build import Builder
from cnrmirror.mirror.layout import Layout
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, Head, Node, PackageDocument, RetentionFloor
from cnrmirror.model.errors import InvalidDocument, NotFoundError, NotTrusted, UsageError
from cnrmirror.model.progress import NoProgress, Progress
from cnrmirror.model.signed import SignedHead
from cnrmirror.objects.files import locked, storage_errors
from cnrmirror.objects.store import Store
from cnrmirror.views.cnr_v1 import ListEntry
from cnrmirror.views.site import Views

if TYPE_CHECKING:
    from tuf.api.metadata import Root, Targets

EMPTY_MESSAGE = "an empty mirror"


class Project:
    """A folder with a mirror.yaml.

    Args:
        folder: the project.
        signer: signs revisions; without one, nothing can be changed.
        progress: where long work tells how far it is.
    """

    def __init__(
        self, folder: Path, signer: Signer | None = None, progress: Progress | None = None
    ) -> None:
        self.folder = folder
        self.config = config.load(folder / config.FILE_NAME)
        self.layout = Layout(folder)
        self.site = self.layout.site
        self.progress = progress or NoProgress()
        self.store = Store(self.layout.catalog, self.layout.making)
        self.catalog = Catalog(self.store)
        self.metadata = MetadataFolder(self.layout.metadata)
        self.signer = signer
        views = Views(self.config.views, self.config.url)
        self.builder = Builder(self.layout, self.store, self.catalog, views, self.progress)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Alone with the mirror; what a killed command left unfinished is finished first.

        Raises:
            BusyError: another command worked all the while.
            StorageError: the disk refuses.
        """
        with self.alone():
            self.builder.bring_up(self.head())
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Alone with the mirror, whatever it stands at. Raises BusyError, StorageError."""
        with storage_errors(str(self.folder)):
            self.layout.making.mkdir(parents=True, exist_ok=True)
            with locked(self.layout.lock, self.config.lock_wait_seconds):
                self.builder.sweep()
                yield

    @contextlib.contextmanager
    def signing(self) -> Iterator[None]:
        """As ``writing``, to make a revision: the keys are looked for before anything is written.

        Raises:
            NotTrusted: a key is missing.
        """
        if self.config.follow:
            raise UsageError(
                f"{self.folder} follows another mirror (mirror.yaml: follow): it changes only by "
                "'cnrmirror import'"
            )
        if self.signer is None:
            raise NotTrusted("no keys are at hand to sign a revision with")
        self.signer.check_keys()
        with self.writing():
            yield

    @contextlib.contextmanager
    def writing_if_possible(self) -> Iterator[None]:
        """As ``writing``; on a medium that cannot be written to, without a lock."""
        if os.access(self.folder, os.W_OK):
            with self.writing():
                yield
        else:
            yield

    def head(self) -> Head:
        """The current revision's head. Raises DamageError; NotFoundError before any import."""
        if self.config.follow and not (self.metadata.path / "timestamp.json").exists():
            raise NotFoundError(
                f"{self.folder}: nothing was taken in yet; see 'cnrmirror import --help'"
            )
        return self.metadata.head()

    def signed_head_or_none(self) -> SignedHead | None:
        """What the mirror stands at; None if it follows another and has taken in nothing yet."""
        there = (self.metadata.path / "timestamp.json").exists()
        return self.metadata.edition() if there else None

    def root(self) -> CatalogRoot:
        """The current revision's catalog root."""
        return self.catalog.root(self.head().catalog)

    def tree(self) -> Node:
        """The current revision's tree."""
        return self.root().tree

    def document(self, package: str) -> PackageDocument:
        """The document of a package. Raises NotFoundError."""
        document = self.catalog.get(self.tree(), package)
        if document is None:
            raise NotFoundError(f"there is no package {package}; see 'cnrmirror list'")
        return document

    def known_rows(self, head: Head) -> list[ListEntry] | None:
        """The lists' rows of a revision, sorted, if the views stand at it."""
        built = self.builder.built()
        if built is None or built.at != head.catalog:
            return None
        return [built.rows[name] for name in sorted(built.rows)]

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """An archive. Raises DamageError."""
        return self.store.open_blob(blob)

    def open_file(self, path: str) -> BinaryIO:
        """A file of the site. Raises FileNotFoundError."""
        return open(self.site / path, "rb")

    def revision(self, text: str) -> tuple[Descriptor, CatalogRoot]:
        """The revision of a number, a digest (or the beginning of one), or ``head``.

        Raises:
            NotFoundError: no such revision is kept.
        """
        for at, root in self.catalog.history(self.head().catalog):
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
        return self.commit_after(tree, head.catalog, head.revision + 1, message, now)

    def commit_after(
        self,
        tree: Node,
        parent: Descriptor,
        revision: int,
        message: str,
        now: str,
        above: SignedHead | None = None,
    ) -> Head:
        """A revision after ``parent``, which may be one of another mirror that is merged.

        Args:
            above: what is published elsewhere: the signed files get higher versions than there.
        """
        new = self._sign(tree, revision, parent, message, now, above)
        self.builder.bring_up(new)
        return new

    def _sign(
        self,
        tree: Node,
        revision: int,
        parent: Descriptor | None,
        message: str,
        now: str,
        above: SignedHead | None = None,
    ) -> Head:
        assert self.signer is not None
        packages, releases = counts(tree)
        root = CatalogRoot(
            registry=self.config.id,
            revision=revision,
            time=now,
            message=message,
            packages=packages,
            releases=releases,
            tree=tree,
            parent=parent,
        )
        head = Head(self.store.put(root), revision)
        self.signer.sign_revision(head, now, above)
        return head

    def sign_first(self, now: str) -> None:
        """Revision 0: an empty catalog, so that there is something signed from the beginning."""
        with storage_errors(str(self.folder)):
            self.layout.making.mkdir(parents=True, exist_ok=True)
            head = self._sign(EMPTY, 0, None, EMPTY_MESSAGE, now)
            self.builder.bring_up(head)


def prepare(folder: Path, identity: str) -> None:
    """A folder for a new mirror, without its first revision.

    Raises:
        InvalidDocument: the folder holds a mirror already.
    """
    path = folder / config.FILE_NAME
    with storage_errors(str(folder)):
        catalog, metadata = Layout(folder).catalog, Layout(folder).metadata
        # What a killed init left may be made again; anything more is somebody's mirror.
        signs = [metadata / "timestamp.json", catalog / "nodes", catalog / "blobs"]
        if any(sign.exists() for sign in signs) or any(metadata.glob("2.*")):
            raise InvalidDocument(f"{path}: there is a mirror here already")
        Layout(folder).making.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(config.first_text(identity), encoding="utf-8")


class Signer(Protocol):
    """Makes a revision the current one, by signing it."""

    def check_keys(self) -> None:
        """Make sure that it can, before anything is written. Raises NotTrusted."""

    def sign_revision(self, head: Head, now: str, above: SignedHead | None = None) -> None:
        """Sign and make ``head`` current, atomically and durably; ``now`` is ISO 8601, UTC.

        With ``above``, an edition that is published elsewhere, no version is as low as there.

        Raises:
            NotTrusted: a key is missing.
        """

    def require_keys(self, root: Root, targets: Targets | None = None) -> None:
        """Make sure that everything below a root that is to come can be signed. NotTrusted."""

    def write_root(self, data: bytes, version: int) -> None:
        """Put a root beside the others; ``sign_revision`` comes next."""

    def write_targets(self, data: bytes, version: int) -> None:
        """Put a targets file beside the others; ``sign_revision`` comes next."""

    def keep_from(self, kept: RetentionFloor, now: str) -> None:
        """Sign that superseded files are kept from these versions on; others may go then."""
