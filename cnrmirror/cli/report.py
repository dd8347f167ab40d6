"""report: how complete the mirror is."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

import click

from cnrmirror.cli.context import Context, pass_context
from cnrmirror.model.errors import NotFoundError
from cnrmirror.sync.memory import last_reports
from cnrmirror.sync.report import SourceReport, SyncReport
from cnrmirror.sync.why import Why

_QUIET = ("same", "shadowed")
_COLUMNS = ("SOURCE", "WHAT", "PACKAGE", "WHY")


def _rows(sources: Sequence[SourceReport]) -> list[tuple[str, str, str, str]]:
    rows = []
    for source in sources:
        name = source.source
        if source.error:
            rows.append((name, "error", "", source.error))
        rows += [
            (name, a.kind, f"{a.package}@{a.release} ({a.media_type})", a.reason)
            for a in source.actions
            if a.kind not in _QUIET and not (a.kind == "kept" and a.why is Why.GONE_UPSTREAM)
        ]
        rows += [(name, "hole", hole.what, hole.reason) for hole in source.holes]
        rows += [(name, "note", "", note) for note in source.notes]
    return rows


def _sums(source: SourceReport, dry_run: bool) -> str:
    """One line for one source."""
    counts = Counter(action.kind for action in source.actions)
    todo = counts["fetch"] + counts["replace"]
    size = sum(a.size for a in source.actions if a.kind in ("fetch", "replace"))
    what = (
        f"{todo} to fetch ({size} bytes as announced)"
        if dry_run
        else (f"{source.fetched} fetched ({source.bytes} bytes)")
    )
    return (
        f"{source.source}: {source.offered} releases offered, {source.wanted} wanted, {what}, "
        f"{counts['same']} there already, {counts['drop']} dropped, {counts['frozen']} frozen, "
        f"{len(source.holes)} holes"
        + ("" if source.complete else "; there may be more than it lists")
    )


def show_reports(
    context: Context, value: object, sources: Sequence[SourceReport], dry_run: bool, last: str
) -> None:
    """The report: JSON, or what is not as it was as a table, and the sums."""
    if context.as_json:
        context.result(value, [])
        return
    context.table(value, _COLUMNS, _rows(sources))
    context.result(value, [*(_sums(source, dry_run) for source in sources), last])


@click.command()
@pass_context
def report(context: Context) -> None:
    """How complete the mirror is: what the last sync of each source asked for, found, lacked.

    Exit code: the gravest of the sources, as that of 'sync'.
    """
    found = last_reports(context.project())
    if not found:
        raise NotFoundError("there was no sync yet; see 'cnrmirror sync'")
    times = ", ".join(f"{source.source}: {source.time}" for source in found)
    show_reports(context, found, found, False, f"last asked: {times}")
    sys.exit(SyncReport("", None, found).exit_code)


COMMAND = report
