"""report: how complete the mirror is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnrmirror.cli import freshness
from cnrmirror.cli.context import Context, counted, duration, now, pass_context, write_whole
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import NotFoundError, StaleError
from cnrmirror.model.instant import Instant
from cnrmirror.model.later import later
from cnrmirror.sync.memory import last_reports
from cnrmirror.sync.report import SourceReport, gravest, report_schema
from cnrmirror.sync.why import Why

if TYPE_CHECKING:
    from cnrmirror.sync import page
else:
    page = later("cnrmirror.sync.page")


_QUIET = ("same", "shadowed")
_WRONG = ("error", "hole", "frozen")
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
        rows += [
            (name, "known", k.hole.what, f"{k.reason} ({k.hole.reason})")
            for k in source.acknowledged
        ]
        rows += [(name, "note", "", note) for note in source.notes]
    return rows


def _sums(source: SourceReport, dry_run: bool) -> str:
    """One line for one source."""
    counts = source.counts
    kept = [a for a in source.actions if a.kind == "kept" and a.why is Why.GONE_UPSTREAM]
    gone = len(kept) if source.asked.get("deletes") == "keep" else 0
    todo = counts["fetch"] + counts["replace"]
    size = sum(a.size for a in source.actions if a.kind in ("fetch", "replace"))
    what = (
        f"{todo} to fetch ({size} bytes as announced)"
        if dry_run
        else (f"{source.fetched} fetched ({source.bytes} bytes)")
    )
    return (
        f"{source.source}: {counted(source.offered, 'release')} offered, {source.wanted} wanted, "
        f"{what}, {counts['same']} here already, {counts['drop']} dropped, "
        f"{counts['frozen']} frozen, {counted(len(source.holes), 'hole')}"
        + (f" and {len(source.acknowledged)} acknowledged" if source.acknowledged else "")
        + (f"; {counted(gone, 'release')} gone upstream, kept (deletes: keep)" if gone else "")
        + (f"; signed: {_signed(source)}" if source.signed else "")
        + ("" if source.complete else "; the source may have more than it lists")
    )


def _signed(source: SourceReport) -> str:
    return ", ".join(f"{number} with {kind}" for kind, number in sorted(source.signed.items()))


def show_reports(
    context: Context, value: object, sources: Sequence[SourceReport], dry_run: bool, last: str
) -> None:
    """The report: what is not as it was, and the sums; with -q only what is wrong."""
    if context.as_json:
        context.result(value, [])
        return
    if context.quiet:
        wrong = [row for row in _rows(sources) if row[1] in _WRONG]
        context.table(value, _COLUMNS, wrong)
        context.result(value, [_sums(s, dry_run) for s in sources if s.exit_code])
        return
    context.table(value, _COLUMNS, _rows(sources))
    context.result(value, [*(_sums(source, dry_run) for source in sources), last])


def _too_old(project: Project, found: Sequence[SourceReport], max_age: timedelta) -> list[str]:
    """The sources that were not asked for so long."""
    present = Instant.parse(now())
    recent = {s.source for s in found if Instant.parse(s.time).age(present) <= max_age}
    return [name for name in project.config.sources if name not in recent]


@click.command()
@click.option("--max-age", metavar="AGE",
              help="End with 10 if a source was not asked within this time: 26h, 2d.")  # fmt: skip
@click.option("--html", "html", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Write it as a page, too: one file that loads and runs nothing.")  # fmt: skip
@click.option("--schema", is_flag=True, help="Print the JSON Schema of what --json prints.")
@pass_context
def report(context: Context, max_age: str | None, html: Path | None, schema: bool) -> None:
    """Say how complete the mirror is, by the last sync of each source.

    What was asked for, what was found, and what is missing.

    The exit code is that of the worst source.

    \b
    cnrmirror report --max-age 26h
    cnrmirror report --html report.html
    cnrmirror --json report
    """
    if schema:
        click.echo(report_schema())
        return
    limit = duration("--max-age", max_age) if max_age is not None else None
    project = context.project()
    found = last_reports(project, now())
    if not found and limit is None and html is None:
        raise NotFoundError("there was no sync yet; run 'cnrmirror sync'")
    if html is not None:
        write_whole(html, page.report_page(project, found, now()))
    times = ", ".join(f"{source.source}: {source.time}" for source in found) or "never"
    show_reports(context, found, found, False, f"last asked: {times}")
    freshness.tell(project, context)
    old = [] if limit is None else _too_old(project, found, limit)
    if old:
        click.echo(f"cnrmirror: not asked within --max-age {max_age}: {', '.join(old)}", err=True)
    codes = [source.exit_code for source in found]
    sys.exit(gravest([*codes, *([StaleError.exit_code] if old else [])]))


COMMAND = report
