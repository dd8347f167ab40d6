"""log: the revisions."""

from __future__ import annotations

from itertools import islice

import click

from cnrmirror.cli.context import Context, ago, pass_context


@click.command()
@click.option(
    "-n",
    "number",
    default=20,
    show_default=True,
    type=click.IntRange(0),
    help="How many revisions at most.",
)
@pass_context
def log(context: Context, number: int) -> None:
    """List the revisions, newest first."""
    project = context.project()
    history = project.catalog.history(project.head().catalog)
    rows = [
        (root.revision, root.time, root.packages, root.releases, at.digest[:12], root.message)
        for at, root in islice(history, number)
    ]
    columns = ("REVISION", "TIME", "PACKAGES", "RELEASES", "DIGEST", "WHAT")
    keys = ("revision", "time", "packages", "releases", "digest", "message")
    value = [dict(zip(keys, row, strict=True)) for row in rows]
    shown = [(number, ago(time, context), *rest) for number, time, *rest in rows]
    context.table(value, columns, shown)


COMMAND = log
