"""sync: bring in what the sources have."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import msgspec

from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.cli.origin import reader_for
from cnrmirror.cli.report import show_reports
from cnrmirror.mirror.project import Project
from cnrmirror.sync.open import open_sources
from cnrmirror.sync.report import SyncReport
from cnrmirror.sync.run import sync as run_sync


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
    sources = open_sources(project, names, os.environ, reader_for)
    report = run_sync(project, sources, now(), dry_run, keep)
    last = "nothing was done" if dry_run else "nothing changed"
    show_reports(context, report, report.sources, dry_run,
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


COMMAND = sync
