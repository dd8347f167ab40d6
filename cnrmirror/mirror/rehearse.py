"""A rehearsal: a command runs to its end, but nothing is signed, and the mirror stays as it is."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cnrmirror.catalog.changes import Change, changes_between
from cnrmirror.catalog.tree import Catalog
from cnrmirror.mirror.project import Project
from cnrmirror.model.documents import CatalogRoot, Head, RetentionFloor
from cnrmirror.model.signed import SignedHead
from cnrmirror.objects.store import Store


class Rehearsal(Project):
    """The same mirror, whose new blobs, nodes and revision go to a folder apart.

    Args:
        project: the mirror.
        scratch: an empty folder, which may be removed afterwards.
    """

    def __init__(self, project: Project, scratch: Path) -> None:
        super().__init__(project.folder, project.signer, project.progress)
        self.store = Store(scratch / "catalog", scratch, project.store)
        self.catalog = Catalog(self.store)
        self._made: CatalogRoot | None = None

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """See ``Project``; others may change the mirror meanwhile."""
        self.require_writable()
        yield

    @property
    def made(self) -> CatalogRoot | None:
        """The revision that would have been made; None if none was."""
        return self._made

    def changes(self) -> list[Change]:
        """What the revision that would have been made changes; nothing if none was made."""
        if self._made is None:
            return []
        return list(changes_between(self.catalog, self.tree(), self._made.tree))

    def _make(
        self, root: CatalogRoot, now: str, above: SignedHead | None = None,
        kept: RetentionFloor | None = None,
    ) -> Head:  # fmt: skip
        self._made = root
        return Head(self.store.put(root), root.revision)


@contextlib.contextmanager
def rehearsal(project: Project) -> Iterator[Rehearsal]:
    """A rehearsal in a temporary folder, which is removed in the end."""
    with tempfile.TemporaryDirectory(prefix="cnrmirror-") as folder:
        yield Rehearsal(project, Path(folder))
