"""rollback: make an old revision current again."""

from __future__ import annotations

import click

from cnrmirror.cli.channel import tell_revision
from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.mirror import change


@click.command()
@click.argument("revision", metavar="REV")
@pass_context
def rollback(context: Context, revision: str) -> None:
    """Make a new revision with the content of revision REV."""
    tell_revision(context, change.rollback(signing_project(context), revision, now()))


COMMAND = rollback
