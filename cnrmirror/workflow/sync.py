"""Sync: bring what sources have into the mirror; one run is one revision.

look (what is there) → select (filters, names) → plan (against what the mirror has) → fetch (each
archive looked into and checked while it is copied) → merge → one commit. An upstream error is never
read as "empty", one bad package is a hole in the report and no harm to the others, and what was
fetched by a run that was killed is not fetched again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cnrmirror.documents import Channel, Content, PackageDocument, Release, Tombstone
from cnrmirror.errors import CnrMirrorError, NetworkError, StorageError
from cnrmirror.interfaces import Hole, Listing, Source
from cnrmirror.names import content_type, newest_first
from cnrmirror.workflow.filters import mapped, upstream_names
from cnrmirror.workflow.project import Project
from cnrmirror.workflow.syncfetch import Fetched, Journal, fetch_all
from cnrmirror.workflow.syncplan import (
    PUSHED,
    UPSTREAM_GONE,
    Action,
    Key,
    Plan,
    Rules,
    plan,
)

PARTIAL, SHRUNK, FROZEN = 14, 15, 4
T = TypeVar("T")
_GRAVEST_FIRST = (9, 10, 11, 12, 16, 3, 1, SHRUNK, FROZEN, PARTIAL)


class SourceReport(msgspec.Struct, frozen=True):
    """What a run did with one source, and how complete the mirror is of it.

    ``asked``: the filter and the names that were asked for. ``error`` is why the source could not
    be had at all, or no further; ``error_code`` its exit code.
    """

    source: str
    time: str
    asked: dict[str, Any]
    offered: int
    wanted: int
    actions: list[Action]
    holes: list[Hole]
    notes: list[str]
    fetched: int
    bytes: int
    complete: bool = True
    error: str = ""
    error_code: int = 0
    shrunk: bool = False

    @property
    def exit_code(self) -> int:
        """0, or: the error's own, 15 shrinkage refused, 4 frozen changes, 14 holes."""
        if self.error:
            return self.error_code
        if self.shrunk:
            return SHRUNK
        if any(action.kind == "frozen" for action in self.actions):
            return FROZEN
        return PARTIAL if self.holes else 0


class SyncReport(msgspec.Struct, frozen=True):
    """A whole run; ``revision`` is None if nothing changed, or nothing was to be done."""

    time: str
    revision: int | None
    sources: list[SourceReport]

    @property
    def exit_code(self) -> int:
        """That of the gravest source."""
        found = {report.exit_code for report in self.sources} - {0}
        return min(found, key=_gravity, default=0)


def _gravity(code: int) -> int:
    return _GRAVEST_FIRST.index(code) if code in _GRAVEST_FIRST else len(_GRAVEST_FIRST)


class Remembered(msgspec.Struct, frozen=True):
    """What a mirror remembers of a source between two runs; rebuildable, but for its channels."""

    report: SourceReport
    filter: str
    channels: dict[str, list[str]] = {}


class _Run:
    """One run over several sources: what has changed so far, and who gave what."""

    def __init__(self, project: Project, names: Sequence[str], now: str, keep: bool) -> None:
        self.project = project
        self.now = now
        self.keep = keep
        self.changed: dict[str, PackageDocument] = {}
        self.taken: set[Key] = set()
        self.taken_channels: set[tuple[str, str]] = set()
        self.owned: dict[str, list[Key]] = {name: [] for name in names}
        self._tree = project.tree()
        for ref in project.catalog.packages(self._tree):
            for release in project.catalog.document(ref).releases:
                if release.origin in self.owned:
                    key = (ref.name, release.release, release.media_type)
                    self.owned[release.origin].append(key)

    def document(self, package: str) -> PackageDocument | None:
        """A package as it is at this point of the run."""
        return self.changed.get(package) or self.project.catalog.get(self._tree, package)

    def documents(self, packages: Iterable[str]) -> dict[str, PackageDocument]:
        found = {package: self.document(package) for package in packages}
        return {package: document for package, document in found.items() if document}


