"""channel: list, set, remove."""

from __future__ import annotations

import click

from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.mirror import change
from cnrmirror.model.documents import Head
from cnrmirror.model.names import PackageName


def tell_revision(context: Context, head: Head | None) -> None:
    revision = head.revision if head else None
    context.result({"revision": revision}, [f"revision {revision}" if head else "nothing changed"])


@click.group()
def channel() -> None:
    """Channels: movable names for releases."""


@channel.command("list")
@click.argument("package", metavar="NS/NAME")
@pass_context
def channel_list(context: Context, package: str) -> None:
    """The channels of a package: name, current release, all releases."""
    document = context.project().document(str(PackageName.parse(package)))
    rows = [(c.name, c.current, " ".join(c.releases)) for c in document.channels]
    context.table(document.channels, ("CHANNEL", "CURRENT", "RELEASES"), rows)


@channel.command("set")
@click.argument("package", metavar="NS/NAME")
@click.argument("channel", metavar="CHANNEL")
@click.argument("release", metavar="RELEASE")
@pass_context
def channel_set(context: Context, package: str, channel: str, release: str) -> None:
    """Point CHANNEL at RELEASE; it is made if there is none of that name."""
    name = str(PackageName.parse(package))
    tell_revision(
        context, change.set_channel(signing_project(context), name, channel, release, now())
    )


@channel.command("remove")
@click.argument("package", metavar="NS/NAME")
@click.argument("channel", metavar="CHANNEL")
@click.argument("release", metavar="[RELEASE]", required=False)
@pass_context
def channel_remove(context: Context, package: str, channel: str, release: str | None) -> None:
    """Remove CHANNEL, or only RELEASE from it."""
    name = str(PackageName.parse(package))
    tell_revision(
        context, change.remove_channel(signing_project(context), name, channel, release, now())
    )


COMMAND = channel
