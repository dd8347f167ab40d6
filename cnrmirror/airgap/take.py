"""Import beside a mirror's own packages: the sender's packages in a revision that we sign.

What the mirror's own catalog records of the sender counts, even where its memory is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from cnrmirror.airgap.arrive import Imported, continues, looking, overlay
from cnrmirror.airgap.have import Have, holdings, remember, sender_nodes, source_name
from cnrmirror.bundle.read import BundleReader
from cnrmirror.client.remote import Remote
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import PackageRef, blob_path
from cnrmirror.model.errors import (
    CnrMirrorError,
    Equivocation,
    IncompleteError,
    NetworkError,
    Tampered,
)
from cnrmirror.objects.base import Reader
from cnrmirror.objects.parallel import AT_ONCE
from cnrmirror.sources.base import Listing, Offer
from cnrmirror.sources.mirror import MirrorSource
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.run import sync
from cnrmirror.trust.memory import high_water_of_upstream
from cnrmirror.trust.verify import Policy, Trust


class Terms(msgspec.Struct, frozen=True):
    """On which terms something is taken in.

    ``clock`` is this machine's, UTC; ``time`` is what the new revision says, ISO 8601, UTC;
    ``dry_run``: only look what would be taken in.
    """

    trust: Trust
    policy: Policy
    clock: datetime
    time: str
    dry_run: bool = False


def import_packages(project: Project, reader: Reader, terms: Terms) -> Imported:
    """Take the sender's packages in beside our own.

    Raises:
        TrustError, StaleError: it must not be taken in.
        IncompleteError: something that is needed is neither in the bundle nor here.
    """
    both = overlay(project, reader)
    trust, bundle = terms.trust, BundleReader.of(reader)
    name = source_name(trust.registry)
    if record := project.root().upstreams.get(name):
        trust.hold_to(high_water_of_upstream(record))
    with looking(trust, both, terms.policy, terms.clock) as look:
        remote = Remote(both, look.verified)
        _check(project, bundle, remote)
        if not terms.dry_run:
            look.accept()
    source = _source(project, bundle, remote, name)
    part = _is_part(bundle)
    rules = Rules(deletes="keep" if part else "follow", max_shrink=1.0)
    report = sync(project, [(source, rules)], terms.time, terms.dry_run)
    outcome = report.sources[0]
    if outcome.error:
        raise source.error or CnrMirrorError(outcome.error)
    verified = remote.verified
    root, at = verified.root, verified.at.digest
    if not (outcome.holes or part or terms.dry_run):
        remember(project, Have(root.registry, at, root.revision, terms.time), root)
    return Imported(
        both.name, root.revision, at, root.packages, outcome.fetched, outcome.bytes,
        verified.fresh, verified.notes, report,
    )  # fmt: skip


def _is_part(bundle: BundleReader | None) -> bool:
    return bundle is not None and bundle.contents.cut.is_part


def _check(project: Project, bundle: BundleReader | None, remote: Remote) -> None:
    """That it is of the sender that it names, whole enough, and of the history that we know.

    Raises:
        Tampered, IncompleteError, Equivocation
    """
    registry = remote.verified.root.registry
    before = holdings(project).get(registry)
    if bundle is not None and bundle.contents.registry != registry:
        raise Tampered(
            f"{remote.reader.name}: its bundle.json is of another registry than what is signed"
        )
    if bundle is not None and not _is_part(bundle):
        _require_base(project, bundle, remote, before)
    _refuse_fork(before, remote)


def _refuse_fork(before: Have | None, remote: Remote) -> None:
    """Raises Equivocation if what was taken in is not in the history of what is offered."""
    if before is None or before.revision > remote.verified.root.revision:
        return
    try:
        for at, root in remote.catalog.history(remote.verified.at):
            if root.revision <= before.revision:
                if root.revision == before.revision and at.digest != before.catalog:
                    raise Equivocation(
                        f"{remote.reader.name}: its revision {root.revision} is another than the "
                        "one that was imported before: the sender's history was forked"
                    )
                return
    except IncompleteError:
        return  # older revisions are not in the bundle: nobody can tell


def _require_base(
    project: Project, bundle: BundleReader, remote: Remote, before: Have | None
) -> None:
    """Check that what a difference continues from was taken in, or that it is not needed.

    Raises:
        IncompleteError: neither; or the sender's documents are not at hand any more.
    """
    contents = bundle.contents
    if contents.since_revision < 0:
        return
    taken_in = before is not None and before.catalog == contents.cut.since
    try:
        for document in remote.documents(AT_ONCE):
            for blob in () if taken_in else sorted(document.blobs()):
                path = blob_path(blob.digest)
                if not (bundle.has(path) or project.store.has_blob(blob)):
                    raise IncompleteError(f"{path}: neither in this bundle nor here")
    except IncompleteError as error:
        here = f"revision {before.revision}" if before else "nothing"
        here += ", without its nodes" if taken_in else ""
        raise continues(bundle, here, error) from error


class _Arrived(MirrorSource):
    """The sender's packages; keeps the error that ended a sync, which reports only its text."""

    error: CnrMirrorError | None = None

    def look(self, *arguments: Any, **options: Any) -> Listing:
        """See ``Source``."""
        try:
            return super().look(*arguments, **options)
        except CnrMirrorError as error:
            self.error = error
            raise

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``Source``."""
        try:
            yield from super().open(offer)
        except NetworkError as error:
            if error.details.get("gave_up"):  # of others, one release is a hole
                self.error = error
            raise


def _source(project: Project, bundle: BundleReader | None, remote: Remote, name: str) -> _Arrived:
    """What was verified, as a source: of a part, only what was selected and is at hand."""
    part = _is_part(bundle)
    selected = set(bundle.contents.selected) if bundle else set()

    def wanted(ref: PackageRef) -> bool:
        return not part or ref.name in selected

    def at_hand(blob: Descriptor) -> bool:
        inside = bundle is not None and bundle.has(blob_path(blob.digest))
        return not part or inside or project.store.has_blob(blob)

    nodes = sender_nodes(project, remote.verified.root.registry)
    return _Arrived(name, lambda: remote, nodes, wanted, at_hand, part)
