"""config: check, show, schema."""

from __future__ import annotations

import os

import click
import msgspec
import yaml

from cnrmirror.bundle.places import reader_for
from cnrmirror.cli.context import Context, pass_context
from cnrmirror.cli.group import Group
from cnrmirror.mirror.config import StrictLoader
from cnrmirror.mirror.prepare import write_schema
from cnrmirror.mirror.schema import schema_as_text
from cnrmirror.publish.open import find_destinations
from cnrmirror.sync.open import open_sources


class ConfigChecked(msgspec.Struct, frozen=True):
    """What ``--json`` says of a good mirror.yaml: the names of its sources and targets."""

    id: str
    sources: list[str]
    publish: list[str]


@click.group(cls=Group)
def config() -> None:
    """Check mirror.yaml, show what it means, print its schema.

    \b
    cnrmirror config check
    """


@config.command("check")
@click.option("--secrets", is_flag=True, help="Check, too, that the secrets it names can be read.")
@pass_context
def config_check(context: Context, secrets: bool) -> None:
    """Say what is wrong with mirror.yaml, and in which line.

    The variables and files with secrets that it names need not be on this machine.

    \b
    cnrmirror config check
    cnrmirror config check --secrets
    """
    project = context.project()
    write_schema(project.folder)
    names = list(project.config.sources)
    if names:
        open_sources(project, names, os.environ if secrets else None, reader_for)
    targets = list(project.config.publish)
    if targets:
        find_destinations(project, targets)
    context.done(
        ConfigChecked(project.config.id, names, targets),
        [
            f"mirror.yaml is valid; sources: {', '.join(names) or 'none'}; "
            f"publish: {', '.join(targets) or 'none'}"
        ],
    )


@config.command("show")
@click.option("--effective", is_flag=True, help="Print it as it is understood, with all defaults.")
@pass_context
def config_show(context: Context, effective: bool) -> None:
    """Print mirror.yaml as it is; --effective: as it is understood, with all defaults.

    \b
    cnrmirror config show
    cnrmirror config show --effective
    """
    project = context.project()
    text = project.layout.configuration.read_text(encoding="utf-8")
    value = yaml.load(text, Loader=StrictLoader)
    if effective:
        value = msgspec.to_builtins(project.config)
        text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    context.result(value, text.splitlines())


@config.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of mirror.yaml, for editors.

    docs/mirror.schema.json is the same.

    \b
    cnrmirror config schema > mirror.schema.json
    """
    click.echo(schema_as_text())


COMMAND = config
