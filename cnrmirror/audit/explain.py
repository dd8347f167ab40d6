"""Where the views that are not as they must be come from: an older revision, or one to come.

A publish writes views before it signs, and removes what was removed only after a while. Somebody
who audits meanwhile, or after a publish that was killed, sees files that the signed revision does
not have. Each is held against what the views of other revisions are; only what no revision has is
the host's own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec

from cnrmirror.audit.files import Known, second_form
from cnrmirror.audit.part import Part
from cnrmirror.audit.state import AuditState
from cnrmirror.audit.views import Copies, ViewAudit
from cnrmirror.catalog.needed import blobs_of
from cnrmirror.catalog.nodes import RemoteNodes
from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.model import typed
from cnrmirror.model.destination import DestinationState
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot
from cnrmirror.model.errors import CnrMirrorError
from cnrmirror.model.finding import Finding
from cnrmirror.model.resource import Resource
from cnrmirror.objects.base import STATE, Reader, read

_MOST_REVISIONS = 1000
_REVISIONS_OF_LISTS = 5
_STATE_BYTES = 16 << 20


class Other(msgspec.Struct, frozen=True):
    """Another revision of which views may be: an older one, or one that was to come."""

    root: CatalogRoot
    to_come: bool


def explain(state: AuditState) -> None:
    """Name the views that are as another revision has them; the other findings stay.

    Older revisions hang on the signed one; of what was to come, only the host says so. An older
    revision's file that the publishers are going to remove is no finding.
    """
    seen = state.seen
    doubtful = [f for f in seen.all_findings if _is_of_a_view(f)]
    if state.root is None or state.target is None or not doubtful:
        return
    told = _told(state.reader)
    views = _Views(state, doubtful)
    for other in _others(state.reader, state.target, told):
        if not views.left:
            break
        views.compare(other)
    found = views.found
    waiting = {path for path, f in found.items() if f.problem == "unused" and path in told.pending}
    if waiting:
        files = "1 file" if len(waiting) == 1 else f"{len(waiting)} files"
        state.notes.append(f"to be removed later: {files} of older revisions")
    for findings in (seen.findings, seen.views.findings):
        findings[:] = [
            found.get(f.path, f) if _is_of_a_view(f) else f
            for f in findings
            if f.path not in waiting
        ]


def _is_of_a_view(finding: Finding) -> bool:
    return finding.problem in ("wrong", "extra") and not finding.path.startswith("catalog/")


def _told(reader: Reader) -> DestinationState:
    """What the publishers left; nothing, if it cannot be read."""
    try:
        return typed.decode(read(reader.fetch(STATE, _STATE_BYTES)), DestinationState)
    except (CnrMirrorError, msgspec.DecodeError, RecursionError):
        return DestinationState()


def _others(reader: Reader, at: Descriptor, told: DestinationState) -> Iterator[Other]:
    """The older revisions, newest first, and those that a publish was to bring."""
    catalog = CatalogReader(RemoteNodes(reader))
    known = {at.digest}
    with suppress(CnrMirrorError):  # those before are not there any more
        for older, root in islice(catalog.history(at), 1, _MOST_REVISIONS):
            known.add(older.digest)
            yield Other(root, False)
    lease = told.lease
    for other in [lease.to, *filter(None, lease.states)] if lease else []:
        if other.digest not in known:
            with suppress(CnrMirrorError):
                yield Other(catalog.root(other), True)


class _Views:
    """Compares views with those of other revisions.

    Attributes:
        left: the findings that are not explained, by the package of their path.
        found: what the explained ones are.
    """

    def __init__(self, state: AuditState, doubtful: Sequence[Finding]) -> None:
        self.left: dict[str | None, dict[str, Finding]] = {}
        self.found: dict[str, Finding] = {}
        self._reader = state.reader
        self._site = state.site
        self._catalog = CatalogReader(RemoteNodes(state.reader))
        self._part = Part(state.reader, state.site)
        self._seen: dict[str, set[str]] = {}
        self._lists = 0
        for finding in doubtful:
            name = self._site.package_in(finding.path)
            self.left.setdefault(name, {})[finding.path] = finding

    def compare(self, other: Other) -> None:
        """Take those out of ``left`` that are as another revision has them."""
        for name in list(self.left):
            with tempfile.TemporaryDirectory() as work, suppress(CnrMirrorError):
                resources, copies = self._views_of(other, name, Path(work))
                self._match(name, resources, copies, other)

    def _views_of(
        self, other: Other, name: str | None, work: Path
    ) -> tuple[list[Resource], dict[str, Path]]:
        """The views of a package (or the lists) at a revision, and copies of its blobs."""
        if name is None:
            self._lists += 1
            if self._lists > _REVISIONS_OF_LISTS and not other.to_come:
                return [], {}
            groups = self._site.read_entries(self._catalog, other.root.tree)
            return self._site.all_lists(groups, other.root), {}
        ref = self._catalog.find(other.root.tree, name)
        if ref is None or ref.digest in self._seen.setdefault(name, set()):
            return [], {}
        self._seen[name].add(ref.digest)
        document = self._catalog.document(ref)
        copies = {blob.digest: work / blob.digest for blob in blobs_of(document)}
        good = {b.digest: copies[b.digest] for b in blobs_of(document)
                if self._part.blob(b, copies[b.digest])}  # fmt: skip
        package = self._site.load(self._catalog, document, Copies(good))
        return self._site.package(package), good

    def _match(
        self, name: str | None, resources: Sequence[Resource], copies: dict[str, Path], other: Other
    ) -> None:
        views, known = ViewAudit(self._reader, self._site), Known()
        for resource in resources:
            known.add(resource)
        bodies = {r.path: r for r in resources}
        for path, finding in list(self.left[name].items()):
            first = path if path in bodies else known.first_form(path)
            if first not in bodies or not views.matches(bodies[first], copies):
                continue
            folder = self._reader.folder
            if path != first and (folder is None or second_form(folder, path, first)):
                continue
            self.found[path] = _explained(finding, other)
            del self.left[name][path]
        if not self.left[name]:
            del self.left[name]


def _explained(finding: Finding, other: Other) -> Finding:
    number = other.root.revision
    if other.to_come:
        why = f"of revision {number}, which a publish was to bring, and nobody has signed here"
        return Finding(finding.path, "unfinished", why)
    if finding.problem == "wrong":
        return Finding(
            finding.path, "wrong", f"not what the catalog says, but as revision {number} had it"
        )
    return Finding(finding.path, "unused", f"of revision {number}")
