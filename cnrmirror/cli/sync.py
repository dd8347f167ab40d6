"""sync, report, config."""

from __future__ import annotations

import os
import sys

import click

from cnrmirror.cli.common import Context, now, pass_context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.cli.trusted import fetcher_for
from cnrmirror.errors import NotFoundError
from cnrmirror.workflow.sources import open_sources
from cnrmirror.workflow.sync import SyncReport, last_report
from cnrmirror.workflow.sync import sync as run_sync

_QUIET = ("same", "shadowed")


def _lines(report: SyncReport) -> list[str]:
    lines = []
    for source in report.sources:
        if source.error:
            lines.append(f"error\t{source.source}\t{source.error}")
            continue
        lines += [
            f"{a.kind}\t{a.package}@{a.release} ({a.media_type})"
            + (f"\t{a.reason}" * bool(a.reason))
            for a in source.actions
            if a.kind not in _QUIET
        ]
        lines += [f"hole\t{hole.what}\t{hole.reason}" for hole in source.holes]
        lines += [f"note\t{note}" for note in source.notes]
        lines.append(
            f"{source.source}: {source.offered} releases offered, {source.wanted} wanted, "
            f"{source.fetched} fetched ({source.bytes} bytes), {len(source.holes)} holes"
        )
    return lines


@click.command()
@click.argument("names", metavar="[SOURCE]...", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--keep", is_flag=True, help="Keep what a tightened filter leaves out.")
@pass_context
def sync(context: Context, names: tuple[str, ...], dry_run: bool, keep: bool) -> None:
    """Bring in what the sources of mirror.yaml have, all as one revision.

    Exit codes: 0 done, or nothing to do; 12 a source cannot be reached; 15 too much is gone
    upstream, nothing was dropped; 4 releases changed upstream and were not taken; 14 done, with
    holes that the next run tries again.

    \b
    cnrmirror sync --dry-run
    cnrmirror sync quay
    """
    project = signing_project(context)
    sources = open_sources(project, names, os.environ, fetcher_for)
    report = run_sync(project, sources, now(), dry_run, keep)
    lines = _lines(report)
    if not dry_run:
        lines.append(f"revision {report.revision}" if report.revision else "nothing changed")
    context.result(report, lines)
    sys.exit(report.exit_code)


@click.command()
@pass_context
def report(context: Context) -> None:
    """How complete the mirror is: what the last sync asked for, found, and could not have."""
    found = last_report(context.project())
    if found is None:
        raise NotFoundError("there was no sync yet; see 'cnrmirror sync'")
    context.result(found, [f"sync of {found.time}", *_lines(found)])


@click.group()
def config() -> None:
    """mirror.yaml."""


@config.command("check")
@pass_context
def config_check(context: Context) -> None:
    """Say what is wrong with mirror.yaml, with its line, or that it is well."""
    project = context.project()
    names = list(project.config.sources)
    if names:
        open_sources(project, names, os.environ, fetcher_for)
    context.result(
        {"id": project.config.id, "sources": names},
        [f"mirror.yaml is well; sources: {', '.join(names) or 'none'}"],
    )


COMMANDS = [sync, report, config]