def sync(
    project: Project,
    sources: Sequence[tuple[Source, Rules]],
    now: str,
    dry_run: bool = False,
    keep: bool = False,
    parallel: int = 4,
) -> SyncReport:
    """Bring the mirror up to its sources. Where two offer one release, the first one has it.

    Args:
        now: the time of the run, ISO 8601, UTC without an offset.
        dry_run: only say what would be done; nothing is fetched or written.
        keep: what a tightened filter leaves out stays.
        parallel: how many archives are fetched at a time.

    Raises:
        BusyError, StorageError, NotTrusted: the mirror itself cannot be worked on.
    """
    with project.signing():
        run = _Run(project, [source.name for source, _ in sources], now, keep)
        reports = []
        memories = []
        for source, rules in sources:
            before = remembered(project, source.name)
            try:
                report, channels = _one(run, source, rules, before, dry_run, parallel)
            except StorageError:
                raise
            except CnrMirrorError as error:
                report, channels = _failed(source, rules, now, error), None
            except Exception as error:  # a fault in one adapter is no harm to the other sources
                text = f"internal error: {type(error).__name__}: {error}"
                report, channels = _failed(source, rules, now, CnrMirrorError(text)), None
            reports.append(report)
            if channels is None:
                channels = before.channels if before else {}
            used = _fingerprint(rules)
            if keep or report.error:
                used = before.filter if before else ""
            memories.append(Remembered(report, used, channels))
        revision = None
        if run.changed and not dry_run:
            head = project.commit(dict(run.changed), _message(reports), now)
            revision = head.revision if head else None
        if not dry_run:
            for memory in memories:
                _remember(project, memory)
                Journal(_journal(project, memory.report.source)).remove()
        return SyncReport(now, revision, reports)


def _failed(source: Source, rules: Rules, now: str, error: CnrMirrorError) -> SourceReport:
    return SourceReport(
        source.name, now, _asked(rules), 0, 0, [], [], [], 0, 0, False, error.message,
        error.exit_code,
    )  # fmt: skip


def _one(
    run: _Run,
    source: Source,
    rules: Rules,
    before: Remembered | None,
    dry_run: bool,
    parallel: int,
) -> tuple[SourceReport, dict[str, list[str]] | None]:
    """One source: its report, and the channels that are its own from now on."""
    project = run.project
    ours = run.owned[source.name]
    known = {(upstream_names(package, rules.names), release) for package, release, _ in ours}
    listing = mapped(source.look(project.progress, known), rules.names)
    packages = {offer.package for offer in listing.offers} | {key[0] for key in ours}
    found = plan(
        source.name, rules, listing, run.documents(packages), ours, run.taken,
        before is None or before.filter == _fingerprint(rules), run.keep,
    )  # fmt: skip
    frozen = found.of_kind("frozen")
    failed = bool(frozen) and rules.changes == "fail"
    fetched: dict[Key, Fetched] = {}
    holes = list(found.holes)
    error: CnrMirrorError | None = None
    channels = None
    notes = list(listing.notes)
    if not failed:
        if not dry_run:
            todo = [found.wanted[action.key] for action in found.of_kind("fetch", "replace")]
            journal = Journal(_journal(project, source.name))
            for offer, result in fetch_all(project, source, todo, journal, parallel):
                if isinstance(result, Fetched):
                    fetched[offer.key] = result
                    notes += _oddities(offer.key, offer.size, result)
                else:
                    what = f"{offer.package}@{offer.release}"
                    holes.append(Hole(what, result.message, offer.package))
                    if isinstance(result, NetworkError) and result.details.get("gave_up"):
                        error = result
        found = found.keeping({hole.package for hole in holes})
        had = before.channels if before else {}
        channels = _merge(run, found, listing, fetched, rules, had)
        settled = found.of_kind("same", "frozen", "fetch" if dry_run else "same")
        run.taken.update(fetched, (action.key for action in settled))
    else:
        notes.append("releases changed upstream, and 'changes: fail' is set: nothing was taken")
    if found.shrunk:
        notes.append("much of it is gone upstream: nothing was dropped; look, then say what to do")
    report = SourceReport(
        source.name, run.now, _asked(rules), len(listing.offers), len(found.wanted), found.actions,
        sorted(set(holes)), notes, len(fetched), sum(f.blob.size for f in fetched.values()),
        listing.complete, error.message if error else "", error.exit_code if error else 0,
        found.shrunk,
    )  # fmt: skip
    return report, channels


def _oddities(key: Key, size: int, result: Fetched) -> list[str]:
    if size in (0, result.blob.size):
        return []
    return [
        f"{key[0]}@{key[1]}: its manifest says {size} bytes, its archive has {result.blob.size}"
    ]


def _asked(rules: Rules) -> dict[str, Any]:
    asked: dict[str, Any] = msgspec.to_builtins(rules)
    return asked


def _fingerprint(rules: Rules) -> str:
    data = msgspec.json.encode([rules.filter, sorted(rules.names.items())])
    return hashlib.sha256(data).hexdigest()


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


# -- merging --------------------------------------------------------------------------------------


