"""Audit a mirror that somebody else hosts: no credentials, nothing believed, everything named."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from cnrmirror.audit.files import NAMED, files_below, wrong_name
from cnrmirror.audit.views import ViewAudit
from cnrmirror.bundle.read import BundleReader
from cnrmirror.catalog.nodes import RemoteNodes
from cnrmirror.client.remote import PARALLEL, Remote, blob_pieces
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import (
    Branch,
    CatalogRoot,
    Leaf,
    Node,
    PackageDocument,
    PackageRef,
    blob_path,
    name_digest,
    node_path,
)
from cnrmirror.model.errors import (
    CnrMirrorError,
    Equivocation,
    IncompleteError,
    NetworkError,
    StaleError,
    Tampered,
    TrustError,
)
from cnrmirror.model.finding import Finding, problem_of
from cnrmirror.model.progress import Progress, stage
from cnrmirror.model.signed import METADATA
from cnrmirror.objects.base import Reader, read
from cnrmirror.objects.folder import FolderReader
from cnrmirror.objects.parallel import in_parallel, threads
from cnrmirror.trust.lint import StrictMetadata
from cnrmirror.trust.verify import Policy, Trust, Verified
from cnrmirror.views import cnr_v1 as v1

_JOURNAL_SECONDS = 6 * 3600  # an audit that was interrupted longer ago begins anew
_EXIT = {"tampered": 9, "extra": 9, "stale": 10, "missing": 11, "network": 12}


class Audit(msgspec.Struct, frozen=True):
    """What an audit saw; ``complete`` is False for a sample, or if a part could not be read."""

    source: str
    revision: int
    catalog: str
    expires: str
    fresh: bool
    complete: bool
    packages: int
    releases: int
    blobs: int
    views: int
    findings: list[Finding]
    notes: list[str]

    @property
    def exit_code(self) -> int:
        """0 if all is well, else that of the gravest finding: docs/exit-codes.md."""
        return min((_EXIT[f.problem] for f in self.findings), default=0)


def failed(source: str, error: CnrMirrorError) -> Audit:
    """The report of an audit that could not even begin."""
    problem = "stale" if isinstance(error, StaleError) else problem_of(error)
    finding = Finding(f"{METADATA}/timestamp.json", problem, error.message)
    return Audit(source, -1, "", "", False, False, 0, 0, 0, 0, [finding], [])


class Auditor:
    """One audit of one mirror.

    Args:
        fetcher: reads the mirror.
        trust: the pinned root and what is remembered.
        progress: where it tells how far it is.
        journal: what was found good is noted here, so that an interrupted audit goes on.
    """

    def __init__(
        self,
        fetcher: Reader,
        trust: Trust,
        progress: Progress,
        journal: Path | None = None,
    ) -> None:
        self._fetcher = fetcher
        self._trust = trust
        self._progress = progress
        self._journal = journal
        self._lock = threading.Lock()
        self._local = threading.local()  # what this thread found of the package at hand
        self._notes: list[str] = []
        self._findings: list[Finding] = []
        self._expected: set[str] = set()
        self._done: set[str] = set()
        self._blobs: set[str] = set()
        self._views = ViewAudit(fetcher, self._find)
        self._kept_revision = 0

    def run(
        self,
        policy: Policy,
        now: datetime,
        sample: int | None = None,
        strict: bool = False,
        views: bool = True,
        seed: int | None = None,
    ) -> Audit:
        """Check everything, or ``sample`` packages chosen at random.

        Args:
            strict: also that metadata has its one form, that all that is kept is whole, and (in a
                folder) that there is no file to which nothing refers.
            views: compare the answers of the registry's API with what the catalog says.

        Raises:
            TrustError, StaleError, IncompleteError, NetworkError: only without ``strict``; with
            it, they become findings.
        """
        if isinstance(self._fetcher, BundleReader) and views:
            self._views.note("a bundle holds the catalog alone, not the registry's API")
            views = False
        verified, target = self._metadata(policy, now, strict)
        root = None
        if target is not None:
            root = verified.root if verified else self._root(target)
        if root is None or target is None:
            if strict:
                self._files_by_name(known=False)
            return self._report(verified, False, [], 0, [])
        refs = sorted(self._walk(root.tree))
        chosen = refs
        if sample is not None and sample < len(refs):
            chosen = sorted(random.Random(seed).sample(refs, sample))
        if sample is not None:
            self._journal = None  # what a sample saw says nothing of the rest
        self._resume(target)
        releases = documents = 0
        rows: list[v1.ListEntry] = []
        with (
            threads(PARALLEL) as executor,
            stage(self._progress, "Auditing packages", len(chosen)) as progress,
        ):
            for document in in_parallel(lambda ref: self._package(ref, views), chosen, executor):
                if document is not None:
                    documents += 1
                    releases += len(document.releases)
                    found = v1.row(document)
                    rows += [found] if found else []
                progress.advance()
        complete = documents == root.packages == len(chosen)
        if views and complete:
            for resource in v1.aggregate_resources(sorted(rows, key=lambda r: r.name), rows):
                self._views.view(resource, {})
            self._views.fixed()
        if strict and sample is None:
            self._history(root, verified.at if verified else target)
            self._files_by_name(known=True)
            if views and complete:
                self._views.extra()
        if self._journal is not None:
            self._journal.unlink(missing_ok=True)
        return self._report(verified, complete, chosen, releases, refs, root, target)

    # -- metadata --

    def _metadata(
        self, policy: Policy, now: datetime, strict: bool
    ) -> tuple[Verified | None, Descriptor | None]:
        verified = None
        failure: CnrMirrorError | None = None
        try:
            verified = self._trust.verify(self._fetcher, policy, now)
        except (TrustError, StaleError, IncompleteError, NetworkError) as error:
            if not strict:
                raise
            failure = error
        if not strict:
            return verified, verified.at if verified else None
        metadata = StrictMetadata(self._fetcher, self._trust.pinned)
        metadata.check(policy.at or now)
        self._findings += metadata.findings
        self._expected |= metadata.expected
        self._kept_revision = metadata.kept.revision
        if isinstance(failure, StaleError):
            for path, expires in metadata.expired:
                self._find(path, "stale", f"expired on {expires}")
        if failure is not None and not self._findings:
            path = f"{METADATA}/timestamp.json"
            of_target = isinstance(failure, Tampered | IncompleteError)
            if metadata.target is not None and of_target:
                path = node_path(metadata.target.digest, CatalogRoot)
            stale = isinstance(failure, StaleError)
            self._find(path, "stale" if stale else problem_of(failure), failure.message)
        return verified, metadata.target

    def _root(self, at: Descriptor) -> CatalogRoot | None:
        path = node_path(at.digest, CatalogRoot)
        self._expected.add(path)
        try:
            root: CatalogRoot = RemoteNodes(self._fetcher).get(at.digest, at.size, CatalogRoot)
        except CnrMirrorError as error:
            self._find(path, problem_of(error), error.message)
            return None
        return root

    # -- the tree --

    def _node(self, digest: str, size: int, kind: object) -> object | None:
        path = node_path(digest, kind)
        self._expected.add(path)
        try:
            return RemoteNodes(self._fetcher).get(digest, size, kind)
        except CnrMirrorError as error:
            self._find(path, problem_of(error), error.message)
            return None

    def _walk(self, tree: Node, seen: set[str] | None = None) -> Iterator[PackageRef]:
        """Every package below a tree; what cannot be read is a finding, and the rest goes on."""
        if isinstance(tree, Leaf):
            yield from tree.packages
            return
        for nibble, child in sorted(tree.children.items()):
            if seen is not None and child.digest in seen:
                continue
            node = self._node(child.digest, child.size, Node)
            if seen is not None and node is not None:
                seen.add(child.digest)
            prefix = tree.prefix + nibble
            if isinstance(node, Leaf | Branch):
                names = node.packages if isinstance(node, Leaf) else []
                if node.prefix != prefix or not all(
                    name_digest(ref.name).startswith(prefix) for ref in names
                ):
                    self._find(node_path(child.digest), "tampered", f"not the node of {prefix!r}")
                    continue
                yield from self._walk(node, seen)

    def _package(self, ref: PackageRef, views: bool) -> PackageDocument | None:
        document = self._node(ref.digest, ref.size, PackageDocument)
        if not isinstance(document, PackageDocument):
            return None
        if document.package != ref.name or len(document.releases) != ref.releases:
            self._find(node_path(ref.digest), "tampered", f"not the document of {ref.name}")
            return None
        for release in document.releases:
            self._expected.add(blob_path(release.blob.digest))
        key = f"{ref.digest} {int(views)}"
        if key in self._done:
            self._blobs.update(r.blob.digest for r in document.releases)
            return document
        self._local.found = 0
        with tempfile.TemporaryDirectory() as work:
            files = {}
            for blob in {r.blob for r in document.releases}:
                found = self._blob(blob, Path(work))
                if found is not None:
                    files[blob.digest] = found
            if views:
                resources = {r.path: r for r in v1.package_resources(document)}
                for path, resource in resources.items():
                    is_pull = path.endswith("/pull")
                    self._views.view(
                        resource, files, resources[f"{path}.json"] if is_pull else None
                    )
        if not self._local.found:
            self._note(key)
        return document

    def _blob(self, blob: Descriptor, work: Path) -> Path | None:
        path = blob_path(blob.digest)
        target = work / blob.digest
        try:
            with target.open("wb") as stream:
                for piece in blob_pieces(self._fetcher, blob, path):
                    stream.write(piece)
        except CnrMirrorError as error:
            self._find(path, problem_of(error), error.message)
            return None
        with self._lock:
            self._blobs.add(blob.digest)
        return target

    # -- what is kept, and what nobody needs --

    def _history(self, root: CatalogRoot, at: Descriptor) -> None:
        """Everything that older revisions, as far as they are kept, need."""
        self._expected.add(node_path(at.digest, CatalogRoot))
        seen: set[str] = set()
        known: set[str] = set()
        while root.revision > self._kept_revision and root.parent is not None:
            older = self._root(root.parent)
            if older is None:
                return
            if older.revision >= root.revision:
                self._find(node_path(root.parent.digest, CatalogRoot), "tampered", "not older")
                return
            for ref in self._walk(older.tree, seen):
                if ref.digest in known or node_path(ref.digest) in self._expected:
                    continue
                known.add(ref.digest)
                document = self._node(ref.digest, ref.size, PackageDocument)
                if isinstance(document, PackageDocument):
                    for blob in {r.blob for r in document.releases}:
                        path = blob_path(blob.digest)
                        if path not in self._expected:
                            self._expected.add(path)
                            with tempfile.TemporaryDirectory() as work:
                                self._blob(blob, Path(work))
            root = older

    def _files_by_name(self, known: bool) -> None:
        """Every file of a folder's catalog: is it what its name says, and does it belong there?

        Args:
            known: whether all that must be there was found out; else only the names tell.
        """
        if not isinstance(self._fetcher, FolderReader):
            return
        folder = Path(self._fetcher.name)
        named = {finding.path for finding in self._findings}
        for path in files_below(folder, "catalog"):
            if path in named:
                continue
            reason = wrong_name(folder / path, path)
            if reason:
                self._find(path, "tampered" if NAMED.fullmatch(path) else "extra", reason)
            elif known and path not in self._expected:
                self._find(path, "extra", "nothing refers to it")

    # -- bookkeeping --

    def _resume(self, at: Descriptor) -> None:
        if self._journal is None:
            return
        try:
            fresh = time.time() - self._journal.stat().st_mtime < _JOURNAL_SECONDS
            lines = self._journal.read_text().splitlines() if fresh else []
        except FileNotFoundError:
            lines = []
        if lines[:1] == [at.digest]:
            self._done = set(lines[1:])
            if self._done:
                when = datetime.fromtimestamp(self._journal.stat().st_mtime, UTC)
                self._notes.append(
                    f"{len(self._done)} packages were read by an audit that was interrupted at "
                    f"{when.isoformat(timespec='seconds')}, and not again"
                )
        else:
            self._journal.parent.mkdir(parents=True, exist_ok=True)
            self._journal.write_text(f"{at.digest}\n")

    def _note(self, line: str) -> None:
        if self._journal is not None:
            with self._lock, self._journal.open("a") as journal:
                journal.write(f"{line}\n")

    def _find(self, path: str, problem: str, reason: str) -> None:
        self._local.found = getattr(self._local, "found", 0) + 1
        with self._lock:
            self._findings.append(Finding(path, problem, reason))  # type: ignore[arg-type]

    def _report(
        self,
        verified: Verified | None,
        complete: bool,
        chosen: Iterable[PackageRef],
        releases: int,
        refs: list[PackageRef],
        root: CatalogRoot | None = None,
        target: Descriptor | None = None,
    ) -> Audit:
        notes = [*(verified.notes if verified else []), *self._notes, *self._views.notes]
        return Audit(
            self._fetcher.name,
            root.revision if root else -1,
            target.digest if target else "",
            verified.expires if verified else "",
            verified is not None and verified.fresh,
            complete,
            len(list(chosen)),
            releases,
            len(self._blobs),
            self._views.count,
            sorted(set(self._findings)),
            notes,
        )


def compare(first: Remote, second: Remote) -> list[str]:
    """Whether two mirrors of one registry tell one story; notes on what could not be told.

    Raises:
        Equivocation: one revision number with two catalogs, or two histories.
    """
    a, b = first.verified, second.verified
    if a.root.registry != b.root.registry:
        raise Equivocation(f"{first.fetcher.name} and {second.fetcher.name}: two registries")
    if a.timestamp_version == b.timestamp_version:
        path = f"{METADATA}/timestamp.json"
        if read(first.fetcher.fetch(path, 1 << 20)) != read(second.fetcher.fetch(path, 1 << 20)):
            raise Equivocation(
                f"{first.fetcher.name} and {second.fetcher.name} have two timestamps of version "
                f"{a.timestamp_version}: keys were misused"
            )
    older, newer = (first, second) if a.root.revision <= b.root.revision else (second, first)
    wanted = older.verified
    try:
        for at, root in newer.catalog.history(newer.verified.at):
            if root.revision == wanted.root.revision:
                if at.digest != wanted.at.digest:
                    raise Equivocation(
                        f"revision {root.revision} is {at.digest} at {newer.fetcher.name}, but "
                        f"{wanted.at.digest} at {older.fetcher.name}: keys were misused"
                    )
                return []
            if root.revision < wanted.root.revision:
                break
    except IncompleteError:
        return [f"{newer.fetcher.name} keeps no history back to revision {wanted.root.revision}"]
    return [f"{newer.fetcher.name} keeps no history back to revision {wanted.root.revision}"]
