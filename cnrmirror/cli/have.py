"""have: what this mirror holds of its sender."""

from __future__ import annotations

import click

from cnrmirror.airgap.have import have, write_have
from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.mirror.home import online_folder
from cnrmirror.trust.keys import generate, read_key, write_key


@click.command("have")
@click.option(
    "--registry", metavar="ID", help="The sender's registry, if this mirror imported from several."
)
@pass_context
def have_statement(context: Context, registry: str | None) -> None:
    """Print what this mirror imported, for the sender's 'export --since'.

    It is signed.

    \b
    cnrmirror have > have.json
    """
    project = context.project()
    statement = have(project, now(), registry)
    folder = online_folder(project.config.id)
    found = sorted(folder.glob("receiver-*.pem"))
    if found:
        signer = read_key(found[0], None)
    else:
        signer = generate()
        write_key(folder, "receiver", signer, None)
    click.echo(write_have(statement, signer), nl=False)


COMMAND = have_statement
