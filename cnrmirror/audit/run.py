"""Audit a mirror that somebody else hosts: no credentials, nothing believed, everything named.

An audit is a list of passes over one state; each looks at one thing and goes on after a fault.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from pathlib import Path

from cnrmirror.audit.against import check_against
from cnrmirror.audit.evidence import report_of
from cnrmirror.audit.explain import explain
from cnrmirror.audit.files import wrong_forms, wrong_names
from cnrmirror.audit.kept import Kept
from cnrmirror.audit.look import Look
from cnrmirror.audit.part import Part
from cnrmirror.audit.place import ADDRESS, openapi_unknown, pages_unknown, site_at
from cnrmirror.audit.report import Audit, Order
from cnrmirror.audit.scout import Scouts, chunks, scouted
from cnrmirror.audit.state import AuditState
from cnrmirror.catalog.needed import blobs_of
from cnrmirror.client.remote import PARALLEL
from cnrmirror.model.documents import (
    CatalogRoot,
    PackageRef,
    blob_path,
    node_path,
)
from cnrmirror.model.errors import (
    AccessDenied,
    CnrMirrorError,
    IncompleteError,
    NetworkError,
    NewerFormat,
    StaleError,
    Tampered,
    TrustError,
)
from cnrmirror.model.finding import Finding
from cnrmirror.model.progress import NoProgress, Progress, stage
from cnrmirror.model.signed import TIMESTAMP
from cnrmirror.objects.base import Reader
from cnrmirror.objects.modes import closed_note
from cnrmirror.objects.parallel import in_parallel, threads
from cnrmirror.trust.chain import read_chain, read_role, read_timestamp
from cnrmirror.trust.lint import StrictMetadata
from cnrmirror.trust.verify import Trust
from cnrmirror.views import openapi
from cnrmirror.views.base import Package
from cnrmirror.views.site import add_entries

_FAILURES = (TrustError, StaleError, IncompleteError, NetworkError, AccessDenied, NewerFormat)


def audit(
    reader: Reader,
    trust: Trust,
    order: Order,
    progress: Progress | None = None,
    journal: Path | None = None,
    kept: Kept | None = None,
    scouts: Scouts | None = None,
) -> Audit:
    """Check everything that is ordered.

    Args:
        reader: reads the mirror.
        trust: the pinned root and what is remembered.
        progress: where it tells how far it is.
        journal: what was found good is noted there, so that an interrupted audit goes on.
        kept: an earlier report, against which the mirror is held.
        scouts: processes that look at packages first.

    Returns:
        What was seen, also of a mirror that cannot be had, or must not be trusted.
    """
    state = AuditState(reader, trust, order, progress or NoProgress(), journal, kept)
    state.scouts = scouts
    for check in PASSES:
        check(state)
    if state.root is not None:
        state.journal.close()
    return report_of(state)


def check_metadata(state: AuditState) -> None:
    """The signed chain as a client follows it; strict: also every metadata file by itself."""
    order = state.order
    try:
        verified = state.verified = state.trust.verify(state.reader, order.policy, order.now)
    except _FAILURES as error:
        state.failure = error
        _check_what_is_left(state, error)
    else:
        state.target, state.root = verified.at, verified.root
        state.floor = verified.head.kept
        state.root_file = read_role(verified.root_file, "the newest root").file
        state.timestamp = read_role(verified.offered, TIMESTAMP).file
        if order.strict:
            _check_strictly(state, None)


def _check_what_is_left(state: AuditState, failure: CnrMirrorError) -> None:
    """What can be said of a mirror that could not be verified."""
    if isinstance(failure, NewerFormat | AccessDenied):  # no fault of any file
        return
    if state.order.strict:
        _check_strictly(state, failure)
    else:
        state.seen.findings.append(Finding.of(TIMESTAMP, failure))
    if not isinstance(failure, NetworkError):
        chain = read_chain(state.reader, state.trust.pinned)
        state.root_file = chain.newest.file
        state.timestamp = read_timestamp(state.reader, chain)


def _check_strictly(state: AuditState, failure: CnrMirrorError | None) -> None:
    metadata = state.metadata = StrictMetadata(state.reader, state.trust.pinned)
    metadata.check(state.order.policy.at or state.order.now)
    state.floor = metadata.kept
    state.seen.findings += metadata.findings
    state.seen.expected |= metadata.expected
    if isinstance(failure, StaleError):
        for path, expires in metadata.expired:
            state.seen.find(path, "stale", f"expired on {expires}")
    if failure is not None and not state.seen.findings:
        path = TIMESTAMP
        if metadata.target is not None and isinstance(failure, Tampered | IncompleteError):
            path = node_path(metadata.target.digest, CatalogRoot)
        state.seen.findings.append(Finding.of(path, failure))
    state.target = metadata.target
    if metadata.target is None:
        state.root = None
    elif state.root is None:
        state.root = state.seen.root(metadata.target)


def check_settings(state: AuditState) -> None:
    """What the views take from the mirror's configuration, as the mirror says it."""
    if not state.with_views or state.root is None:
        return
    try:
        state.site, url = site_at(
            state.reader, state.root.settings, state.order.templates, state.order.pages
        )
    except CnrMirrorError as error:
        state.seen.findings.append(Finding.of(ADDRESS, error))
        return
    state.fixed_known = True
    before, state.seen = state.seen, Part(state.reader, state.site)
    state.seen.add(before)
    state.seen.views.note(f"it sends clients to {url or 'no other address'}")
    if reason := pages_unknown(state.root.settings, state.order.templates):
        state.seen.views.note(f"its pages: {reason}")
    if reason := openapi_unknown(state.site, state.root.settings):
        state.seen.views.note(f"its {openapi.PATH}: {reason}")
    if state.root.settings.get("oci") is True and not state.site.has_oci:
        state.seen.views.note("it is no OCI registry here: there is no v2/")


