"""The site's views, brought from the revision they stand at to another."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from cnrmirror.catalog.tree import EMPTY, Catalog, Difference
from cnrmirror.crew.processes import processes
from cnrmirror.mirror.layout import Layout
from cnrmirror.mirror.rows import (
    RowFiles,
    RowsLost,
    ShardNames,
    ViewRows,
    rows_of,
    updated_rows,
)
from cnrmirror.model import typed
from cnrmirror.model.collector import without_cycles
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Head, PackageRef
from cnrmirror.model.progress import NoProgress, Progress, stage
from cnrmirror.model.resource import Resource
from cnrmirror.objects.files import replace_durably, sync_filesystem
from cnrmirror.objects.sitetree import SiteTree
from cnrmirror.objects.store import Store
from cnrmirror.views.base import Package
from cnrmirror.views.cnr_paths import PACKAGES
from cnrmirror.views.site import Site, ViewEntries, add_entries, changes, changes_of

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

    def known_entries(self, head: Head, only: str = "") -> ViewEntries | None:
        """The entries of every view, or only of one, at a revision, if the views stand at it.

        None also for who may not read them: the documents say the same.
        """
        try:
            built = self.built()
        except PermissionError:
            return None
        if built is None or built.at != head.catalog:
            return None
        try:
            rows = self._opened(built)
            return {view: rows[view].whole() for view in ([only] if only else rows)}
        except RowsLost:  # also where another command has just brought the views further
            return None

    def _opened(self, built: Built) -> ViewRows:
        return self._rows.open(built.rows, self.views.entry_types)

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
        try:
            self._bring(built, head)
        except RowsLost:
            self._bring(built and self._read_again(built), head)

    def _bring(self, built: Built | None, head: Head) -> None:
        if built is not None and built.at == head.catalog:
            return
        if built is not None and not self._store.has_root(built.at):
            built = None
        if not self._files:
            self._bring_entries(built, head)
        elif built is None:
            self.rebuild(head)
        else:
            old = self._catalog.root(built.at)
            new = self._catalog.root(head.catalog)
            differences = list(self._catalog.diff(old.tree, new.tree))
            names = [difference.name for difference in differences]
            before = self._opened(built)
            fresh = self._packages(differences)
            with without_cycles():
                after = updated_rows(before, fresh, names)
                moved = changes_of(before, after, names)
                lists = self.views.list_changes((before, old), (after, new), moved)
            self.tree.update(*lists)
            self._remember(head, after, built, names)

    def _read_again(self, built: Built) -> Built | None:
        """The same with all entries, out of the documents; None if these are not there any more.

        That entries are lost, or of an older program, says nothing against the site's files.
        """
        if not self._store.has_root(built.at):
            return None
        tree = self._catalog.root(built.at).tree
        entries = rows_of(self.views.read_entries(self._catalog, tree))
        return msgspec.structs.replace(built, rows=self._rows.write(entries, {}, None))

    def _bring_entries(self, built: Built | None, head: Head) -> None:
        """Know the entries of ``head``, without the files."""
        old = self._catalog.root(built.at).tree if built else EMPTY
        found = list(self._catalog.diff(old, self._catalog.root(head.catalog).tree))
        names = [difference.name for difference in found]
        fresh: ViewEntries = {}
        for document in self._catalog.documents(d.new for d in found if d.new is not None):
            package = self.views.load(self._catalog, document, None)
            add_entries(fresh, self.views.entries([package]))
        before = self._opened(built) if built else {}
        self._remember(head, updated_rows(before, fresh, names), built, names)

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
            entries = self._packages([Difference(ref.name, None, ref) for ref in refs])
            self.tree.update(self.views.all_lists(entries, root), [])
        else:
            entries = self._compared(refs, expected)
            lists = self.views.all_lists(entries, root)
            expected.update(r.path for r in lists)
            self.tree.update(self._wrong(lists), [])
            self.tree.update([], sorted(self.extra(expected), reverse=True))
        self._remember(head, rows_of(entries))
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

    def _packages(self, differences: Sequence[Difference]) -> ViewEntries:
        with stage(self._progress, "Writing packages", len(differences)) as progress:
            if len(differences) < _WORTH_PROCESSES:
                return bring_packages(self._store, self.views, self.tree, differences, progress)
            entries: ViewEntries = {}
            chunks = [differences[i : i + _CHUNK] for i in range(0, len(differences), _CHUNK)]
            with processes() as pool:
                jobs = [
                    pool.submit(_build_some, self._site, self._scratch, self.views, chunk)
                    for chunk in chunks
                ]
                for job, chunk in zip(jobs, chunks, strict=True):
                    found, written, removed = job.result()
                    add_entries(entries, found)
                    self.tree.written += written
                    self.tree.removed += removed
                    progress.advance(len(chunk))
            return entries

    def _remember(
        self, head: Head, entries: ViewRows, before: Built | None = None,
        names: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        """Note where the views stand; after ``before`` only these packages changed."""
        known = before.rows if before else {}
        rows = self._rows.write(entries, known, names if before else None)
        built = Built(head.catalog, self.views.fingerprint, self._folder(), rows)
        sync_filesystem(self._site)
        replace_durably(self._state, msgspec.json.encode(built), self._scratch)
        self._rows.keep_only(rows)


def bring_packages(
    store: Store, views: Site, tree: SiteTree, differences: Sequence[Difference],
    progress: Progress,
) -> ViewEntries:  # fmt: skip
    """Bring packages' files from the old documents to the new; the entries of the new."""

    catalog = Catalog(store)

    def load(ref: PackageRef | None) -> Package | None:
        return views.load(catalog, catalog.document(ref), store) if ref else None

    entries: ViewEntries = {}
    for difference in differences:
        old, new = load(difference.old), load(difference.new)
        tree.update(*changes(views.package(old), views.package(new)))
        add_entries(entries, views.entries([new] if new else []))
        progress.advance()
    return entries


def _build_some(
    site: Path, scratch: Path, views: Site, differences: Sequence[Difference]
) -> tuple[ViewEntries, int, int]:
    store = Store(site / "catalog", scratch)
    tree = SiteTree(site, store)
    entries = bring_packages(store, views, tree, differences, NoProgress())
    return entries, tree.written, tree.removed
