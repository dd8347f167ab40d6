"""Sync: bring what sources have into the mirror; one run is one revision.

look (what is there) → select (filters, names) → plan (against what the mirror has) → fetch (each
archive looked into and checked while it is copied) → adopt. An upstream error is never read as
"empty", one bad package is a hole in the report and no harm to the others, and what was fetched by
a run that was killed is not fetched again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec

from cnrmirror.archive import ArchiveInfo, ArchiveReader
from cnrmirror.descriptor import Descriptor
from cnrmirror.documents import Channel, Content, PackageDocument, Release, Tombstone
from cnrmirror.errors import (
    CnrMirrorError,
    NetworkError,
    StorageError,
    Tampered,
)
from cnrmirror.files import storage_errors, write_all
from cnrmirror.interfaces import Hole, Listing, Offer, Source, stage
from cnrmirror.names import content_type, newest_first
from cnrmirror.workflow.filters import Filter, mapped
from cnrmirror.workflow.project import Project

PARALLEL = 4
PARTIAL, SHRUNK = 14, 15
Kind = Literal["fetch", "replace", "same", "frozen", "kept", "drop", "shadowed"]


class Rules(msgspec.Struct, frozen=True):
    """How one source is treated.

    ``deletes``: ``keep`` what is gone upstream, or ``follow`` and drop it. ``changes``: when a
    release has another digest than before, ``freeze`` (keep ours, say so), ``accept`` it, or
    ``fail``.
    ``max_shrink``: if a larger part than this is gone, nothing is dropped.
    """

    deletes: Literal["keep", "follow"] = "keep"
    changes: Literal["freeze", "accept", "fail"] = "freeze"
    max_shrink: float = 0.3
    filter: Filter = Filter()
    names: dict[str, str] = {}


class Action(msgspec.Struct, frozen=True, order=True):
    """What is to be done about one release."""

    package: str
    release: str
    media_type: str
    kind: Kind
    reason: str = ""


class SourceReport(msgspec.Struct, frozen=True):
    """What a run did with one source, and how complete the mirror is of it."""

    source: str
    offered: int
    wanted: int
    actions: list[Action]
    holes: list[Hole]
    notes: list[str]
    fetched: int
    bytes: int
    error: str = ""
    shrunk: bool = False

    @property
    def exit_code(self) -> int:
        """0, or: 12 not reachable, 15 shrinkage refused, 4 frozen changes, 14 holes."""
        if self.error:
            return NetworkError.exit_code
        if self.shrunk:
            return SHRUNK
        if any(action.kind == "frozen" for action in self.actions):
            return 4
        return PARTIAL if self.holes else 0


class SyncReport(msgspec.Struct, frozen=True):
    """A whole run; ``revision`` is None if nothing changed, or nothing was to be done."""

    time: str
    revision: int | None
    sources: list[SourceReport]

    @property
    def exit_code(self) -> int:
        """That of the gravest source: 12, 15, 4, 14."""
        found = {report.exit_code for report in self.sources}
        return next((code for code in (12, SHRUNK, 4, PARTIAL) if code in found), 0)


class Fetched(msgspec.Struct, frozen=True):
    """An archive that is in the store."""

    blob: Descriptor
    diff_id: str
    flags: tuple[str, ...]


class _Plan(msgspec.Struct):
    """What one source comes to."""

    source: Source
    rules: Rules
    listing: Listing
    wanted: list[Offer]
    actions: list[Action]
    shrunk: bool


def sync(
    project: Project,
    sources: Sequence[tuple[Source, Rules]],
    now: str,
    dry_run: bool = False,
    keep: bool = False,
) -> SyncReport:
    """Bring the mirror up to its sources. Where two offer one release, the first one has it.

    Args:
        now: the time of the run, ISO 8601, UTC without an offset.
        dry_run: only say what would be done; nothing is fetched or written.
        keep: what a tightened filter leaves out stays.

    Raises:
        BusyError, StorageError, NotTrusted: the mirror itself cannot be worked on.
    """
    with project.writing():
        documents = _documents(project)
        reports: list[SourceReport] = []
        changed: dict[str, PackageDocument] = {}
        taken: set[tuple[str, str, str]] = set()
        for source, rules in sources:
            try:
                listing = mapped(source.look(project.progress), rules.names)
                plan = _plan(source, rules, listing, {**documents, **changed}, taken, keep)
            except StorageError:
                raise
            except CnrMirrorError as error:
                reports.append(
                    SourceReport(source.name, 0, 0, [], [], [], 0, 0, error=error.message)
                )
                continue
            taken.update(offer.key for offer in plan.wanted)
            report = _carry_out(project, plan, documents, changed, now, dry_run)
            reports.append(report)
        revision = None
        if changed and not dry_run:
            head = project.commit(dict(changed), _message(reports), now)
            revision = head.revision if head else None
        result = SyncReport(now, revision, reports)
        if not dry_run:
            _save(project, result)
            for report in reports:
                _journal(project, report.source).unlink(missing_ok=True)
        return result


def _documents(project: Project) -> dict[str, PackageDocument]:
    refs = project.catalog.packages(project.tree())
    return {ref.name: project.catalog.document(ref) for ref in refs}


def _message(reports: Sequence[SourceReport]) -> str:
    parts = []
    for report in reports:
        kinds = ("fetch", "replace", "drop")
        counts = {kind: sum(a.kind == kind for a in report.actions) for kind in kinds}
        if any(counts.values()):
            parts.append(
                f"{report.source} +{counts['fetch']} ~{counts['replace']} -{counts['drop']}"
            )
    return f"sync {', '.join(parts) or 'channels'}"


def _plan(
    source: Source,
    rules: Rules,
    listing: Listing,
    documents: Mapping[str, PackageDocument],
    taken: set[tuple[str, str, str]],
    keep: bool,
) -> _Plan:
    """What to do about each release that is wanted, and each that came from here before."""
    selected = rules.filter.select(listing)
    wanted = []
    actions = []
    for offer in {offer.key: offer for offer in selected}.values():
        if offer.key in taken:
            actions.append(Action(*offer.key, "shadowed", "an earlier source has it"))
            continue
        action = _about(source, rules, offer, documents.get(offer.package))
        wanted.append(offer)
        actions.append(action)
    offered = {offer.key for offer in listing.offers}
    chosen = {offer.key for offer in wanted}
    unread = {hole.what.partition("@")[0].partition(" ")[0] for hole in listing.holes}
    ours = [
        (document.package, release.release, release.media_type)
        for document in documents.values()
        for release in document.releases
        if release.origin == source.name
    ]
    gone = [key for key in ours if key not in offered and key[0] not in unread]
    shrunk = bool(ours) and len(gone) > rules.max_shrink * len(ours)
    for key in ours:
        if key in chosen or key in taken:
            continue
        if key in offered:
            kind: Kind = "kept" if keep else "drop"
            actions.append(Action(*key, kind, "left out by the filter"))
        elif key in gone:
            drop = rules.deletes == "follow" and not shrunk
            reason = "gone upstream" + (", too many at once" if shrunk else "")
            actions.append(Action(*key, "drop" if drop else "kept", reason))
    refused = shrunk and (rules.deletes == "follow" or not listing.offers)
    return _Plan(source, rules, listing, wanted, sorted(actions), refused)


def _about(source: Source, rules: Rules, offer: Offer, document: PackageDocument | None) -> Action:
    old = document.find(offer.release, offer.media_type) if document else None
    stone = next(
        (t for t in (document.tombstones if document else [])
         if (t.release, t.media_type) == (offer.release, offer.media_type)), None,
    )  # fmt: skip
    if old is None:
        if stone is None:
            return Action(*offer.key, "fetch")
        if stone.reason != UPSTREAM_GONE:
            return Action(*offer.key, "kept", f"removed here on {stone.removed_at}: {stone.reason}")
        if offer.digest and stone.digest != offer.digest and rules.changes != "accept":
            return Action(*offer.key, "frozen", f"it is back with digest {offer.digest}")
        return Action(*offer.key, "fetch", "it is back")
    if not offer.digest or old.content.digest == offer.digest:
        return Action(*offer.key, "same")
    if old.origin != source.name:
        return Action(*offer.key, "frozen", f"{old.origin} gave {old.content.digest}")
    if rules.changes == "accept":
        return Action(*offer.key, "replace", f"it had digest {old.content.digest}")
    return Action(*offer.key, "frozen", f"upstream has {offer.digest} now")


UPSTREAM_GONE = "gone upstream"


def _carry_out(
    project: Project,
    plan: _Plan,
    documents: Mapping[str, PackageDocument],
    changed: dict[str, PackageDocument],
    now: str,
    dry_run: bool,
) -> SourceReport:
    """Fetch and merge one source's part into ``changed``."""
    frozen = [a for a in plan.actions if a.kind == "frozen"]
    failed = bool(frozen) and plan.rules.changes == "fail"
    wanted_now = {(a.package, a.release, a.media_type): a for a in plan.actions}
    todo = [o for o in plan.wanted if wanted_now[o.key].kind in ("fetch", "replace")]
    holes = list(plan.listing.holes)
    fetched: dict[tuple[str, str, str], Fetched] = {}
    new_bytes = count = 0
    if not dry_run and not failed:
        for offer, result in _fetch_all(project, plan.source, todo):
            if isinstance(result, CnrMirrorError):
                holes.append(Hole(f"{offer.package}@{offer.release}", result.message))
            else:
                fetched[offer.key] = result
                new_bytes += result.blob.size
                count += 1
        _merge(project, plan, fetched, documents, changed, now)
    notes = [*plan.listing.notes]
    if failed:
        notes.append("releases changed upstream, and 'changes: fail' is set: nothing was taken")
    if plan.shrunk:
        notes.append(
            "much of it is gone upstream: nothing was dropped; look, then raise max_shrink"
        )
    return SourceReport(
        plan.source.name, len(plan.listing.offers), len(plan.wanted), plan.actions,
        sorted(set(holes)), notes, count, new_bytes, shrunk=plan.shrunk,
    )  # fmt: skip


