"""log: the revisions."""

from __future__ import annotations

from itertools import islice

import click
import msgspec

from cnrmirror.cli.context import Context, ago, pass_context


class LogEntry(msgspec.Struct, frozen=True):
    """What ``--json`` says of a revision; ``digest`` is that of its catalog root."""

    revision: int
    time: str
    packages: int
    releases: int
    digest: str
    message: str


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
    """List the revisions, newest first.

    \b
    cnrmirror log -n 5
    """
    project = context.project()
    history = project.catalog.history(project.head().catalog)
    rows = [
        (root.revision, root.time, root.packages, root.releases, at.digest, root.message)
        for at, root in islice(history, number)
    ]
    columns = ("REVISION", "TIME", "PACKAGES", "RELEASES", "DIGEST", "WHAT")
    value = [LogEntry(*row) for row in rows]
    shown = [(e.revision, ago(e.time, context), e.packages, e.releases, e.digest[:12], e.message)
             for e in value]  # fmt: skip
    context.table(value, columns, shown, spare=("DIGEST", "RELEASES", "PACKAGES"))


COMMAND = log
