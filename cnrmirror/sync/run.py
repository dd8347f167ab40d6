"""Sync: bring what sources have into the mirror; one run is one revision.

For each source: look (what is there) → decide (filters, names, and what the mirror has) → bring
(each archive looked into and checked while it is copied) → apply (to the package documents); then
one commit. An upstream error is never read as "empty", one bad package is a hole in the report and
no harm to the others, and what was fetched by a run that was killed is not fetched again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor

import msgspec

from cnrmirror.crew.crew import Crew, CrewLost
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import CnrMirrorError, StorageError
from cnrmirror.objects.parallel import threads
from cnrmirror.sources.base import Ask, Listing, Source
from cnrmirror.sources.filters import Wanted, upstream_names
from cnrmirror.sources.listing import mapped
from cnrmirror.sync.acknowledged import acknowledgements, with_acknowledged
from cnrmirror.sync.bring import Bringer, Brought
from cnrmirror.sync.journal import Journal
from cnrmirror.sync.ledger import Ledger
from cnrmirror.sync.memory import SourceMemory, fingerprint, remember, remembered
from cnrmirror.sync.meter import Meter
from cnrmirror.sync.plan import Plan, Rules, Situation, plan
from cnrmirror.sync.report import SourceReport, SyncReport, message

_REFUSED = "releases changed upstream, and 'changes: fail' is set: nothing was synced"
_ADVICE = "run again: what was fetched is noted, and is not fetched again"


class _Run(msgspec.Struct, frozen=True):
    """One run: the mirror, what was decided up to now, and how it was asked for."""

    project: Project
    ledger: Ledger
    now: str
    dry_run: bool
    keep: bool
    meter: Meter
    crew: Crew | None = None


class _Asked(msgspec.Struct, frozen=True):
    """One source of a run, and what the last run has left of it."""

    source: Source
    rules: Rules
    before: SourceMemory | None

    @property
    def had(self) -> dict[str, list[str]]:
        """The channels that it gave before."""
        return self.before.channels if self.before else {}


def sync(
    project: Project,
    sources: Sequence[tuple[Source, Rules]],
    now: str,
    dry_run: bool = False,
    keep: bool = False,
    meter: Meter | None = None,
    crew: Crew | None = None,
    only_fetch: bool = False,
) -> SyncReport:
    """Bring the mirror up to its sources. Where two offer one release, the first one has it.

    Args:
        project: the mirror.
        sources: each with its rules.
        now: the time of the run, ISO 8601, UTC without an offset.
        dry_run: only say what would be done; nothing is fetched or written.
        keep: what a tightened filter leaves out stays.
        meter: what ``open_sources`` was given: it knows what the sources asked.
        crew: other processes that fetch; None: this one does.
        only_fetch: bring the archives into the store, and leave the rest to the next run: that
            needs no keys.

    Raises:
        BusyError, StorageError, NotTrusted: the mirror itself cannot be worked on.
        NewerFormat: a newer program left what is remembered of a source.
        InvalidDocument: acknowledged.yaml is not what it must be.
    """
    with _alone(project) if only_fetch else project.signing(now):
        all_asked = [_Asked(s, rules, remembered(project, s.name)) for s, rules in sources]
        ledger = Ledger(project, now)
        run = _Run(project, ledger, now, dry_run, keep, meter or Meter(), crew)
        known = acknowledgements(project)
        memories = [_outcome(run, asked) for asked in all_asked]
        memories = [_with_signed(memory, ledger) for memory in memories]
        reports = [with_acknowledged(memory.report, known, now) for memory in memories]
        if dry_run or only_fetch:
            return SyncReport(now, None, reports)
        head = ledger.commit(message(reports))
        for memory in memories:
            remember(project, memory)
            Journal(project.layout.source_journal(memory.report.source)).remove()
        return SyncReport(now, head.revision if head else None, reports)


@contextlib.contextmanager
def _alone(project: Project) -> Iterator[None]:
    with project.alone():
        project.require_writable()
        yield


def _outcome(run: _Run, asked: _Asked) -> SourceMemory:
    """What one source came to; its errors are no harm to the other sources.

    Raises:
        StorageError: the mirror's own disk refuses.
        CrewLost: nobody fetches any more.
    """
    name, rules = asked.source.name, asked.rules
    try:
        with run.meter.timing(name):
            report, channels = _one(run, asked)
    except CrewLost as error:
        raise CrewLost(f"{error.message}; {_ADVICE}") from error
    except StorageError:
        raise
    except CnrMirrorError as error:
        report, channels = SourceReport.failed(name, rules, error, run.now), asked.had
    except Exception as error:  # a fault in one adapter is no harm to the other sources
        fault = CnrMirrorError(f"internal error: {type(error).__name__}: {error}")
        report, channels = SourceReport.failed(name, rules, fault, run.now), asked.had
    used = fingerprint(rules)
    if run.keep or report.error:
        used = asked.before.filter if asked.before else ""
    return SourceMemory(_measured(run, asked, report), used, channels)


def _measured(run: _Run, asked: _Asked, report: SourceReport) -> SourceReport:
    """The same, with what it took, and when the source was well last."""
    before = asked.before.report.last_success if asked.before else ""
    return msgspec.structs.replace(
        report,
        requests=run.meter.requests(report.source),
        seconds=run.meter.seconds(report.source),
        succeeded=report.time if report.is_success else before,
    )


def _with_signed(memory: SourceMemory, ledger: Ledger) -> SourceMemory:
    """The same, with the signed releases that are left once every source has had its turn."""
    signed = ledger.signed(memory.report.source)
    report = msgspec.structs.replace(memory.report, signed=signed)
    return msgspec.structs.replace(memory, report=report)


def _one(run: _Run, asked: _Asked) -> tuple[SourceReport, dict[str, list[str]]]:
    """One source: its report, and the channels that are its own from now on."""
    rules, channels = asked.rules, asked.had
    with threads(rules.parallel) as executor:
        listing = _look(run, asked, executor)
        decided = _decide(run, asked, listing)
        if rules.changes == "fail" and decided.of_kind("frozen"):
            brought = Brought(notes=[_REFUSED])
        else:
            brought = _bring(run, asked, decided, executor)
            decided = decided.keeping({hole.package for hole in brought.holes})
            channels = _apply(run, asked, listing, decided, brought)
    return SourceReport.build(rules, listing, decided, brought, run.now), channels


def _look(run: _Run, asked: _Asked, executor: Executor) -> Listing:
    """What the source has, under the names that its packages have here."""
    rules = asked.rules
    known: dict[str, set[tuple[str, str]]] = {}
    sure, unknown = rules.deletes == "follow", set()
    for package, release, media_type in run.ledger.owned(asked.source.name):
        names = upstream_names(package, rules.names)
        # Before it is called gone, it is asked for by all names that it may have there.
        for name in names if sure else names[:1]:
            known.setdefault(name, set()).add((release, media_type))
        if not names:
            unknown.add(package)
    wanted = Wanted(rules.filter, rules.names)
    ask = Ask(wanted, known, sure, run.project.progress, executor)
    listing = mapped(asked.source.look(ask), wanted)
    if unknown - {offer.package for offer in listing.offers}:
        # Nobody can say what the source calls them, so they could not be asked for.
        listing = msgspec.structs.replace(listing, certain=False)
    return listing


def _decide(run: _Run, asked: _Asked, listing: Listing) -> Plan:
    """What is to be done about each release."""
    ours = run.ledger.owned(asked.source.name)
    packages = {offer.package for offer in listing.offers} | {key[0] for key in ours}
    return plan(
        Situation(
            asked.source.name,
            asked.rules,
            listing,
            run.ledger.documents(packages),
            ours,
            run.ledger.taken,
            asked.before is None or asked.before.filter == fingerprint(asked.rules),
            run.keep,
        )
    )


def _bring(run: _Run, asked: _Asked, decided: Plan, executor: Executor) -> Brought:
    """The archives that are to be fetched, in the store; none in a dry run."""
    if run.dry_run:
        return Brought()
    offers = [decided.wanted[action.key] for action in decided.of_kind("fetch", "replace")]
    bringer = Bringer(run.project, asked.source, asked.rules, executor, run.crew)
    brought = bringer.bring(offers)
    run.meter.add(asked.source.name, brought.requests)
    return brought


def _apply(
    run: _Run, asked: _Asked, listing: Listing, decided: Plan, brought: Brought
) -> dict[str, list[str]]:
    """Take the source's part into the run; the channels that are its own from now on."""
    if brought.holes or decided.holes or not listing.complete:
        # The catalog records only what was taken in whole.
        listing = msgspec.structs.replace(listing, upstream=None)
    channels = run.ledger.apply(decided, listing, asked.rules, brought.fetched, asked.had)
    settled = decided.of_kind("same", "frozen", "fetch" if run.dry_run else "same")
    run.ledger.taken.update(brought.fetched, (action.key for action in settled))
    return channels
