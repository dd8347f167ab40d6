"""diff: what changed between two revisions."""

from __future__ import annotations

import click

from cnrmirror.catalog.changes import changes_between
from cnrmirror.cli.context import Context, pass_context


@click.command()
@click.argument("old", metavar="A")
@click.argument("new", metavar="B", default="head")
@pass_context
def diff(context: Context, old: str, new: str) -> None:
    """What changed from revision A to revision B: releases and channels, one a line."""
    project = context.project()
    before, after = project.revision(old)[1].tree, project.revision(new)[1].tree
    changes = list(changes_between(project.catalog, before, after))
    rows = [(change.change, change.what, change.value) for change in changes]
    context.table(changes, ("", "WHAT", "DIGEST OR RELEASE"), rows)


COMMAND = diff
