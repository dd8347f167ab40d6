"""Audit a mirror that somebody else hosts: no credentials, nothing believed, everything named."""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import random
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from cnrmirror.bundle import BundleFetcher
from cnrmirror.client import PARALLEL, Remote, RemoteNodes, blob_path, node_path
from cnrmirror.descriptor import Descriptor
from cnrmirror.documents import (
    Branch,
    CatalogRoot,
    Leaf,
    Node,
    PackageDocument,
    PackageRef,
    name_digest,
    parse_json,
)
from cnrmirror.errors import (
    CnrMirrorError,
    Equivocation,
    IncompleteError,
    NetworkError,
    StaleError,
    Tampered,
    TrustError,
)
from cnrmirror.fetcher import FolderFetcher, HttpFetcher, in_parallel, read
from cnrmirror.interfaces import Fetcher, Progress, stage
from cnrmirror.names import Vendor
from cnrmirror.resource import Alias, Resource, Twin
from cnrmirror.roles import METADATA
from cnrmirror.site import html, v1
from cnrmirror.site.layout import key_of
from cnrmirror.site.routes import url_of
from cnrmirror.verify import Policy, Trust, Verified
from cnrmirror.workflow.sitefiles import (
    NAMED,
    NOT_OURS,
    Known,
    files_below,
    second_form,
    wrong_name,
)
from cnrmirror.workflow.strict import Finding, StrictMetadata, problem_of

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
        fetcher: Fetcher,
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
        self._known = Known()
        self._findings: list[Finding] = []
        self._expected: set[str] = set()
        self._done: set[str] = set()
        self._blobs: set[str] = set()
        self._views = 0
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
        if isinstance(self._fetcher, BundleFetcher) and views:
            self._note_once("a bundle holds the catalog alone, not the registry's API")
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
        rows: list[v1.Row] = []
        with stage(self._progress, "Auditing packages", len(chosen)) as progress:
            for document in in_parallel(lambda ref: self._package(ref, views), chosen, PARALLEL):
                if document is not None:
                    documents += 1
                    releases += len(document.releases)
                    found = v1.row(document)
                    rows += [found] if found else []
                progress.advance()
        complete = documents == root.packages == len(chosen)
        if views and complete:
            for resource in v1.aggregate_resources(sorted(rows, key=lambda r: r.name), rows):
                self._view(resource, {})
            self._fixed()
        if strict and sample is None:
            self._history(root, verified.at if verified else target)
            self._files_by_name(known=True)
            if views and complete:
                self._extra_views()
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
                    self._view(resource, files, resources[f"{path}.json"] if is_pull else None)
        if not self._local.found:
            self._note(key)
        return document

    def _blob(self, blob: Descriptor, work: Path) -> Path | None:
        path = blob_path(blob.digest)
        target = work / blob.digest
        try:
            hasher = hashlib.sha256()
            with target.open("wb") as stream:
                for piece in self._fetcher.fetch(path, blob.size):
                    hasher.update(piece)
                    stream.write(piece)
            if target.stat().st_size != blob.size or hasher.hexdigest() != blob.digest:
                raise Tampered(f"{path}: not the bytes that were signed")
        except CnrMirrorError as error:
            self._find(path, problem_of(error), error.message)
            return None
        with self._lock:
            self._blobs.add(blob.digest)
        return target

    # -- views --

    def _view(
        self, resource: Resource, files: dict[str, Path], twin: Resource | None = None
    ) -> None:
        """One file of the v1 view, asked for as a client would.

        Args:
            twin: another form that it may have: ``…/pull`` is JSON on some hosts.
        """
        body = resource.body
        with self._lock:
            self._views += 1
            if isinstance(body, Alias):
                base = posixpath.join(posixpath.dirname(resource.path), body.target)
                self._known.aliases[resource.path] = posixpath.normpath(base)
            else:
                self._known.paths.add(resource.path)
        blob = (
            body.blob if isinstance(body, Twin) else body if isinstance(body, Descriptor) else None
        )
        if blob is not None and blob.digest not in files:
            return  # its blob is a finding already
        try:
            if isinstance(body, Alias):
                self._alias(resource.path, body)
                return
            try:
                self._compare(resource.path, body, files)
            except Tampered:
                if twin is None:
                    raise
                assert isinstance(twin.body, Twin)
                self._compare(resource.path, twin.body, files)
                self._note_once("its …/pull is JSON, as appr asks for it, not the archive")
        except CnrMirrorError as error:
            self._find(resource.path, problem_of(error), error.message)

    def _compare(self, path: str, body: bytes | Descriptor | Twin, files: dict[str, Path]) -> None:
        """Raises Tampered, IncompleteError or NetworkError if no address of it gives its bytes."""
        size = len(body) if isinstance(body, bytes) else body.size
        first: CnrMirrorError | None = None
        for address in self._addresses(path):
            try:
                with _content(body, files) as expected:
                    for piece in self._get(address, size):
                        if piece != expected.read(len(piece)):
                            raise Tampered(f"{path}: not what the catalog says")
                    if expected.read(1):
                        raise Tampered(f"{path}: shorter than the catalog says")
                if first is not None and isinstance(self._fetcher, HttpFetcher):
                    self._note_once("it does not know ?format=json and the filters of lists")
                return
            except (Tampered, IncompleteError) as error:
                first = first or error
        assert first is not None
        raise first

    def _addresses(self, path: str) -> list[str]:
        """Where a file of the view may be asked for; the usual place first."""
        if isinstance(self._fetcher, FolderFetcher):
            return [path]
        if isinstance(self._fetcher, HttpFetcher):
            url = url_of(path)
            # A bucket behind HTTP ignores queries; what they mean is there under its own key.
            return [url, key_of(path)] if "?" in url else [url]
        return list(dict.fromkeys((key_of(path), path)))

    def _get(self, address: str, max_bytes: int) -> Iterator[bytes]:
        if isinstance(self._fetcher, HttpFetcher):
            return self._fetcher.get(f"{self._fetcher.name}/{address}", max_bytes)
        return self._fetcher.fetch(address, max_bytes)

    def _ask(self, path: str, max_bytes: int) -> Iterator[bytes]:
        return self._get(self._addresses(path)[0], max_bytes)

    def _alias(self, path: str, alias: Alias) -> None:
        """Asked over HTTP, it must answer as its target does; in a folder, it must be the link."""
        if isinstance(self._fetcher, FolderFetcher):
            link = Path(self._fetcher.name) / path
            if link.is_symlink() and os.readlink(link) == alias.target:
                return
        twin = "" if path.endswith(".json") else "/index.json"
        target = os.path.normpath(f"{os.path.dirname(path)}/{alias.target}")
        limit = 64 << 20
        expected = read(self._ask(target + twin, limit))
        if read(self._ask(path + twin, limit)) != expected:
            raise Tampered(f"{path}: does not answer as {target} does")

    def _note_once(self, note: str) -> None:
        with self._lock:
            if note not in self._notes:
                self._notes.append(note)

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
        if not isinstance(self._fetcher, FolderFetcher):
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

    def _fixed(self) -> None:
        """The files that do not depend on the packages, in one of the forms that they may have."""
        path = ".well-known/app-registry-uri.json"
        try:
            found = parse_json(read(self._ask(path, 1 << 16)), path)
            prefix = found.get("prefix") if isinstance(found, dict) else None
            if not isinstance(prefix, str) or not prefix.endswith("/cnr/"):
                raise Tampered(f"{path}: its prefix is {prefix!r:.200}")
            url = prefix.removesuffix("/cnr/")
            self._notes.append(f"it sends clients to {url or 'no other address'}")
        except (CnrMirrorError, AttributeError) as error:
            problem = problem_of(error) if isinstance(error, CnrMirrorError) else "tampered"
            self._find(path, problem, str(error))
            return
        vendor: Vendor = "appr"
        with contextlib.suppress(CnrMirrorError):
            if b"cnr-api" in read(self._ask("cnr/version/index.json", 1 << 16)):
                vendor = "cnr"
        for resource in (*v1.fixed_resources(vendor, url), html.index_page(url)):
            # A web server shows its error documents only as errors.
            shown = isinstance(self._fetcher, FolderFetcher) or "/40" not in resource.path
            if shown and not isinstance(resource.body, Alias):
                self._view(resource, {})

    def _extra_views(self) -> None:
        """Files of a folder's site that no view has, and second forms that are not as the first."""
        if not isinstance(self._fetcher, FolderFetcher):
            return
        folder = Path(self._fetcher.name)
        for path in files_below(folder, ""):
            if path.startswith("catalog/") or path in self._known.paths:
                continue
            reason = second_form(folder, path, self._known)
            if reason:
                self._find(path, "extra" if reason == NOT_OURS else "tampered", reason)

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
        notes = [*(verified.notes if verified else []), *self._notes]
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
            self._views,
            sorted(set(self._findings)),
            notes,
        )


class _Joined:
    """Pieces of bytes as one stream to compare with."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest += piece
        result, self._rest = self._rest[:size], self._rest[size:]
        return result


@contextmanager
def _content(body: bytes | Descriptor | Twin, files: dict[str, Path]) -> Iterator[_Joined]:
    if isinstance(body, bytes):
        yield _Joined(iter([body]))
        return
    blob = body.blob if isinstance(body, Twin) else body
    with files[blob.digest].open("rb") as stream:
        pieces = iter(lambda: stream.read(1 << 16), b"")
        yield _Joined(body.chunks(stream) if isinstance(body, Twin) else pieces)


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
