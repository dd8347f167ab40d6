"""rollback: make an old revision current again."""

from __future__ import annotations

import click

from cnrmirror.cli import words
from cnrmirror.cli.changing import DRY_RUN, changing, tell_revision
from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.mirror import change


@click.command()
@click.argument("revision", metavar="REV", shell_complete=words.revisions)
@DRY_RUN
@pass_context
def rollback(context: Context, revision: str, dry_run: bool) -> None:
    """Make a new revision with the content of revision REV.

    \b
    cnrmirror rollback 3 --dry-run
    cnrmirror rollback 3
    """
    with changing(context, dry_run) as project:
        tell_revision(context, project, change.rollback(project, revision, now()))


COMMAND = rollback
