"""What an audit knows so far: every pass reads it, and adds to it."""

from __future__ import annotations

from pathlib import Path

from cnrmirror.audit.journal import Journal
from cnrmirror.audit.kept import Kept
from cnrmirror.audit.part import Part
from cnrmirror.audit.report import Against, Order
from cnrmirror.audit.scout import Scouts
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, PackageRef, RetentionFloor
from cnrmirror.model.errors import CnrMirrorError
from cnrmirror.model.evidence import SignedFile
from cnrmirror.model.progress import Progress
from cnrmirror.objects.base import Reader
from cnrmirror.trust.chain import read_role
from cnrmirror.trust.lint import StrictMetadata
from cnrmirror.trust.verify import Trust, Verified
from cnrmirror.views.site import Site, ViewEntries, ViewSettings


class AuditState:
    """What an audit knows so far.

    ``verified`` is the signed chain as a client follows it, ``target`` what it names, ``root`` that
    catalog root; ``found`` is how many packages the tree names, ``chosen`` are those to be read.
    ``failure`` is why nothing was verified; ``root_file`` and ``timestamp`` are what could be
    verified nevertheless. ``oldest`` is the oldest revision that was read, ``at_first`` whether it
    has no parent. None and empty until a pass fills them.
    """

    def __init__(
        self,
        reader: Reader,
        trust: Trust,
        order: Order,
        progress: Progress,
        journal: Path | None,
        kept: Kept | None = None,
    ) -> None:
        self.reader = reader
        self.progress = progress
        self.trust = trust
        self.order = order
        self.journal = Journal(None if order.sample is not None else journal)
        self.with_views = order.views and reader.views != "none"
        self.site = Site(ViewSettings(precompress=False), "")
        self.seen = Part(reader, self.site)
        self.notes: list[str] = []
        self.metadata: StrictMetadata | None = None
        self.verified: Verified | None = None
        self.failure: CnrMirrorError | None = None
        self.pinned = read_role(trust.pinned, "the pinned root").file
        self.registry = trust.registry
        self.root_file: SignedFile | None = None
        self.timestamp: SignedFile | None = None
        self.target: Descriptor | None = None
        self.floor = RetentionFloor()
        self.root: CatalogRoot | None = None
        self.found = 0
        self.chosen: list[PackageRef] = []
        self.entries: ViewEntries = {}
        self.fixed_known = False
        self.documents = self.releases = self.revisions = self.oldest = 0
        self.at_first = False
        self.kept = kept
        self.scouts: Scouts | None = None
        self.against: Against | None = None

    @property
    def complete(self) -> bool:
        """Whether every package document was read, once that pass is over."""
        root = self.root
        return root is not None and self.documents == root.packages == len(self.chosen)
