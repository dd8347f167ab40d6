"""A mirror project on disk, and the one way in which a revision is made.

``commit``: blobs and nodes are on the disk → synced → the pointer moves → the views follow. Killed
before the pointer moves, nothing has happened; killed after it, the next command brings the views
up to the revision, from the one they stand at (``scratch/built.json``).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from cnrmirror.catalog.facts import facts_for, with_facts
from cnrmirror.catalog.metadata import MetadataFolder
from cnrmirror.catalog.tree import EMPTY, Catalog, counts
from cnrmirror.mirror import config, retire
from cnrmirror.mirror.build import Builder
from cnrmirror.mirror.layout import Layout
from cnrmirror.mirror.lineage import Lineage
from cnrmirror.mirror.signer import Signer
from cnrmirror.model import format as formats
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import (
    ArchiveFacts,
    CatalogRoot,
    Head,
    Node,
    PackageDocument,
    PackageRef,
    RetentionFloor,
    Upstream,
    log_after,
)
from cnrmirror.model.errors import (
    DamageError,
    NotFoundError,
    NotTrusted,
    UsageError,
)
from cnrmirror.model.format import Format, require_writable
from cnrmirror.model.instant import Instant
from cnrmirror.model.later import later
from cnrmirror.model.near import did_you_mean
from cnrmirror.model.progress import NoProgress, Progress
from cnrmirror.model.signed import SignedHead
from cnrmirror.objects.files import locked, storage_errors
from cnrmirror.objects.store import Store
from cnrmirror.views.site import Site, ViewGroups
from cnrmirror.views.templates import own_templates

if TYPE_CHECKING:
    from cnrmirror.mirror import places
    from cnrmirror.objects import partial
else:
    places = later("cnrmirror.mirror.places")
    partial = later("cnrmirror.objects.partial")

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
        self.layout = Layout(folder, elsewhere=self.config.store is not None)
        self.site = self.layout.site
        self.progress = progress or NoProgress()
        self.partial = self._partial()
        self.store = self.partial or Store(self.layout.catalog, self.layout.making)
        self.catalog = Catalog(self.store)
        self.metadata = MetadataFolder(self.layout.metadata, self.partial)
        self.lineage = Lineage(self.layout.lineage)
        self.signer = signer
        self.templates: Mapping[str, str] = own_templates(folder, self.config.views.templates)
        self.views = Site(self.config.views, self.config.url, templates=self.templates)
        self.builder = Builder(self.layout, self.store, self.catalog, self.views, self.progress)
        # Around every change: brings what others changed, and to them what was changed here.
        self.turn: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext

    def _partial(self) -> partial.PartialStore | None:
        """What is here of a mirror that is elsewhere; None if all is here."""
        at = self.config.store
        return places.partial_store(self.folder, self.layout, at) if at else None

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Alone with the mirror; what a killed command left unfinished is finished first.

        Raises:
            BusyError: another command worked all the while.
            NewerFormat: a newer program wrote this mirror; nothing was touched.
            StorageError: the disk refuses.
        """
        with self.turn(), self.alone():
            self.require_writable()
            self.builder.bring_up(self.head())
            yield

    def require_writable(self) -> None:
        """Raises NewerFormat if this program must not change the mirror."""
        require_writable(self.root().format, str(self.folder))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Alone with the mirror, whatever it stands at. Raises BusyError, StorageError."""
        with storage_errors(str(self.folder)):
            self.layout.making.mkdir(parents=True, exist_ok=True)
            with locked(self.layout.lock, self.config.lock_wait_seconds):
                self.builder.sweep()
                retire.carry_out(self.layout, self.metadata)
                yield

    @contextlib.contextmanager
    def signing(self, now: str) -> Iterator[None]:
        """As ``writing``, to make a revision: the keys are looked for before anything is written.

        Args:
            now: the time of the revision, ISO 8601, UTC.

        Raises:
            NotTrusted: a key is missing.
            StaleError: nothing good can be signed for that time.
        """
        if self.config.follow:
            raise UsageError(
                f"{self.folder} follows another mirror (mirror.yaml: follow): it changes only by "
                "'cnrmirror import'"
            )
        if self.signer is None:
            raise NotTrusted("no online keys were found to sign a revision: see 'keys list'")
        self.require_writable()
        self.signer.check_keys(now)
        with self.writing():
            yield

    @contextlib.contextmanager
    def writing_if_possible(self) -> Iterator[None]:
        """As ``writing``; where nothing may or can be written, without a lock."""
        if os.access(self.folder, os.W_OK) and self.root().format.write <= formats.KNOWN.write:
            with self.writing():
                yield
        else:
            yield

    @property
    def trusted_root(self) -> Path:
        """The file that readers pin."""
        return self.layout.root if self.partial else self.metadata.path / "1.root.json"

    def head(self) -> Head:
        """The current revision's head. Raises DamageError; NotFoundError before any import."""
        if self.config.follow and not (self.metadata.path / "timestamp.json").exists():
            raise NotFoundError(
                f"{self.folder}: nothing was imported yet; see 'cnrmirror import --help'"
            )
        return self.metadata.head()

    def signed_head_or_none(self) -> SignedHead | None:
        """What the mirror stands at; None if it follows another and has taken in nothing yet."""
        there = (self.metadata.path / "timestamp.json").exists()
        return self.metadata.signed_head() if there else None

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
            names = (ref.name for ref in self.catalog.packages(self.tree()))
            hint = did_you_mean(package, names) or "; see 'cnrmirror list'"
            raise NotFoundError(f"there is no package {package}{hint}")
        return document

    def known_groups(self, head: Head) -> ViewGroups | None:
        """The entries of every view at a revision, if the views stand at it."""
        return self.builder.known_groups(head)

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """An archive. Raises DamageError."""
        return self.store.open_blob(blob)

    def open_file(self, path: str) -> BinaryIO:
        """A file of the site. Raises FileNotFoundError."""
        return self.partial.open_file(path) if self.partial else open(self.site / path, "rb")

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
        self,
        changes: Mapping[str, PackageDocument | None],
        message: str,
        now: str,
        facts: Mapping[str, ArchiveFacts] = MappingProxyType({}),
        upstreams: Mapping[str, Upstream] = MappingProxyType({}),
    ) -> Head | None:
        """Make a revision in which these packages are as given; call it while ``writing``.

        Args:
            changes: the packages that change; None for one that goes.
            message: what the revision says of itself.
            now: its time, ISO 8601, UTC without an offset.
            facts: what was seen in new archives, by their digests.
            upstreams: the sources that were synced, and from what; the others stay as recorded.

        Returns:
            The new head, or None if nothing changed: then nothing was written.
        """
        root = self.root()
        tree, facts = root.tree, facts_for(root.format, facts)
        refs = {
            name: None if document is None else self.put(document, tree, facts)
            for name, document in changes.items()
        }
        return self.commit_tree(self.catalog.change(tree, refs), message, now, upstreams)

    def put(
        self,
        document: PackageDocument,
        before: Node,
        facts: Mapping[str, ArchiveFacts] = MappingProxyType({}),
    ) -> PackageRef | None:
        """Store a package document with its facts; ``before`` is the tree that it changes."""
        old = self.catalog.get(before, document.package)
        return self.catalog.put(with_facts(self.catalog, document, old, facts))

    def commit_tree(
        self,
        tree: Node,
        message: str,
        now: str,
        upstreams: Mapping[str, Upstream] = MappingProxyType({}),
    ) -> Head | None:
        """As ``commit``, with the whole tree given."""
        head, root = self.head(), self.root()
        if tree == root.tree and self.says(root):
            return None
        new = self._after((head.catalog, root), tree, message, now)
        return self._make(_with_upstreams(new, upstreams), now)

    def commit_after(
        self,
        tree: Node,
        parent: tuple[Descriptor, CatalogRoot],
        revision: int,
        message: str,
        now: str,
        above: SignedHead,
    ) -> Head:
        """A revision after ``parent``, which is one of another mirror that is merged.

        Args:
            parent: its catalog root, which need not be in the store: then history begins here.
            above: what is published elsewhere: the signed files get higher versions than there.
        """
        at, before = parent
        ours = self.root()
        new = self._after(parent, tree, message, now, ours.format)
        upstreams = newest_upstreams(ours.upstreams, before.upstreams)
        new = msgspec.structs.replace(new, revision=revision, upstreams=upstreams)
        kept = None
        if not self.store.has_root(at):
            kept = msgspec.structs.replace(above.kept, revision=revision)
        return self._make(new, now, above, kept)

    def upgrade(self, now: str) -> tuple[Format, Format]:
        """Raise the mirror's format to what this program knows; the formats before and after."""
        with self.signing(now):
            head, before = self.head(), self.root()
            known = formats.KNOWN
            if before.format != known:
                message = f"format {known.read}, {known.write}"
                new = self._after((head.catalog, before), before.tree, message, now, known)
                self._make(new, now)
            return before.format, known

    @property
    def settings(self) -> dict[str, Any]:
        """What views take from mirror.yaml: whoever has the catalog can render the same bytes."""
        return self.config.views.in_catalog(self.config.url, self.templates)

    def says(self, root: CatalogRoot) -> bool:
        """Whether a revision says of its views what mirror.yaml says now."""
        return root.settings in ({}, self.settings)

    def _after(
        self, before: tuple[Descriptor, CatalogRoot] | None, tree: Node, message: str, now: str,
        least: Format = formats.FIRST,
    ) -> CatalogRoot:  # fmt: skip
        """The root of the revision after another one, in its format or ``least``; or the first."""
        packages, releases = counts(tree)
        seen = self.signer.guard.seen_revision if self.signer else 0
        at, root = before or (None, None)
        format = formats.newest(root.format, least) if root else formats.KNOWN
        remembers = format.write >= formats.LOG_SINCE
        return CatalogRoot(
            registry=self.config.id,
            revision=max(root.revision, seen) + 1 if root else 0,
            time=now,
            message=message,
            packages=packages,
            releases=releases,
            tree=tree,
            parent=at,
            format=format,
            settings=self.settings,
            upstreams=root.upstreams if root else {},
            log=log_after(root) if root and remembers else [],
            root=self.metadata.root_in_force() if remembers else None,
        )

    def _make(
        self, root: CatalogRoot, now: str, above: SignedHead | None = None,
        kept: RetentionFloor | None = None,
    ) -> Head:  # fmt: skip
        """Store, sign and show a revision."""
        assert self.signer is not None
        head = Head(self.store.put(root), root.revision)
        going = None if above or kept else self._retirement(head, root, now)
        before = self.head().catalog.digest if root.parent else ""
        self.signer.sign_revision(head, now, above, kept or (going.floor if going else None))
        self.lineage.add(head.catalog.digest, before)
        self.builder.bring_up(head)
        retire.carry_out(self.layout, self.metadata)
        return head

    def _retirement(self, head: Head, root: CatalogRoot, now: str) -> retire.Retirement | None:
        """What goes with a new revision; it is noted, so that it goes though we are killed."""
        keep = self.config.retention
        if root.parent is None:
            return None
        if not retire.is_due(root, self.metadata.timestamp().kept, keep.revisions):
            return None
        limit = Instant.parse(now).plus(-timedelta(hours=keep.grace_hours))
        try:
            found = retire.retirement(
                self.catalog, self.metadata, head.catalog, keep.revisions, limit
            )
        except DamageError:  # in an old revision: no reason not to make a new one
            return None
        if found is not None:
            retire.note(found, self.layout)
        return found

    def sign_first(self, now: str) -> None:
        """Revision 0: an empty catalog, so that there is something signed from the beginning."""
        with storage_errors(str(self.folder)):
            self.layout.making.mkdir(parents=True, exist_ok=True)
            self._make(self._after(None, EMPTY, EMPTY_MESSAGE, now), now)


def _with_upstreams(root: CatalogRoot, upstreams: Mapping[str, Upstream]) -> CatalogRoot:
    return msgspec.structs.replace(root, upstreams={**root.upstreams, **upstreams})


def newest_upstreams(
    ours: Mapping[str, Upstream], theirs: Mapping[str, Upstream]
) -> dict[str, Upstream]:
    """What two catalogs record, of each source the newer: nobody is held to less than before."""
    found = {**theirs, **ours}
    for name in ours.keys() & theirs.keys():
        found[name] = max(ours[name], theirs[name], key=lambda u: (u.root, u.revision, u.timestamp))
    return found
