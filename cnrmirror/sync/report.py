"""What a sync did, as values: for people, for machines, and for the next run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from cnrmirror.model.errors import DONE_BUT_FOR_SOME, CnrMirrorError
from cnrmirror.model.schema import schema_text
from cnrmirror.sources.base import Hole, Listing
from cnrmirror.sync.bring import Brought
from cnrmirror.sync.plan import Action, Kind, Plan, Rules
from cnrmirror.sync.why import Why

PARTIAL, SHRUNK, FROZEN = DONE_BUT_FOR_SOME, 15, 4
_GRAVEST_FIRST = (9, 10, 11, 12, 16, 17, 3, 1, SHRUNK, FROZEN, PARTIAL)
_MAX_HOLES, MAX_NOTES, _MAX_TEXT = 10_000, 1000, 1000
MORE = "…"
"""What the hole is called that stands for all that are too many."""
_GONE = (Why.GONE_UPSTREAM, Why.FILTERED)


class KnownHole(msgspec.Struct, frozen=True):
    """A hole that was acknowledged: why, and the last day on which that holds ("": for ever)."""

    hole: Hole
    reason: str
    until: str = ""


class SourceReport(msgspec.Struct, frozen=True):
    """What a run did with one source, and how complete the mirror is of it.

    Args:
        source: its name in mirror.yaml.
        time: when it was asked, ISO 8601, UTC without an offset.
        asked: the rules, with the filter and the names that were asked for.
        offered: releases that it has, as far as they were asked for, one for each media type.
        wanted: those of them that the filter takes.
        actions: what was done, or is to be done, about each release, but for ``unchanged``.
        holes: what could not be had and turns the exit code.
        notes: what a reader should know.
        fetched: archives that came.
        bytes: their size.
        complete: whether there is nothing that could not be asked for.
        error: why the source could not be had at all, or no further.
        error_code: the exit code of the error.
        shrunk: whether so much is gone that nothing was dropped.
        acknowledged: the holes that somebody knows of.
        signed: how many of its releases that are in the mirror after the run carry a signature, by
            its kind (``provenance``, ``cosign``); whether it is good was not asked.
        requests: HTTP requests that were sent for it, repeated and redirected ones, too.
        seconds: how long it took, without the commit that the sources of a run share.
        succeeded: the time of its last run, this one included, that ended without an error, a
            shrinkage that was refused, or changes that 'changes: fail' refused; holes do no harm.
            "": there was none.
        unchanged: releases that are here as they are offered (``same``), and that ``actions`` does
            not name: neither side changed since an earlier run.
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
    acknowledged: list[KnownHole] = []
    signed: dict[str, int] = {}
    requests: int = 0
    seconds: float = 0.0
    succeeded: str = ""
    unchanged: int = 0

    @classmethod
    def build(
        cls, rules: Rules, listing: Listing, plan: Plan, brought: Brought, now: str
    ) -> SourceReport:
        """The report of a source that could be asked."""
        sizes = [fetched.blob.size for fetched in brought.fetched.values()]
        notes = [note[:_MAX_TEXT] for note in (*listing.notes, *brought.notes)][:MAX_NOTES]
        if plan.shrunk:
            notes.append(_shrinkage(rules, listing, plan))
        error = brought.error
        return cls(
            plan.source, now, asked(rules), len(listing.offers) + plan.rest.offered,
            len(plan.wanted) + plan.rest.wanted, plan.actions,
            _bounded({*plan.holes, *brought.holes}), notes, len(sizes), sum(sizes),
            listing.complete, error.message[:_MAX_TEXT] if error else "",
            error.exit_code if error else 0, plan.shrunk, unchanged=plan.rest.wanted,
        )  # fmt: skip

    @classmethod
    def failed(cls, source: str, rules: Rules, error: CnrMirrorError, now: str) -> SourceReport:
        """The report of a source that could not be had."""
        return cls(
            source, now, asked(rules), 0, 0, [], [], [], 0, 0, False, error.message[:_MAX_TEXT],
            error.exit_code,
        )  # fmt: skip

    def folded(self) -> SourceReport:
        """The same, with what is as it was before only counted."""
        others = [action for action in self.actions if action.kind != "same"]
        unchanged = self.unchanged + len(self.actions) - len(others)
        return msgspec.structs.replace(self, actions=others, unchanged=unchanged)

    @property
    def counts(self) -> Counter[Kind]:
        """How many releases there are of each kind of action."""
        found = Counter(action.kind for action in self.actions)
        found["same"] += self.unchanged
        return found

    @property
    def is_success(self) -> bool:
        """Whether all was taken that could be had; single releases may lack."""
        fails = self.asked.get("changes") == "fail" and self.exit_code == FROZEN
        return not (self.error or self.shrunk or fails)

    @property
    def last_success(self) -> str:
        """``succeeded``, also of a report that an older version of this program left."""
        return self.time if self.is_success else self.succeeded

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
        return gravest(report.exit_code for report in self.sources)


def _bounded(holes: Collection[Hole]) -> list[Hole]:
    """Holes, sorted, with texts that no upstream can make long, and so many of them."""
    found = [
        Hole(h.what[:300], h.reason[:_MAX_TEXT], h.package[:300], h.release[:200])
        for h in sorted(holes)[:_MAX_HOLES]
    ]
    if len(holes) > _MAX_HOLES:
        found.append(Hole(MORE, f"and {len(holes) - _MAX_HOLES} more", MORE))
    return found


def _shrinkage(rules: Rules, listing: Listing, plan: Plan) -> str:
    """How much is gone, which, and what to do about it."""
    if not (listing.offers or plan.rest.offered):
        return (
            "the source offers nothing at all: nothing was dropped, whatever max_shrink says; to "
            "remove what came from it, use 'cnrmirror remove'"
        )
    gone = [a for a in plan.actions if a.kind == "kept" and a.why in _GONE]
    some = ", ".join(f"{a.package}@{a.release}" for a in gone[:10]) + (" …" * (len(gone) > 10))
    return (
        f"{len(gone)} of {plan.ours} releases are gone upstream, more than max_shrink "
        f"{rules.max_shrink:g} allows: nothing was dropped ({some}). If that is right: "
        f"cnrmirror sync {plan.source} --max-shrink 1"
    )


def gravest(codes: Iterable[int]) -> int:
    """The exit code of several."""
    return min(set(codes) - {0}, key=_gravity, default=0)


def _gravity(code: int) -> int:
    return _GRAVEST_FIRST.index(code) if code in _GRAVEST_FIRST else len(_GRAVEST_FIRST)


def report_schema() -> str:
    """The JSON Schema (draft 2020-12) of what ``--json`` prints of a sync, as text."""
    (sync, many), parts = msgspec.json.schema_components(
        (SyncReport, list[SourceReport]), ref_template="#/$defs/{name}"
    )
    title = "cnrmirror --json: sync (one object), report (the list of its sources)"
    return schema_text(title, {"anyOf": [sync, many]}, parts)


def asked(rules: Rules) -> dict[str, Any]:
    """The rules as they stand in a report."""
    found: dict[str, Any] = msgspec.to_builtins(rules)
    return found


def message(reports: Sequence[SourceReport]) -> str:
    """What the revision's message says of a run."""
    parts = []
    for report in reports:
        kinds = ("fetch", "replace", "drop")
        counts = {kind: sum(a.kind == kind for a in report.actions) for kind in kinds}
        if any(counts.values()):
            parts.append(
                f"{report.source} +{counts['fetch']} ~{counts['replace']} -{counts['drop']}"
            )
    return f"sync {', '.join(parts) or 'channels'}"
