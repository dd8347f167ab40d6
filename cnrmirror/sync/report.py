"""What a sync did, as values: for people, for machines, and for the next run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cnrmirror.model.errors import CnrMirrorError
from cnrmirror.sources.base import Hole, Listing
from cnrmirror.sync.fetch import Brought
from cnrmirror.sync.plan import Action, Plan, Rules

PARTIAL, SHRUNK, FROZEN = 14, 15, 4
_GRAVEST_FIRST = (9, 10, 11, 12, 16, 17, 3, 1, SHRUNK, FROZEN, PARTIAL)
_MUCH_IS_GONE = "much of it is gone upstream: nothing was dropped; look, then say what to do"


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

    @classmethod
    def build(
        cls, rules: Rules, listing: Listing, plan: Plan, brought: Brought, now: str
    ) -> SourceReport:
        """The report of a source that could be asked."""
        sizes = [fetched.blob.size for fetched in brought.fetched.values()]
        notes = [*listing.notes, *brought.notes, *([_MUCH_IS_GONE] if plan.shrunk else [])]
        error = brought.error
        return cls(
            plan.source, now, asked(rules), len(listing.offers), len(plan.wanted), plan.actions,
            sorted({*plan.holes, *brought.holes}), notes, len(sizes), sum(sizes),
            listing.complete, error.message if error else "", error.exit_code if error else 0,
            plan.shrunk,
        )  # fmt: skip

    @classmethod
    def failed(cls, source: str, rules: Rules, error: CnrMirrorError, now: str) -> SourceReport:
        """The report of a source that could not be had."""
        return cls(
            source, now, asked(rules), 0, 0, [], [], [], 0, 0, False, error.message,
            error.exit_code,
        )  # fmt: skip

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
