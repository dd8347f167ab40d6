"""config: check, schema."""

from __future__ import annotations

import os

import click

from cnrmirror.cli.context import Context, pass_context
from cnrmirror.cli.group import Group
from cnrmirror.cli.origin import reader_for
from cnrmirror.mirror.config import schema
from cnrmirror.publish.open import find_destinations
from cnrmirror.sync.open import open_sources


@click.group(cls=Group)
def config() -> None:
    """Check mirror.yaml, show what it means, print its schema."""


@config.command("check")
@pass_context
def config_check(context: Context) -> None:
    """Say what is wrong with mirror.yaml, and in which line."""
    project = context.project()
    names = list(project.config.sources)
    if names:
        open_sources(project, names, os.environ, reader_for)
    targets = list(project.config.publish)
    if targets:
        find_destinations(project, targets)
    context.result(
        {"id": project.config.id, "sources": names, "publish": targets},
        [
            f"mirror.yaml is well; sources: {', '.join(names) or 'none'}; "
            f"publish: {', '.join(targets) or 'nowhere'}"
        ],
    )


@config.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of mirror.yaml, for editors.

    docs/mirror.schema.json is the same.
    """
    click.echo(schema())


COMMAND = config
