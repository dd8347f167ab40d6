"""sync, report, config."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import click
import msgspec

from cnrmirror.cli.common import Context, now, pass_context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.cli.trusted import fetcher_for
from cnrmirror.config import schema
from cnrmirror.errors import NotFoundError
from cnrmirror.workflow.project import Project
from cnrmirror.workflow.sources import open_sources
from cnrmirror.workflow.sync import SourceReport, SyncReport, last_reports
from cnrmirror.workflow.sync import sync as run_sync
from cnrmirror.workflow.syncplan import UPSTREAM_GONE
from cnrmirror.workflow.targets import find_targets

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
            if a.kind not in _QUIET and not (a.kind == "kept" and a.reason == UPSTREAM_GONE)
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


def _show(
    context: Context, value: object, sources: Sequence[SourceReport], dry_run: bool, last: str
) -> None:
    """The report: JSON, or what is not as it was as a table, and the sums."""
    if context.as_json:
        context.result(value, [])
        return
    context.table(value, _COLUMNS, _rows(sources))
    context.result(value, [*(_sums(source, dry_run) for source in sources), last])


@click.command()
@click.argument("names", metavar="[SOURCE]...", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--keep", is_flag=True, help="Keep what a tightened filter leaves out.")
@pass_context
def sync(context: Context, names: tuple[str, ...], dry_run: bool, keep: bool) -> None:
    """Bring in what the sources of mirror.yaml have, all as one revision.

    Exit codes: 0 done, or nothing to do; 14 done, with holes that the next run tries again; 4
    releases changed upstream and were not taken; 15 too much is gone upstream, nothing was dropped;
    9 to 12 a source is not trusted, stale, incomplete, or cannot be reached.

    \b
    cnrmirror sync --dry-run
    cnrmirror sync quay
    """
    project = signing_project(context)
    sources = open_sources(project, names, os.environ, fetcher_for)
    parallel = max(project.config.sources[source.name].parallel for source, _ in sources)
    report = run_sync(project, sources, now(), dry_run, keep, parallel)
    last = "nothing was done" if dry_run else "nothing changed"
    _show(context, report, report.sources, dry_run,
          f"revision {report.revision}" if report.revision else last)  # fmt: skip
    code = report.exit_code
    hook = project.config.hooks.after_sync
    if hook and not dry_run:
        code = _after(hook, project, report) or code
    sys.exit(code)


def _after(command: list[str], project: Project, report: SyncReport) -> int:
    """Run the hook, with the report on its standard input; 1 if it fails."""
    environment = {
        **os.environ,
        "CNRMIRROR_FOLDER": str(project.folder.resolve()),
        "CNRMIRROR_REVISION": str(report.revision or ""),
        "CNRMIRROR_EXIT_CODE": str(report.exit_code),
    }
    try:
        done = subprocess.run(
            command, cwd=project.folder, env=environment, input=msgspec.json.encode(report),
            stdout=sys.stderr, check=False,
        )  # fmt: skip
    except OSError as error:
        click.echo(f"cnrmirror: hooks.after_sync: {command[0]}: {error.strerror}", err=True)
        return 1
    if done.returncode:
        click.echo(f"cnrmirror: hooks.after_sync ended with {done.returncode}", err=True)
    return 1 if done.returncode else 0


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
    _show(context, found, found, False, f"last asked: {times}")
    sys.exit(SyncReport("", None, found).exit_code)


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
    targets = list(project.config.publish)
    if targets:
        find_targets(project, targets)
    context.result(
        {"id": project.config.id, "sources": names, "publish": targets},
        [
            f"mirror.yaml is well; sources: {', '.join(names) or 'none'}; "
            f"publish: {', '.join(targets) or 'nowhere'}"
        ],
    )


@config.command("schema")
def config_schema() -> None:
    """The JSON Schema of mirror.yaml, for editors; docs/mirror.schema.json is the same."""
    click.echo(schema())


COMMANDS = [sync, report, config]
