"""gc: remove what only old revisions need."""

from __future__ import annotations

import click
import msgspec

from cnrmirror.cli.context import Context, counted, now, pass_context, sized
from cnrmirror.cli.keyring import signing_project
from cnrmirror.mirror.gc import collect


class Collected(msgspec.Struct, frozen=True):
    """What ``--json`` says: each file with its bytes, and all bytes; removed, or to be removed."""

    files: list[tuple[str, int]]
    bytes: int
    dry_run: bool


@click.command()
@click.option("--revisions", type=click.IntRange(1),
              help="Keep what this many of the last revisions need.")  # fmt: skip
@click.option(
    "--grace-hours",
    type=click.FloatRange(0, 1_000_000),
    help="Keep what is younger than this many hours.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@pass_context
def gc(context: Context, revisions: int | None, grace_hours: float | None, dry_run: bool) -> None:
    """Remove blobs and nodes that only old revisions need.

    \b
    cnrmirror gc --dry-run
    cnrmirror gc --revisions 10 --grace-hours 24
    """
    project = signing_project(context)
    keep = project.config.retention
    garbage = collect(
        project,
        revisions if revisions is not None else keep.revisions,
        grace_hours if grace_hours is not None else keep.grace_hours,
        now(),
        dry_run,
    )
    verb = "would remove" if dry_run else "removed"
    lines = [path for path, _ in garbage.files] if dry_run else []
    lines.append(f"{verb} {counted(len(garbage.files), 'file')}, {sized(garbage.size)}")
    tell = context.result if dry_run else context.done
    tell(Collected(garbage.files, garbage.size, dry_run), lines)


COMMAND = gc
