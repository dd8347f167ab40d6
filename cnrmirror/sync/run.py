"""Sync: bring what sources have into the mirror; one run is one revision.

look (what is there) → select (filters, names) → plan (against what the mirror has) → fetch (each
archive looked into and checked while it is copied) → merge → one commit. An upstream error is never
read as "empty", one bad package is a hole in the report and no harm to the others, and what was
fetched by a run that was killed is not fetched again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import CnrMirrorError, NetworkError, StorageError
from cnrmirror.sources.base import Hole, Source
from cnrmirror.sources.filters import mapped, upstream_names
from cnrmirror.sync.fetch import Fetched, Journal, fetch_all
from cnrmirror.sync.merge import Run, merge_source
from cnrmirror.sync.plan import Action, Key, Rules, Situation, plan

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


class SourceMemory(msgspec.Struct, frozen=True):
    """What a mirror remembers of a source between two runs; rebuildable, but for its channels."""

    report: SourceReport
    filter: str
    channels: dict[str, list[str]] = {}


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
        run = Run(project, [source.name for source, _ in sources], now, keep)
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
            memories.append(SourceMemory(report, used, channels))
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
    run: Run,
    source: Source,
    rules: Rules,
    before: SourceMemory | None,
    dry_run: bool,
    parallel: int,
) -> tuple[SourceReport, dict[str, list[str]] | None]:
    """One source: its report, and the channels that are its own from now on."""
    project = run.project
    ours = run.owned[source.name]
    known = {(upstream_names(package, rules.names), release) for package, release, _ in ours}
    listing = mapped(source.look(project.progress, known), rules.names)
    packages = {offer.package for offer in listing.offers} | {key[0] for key in ours}
    found = plan(Situation(
        source.name, rules, listing, run.documents(packages), ours, run.taken,
        before is None or before.filter == _fingerprint(rules), run.keep,
    ))  # fmt: skip
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
                    holes.append(Hole.of_release(offer.package, offer.release, result.message))
                    if isinstance(result, NetworkError) and result.details.get("gave_up"):
                        error = result
        found = found.keeping({hole.package for hole in holes})
        had = before.channels if before else {}
        channels = merge_source(run, found, listing, fetched, rules, had)
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


# -- what is remembered between two runs ----------------------------------------------------------


def _journal(project: Project, source: str) -> Path:
    return project.layout.source_journal(source)


def _memory(project: Project, source: str) -> Path:
    return project.layout.source_memory(source)


def remembered(project: Project, source: str) -> SourceMemory | None:
    """What the last run that asked a source has left; None if there was none."""
    try:
        return msgspec.json.decode(_memory(project, source).read_bytes(), type=SourceMemory)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _remember(project: Project, memory: SourceMemory) -> None:
    path = _memory(project, memory.report.source)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(memory))
    temporary.replace(path)


def last_reports(project: Project) -> list[SourceReport]:
    """What the last run that asked each source of mirror.yaml did."""
    found = [remembered(project, name) for name in project.config.sources]
    return [memory.report for memory in found if memory]