def _merge(
    project: Project,
    plan: _Plan,
    fetched: Mapping[tuple[str, str, str], Fetched],
    documents: Mapping[str, PackageDocument],
    changed: dict[str, PackageDocument],
    now: str,
) -> None:
    offers = {offer.key: offer for offer in plan.wanted}
    packages = {a.package for a in plan.actions} | set(plan.listing.channels)
    drops = {(a.package, a.release, a.media_type): a for a in plan.actions if a.kind == "drop"}
    for package in sorted(packages):
        old = changed.get(package) or documents.get(package) or PackageDocument(package, [])
        releases = {r.key: r for r in old.releases}
        stones = list(old.tombstones)
        for key, action in drops.items():
            if key[0] == package and key[1:] in releases:
                gone = releases.pop(key[1:])
                if action.reason == UPSTREAM_GONE:
                    stones.append(Tombstone(*key[1:], gone.content.digest, now, UPSTREAM_GONE))
        for key, result in fetched.items():
            if key[0] == package:
                releases[key[1:]] = _release(project, plan.source.name, offers[key], result, now)
        stones = [s for s in stones if (s.release, s.media_type) not in releases]
        known = {release for release, _ in releases}
        channels = {c.name: c for c in _known(old.channels, known)}
        for channel in _known(plan.listing.channels.get(package, []), known):
            channels[channel.name] = channel
        new = PackageDocument(
            package, list(releases.values()), list(channels.values()), stones
        ).sorted()
        if new != old:
            changed[package] = new


