"""The revisions of a mirror, newest first, one by one: each names the one before by its digest."""

from __future__ import annotations

from cnrmirror.catalog.nodes import RemoteNodes
from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.model.documents import CatalogRoot, node_path
from cnrmirror.model.errors import CnrMirrorError, IncompleteError
from cnrmirror.model.finding import Finding
from cnrmirror.objects.base import Reader
from cnrmirror.trust.verify import Verified

MOST = 10_000


class History:
    """Goes back through the history of a mirror.

    Attributes:
        at, root: the revision where it stands.
        above: the number of the revision after it; None at the head.
        ended: why it goes back no further.
        error: what the mirror owes: an older revision that it says is retained, and does not give.
    """

    def __init__(self, reader: Reader, verified: Verified) -> None:
        self._reader = reader
        self._catalog = CatalogReader(RemoteNodes(reader))
        self._floor = verified.head.kept.revision
        self._left = MOST
        self.at, self.root = verified.at, verified.root
        self.above: int | None = None
        self.ended = ""
        self.error: CnrMirrorError | None = None
        self.finding: Finding | None = None

    @property
    def revision(self) -> int:
        return self.root.revision

    def step(self) -> bool:
        """Go to the revision before; False if there is none that can be read."""
        parent, name = self.root.parent, self._reader.name
        self._left -= 1
        if parent is None:
            self.ended = f"{name}: revision {self.revision} is the first"
        elif self._left <= 0:
            self.ended = f"{name}: {MOST} revisions were read, and not more"
        else:
            try:
                older = self._catalog.root(parent)
            except CnrMirrorError as error:
                self._fail(node_path(parent.digest, CatalogRoot), error)
                return False
            if self._is_older(older):
                self.above, self.at, self.root = self.revision, parent, older
                return True
            self.ended = f"{name}: what revision {self.revision} goes back to is not older"
        return False

    def to(self, revision: int) -> bool:
        """Go back to a revision, or past it; False if the history ends before."""
        while self.revision > revision:
            if not self.step():
                return False
        return True

    def lies_between(self, revision: int) -> bool:
        """Whether a revision would have to be just above where it stands, and is not there."""
        return self.above is not None and self.revision < revision < self.above

    def _is_older(self, older: CatalogRoot) -> bool:
        return older.registry == self.root.registry and older.revision < self.revision

    def _fail(self, path: str, error: CnrMirrorError) -> None:
        if isinstance(error, IncompleteError) and self.revision <= self._floor:
            name = self._reader.name
            self.ended = f"{name}: no history is retained before revision {self.revision}"
        else:
            self.ended, self.error = error.message, error
            self.finding = Finding.of(path, error)
