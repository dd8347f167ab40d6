"""sync: bring in what the sources have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from cnrmirror.bundle.places import reader_for
from cnrmirror.cli import words
from cnrmirror.cli.context import Context, counted, now, pass_context, write_whole
from cnrmirror.cli.crews import ONLY_FETCH, Wish, crew_options, fetch_apart
from cnrmirror.cli.keyring import signing_project
from cnrmirror.cli.report import show_reports
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import UsageError
from cnrmirror.sources.base import Source
from cnrmirror.sync.acknowledged import FILE_NAME as ACKNOWLEDGED
from cnrmirror.sync.acknowledged import acknowledge, acknowledgements, with_acknowledged
from cnrmirror.sync.memory import last_reports
from cnrmirror.sync.meter import Meter
from cnrmirror.sync.metrics import metrics
from cnrmirror.sync.open import open_sources
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.report import SyncReport
from cnrmirror.sync.run import sync as run_sync


class OnlyFetched(msgspec.Struct, frozen=True):
    """What ``--only-fetch --json`` says: how many archives are in the store for the next sync."""

    archives: int
    bytes: int


@click.command()
@click.argument("names", metavar="[SOURCE]...", nargs=-1, shell_complete=words.sources)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--keep", is_flag=True, help="Keep releases that a narrower filter now leaves out.")
@click.option(
    "--max-shrink",
    type=click.FloatRange(0, 1),
    metavar="PART",
    help="Replaces max_shrink of mirror.yaml: the largest part that may be dropped (1: all).",
)
@click.option(
    "--acknowledge",
    "acknowledging",
    is_flag=True,
    help="Write the holes of this run into acknowledged.yaml: they no longer change the exit code.",
)
@click.option(
    "--metrics",
    "metrics_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write metrics for Prometheus into FILE, for a textfile collector.",
)
@crew_options(
    "Fetch", "'parallel' and 'rate' hold for all of them together",
    "the mirror must be in a bucket (store)",
)  # fmt: skip
@ONLY_FETCH
@pass_context
def sync(
    context: Context,
    names: tuple[str, ...],
    dry_run: bool,
    keep: bool,
    max_shrink: float | None,
    acknowledging: bool,
    metrics_file: Path | None,
    only_fetch: bool,
    wish: Wish,
) -> None:
    """Fetch what the sources in mirror.yaml have, as one revision.

    \b
    cnrmirror sync --dry-run
    cnrmirror sync quay
    cnrmirror sync --acknowledge
    cnrmirror sync --metrics /var/lib/node_exporter/cnrmirror.prom
    cnrmirror sync --workers 4
    """
    _check_together(dry_run, only_fetch, acknowledging, metrics_file)
    project = context.project() if only_fetch else signing_project(context)
    wish.check_for(project)
    meter = Meter()
    sources = open_sources(project, names, os.environ, reader_for, meter)
    if max_shrink is not None:
        sources = [(s, msgspec.structs.replace(r, max_shrink=max_shrink)) for s, r in sources]
    if only_fetch:
        _fetch(context, project, sources, keep, meter, wish)
        return
    hooks = project.config.hooks
    if hooks.before_sync and not dry_run:
        last = SyncReport("", None, last_reports(project, now()))
        if _hook("before_sync", hooks.before_sync, project, last):
            sys.exit(1)
    if wish.address and not dry_run:
        shrink = [] if max_shrink is None else ["--max-shrink", str(max_shrink)]
        if code := fetch_apart(context, project, wish, [*names, *["--keep"] * keep, *shrink]):
            sys.exit(code)
        wish = Wish()
    with wish.crew() as crew:
        report = run_sync(project, sources, now(), dry_run, keep, meter, crew)
    last_line = "nothing was done" if dry_run else "nothing changed"
    show_reports(context, report, report.sources, dry_run,
          f"revision {report.revision}" if report.revision else last_line)  # fmt: skip
    if acknowledging:
        report = _acknowledged(project, report)
    if metrics_file:
        write_whole(metrics_file, metrics(project, now()))
    code = report.exit_code
    if hooks.after_sync and not dry_run:
        code = _hook("after_sync", hooks.after_sync, project, report) or code
    sys.exit(code)


def _check_together(
    dry_run: bool, only_fetch: bool, acknowledging: bool, metrics_file: Path | None
) -> None:
    """Raises UsageError for options that do not go together."""
    if (dry_run or only_fetch) and (acknowledging or metrics_file):
        raise UsageError(
            "--dry-run and --only-fetch make no revision: leave --acknowledge and --metrics out"
        )
    if metrics_file and not metrics_file.parent.is_dir():
        raise UsageError(f"--metrics {metrics_file}: there is no such folder")
    if dry_run and only_fetch:
        raise UsageError("--dry-run fetches nothing: leave --only-fetch out")


def _fetch(
    context: Context, project: Project, sources: Sequence[tuple[Source, Rules]], keep: bool,
    meter: Meter, wish: Wish,
) -> None:  # fmt: skip
    """Only bring the archives. What went wrong is said by the sync that makes the revision."""
    with wish.crew() as crew:
        report = run_sync(project, sources, now(), False, keep, meter, crew, only_fetch=True)
    for source in report.sources:
        for note in (*source.notes, *([source.error] if source.error else [])):
            context.note(f"{source.source}: {note}")
    count = sum(source.fetched for source in report.sources)
    lines = [f"{counted(count, 'archive')} in the store; 'cnrmirror sync' makes the revision"]
    context.done(OnlyFetched(count, sum(source.bytes for source in report.sources)), lines)


def _acknowledged(project: Project, report: SyncReport) -> SyncReport:
    """Acknowledge the holes that were shown; the report as it is then."""
    count = acknowledge(project, report.sources, report.time[:10])
    where = f"; give reasons, or remove lines, in {project.folder / ACKNOWLEDGED}" if count else ""
    click.echo(f"{counted(count, 'hole')} acknowledged{where}", err=True)
    known = acknowledgements(project)
    sources = [with_acknowledged(source, known, report.time) for source in report.sources]
    return msgspec.structs.replace(report, sources=sources)


def _hook(name: str, command: list[str], project: Project, report: SyncReport) -> int:
    """Run a hook, with a report on its standard input; 1 if it fails."""
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
        click.echo(f"cnrmirror: hooks.{name}: {command[0]}: {error.strerror}", err=True)
        return 1
    if done.returncode:
        click.echo(f"cnrmirror: hooks.{name} ended with exit code {done.returncode}", err=True)
    return 1 if done.returncode else 0


COMMAND = sync
