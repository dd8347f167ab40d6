"""sync: bring in what the sources have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import msgspec

from cnrmirror.bundle.places import reader_for
from cnrmirror.cli import words
from cnrmirror.cli.context import Context, counted, now, pass_context, write_whole
from cnrmirror.cli.keyring import signing_project
from cnrmirror.cli.report import show_reports
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import UsageError
from cnrmirror.sync.acknowledged import FILE_NAME as ACKNOWLEDGED
from cnrmirror.sync.acknowledged import acknowledge, acknowledgements, with_acknowledged
from cnrmirror.sync.memory import last_reports
from cnrmirror.sync.meter import Meter
from cnrmirror.sync.metrics import metrics
from cnrmirror.sync.open import open_sources
from cnrmirror.sync.report import SyncReport
from cnrmirror.sync.run import sync as run_sync


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
@pass_context
def sync(
    context: Context,
    names: tuple[str, ...],
    dry_run: bool,
    keep: bool,
    max_shrink: float | None,
    acknowledging: bool,
    metrics_file: Path | None,
) -> None:
    """Fetch what the sources in mirror.yaml have, as one revision.

    \b
    cnrmirror sync --dry-run
    cnrmirror sync quay
    cnrmirror sync --acknowledge
    cnrmirror sync --metrics /var/lib/node_exporter/cnrmirror.prom
    """
    if dry_run and (acknowledging or metrics_file):
        raise UsageError("--dry-run writes nothing: leave --acknowledge and --metrics out")
    if metrics_file and not metrics_file.parent.is_dir():
        raise UsageError(f"--metrics {metrics_file}: there is no such folder")
    project = signing_project(context)
    meter = Meter()
    sources = open_sources(project, names, os.environ, reader_for, meter)
    if max_shrink is not None:
        sources = [(s, msgspec.structs.replace(r, max_shrink=max_shrink)) for s, r in sources]
    hooks = project.config.hooks
    if hooks.before_sync and not dry_run:
        last = SyncReport("", None, last_reports(project, now()))
        if _hook("before_sync", hooks.before_sync, project, last):
            sys.exit(1)
    report = run_sync(project, sources, now(), dry_run, keep, meter)
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
