"""gc: remove what only old revisions need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from cnrmirror.cli.context import Context, counted, now, pass_context, sized
from cnrmirror.cli.keyring import signing_project
from cnrmirror.mirror.gc import Garbage, collect
from cnrmirror.model.later import later

if TYPE_CHECKING:
    from cnrmirror.publish import shared, upkeep
else:
    shared = later("cnrmirror.publish.shared")
    upkeep = later("cnrmirror.publish.upkeep")


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
    number = revisions if revisions is not None else keep.revisions
    hours = grace_hours if grace_hours is not None else keep.grace_hours
    if project.partial:
        store = shared.Shared(project)
        garbage = Garbage(upkeep.collect(store, number, hours, now(), dry_run))
    else:
        garbage = collect(project, number, hours, now(), dry_run)
    verb = "would remove" if dry_run else "removed"
    lines = [path for path, _ in garbage.files] if dry_run else []
    lines.append(f"{verb} {counted(len(garbage.files), 'file')}, {sized(garbage.size)}")
    tell = context.result if dry_run else context.done
    tell(Collected(garbage.files, garbage.size, dry_run), lines)


COMMAND = gc
