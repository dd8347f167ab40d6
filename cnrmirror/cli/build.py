"""build: all views again, and server configurations; facts, if asked."""

from __future__ import annotations

import click

from cnrmirror.cli.context import Context, counted, now, pass_context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.mirror import hosts
from cnrmirror.mirror.facts import Extracted, extract_anew
from cnrmirror.model.errors import InvalidDocument


@click.command()
@click.option(
    "--facts",
    is_flag=True,
    help="Look again into charts that an older program looked into: one revision.",
)
@pass_context
def build(context: Context, facts: bool) -> None:
    """All views again, and the server configurations in hosts/.

    Only files that differ are written; files that do not belong into the site are removed.
    """
    extracted = extract_anew(signing_project(context), now()) if facts else None
    project = context.project()
    with project.alone():
        project.require_writable()
        written, removed = project.builder.rebuild(project.head())
        configurations: list[str] = []
        try:
            configurations = hosts.write(project)
        except InvalidDocument as error:
            click.echo(f"cnrmirror: no configurations in hosts/: {error.message}", err=True)
    lines = [_told(extracted)] if extracted else []
    context.result(
        {"written": written, "removed": removed, "hosts": configurations, "facts": extracted},
        [
            *lines,
            f"{written} files written, {removed} removed"
            + ("; server configurations in hosts/" if configurations else ""),
        ],
    )


def _told(extracted: Extracted) -> str:
    at = f": revision {extracted.revision}" if extracted.revision is not None else ""
    odd = len(extracted.unreadable)
    return f"looked into {counted(extracted.archives, 'archive')}{at}" + (
        f"; {odd} cannot be read" if odd else ""
    )


COMMAND = build
