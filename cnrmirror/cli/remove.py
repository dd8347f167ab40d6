"""remove: take a release away."""

from __future__ import annotations

import sys

import click
import msgspec

from cnrmirror.cli.channel import tell_revision
from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.mirror import change
from cnrmirror.model.documents import PackageDocument
from cnrmirror.model.errors import UsageError
from cnrmirror.model.names import Reference, check_media_type


@click.command()
@click.argument("reference", metavar="NS/NAME@RELEASE")
@click.option("-t", "--media-type", metavar="T", help="Only this format; all if not given.")
@click.option("--reason", default="removed", show_default=True, help="Goes into the tombstone.")
@click.option("--channels", type=click.Choice(["move", "drop"]),
              help="A channel that points at it moves to the highest left, or goes.")  # fmt: skip
@pass_context
def remove(
    context: Context, reference: str, media_type: str | None, reason: str,
    channels: change.ChannelRule | None,
) -> None:  # fmt: skip
    """Remove a release; a tombstone says when and why.

    A channel that points at it does not move by itself: on a terminal you are asked, else the
    channel is dropped, and that is said. --channels decides it beforehand.

    \b
    cnrmirror remove charts/nginx@1.0.0 --reason "CVE-2026-0001"
    """
    ref = Reference.parse(reference)
    if ref.kind != "release":
        raise UsageError(f"{reference!r}: say exactly which release, NS/NAME@RELEASE")
    short = check_media_type(media_type) if media_type else None
    project = signing_project(context)
    removal = change.Removal(str(ref.package), ref.value, short, reason)
    rule = channels or _asked(context, removal, project.document(removal.package))
    head = change.remove(project, msgspec.structs.replace(removal, channels=rule), now())
    tell_revision(context, head)


def _asked(
    context: Context, removal: change.Removal, document: PackageDocument
) -> change.ChannelRule:
    """What becomes of the channels that point at the release."""
    rule: change.ChannelRule = "drop"
    for channel, following in removal.left_alone(document):
        said = f"channel {channel.name} points at {removal.release}"
        if following and context.terminal and sys.stdin.isatty():
            click.echo(f"{said}; the highest release left in it is {following}", err=True)
            answer = click.prompt("Move it there, drop it, or stop?", err=True, show_default=False,
                                  type=click.Choice(["move", "drop", "stop"]))  # fmt: skip
            if answer == "stop":
                raise click.Abort
            return "move" if answer == "move" else "drop"
        way = f"'cnrmirror channel set {removal.package} {channel.name} RELEASE' makes it again"
        click.echo(f"cnrmirror: {said}, and is dropped: {way}", err=True)
    return rule


COMMAND = remove
