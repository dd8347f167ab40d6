"""export: write a bundle."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
import segno

from cnrmirror.airgap.export import is_retained, plan, plan_again, since_digest, write
from cnrmirror.bundle.format import Contents, Selection
from cnrmirror.bundle.read import read_contents
from cnrmirror.cli import freshness
from cnrmirror.cli.context import Context, counted, pass_context, sized
from cnrmirror.cli.keyring import signing_project
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import UsageError
from cnrmirror.model.names import check_channel, check_media_type
from cnrmirror.model.signed import SignedHead
from cnrmirror.objects.scheme import folder_of

F = TypeVar("F", bound=Callable[..., Any])
_SMALLEST = 100_000
_UNITS = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class CutOptions(msgspec.Struct, frozen=True):
    """What a bundle is to hold: the values of the options."""

    since: str | None
    volume_size: str | None
    packages: tuple[str, ...]
    exclude: tuple[str, ...]
    types: tuple[str, ...]
    channels: tuple[str, ...]
    releases: str

    @property
    def is_given(self) -> bool:
        """Whether any of them is there."""
        return any(msgspec.structs.astuple(self))

    def selection(self, project: Project, head: SignedHead) -> Selection:
        """What they mean in a mirror. Raises UsageError, InputError, NotFoundError."""
        since = since_digest(project, self.since) if self.since else ""
        if since and not is_retained(project, head, since):
            click.echo(
                f"cnrmirror: what the receiver has (catalog {since}) is not retained here any "
                "more: this is a whole bundle",
                err=True,
            )
            since = ""
        return Selection(
            head.at.digest,
            since,
            _bytes(self.volume_size),
            list(self.packages),
            list(self.exclude),
            [check_media_type(name) for name in self.types],
            [check_channel(name) for name in self.channels],
            self.releases,
        )


def cut_options(command: F) -> F:
    """--since, --package and the rest, gathered into one argument ``cut``."""
    options = [
        click.option("--since", metavar="REV|RECEIPT|HAVE-FILE",
                     help="Only what the receiver does not have yet."),
        click.option("--volume-size", metavar="4G",
                     help="The largest volume: bytes, or a number with K, M, G or T."),
        click.option("--package", "packages", metavar="GLOB", multiple=True,
                     help="Only these packages (ns/name, ns/*); repeatable."),
        click.option("--exclude", metavar="GLOB", multiple=True,
                     help="Leave out these packages; repeatable."),
        click.option("-t", "--media-type", "types", metavar="T", multiple=True,
                     help="Only this media type."),
        click.option("--channel", "channels", metavar="C", multiple=True,
                     help="Only releases that this channel points at."),
        click.option("--releases", metavar="RANGE", default="",
                     help="Only releases in this semver range."),
    ]  # fmt: skip

    @functools.wraps(command)
    def gathered(*arguments: Any, **others: Any) -> Any:
        values = {name: others.pop(name) for name in CutOptions.__struct_fields__}
        return command(*arguments, cut=CutOptions(**values), **others)

    for option in reversed(options):
        gathered = option(gathered)
    return gathered  # type: ignore[return-value]


class ExportPlan(msgspec.Struct, frozen=True):
    """What ``--json --dry-run`` says: all bytes, and the contents as they would be written."""

    bytes: int
    contents: Contents


@click.command("export")
@click.argument("out", metavar="OUT", type=click.Path(file_okay=False))
@cut_options
@click.option("--again", metavar="BUNDLE.JSON",
              type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Write the bundle of this bundle.json again, byte for byte.")  # fmt: skip
@click.option("--volume", "only", type=click.IntRange(1), help="With --again: only this volume.")
@click.option("--dry-run", is_flag=True, help="Only say how large it would be.")
@pass_context
def export_bundle(
    context: Context, out: str, cut: CutOptions, again: Path | None, only: int | None,
    dry_run: bool,
) -> None:  # fmt: skip
    """Write a bundle into folder OUT: all, or what a receiver lacks.

    Prints a receipt: carry it another way than the bundle, for the receiver's 'import --expect'.

    \b
    cnrmirror export /media/usb/bundle --volume-size 4G
    cnrmirror export /media/usb/bundle --since their-have.json
    cnrmirror export again --again bundle.json --volume 2
    """
    folder = folder_of(out)
    project = signing_project(context)
    if only is not None and again is None:
        raise UsageError("--volume needs --again, which names the bundle")
    if again is not None and cut.is_given:
        raise UsageError("--again takes the selection from the bundle: leave the other options out")
    if again is not None:
        job = plan_again(project, read_contents(again))
    else:
        head = project.metadata.signed_head()
        job = plan(project, cut.selection(project, head), head)
    if dry_run:
        lines = [f"{v.name}\t{v.size}\t{counted(v.files, 'file')}" for v in job.contents.volumes]
        lines.append(f"{counted(len(job.volumes), 'volume')}, {sized(job.bytes)}")
        context.result(ExportPlan(job.bytes, job.contents), lines)
        return
    contents = write(project, folder, job, only)
    lines = [f"{v.name}\t{v.size}\t{v.digest}" for v in contents.volumes]
    context.done(contents, [*lines, contents.receipt])
    freshness.tell(project, context)
    if context.terminal and not context.quiet:
        segno.make(contents.receipt, micro=False).terminal(compact=True)


def _bytes(text: str | None) -> int:
    if text is None:
        return 0
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not (number.isascii() and number.isdecimal()) or unit not in ("", *_UNITS):
        raise UsageError(f"--volume-size {text}: write a number of bytes, or 700M, 4G")
    size = int(number) * _UNITS.get(unit, 1)
    if size < _SMALLEST:
        raise UsageError(f"--volume-size {text}: at least {_SMALLEST} bytes")
    return size


COMMAND = export_bundle
