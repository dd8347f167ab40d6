"""The site's views, brought from the revision they stand at to another."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import msgspec

from cnrmirror.catalog.tree import Catalog, Difference
from cnrmirror.crew.processes import processes
from cnrmirror.mirror.layout import Layout
from cnrmirror.mirror.rows import NO_FILES, RowFiles, RowsLost, ShardNames, SureGroups
from cnrmirror.model import typed
from cnrmirror.model.collector import without_cycles
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Head, PackageRef
from cnrmirror.model.errors import DamageError, IncompleteError
from cnrmirror.model.progress import NoProgress, Progress, stage
from cnrmirror.model.resource import Resource
from cnrmirror.objects.files import replace_durably, sync_filesystem
from cnrmirror.objects.sitetree import SiteTree
from cnrmirror.objects.store import Store
from cnrmirror.views.base import Package
from cnrmirror.views.cnr_paths import PACKAGES
from cnrmirror.views.site import (
    Site,
    ViewChanges,
    ViewEntries,
    ViewGroups,
    add_entries,
    changes,
    entries_of,
)

# Fewer packages than this are done sooner than a second process starts.
_WORTH_PROCESSES = 300
_CHUNK = 100


class Built(msgspec.Struct, frozen=True):
    """Where the views stand: which root, in which form and folder, and the files of all entries.

    Private to this machine (scratch), and made again from the catalog.
    """

    at: Descriptor
    fingerprint: str
    folder: str
    rows: ShardNames


class Builder:
    """Keeps ``site/`` equal to the views of the catalog."""

    def __init__(
        self, layout: Layout, store: Store, catalog: Catalog, views: Site, progress: Progress
    ) -> None:
        self._site = layout.site
        self._scratch = layout.making
        self._state = layout.built
        self._rows = RowFiles(layout.rows, layout.making)
        self._store = store
        self._catalog = catalog
        self.views = views
        self._progress = progress
        self.tree = SiteTree(self._site, store)
        # Where the site is elsewhere, only what the views know of every package is kept here.
        self._files = not layout.elsewhere

    def built(self) -> Built | None:
        """What is known of the site; None if nothing, or if its form is another now."""
        try:
            built = typed.decode(self._state.read_bytes(), Built)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        known = built.fingerprint == self.views.fingerprint and built.folder == self._folder()
        return built if known else None

    def known_groups(self, head: Head) -> ViewGroups | None:
        """The entries of every view at a revision, if the views stand at it; read when asked for.

        None also for who may not read them: the documents say the same.
        """
        try:
            built = self.built()
        except PermissionError:
            return None
        if built is None or built.at != head.catalog:
            return None
        # They are lost, too, where another command has just brought the views further.
        again = cache(lambda: self._read_again(head.catalog))
        try:
            kept = self._opened(built)
        except RowsLost:
            return None
        return {view: SureGroups(view, groups, again) for view, groups in kept.items()}

    def _opened(self, built: Built) -> ViewGroups:
        return self._rows.open(built.rows, self.views.row_types)

    def _folder(self) -> str:
        """Tells this site from another copy of it, or from an older one that was put back."""
        marks = [os.stat(self._site).st_ino]
        with contextlib.suppress(FileNotFoundError):
            packages = os.stat(self._site / PACKAGES / "index.json")
            marks += [packages.st_mtime_ns, packages.st_size]
        return " ".join(map(str, marks))

    def sweep(self) -> None:
        """Remove what killed commands left in the making."""
        for entry in os.scandir(self._scratch):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)

    def bring_up(self, head: Head) -> None:
        """Make the views those of ``head``; does nothing if they are.

        A site of another form, or of which nobody knows the state, is compared with what it must
        be, file by file.
        """
        built = self.built()
        if built is not None and built.at == head.catalog:
            return
        if built is not None and not self._store.has_root(built.at):
            built = None
        if not self._files:
            self._bring_entries(head, built)
        elif built is None:
            self.rebuild(head)
        else:
            try:
                self._bring(head, built.at, self._opened(built), built.rows)
            except RowsLost:
                # That entries are lost says nothing against the site's files.
                self._bring(head, built.at, self._read_again(built.at), NO_FILES)

    def _read_again(self, at: Descriptor) -> ViewGroups:
        """All entries at a revision, out of the documents."""
        return self.views.read_entries(self._catalog, self._catalog.root(at).tree)

    def _bring(self, head: Head, at: Descriptor, before: ViewGroups, rows: ShardNames) -> None:
        """Bring the views from a revision of which the entries are known."""
        old, new = self._catalog.root(at), self._catalog.root(head.catalog)
        differences = list(self._catalog.diff(old.tree, new.tree))
        moved = self._packages(differences)
        with without_cycles():
            after = self.views.edited(before, moved)
            for each in self.views.list_changes((before, old), (after, new), moved):
                if isinstance(each, str):
                    self.tree.update([], [each])
                else:
                    self.tree.update([each], [])
            self._remember(head, after, rows)

    def _bring_entries(self, head: Head, built: Built | None) -> None:
        """Know the entries of ``head``, without the files."""
        if built is not None:
            # Others may have removed since what an old revision alone needed.
            with contextlib.suppress(DamageError, IncompleteError, RowsLost):
                old, new = self._catalog.root(built.at), self._catalog.root(head.catalog)
                differences = list(self._catalog.diff(old.tree, new.tree))
                olds = self._by_name(each.old for each in differences)
                news = self._by_name(each.new for each in differences)
                moved: ViewChanges = {}
                for name in (each.name for each in differences):
                    add_entries(moved, self.views.moved(name, olds.get(name), news.get(name)))
                self._remember(head, self.views.edited(self._opened(built), moved), built.rows)
                return
        self._remember(head, self._read_again(head.catalog))

    def _by_name(self, refs: Iterable[PackageRef | None]) -> dict[str, Package]:
        """Packages, of which many may be fetched at a time."""
        documents = self._catalog.documents(ref for ref in refs if ref is not None)
        return {d.package: self.views.load(self._catalog, d, None) for d in documents}

    def rebuild(self, head: Head) -> tuple[int, int]:
        """All views again: what differs is written, what does not belong is removed.

        Returns:
            How many files were written and removed.
        """
        written, removed = self.tree.written, self.tree.removed
        self._state.unlink(missing_ok=True)
        root = self._catalog.root(head.catalog)
        fixed = self.views.fixed()
        self.tree.update(self._wrong(fixed), [])
        expected = {r.path for r in fixed}
        refs = list(self._catalog.packages(root.tree))
        if not (self._site / PACKAGES).exists():
            moved = self._packages([Difference(ref.name, None, ref) for ref in refs])
            groups = self.views.grouped(entries_of(moved))
            self.tree.update(self.views.all_lists(groups, root), [])
        else:
            groups = self.views.grouped(self._compared(refs, expected))
            lists = self.views.all_lists(groups, root)
            expected.update(r.path for r in lists)
            self.tree.update(self._wrong(lists), [])
            self.tree.update([], sorted(self.extra(expected), reverse=True))
        self._remember(head, groups)
        return self.tree.written - written, self.tree.removed - removed

    def _compared(self, refs: Sequence[PackageRef], expected: set[str]) -> ViewEntries:
        """Mend the files of these packages; their entries. Their paths go to ``expected``."""
        entries: ViewEntries = {}
        with stage(self._progress, "Comparing packages", len(refs)) as progress:
            for ref in refs:
                package = self.views.load(self._catalog, self._catalog.document(ref), self._store)
                resources = self.views.package(package)
                expected.update(r.path for r in resources)
                self.tree.update(self._wrong(resources), [])
                add_entries(entries, self.views.entries([package]))
                progress.advance()
        return entries

    def _wrong(self, resources: Iterable[Resource]) -> list[Resource]:
        """Those that are not on the disk as they must be; what is in their way is removed."""
        resources = list(resources)
        # Before they are compared: behind a link in a folder's place, they may seem to be right.
        self.tree.make_way(r.path for r in resources)
        return [r for r in resources if self.tree.differs(r, self.same_blob)]

    def same_blob(self, path: str, blob: Descriptor) -> bool:
        """Whether a file has a blob's bytes: one inode, or equal content."""
        stored = self._store.blob_path(blob.digest)
        if os.path.exists(stored) and os.path.samefile(path, stored):
            return True
        nothing = contextlib.suppress(FileNotFoundError, IsADirectoryError)
        with open(path, "rb") as stream, nothing:
            with open(stored, "rb") as other:
                while piece := stream.read(1 << 20):
                    if piece != other.read(len(piece)):
                        return False
                return not other.read(1)
        return False

    def extra(self, expected: set[str]) -> Iterator[str]:
        """Files below ``site/`` that are neither catalog nor one of the expected views."""
        base = str(self._site)
        for folder, folders, files in os.walk(base):
            here = os.path.relpath(folder, base)
            if here == ".":
                folders[:] = [f for f in folders if f != "catalog"]
            links = [f for f in folders if os.path.islink(f"{folder}/{f}")]
            for name in (*files, *links):
                path = name if here == "." else f"{here}/{name}"
                if path not in expected and not self.views.keeps(path):
                    yield path

    def _packages(self, differences: Sequence[Difference]) -> ViewChanges:
        with stage(self._progress, "Writing packages", len(differences)) as progress:
            if len(differences) < _WORTH_PROCESSES:
                return bring_packages(self._store, self.views, self.tree, differences, progress)
            moved: ViewChanges = {}
            chunks = [differences[i : i + _CHUNK] for i in range(0, len(differences), _CHUNK)]
            with processes() as pool:
                jobs = [
                    pool.submit(_build_some, self._site, self._scratch, self.views, chunk)
                    for chunk in chunks
                ]
                for job, chunk in zip(jobs, chunks, strict=True):
                    found, written, removed = job.result()
                    add_entries(moved, found)
                    self.tree.written += written
                    self.tree.removed += removed
                    progress.advance(len(chunk))
            return moved

    def _remember(self, head: Head, groups: ViewGroups, before: ShardNames = NO_FILES) -> None:
        """Note where the views stand; ``before`` has what a change has left as it was."""
        packages = self._catalog.root(head.catalog).packages
        rows = self._rows.write(groups, before, packages)
        built = Built(head.catalog, self.views.fingerprint, self._folder(), rows)
        sync_filesystem(self._site)
        replace_durably(self._state, msgspec.json.encode(built), self._scratch)
        self._rows.keep_only(rows)


def bring_packages(
    store: Store, views: Site, tree: SiteTree, differences: Sequence[Difference],
    progress: Progress,
) -> ViewChanges:  # fmt: skip
    """Bring packages' files from the old documents to the new; what changed in their entries."""

    catalog = Catalog(store)

    def load(ref: PackageRef | None) -> Package | None:
        return views.load(catalog, catalog.document(ref), store) if ref else None

    moved: ViewChanges = {}
    for difference in differences:
        old, new = load(difference.old), load(difference.new)
        tree.update(*changes(views.package(old), views.package(new)))
        add_entries(moved, views.moved(difference.name, old, new))
        progress.advance()
    return moved


def _build_some(
    site: Path, scratch: Path, views: Site, differences: Sequence[Difference]
) -> tuple[ViewChanges, int, int]:
    store = Store(site / "catalog", scratch)
    tree = SiteTree(site, store)
    moved = bring_packages(store, views, tree, differences, NoProgress())
    return moved, tree.written, tree.removed
