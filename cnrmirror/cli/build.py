"""build: all views again, and server configurations."""

from __future__ import annotations

import click

from cnrmirror.cli.context import Context, pass_context
from cnrmirror.mirror import hosts
from cnrmirror.model.errors import InvalidDocument


@click.command()
@pass_context
def build(context: Context) -> None:
    """All views again, and the server configurations in hosts/.

    Only files that differ are written; files that do not belong into the site are removed.
    """
    project = context.project()
    with project.alone():
        project.require_writable()
        written, removed = project.builder.rebuild(project.head())
        configurations: list[str] = []
        try:
            configurations = hosts.write(project)
        except InvalidDocument as error:
            click.echo(f"cnrmirror: no configurations in hosts/: {error.message}", err=True)
    context.result(
        {"written": written, "removed": removed, "hosts": configurations},
        [
            f"{written} files written, {removed} removed"
            + ("; server configurations in hosts/" if configurations else "")
        ],
    )


COMMAND = build
