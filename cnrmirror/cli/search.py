"""search: find packages by name."""

from __future__ import annotations

import click

from cnrmirror.cli.context import Context, pass_context
from cnrmirror.cli.origin import Origin, exit_if_stale, origin_options, read_verified


@click.command()
@click.argument("words")
@origin_options
@pass_context
def search(context: Context, words: str, origin: Origin) -> None:
    """Find packages by words in their names.

    Searches this mirror, or the one that --from names.

    \b
    cnrmirror search nginx
    """
    if origin.sources:
        names, fresh = read_verified(origin, lambda remote: [r.name for r in remote.refs()])
    else:
        project = context.project()
        names, fresh = [ref.name for ref in project.catalog.packages(project.tree())], True
    found = sorted(name for name in names if words in name)
    if not found:
        context.note(f"no package has {words!r} in its name")
    context.result(found, found)
    exit_if_stale(fresh)


COMMAND = search
