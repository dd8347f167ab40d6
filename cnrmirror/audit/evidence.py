"""The report of an audit: what it knows, what it looked at, and what it did not look at."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cnrmirror import __version__
from cnrmirror.audit.place import openapi_unknown, pages_unknown
from cnrmirror.audit.report import Asked, Audit, Keys
from cnrmirror.audit.state import AuditState
from cnrmirror.model.documents import CatalogRoot
from cnrmirror.model.evidence import Checked, Unchecked
from cnrmirror.model.instant import Instant
from cnrmirror.views import openapi
from cnrmirror.views.pages import PagesForm

_ONLINE = 4
"""The signed files below the root that a client reads: timestamp, snapshot, targets, catalog."""


def report_of(state: AuditState) -> Audit:
    """What an audit saw, once all its passes are over."""
    verified, target, root, seen = state.verified, state.target, state.root, state.seen
    mark = verified.mark if verified else None
    checked = _checked(state)
    return Audit(
        source=state.reader.name,
        program=__version__,
        began=state.order.began,
        time=state.order.time,
        order=Asked.of(state.order),
        registry=state.registry,
        pinned=state.pinned,
        root=state.root_file,
        timestamp=state.timestamp,
        targets=mark.targets if mark else 0,
        keys=Keys(mark.timestamp_keys, mark.catalog_keys) if mark else Keys(None, None),
        revision=root.revision if root else -1,
        catalog=target.digest if target and root else "",
        made=root.time if root else "",
        expires=str(Instant.of(datetime.fromisoformat(verified.expires))) if verified else "",
        fresh=verified is not None and verified.fresh,
        complete=state.complete,
        packages=checked.packages,
        releases=checked.releases,
        blobs=checked.blobs,
        views=checked.views,
        checked=checked,
        unchecked=sorted(_unchecked(state)),
        findings=sorted(set(seen.all_findings)),
        notes=[*(verified.notes if verified else []), *state.notes, *seen.views.notes],
        error=state.failure.message if state.failure else "",
        error_code=state.failure.exit_code if state.failure else 0,
        against=state.against,
    )


def _checked(state: AuditState) -> Checked:
    blobs = state.seen.blobs
    return Checked(
        state.documents, state.releases, len(blobs), sum(blobs.values()), state.seen.views.count,
        _metadata_read(state), state.revisions,
    )  # fmt: skip


def _metadata_read(state: AuditState) -> int:
    if state.metadata is not None:
        return state.metadata.count
    if state.verified is None:
        return 0
    return state.verified.root_version - state.pinned.version + _ONLINE


def _unchecked(state: AuditState) -> Iterator[Unchecked]:
    if state.root is None:
        yield Unchecked("catalog", "no catalog could be verified: nothing below it was looked at")
    else:
        yield from _packages(state, state.root)
        yield from _views(state, state.root)
        yield from _history(state)
    if not state.order.strict:
        yield Unchecked("metadata", "superseded signed files: only a strict check reads them")
    yield from _files(state)
    if state.verified is None or not state.verified.fresh:
        yield Unchecked("freshness", "whether this is the newest that is signed")


def _packages(state: AuditState, root: CatalogRoot) -> Iterator[Unchecked]:
    if state.order.sample is not None and state.found > len(state.chosen):
        left = state.found - len(state.chosen)
        yield Unchecked("packages", "left out by the sample", left)
    unread = len(state.chosen) - state.documents + max(0, root.packages - state.found)
    if unread:
        yield Unchecked("packages", "they could not be read: the findings say why", unread)
    if state.journal.known:
        when = str(Instant.of(state.journal.known_at))
        reason = f"found good by an audit that was interrupted at {when}, and not read again"
        yield Unchecked("interrupted", reason, state.journal.known)


def _views(state: AuditState, root: CatalogRoot) -> Iterator[Unchecked]:
    if not state.order.views:
        yield Unchecked("views", "the registry's API was left out, as asked")
    elif not state.with_views:
        yield Unchecked("views", "a bundle holds the catalog alone, not the registry's API")
    elif not state.complete:
        yield Unchecked("lists", "the lists of the registry's API need every package")
    elif not state.fixed_known:
        yield Unchecked("lists", "the mirror does not say where it sends clients")
    if state.with_views and (reason := openapi_unknown(state.site, root.settings)):
        yield Unchecked("views", f"{openapi.PATH}: {reason}")
    if reason := _pages(state, root):
        yield Unchecked("pages", reason)


def _pages(state: AuditState, root: CatalogRoot) -> str:
    """Why the pages for people were not compared; "" if they were, or if none were asked for."""
    there = state.with_views and PagesForm.of(root.settings) is not None
    if not state.order.pages:
        return "only --pages compares them" if there else ""
    return pages_unknown(root.settings, state.order.templates) if there else "there are none"


def _history(state: AuditState) -> Iterator[Unchecked]:
    root, floor = state.root, state.floor.revision
    if root is None or root.parent is None:
        return
    if not state.order.strict or state.order.sample is not None:
        reason = "older revisions: only a strict check of all packages reads them"
        yield Unchecked("history", reason, max(0, root.revision - floor))
    elif state.oldest > floor and not state.at_first:
        reason = f"revisions {floor} to {state.oldest - 1} could not be read"
        yield Unchecked("history", reason, state.oldest - floor)
    if floor > 0:
        yield Unchecked("retention", f"revisions before {floor} are not retained", floor)


def _files(state: AuditState) -> Iterator[Unchecked]:
    if state.reader.folder is None:
        yield Unchecked("files", "files to which nothing refers: the mirror cannot be listed")
    elif not state.order.strict or (state.order.sample is not None and state.root is not None):
        reason = "files to which nothing refers: only a strict check of all packages looks for them"
        yield Unchecked("files", reason)