def _known(channels: Sequence[Channel], known: set[str]) -> Iterator[Channel]:
    """Channels, as far as what they name is here."""
    for channel in channels:
        kept = newest_first(r for r in channel.releases if r in known)
        if channel.current in known:
            yield Channel(channel.name, channel.current, kept)
        elif kept:
            yield Channel(channel.name, kept[0], kept)


def _release(project: Project, origin: str, offer: Offer, result: Fetched, now: str) -> Release:
    vendor = "cnr" if ".cnr." in offer.manifest_type else "appr"
    content = Content(
        result.diff_id,
        content_type(offer.media_type, vendor),  # type: ignore[arg-type]
        offer.size or result.blob.size,
        offer.urls,
    )
    return Release(
        offer.release, offer.media_type, offer.created_at or now, offer.manifest_type, content,
        result.blob, offer.metadata, origin, list(result.flags),
    )  # fmt: skip


# -- fetching -------------------------------------------------------------------------------------


def _journal(project: Project, source: str) -> Path:
    return project.state / f"sync-{source}.jsonl"


class _Line(msgspec.Struct, frozen=True):
    key: tuple[str, str, str]
    digest: str
    place: str
    fetched: Fetched


def _fetch_all(
    project: Project, source: Source, offers: Sequence[Offer]
) -> Iterator[tuple[Offer, Fetched | CnrMirrorError]]:
    """Every archive into the store, several at a time; not again what a killed run has."""
    journal = _journal(project, source.name)
    before = {(line.key, line.digest, line.place): line.fetched for line in _lines(journal)}
    lock = threading.Lock()

    def fetch(offer: Offer) -> Fetched | CnrMirrorError:
        known = before.get((offer.key, offer.digest, offer.place))
        if known is not None and project.store.has_blob(known.blob):
            return known
        try:
            with storage_errors(str(project.folder)):
                result = _fetch(project, source, offer)
        except StorageError:
            raise
        except CnrMirrorError as error:
            return error
        line = _Line(offer.key, offer.digest, offer.place, result)
        with lock, journal.open("ab") as stream:
            stream.write(msgspec.json.encode(line) + b"\n")
        return result

    with stage(project.progress, f"Fetching from {source.name}", len(offers)) as progress:
        with ThreadPoolExecutor(PARALLEL) as pool:
            for offer, result in zip(offers, pool.map(fetch, offers), strict=True):
                yield offer, result
                progress.advance()