def _merge(
    run: _Run,
    found: Plan,
    listing: Listing,
    fetched: Mapping[Key, Fetched],
    rules: Rules,
    had: Mapping[str, list[str]],
) -> dict[str, list[str]]:
    """One source's part into the run's documents; the channels that are this source's."""
    offered = {key[0] for key in found.wanted}
    packages = offered | {a.package for a in found.actions} | set(had)
    packages |= {package for package in listing.tombstones if rules.filter.names(package)}
    unread = {hole.package for hole in found.holes}
    drops = _by_package(found.of_kind("drop"), lambda action: action.package)
    arrived = _by_package(fetched.items(), lambda item: item[0][0])
    owned: dict[str, list[str]] = {}
    for package in sorted(packages):
        old = run.document(package) or PackageDocument(package, [])
        releases = {r.key: r for r in old.releases}
        stones = list(old.tombstones)
        upstream_stones = listing.tombstones.get(package, [])
        for action in drops.get(package, []):
            key = action.key
            if key[1:] in releases:
                gone = releases.pop(key[1:])
                if action.reason == UPSTREAM_GONE and not _named(upstream_stones, key):
                    stones.append(Tombstone(*key[1:], gone.content.digest, run.now, UPSTREAM_GONE))
        for key, result in arrived.get(package, []):
            releases[key[1:]] = _release(found.source, found.wanted[key], result, run.now)
        stones += [t for t in upstream_stones if not _named(stones, (package, *_of(t)))]
        stones = [t for t in stones if _of(t) not in releases]
        wanted = package in offered
        its = listing.channels.get(package, []) if wanted else []
        known = {release for release, _ in releases}
        channels, mine = _channels(
            run, old, its, known, had.get(package, []),
            rules.deletes == "follow" and wanted and package not in unread,
        )  # fmt: skip
        if mine:
            owned[package] = mine
        new = PackageDocument(package, list(releases.values()), channels, stones).sorted()
        if new != old and (new.releases or new.tombstones or old.releases):
            run.changed[package] = new
    return owned


def _by_package(items: Iterable[T], package: Callable[[T], str]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for item in items:
        found.setdefault(package(item), []).append(item)
    return found


def _of(stone: Tombstone) -> tuple[str, str]:
    return stone.release, stone.media_type


def _named(stones: Iterable[Tombstone], key: tuple[str, ...]) -> bool:
    return any(_of(stone) == key[1:] for stone in stones)


def _channels(
    run: _Run,
    old: PackageDocument,
    upstream: Sequence[Channel],
    known: set[str],
    had: Sequence[str],
    follow: bool,
) -> tuple[list[Channel], list[str]]:
    """The channels of a package, and the names of those that this source gave.

    A channel that was set here, in a package that has releases of others, stays as it is; one that
    is gone upstream goes only with ``deletes: follow``; the first source to give one has it.
    """
    local = any(r.origin == PUSHED for r in old.releases)
    channels = {c.name: c for c in _known(old.channels, known)}
    mine = []
    for channel in _known(upstream, known):
        key = (old.package, channel.name)
        set_here = local and channel.name in channels and channel.name not in had
        if key not in run.taken_channels and not set_here:
            run.taken_channels.add(key)
            channels[channel.name] = channel
            mine.append(channel.name)
    if follow:
        for name in set(had) - {c.name for c in upstream}:
            channels.pop(name, None)
    else:
        mine += [name for name in had if name in channels and name not in mine]
    return list(channels.values()), sorted(mine)


def _known(channels: Sequence[Channel], known: set[str]) -> Iterator[Channel]:
    """Channels, as far as what they name is here."""
    for channel in channels:
        kept = newest_first(r for r in channel.releases if r in known)
        if channel.current in known:
            yield Channel(channel.name, channel.current, kept)
        elif kept:
            yield Channel(channel.name, kept[0], kept)


def _release(origin: str, offer: Any, result: Fetched, now: str) -> Release:
    vendor: Any = "cnr" if ".cnr." in offer.manifest_type else "appr"
    content = Content(
        result.diff_id,
        content_type(offer.media_type, vendor),
        offer.size or result.blob.size,
        offer.urls,
    )
    return Release(
        offer.release, offer.media_type, offer.created_at or now, offer.manifest_type, content,
        result.blob, offer.metadata, origin, list(result.flags),
    )  # fmt: skip


# -- what is remembered between two runs ----------------------------------------------------------


def _journal(project: Project, source: str) -> Path:
    return project.state / f"sync-{source}.jsonl"


def _memory(project: Project, source: str) -> Path:
    return project.state / f"sync-{source}.json"


def remembered(project: Project, source: str) -> Remembered | None:
    """What the last run that asked a source has left; None if there was none."""
    try:
        return msgspec.json.decode(_memory(project, source).read_bytes(), type=Remembered)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _remember(project: Project, memory: Remembered) -> None:
    path = _memory(project, memory.report.source)
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(memory))
    temporary.replace(path)


def last_reports(project: Project) -> list[SourceReport]:
    """What the last run that asked each source of mirror.yaml did."""
    found = [remembered(project, name) for name in project.config.sources]
    return [memory.report for memory in found if memory]
