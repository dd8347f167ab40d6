"""channel: list, set, remove."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from cnrmirror.cli import words
from cnrmirror.cli.changing import DRY_RUN, changing, tell_revision
from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.group import Group
from cnrmirror.mirror import change
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import NotFoundError
from cnrmirror.model.names import PackageName
from cnrmirror.model.near import did_you_mean


@click.group(cls=Group)
def channel() -> None:
    """List, set and remove channels: movable names for releases.

    \b
    cnrmirror channel set charts/nginx stable 1.2.0
    """


@channel.command("list")
@click.argument("package", metavar="NS/NAME", shell_complete=words.packages)
@pass_context
def channel_list(context: Context, package: str) -> None:
    """List the channels of a package: name, current release, all releases.

    \b
    cnrmirror channel list charts/nginx
    """
    document = context.project().document(str(PackageName.parse(package)))
    rows = [(c.name, c.current, " ".join(c.releases)) for c in document.channels]
    context.table(document.channels, ("CHANNEL", "CURRENT", "RELEASES"), rows,
                  f"{package} has no channels")  # fmt: skip


@channel.command("set")
@click.argument("package", metavar="NS/NAME", shell_complete=words.packages)
@click.argument("channel", metavar="CHANNEL", shell_complete=words.channels)
@click.argument("release", metavar="RELEASE", shell_complete=words.releases)
@DRY_RUN
@pass_context
def channel_set(context: Context, package: str, channel: str, release: str, dry_run: bool) -> None:
    """Point CHANNEL at RELEASE.

    A channel of a new name is made.

    \b
    cnrmirror channel set charts/nginx stable 1.2.0 --dry-run
    cnrmirror channel set charts/nginx stable 1.2.0
    """
    name = str(PackageName.parse(package))
    with changing(context, dry_run) as project:
        with _hinted(project, name):
            head = change.set_channel(project, name, channel, release, now())
        tell_revision(context, project, head)


@channel.command("remove")
@click.argument("package", metavar="NS/NAME", shell_complete=words.packages)
@click.argument("channel", metavar="CHANNEL", shell_complete=words.channels)
@click.argument("release", metavar="[RELEASE]", required=False, shell_complete=words.releases)
@DRY_RUN
@pass_context
def channel_remove(
    context: Context, package: str, channel: str, release: str | None, dry_run: bool
) -> None:
    """Remove CHANNEL, or only RELEASE from it.

    \b
    cnrmirror channel remove charts/nginx stable
    """
    name = str(PackageName.parse(package))
    with changing(context, dry_run) as project:
        with _hinted(project, name):
            head = change.remove_channel(project, name, channel, release, now())
        tell_revision(context, project, head)


@contextlib.contextmanager
def _hinted(project: Project, package: str) -> Iterator[None]:
    """Say of a release or channel that is not there what it may have meant.

    The messages themselves are the registry's, which its clients get.
    """
    try:
        yield
    except NotFoundError as error:
        document = project.document(package)
        known = {
            "release": [release.release for release in document.releases],
            "channel": [channel.name for channel in document.channels],
        }
        hints = (did_you_mean(str(error.details.get(k, "")), words) for k, words in known.items())
        raise NotFoundError(error.message + "".join(hints), **error.details) from error


COMMAND = channel