def _lines(journal: Path) -> Iterator[_Line]:
    try:
        with journal.open("rb") as stream:
            for text in stream:
                try:
                    yield msgspec.json.decode(text, type=_Line)
                except msgspec.DecodeError:
                    return  # the last line of a killed run
    except FileNotFoundError:
        return


def _fetch(project: Project, source: Source, offer: Offer) -> Fetched:
    """One archive: looked into while it is copied, kept only if it is what was offered.

    Raises:
        Tampered: another digest than the manifest has.
        HostileArchive, TooLarge, and what the source raises.
    """
    reader = ArchiveReader(project.config.limits)
    name = f"{threading.get_ident()}.fetch"
    temporary = project.store.scratch_file(name)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            for piece in source.open(offer):
                reader.feed(piece)
                write_all(descriptor, [piece])
        finally:
            os.close(descriptor)
        info: ArchiveInfo = reader.close()
        if offer.digest and info.diff_id != offer.digest:
            raise Tampered(
                f"{offer.package}@{offer.release}: its archive has digest {info.diff_id}, its "
                f"manifest says {offer.digest}"
            )
        project.store.adopt_blob(info.blob, temporary)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return Fetched(info.blob, info.diff_id, info.flags)


# -- the report of the last run -------------------------------------------------------------------


def _save(project: Project, report: SyncReport) -> None:
    path = project.state / "sync-report.json"
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(report))
    temporary.replace(path)


def last_report(project: Project) -> SyncReport | None:
    """What the last run did; None if there was none."""
    try:
        return msgspec.json.decode(
            (project.state / "sync-report.json").read_bytes(), type=SyncReport
        )
    except (FileNotFoundError, msgspec.DecodeError):
        return None