def check_packages(state: AuditState) -> None:
    """Every package of the revision, or a sample of them, with its blobs and views."""
    if state.root is None or state.target is None:
        return
    refs = sorted(state.seen.walk(state.root.tree))
    state.found = len(refs)
    state.chosen = _chosen(refs, state.order)
    state.notes += state.journal.resume(state.target)
    if state.scouts is not None:
        _scout(state, state.scouts, state.root)
    look = Look(state.reader, state.site, state.with_views)
    read = functools.partial(_package, state, look)
    with (
        threads(PARALLEL) as executor,
        stage(state.progress, "Auditing packages", len(state.chosen)) as steps,
    ):
        for ref, package, part in in_parallel(read, state.chosen, executor):
            state.seen.add(part)
            if package is not None:
                _count(state, package)
                if not part.all_findings:
                    state.journal.add(part.views.noted(look.key(ref)))
            steps.advance()


def _scout(state: AuditState, scouts: Scouts, root: CatalogRoot) -> None:
    """Have other processes look at packages first: what they find good is not read again here."""
    if state.with_views and not state.fixed_known:
        return  # what it says of its views cannot be read: nothing is good
    label = f"Auditing packages ({scouts.crew.size} workers)"
    look = Look(state.reader, state.site, state.with_views)
    left = {look.key(ref): ref for ref in state.chosen if not state.journal.find(look.key(ref))}
    order = state.order
    parts = chunks(
        scouts, root.settings, state.with_views, order.templates, order.pages,
        list(left.values()),
    )  # fmt: skip
    with stage(state.progress, label, len(left)) as steps:
        for chunk, seen in scouted(scouts, parts, state.notes.append):
            for noted in seen.good:
                state.journal.learn(noted)
            steps.advance(len(chunk.refs))


def _chosen(refs: list[PackageRef], order: Order) -> list[PackageRef]:
    if order.sample is None or order.sample >= len(refs):
        return refs
    return sorted(random.Random(order.seed).sample(refs, order.sample))


def _package(
    state: AuditState, look: Look, ref: PackageRef
) -> tuple[PackageRef, Package | None, Part]:
    """One package, looked at in a thread of its own."""
    return ref, *look.at(ref, state.journal.find(look.key(ref)))


def _count(state: AuditState, package: Package) -> None:
    state.documents += 1
    state.releases += len(package.document.releases)
    add_entries(state.entries, state.site.entries([package]))


def check_lists(state: AuditState) -> None:
    """The views that need all packages, and those that need none."""
    if state.order.views and not state.with_views:
        state.notes.append("a bundle holds the catalog alone, not the registry's API")
    if state.with_views and state.complete and state.root is not None:
        state.seen.views.lists(state.entries, state.root)
        if state.fixed_known:
            state.seen.views.fixed()
    state.seen.views.settle()


def check_history(state: AuditState) -> None:
    """Strict: everything that older revisions, as far as they are retained, need."""
    if not state.order.strict or state.order.sample is not None:
        return
    root, at, seen = state.root, state.target, state.seen
    if root is None or at is None:
        return
    seen.expected.add(node_path(at.digest, CatalogRoot))
    nodes: set[str] = set()
    state.oldest, state.at_first = root.revision, root.parent is None
    while root.revision > state.floor.revision and root.parent is not None:
        older = seen.root(root.parent)
        if older is None:
            return
        if older.revision >= root.revision:
            seen.find(node_path(root.parent.digest, CatalogRoot), "wrong", "not older")
            return
        for ref in seen.walk(older.tree, nodes):
            _old_package(seen, ref)
        root = older
        state.revisions += 1
        state.oldest, state.at_first = root.revision, root.parent is None


def _old_package(seen: Part, ref: PackageRef) -> None:
    if node_path(ref.digest) in seen.expected:
        return
    document = seen.document(ref)
    if document is None:
        return
    seen.package(document)
    for blob in blobs_of(document):
        if blob_path(blob.digest) not in seen.expected:
            seen.blob(blob)


def check_modes(state: AuditState) -> None:
    """In a folder: whether a web server of another user can read it."""
    if state.reader.folder is not None:
        state.notes += closed_note(state.reader.folder)


def check_files(state: AuditState) -> None:
    """Strict, in a folder: every file is what its name says, and something refers to it."""
    folder, seen = state.reader.folder, state.seen
    whole = state.order.sample is None
    if folder is None or not state.order.strict or not (whole or state.root is None):
        return
    named = {finding.path for finding in seen.all_findings}
    expected = None if state.root is None else seen.expected
    vouched = state.metadata.vouches_for if state.metadata else None
    seen.findings += list(wrong_names(folder, named, expected, vouched))
    if state.with_views and state.complete:
        seen.findings += list(wrong_forms(folder, seen.views.known))


PASSES: tuple[Callable[[AuditState], None], ...] = (
    check_metadata,
    check_settings,
    check_packages,
    check_lists,
    check_history,
    check_modes,
    check_files,
    explain,
    check_against,
)
