"""Sync: bring what sources have into the mirror; one run is one revision.

For each source: look (what is there) → decide (filters, names, and what the mirror has) → bring
(each archive looked into and checked while it is copied) → apply (to the package documents); then
one commit. An upstream error is never read as "empty", one bad package is a hole in the report and
no harm to the others, and what was fetched by a run that was killed is not fetched again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Executor

import msgspec

from cnrmirror.crew.crew import Crew, CrewLost
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Head
from cnrmirror.model.errors import CnrMirrorError, StorageError
from cnrmirror.objects.parallel import threads
from cnrmirror.sources.base import Source
from cnrmirror.sync.acknowledged import acknowledgements, with_acknowledged
from cnrmirror.sync.bring import Bringer, Brought
from cnrmirror.sync.draft import Draft, Taken, drafted, settle
from cnrmirror.sync.journal import Journal
from cnrmirror.sync.ledger import Ledger
from cnrmirror.sync.look import Asked, Looked, Run, forget_others, look, looked_ahead, ours
from cnrmirror.sync.memory import SourceMemory, fingerprint, remember, remembered
from cnrmirror.sync.meter import Meter
from cnrmirror.sync.plan import Key, Plan, Rules, Situation, plan
from cnrmirror.sync.report import SourceReport, SyncReport, message
from cnrmirror.sync.settled import Settled

_REFUSED = "releases changed upstream, and 'changes: fail' is set: nothing was synced"
_ADVICE = "run again: what was fetched is noted, and is not fetched again"


class _Outcome(msgspec.Struct, frozen=True):
    """What one source came to: what is remembered of it, and from where the next run may go on."""

    memory: SourceMemory
    draft: Draft | None = None


class _Came(msgspec.Struct, frozen=True):
    """What a source that could be asked came to.

    ``channels`` are its own from now on; ``settled``: where an earlier run left it, if this one
    took nothing in.
    """

    report: SourceReport
    channels: dict[str, list[str]]
    draft: Draft | None = None
    settled: Settled | None = None


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
        all_asked = [Asked(s, rules, remembered(project, s.name)) for s, rules in sources]
        run = Run(project, Ledger(project, now), now, dry_run, keep, meter or Meter(), crew)
        known = acknowledgements(project)
        all_asked = looked_ahead(run, all_asked)
        outcomes = [_outcome(run, asked) for asked in all_asked]
        outcomes = [_with_signed(outcome, run.ledger) for outcome in outcomes]
        reports = [with_acknowledged(outcome.memory.report, known, now) for outcome in outcomes]
        if dry_run or only_fetch:
            forget_others(all_asked, {a.source.name: a.mark.theirs for a in all_asked if a.mark})
            return SyncReport(now, None, reports)
        head = run.ledger.commit(message(reports))
        forget_others(all_asked, _remember(run, outcomes, head or project.head()))
        return SyncReport(now, head.revision if head else None, reports)


def _remember(run: Run, outcomes: Sequence[_Outcome], head: Head) -> dict[str, Descriptor]:
    """Keep what the run leaves of each source; the revisions of sources that are needed again."""
    drafts = {o.memory.report.source: o.draft for o in outcomes if o.draft}
    marks = settle(drafts, run.ledger.changed, head.catalog, run.now)
    needed = {}
    for outcome in outcomes:
        memory, name = outcome.memory, outcome.memory.report.source
        if mark := marks.get(name):
            memory = msgspec.structs.replace(memory, report=memory.report.folded(), settled=mark)
        remember(run.project, memory)
        Journal(run.project.layout.source_journal(name)).remove()
        if memory.settled:
            needed[name] = memory.settled.theirs
    return needed


@contextlib.contextmanager
def _alone(project: Project) -> Iterator[None]:
    with project.alone():
        project.require_writable()
        yield


def _outcome(run: Run, asked: Asked) -> _Outcome:
    """What one source came to; its errors are no harm to the other sources.

    Raises:
        StorageError: the mirror's own disk refuses.
        CrewLost: nobody fetches any more.
    """
    name, rules = asked.source.name, asked.rules
    try:
        with run.meter.timing(name):
            came = _one(run, asked)
    except CrewLost as error:
        raise CrewLost(f"{error.message}; {_ADVICE}") from error
    except StorageError:
        raise
    except CnrMirrorError as error:
        came = _failed(run, asked, error)
    except Exception as error:  # a fault in one adapter is no harm to the other sources
        fault = CnrMirrorError(f"internal error: {type(error).__name__}: {error}")
        came = _failed(run, asked, fault)
    used = fingerprint(rules)
    if run.keep or came.report.error:
        used = asked.before.filter if asked.before else ""
    report = _measured(run, asked, came.report)
    memory = SourceMemory(report, used, came.channels, settled=came.settled)
    return _Outcome(memory, came.draft)


def _failed(run: Run, asked: Asked, error: CnrMirrorError) -> _Came:
    report = SourceReport.failed(asked.source.name, asked.rules, error, run.now)
    return _Came(report, asked.had, settled=asked.mark)


def _measured(run: Run, asked: Asked, report: SourceReport) -> SourceReport:
    """The same, with what it took, and when the source was well last."""
    before = asked.before.report.last_success if asked.before else ""
    return msgspec.structs.replace(
        report,
        requests=run.meter.requests(report.source),
        seconds=run.meter.seconds(report.source),
        succeeded=report.time if report.is_success else before,
    )


def _with_signed(outcome: _Outcome, ledger: Ledger) -> _Outcome:
    """The same, with the signed releases that are left once every source has had its turn."""
    memory = outcome.memory
    signed = ledger.signed(memory.report.source)
    report = msgspec.structs.replace(memory.report, signed=signed)
    memory = msgspec.structs.replace(memory, report=report)
    return msgspec.structs.replace(outcome, memory=memory)


def _one(run: Run, asked: Asked) -> _Came:
    """One source: looked at, decided, brought, and taken into the run."""
    rules = asked.rules
    with threads(rules.parallel) as executor:
        looked = look(run, asked, executor)
        owned = ours(run, asked, looked)
        contested = run.ledger.contested()
        decided = _decide(run, asked, looked, owned)
        refused = rules.changes == "fail" and bool(decided.of_kind("frozen"))
        if refused:
            brought, channels = Brought(notes=[_REFUSED]), asked.had
        else:
            brought = _bring(run, asked, decided, executor)
            decided = decided.keeping({hole.package for hole in brought.holes})
            channels = _apply(run, asked, looked, decided, brought)
    report = SourceReport.build(rules, looked.listing, decided, brought, run.now)
    if refused:
        return _Came(report, channels, settled=asked.mark)
    draft = None
    if report.is_success:
        draft = drafted(run, asked, looked, Taken(decided, brought, channels, owned, contested))
    return _Came(report, channels, draft)


def _decide(run: Run, asked: Asked, looked: Looked, owned: Collection[Key]) -> Plan:
    """What is to be done about each release."""
    packages = {offer.package for offer in looked.listing.offers} | {key[0] for key in owned}
    return plan(
        Situation(
            asked.source.name,
            asked.rules,
            looked.listing,
            run.ledger.documents(packages),
            owned,
            run.ledger.taken,
            asked.before is None or asked.before.filter == fingerprint(asked.rules),
            run.keep,
            looked.rest,
        )
    )


def _bring(run: Run, asked: Asked, decided: Plan, executor: Executor) -> Brought:
    """The archives that are to be fetched, in the store; none in a dry run."""
    if run.dry_run:
        return Brought()
    offers = [decided.wanted[action.key] for action in decided.of_kind("fetch", "replace")]
    bringer = Bringer(run.project, asked.source, asked.rules, executor, run.crew)
    brought = bringer.bring(offers)
    run.meter.add(asked.source.name, brought.requests)
    return brought


def _apply(
    run: Run, asked: Asked, looked: Looked, decided: Plan, brought: Brought
) -> dict[str, list[str]]:
    """Take the source's part into the run; the channels that are its own from now on."""
    listing = looked.listing
    if brought.holes or decided.holes or not listing.complete:
        # The catalog records only what was taken in whole.
        listing = msgspec.structs.replace(listing, upstream=None)
    had, others = looked.parted(asked.had)
    channels = run.ledger.apply(decided, listing, asked.rules, brought.fetched, had)
    settled = decided.of_kind("same", "frozen", "fetch" if run.dry_run else "same")
    run.ledger.taken.update(brought.fetched, (action.key for action in settled))
    return others | channels
