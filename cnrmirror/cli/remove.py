"""remove: take a release away."""

from __future__ import annotations

import contextlib
import sys

import click
import msgspec

from cnrmirror.cli import words
from cnrmirror.cli.changing import changing, tell_revision
from cnrmirror.cli.context import Context, counted, now, pass_context, plain
from cnrmirror.cli.keyring import signing_project
from cnrmirror.mirror import change, purge
from cnrmirror.mirror.project import Project
from cnrmirror.model.documents import PackageDocument
from cnrmirror.model.errors import DONE_BUT_FOR_SOME, CnrMirrorError, NotFoundError, UsageError
from cnrmirror.model.names import Reference, check_media_type
from cnrmirror.publish.open import find_destinations
from cnrmirror.publish.session import Session


@click.command()
@click.argument("reference", metavar="NS/NAME@RELEASE", shell_complete=words.references)
@click.option("-t", "--media-type", metavar="T", help="Only this media type; all if not given.")
@click.option("--reason", default="removed", show_default=True, help="Why; the tombstone says it.")
@click.option(
    "--channels",
    type=click.Choice(["move", "drop"]),
    help="Move channels that point at it to the highest release left, or drop them.",
)
@click.option("--purge", "for_good", is_flag=True,
              help="Erase its bytes for good: in the history, at every destination.")  # fmt: skip
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only say what would change; with --purge, what would be erased.",
)
@pass_context
def remove(
    context: Context, reference: str, media_type: str | None, reason: str,
    channels: change.ChannelRule | None, for_good: bool, dry_run: bool,
) -> None:  # fmt: skip
    """Remove a release; a tombstone says when and why.

    A channel that points at it does not move by itself: on a terminal you are asked, else the
    channel is dropped, and that is said. --channels decides it beforehand.

    \b
    cnrmirror remove charts/nginx@1.0.0 --reason "CVE-2026-0001"
    cnrmirror remove charts/nginx@1.0.0 --purge --reason "it had a password in it"
    """
    ref = Reference.parse(reference)
    if ref.kind != "release":
        raise UsageError(f"{reference!r}: name one release, NS/NAME@RELEASE")
    short = check_media_type(media_type) if media_type else None
    removal = change.Removal(str(ref.package), ref.value, short, reason, channels)
    if for_good:
        _purge(context, signing_project(context), removal, dry_run)
        return
    with changing(context, dry_run) as project:
        rule = removal.channels or _asked(context, removal, project.document(removal.package))
        head = change.remove(project, msgspec.structs.replace(removal, channels=rule), now())
        tell_revision(context, project, head)


def _purge(context: Context, project: Project, removal: change.Removal, dry_run: bool) -> None:
    """Erase here, then at every destination of mirror.yaml; say where it may still be."""
    what = f"{removal.package}@{removal.release}"
    if dry_run:
        found = purge.holding(project, removal)
        lines = [f"blob\t{blob.digest}\t{blob.size}" for blob in found.blobs]
        lines += [f"destination\t{name}" for name in project.config.publish]
        lines.append(f"{what} would be erased, and all revisions before the next one")
        context.result(found, lines)
        return
    with contextlib.suppress(NotFoundError):  # it may be in the history alone
        rule = removal.channels or _asked(context, removal, project.document(removal.package))
        removal = msgspec.structs.replace(removal, channels=rule)
    done = purge.purge(project, removal, now())
    lines = [
        f"{what}: {counted(len(done.blobs), 'blob')} erased; with the older revisions "
        f"{counted(done.files, 'file')}, {done.bytes} bytes; history begins with revision "
        f"{done.revision}"
    ]
    failed = False
    for target in find_destinations(project, []) if project.config.publish else []:
        try:
            at_once = msgspec.structs.replace(target, grace_minutes=0)
            with Session.open(project, at_once) as session:
                number = len(session.audit(now(), repair=True))
            lines.append(f"{target.to}: erased, and {counted(number, 'file')} repaired")
        except CnrMirrorError as error:
            failed = True
            click.echo(f"cnrmirror: {plain(error.message)}: the release is still there", err=True)
    first, last = done.revisions
    lines += [
        f"it may still be in bundles and copies of revisions {first} to {last}, at mirrors that "
        "follow this one (until they take in the next revision, and one command more), at those "
        "that sync from it (remove it there), in other copies of this mirror ('gc --revisions 1 "
        "--grace-hours 0' there), in caches, and in old versions that a bucket keeps",
        "destinations that mirror.yaml does not name: 'cnrmirror publish ADDRESS --audit --repair'",
    ]
    context.result(done, lines)
    if failed:
        raise click.exceptions.Exit(DONE_BUT_FOR_SOME)


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
