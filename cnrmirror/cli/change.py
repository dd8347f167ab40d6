"""channel, remove, rollback."""

from __future__ import annotations

import click

from cnrmirror.cli.common import Context, now, pass_context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.documents import Head
from cnrmirror.errors import UsageError
from cnrmirror.names import PackageName, Reference, check_media_type
from cnrmirror.workflow import change


def _done(context: Context, head: Head | None) -> None:
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
    _done(context, change.set_channel(signing_project(context), name, channel, release, now()))


@channel.command("remove")
@click.argument("package", metavar="NS/NAME")
@click.argument("channel", metavar="CHANNEL")
@click.argument("release", metavar="[RELEASE]", required=False)
@pass_context
def channel_remove(context: Context, package: str, channel: str, release: str | None) -> None:
    """Remove CHANNEL, or only RELEASE from it."""
    name = str(PackageName.parse(package))
    _done(context, change.remove_channel(signing_project(context), name, channel, release, now()))


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
    _done(context, head)


@click.command()
@click.argument("revision", metavar="REV")
@pass_context
def rollback(context: Context, revision: str) -> None:
    """Make a new revision with the content of revision REV."""
    _done(context, change.rollback(signing_project(context), revision, now()))


COMMANDS = [channel, remove, rollback]
