"""build, check, gc."""

from __future__ import annotations

import sys
import time

import click

from cnrmirror.cli.common import Context, pass_context
from cnrmirror.errors import DamageError
from cnrmirror.workflow import change, hosts
from cnrmirror.workflow.check import check as check_project


@click.command()
@pass_context
def build(context: Context) -> None:
    """All views again, and the server configurations in hosts/.

    Only files that differ are written; files that do not belong into the site are removed.
    """
    project = context.project()
    with project.writing():
        written, removed = project.builder.rebuild(project.head())
        configurations = hosts.write(project)
    context.result(
        {"written": written, "removed": removed, "hosts": configurations},
        [f"{written} files written, {removed} removed; server configurations in hosts/"],
    )


@click.command()
@pass_context
def check(context: Context) -> None:
    """Compare every digest, and every view with the catalog.

    Exit code 6 if something is missing, damaged or too much.
    """
    report = check_project(context.project())
    lines = [f"{finding.problem}\t{finding.path}" for finding in report.findings]
    lines += [f"note\t{note}" for note in report.notes]
    lines.append(
        f"revision {report.revision}: {report.packages} packages, {report.releases} releases, "
        f"{report.blobs} blobs, {report.files} files: "
        + (f"{len(report.findings)} findings" if report.findings else "all well")
    )
    context.result(report, lines)
    if report.findings:
        click.echo(
            "cnrmirror: views are mended by 'cnrmirror build'; "
            "nodes and blobs must be restored from a copy",
            err=True,
        )
        sys.exit(DamageError.exit_code)


@click.command()
@click.option("--revisions", type=click.IntRange(1), help="Keep what the last K revisions need.")
@click.option("--grace-hours", type=click.FloatRange(0), help="Keep all that is younger.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@pass_context
def gc(context: Context, revisions: int | None, grace_hours: float | None, dry_run: bool) -> None:
    """Remove blobs and nodes that only old revisions need."""
    project = context.project()
    keep = project.config.retention
    garbage = change.collect(
        project,
        revisions if revisions is not None else keep.revisions,
        grace_hours if grace_hours is not None else keep.grace_hours,
        time.time(),
        dry_run,
    )
    verb = "would remove" if dry_run else "removed"
    lines = [path for path, _ in garbage.files] if dry_run else []
    lines.append(f"{verb} {len(garbage.files)} files, {garbage.size} bytes")
    context.result({"files": garbage.files, "bytes": garbage.size, "dry_run": dry_run}, lines)


COMMANDS = [build, check, gc]
