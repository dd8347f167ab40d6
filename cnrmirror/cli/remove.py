"""remove: take a release away."""

from __future__ import annotations

import click

from cnrmirror.cli.channel import tell_revision
from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.mirror import change
from cnrmirror.model.errors import UsageError
from cnrmirror.model.names import Reference, check_media_type


@click.command()
@click.argument("reference", metavar="NS/NAME@RELEASE")
@click.option("-t", "--media-type", metavar="T", help="Only this format; all if not given.")
@click.option("--reason", default="removed", show_default=True, help="Goes into the tombstone.")
@pass_context
def remove(context: Context, reference: str, media_type: str | None, reason: str) -> None:
    """Remove a release; a tombstone says when and why.

    \b
    cnrmirror remove charts/nginx@1.0.0 --reason "CVE-2026-0001"
    """
    ref = Reference.parse(reference)
    if ref.kind != "release":
        raise UsageError(f"{reference!r}: say exactly which release, NS/NAME@RELEASE")
    short = check_media_type(media_type) if media_type else None
    head = change.remove(
        signing_project(context), str(ref.package), ref.value, short, reason, now()
    )
    tell_revision(context, head)


COMMAND = remove
