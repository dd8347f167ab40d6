"""push."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cnrmirror.cli import words
from cnrmirror.cli.changing import DRY_RUN, changing, revision_line
from cnrmirror.cli.context import Context, counted, now, pass_context, plain, sized
from cnrmirror.model.canonical import MAX_METADATA_BYTES, normalise_metadata, parse_json
from cnrmirror.model.errors import DONE_BUT_FOR_SOME, ConflictError, InputError, UsageError
from cnrmirror.model.later import later
from cnrmirror.model.names import PackageName, check_channel, check_media_type, check_release
from cnrmirror.objects.files import read_given

if TYPE_CHECKING:
    from cnrmirror.archive import identify
    from cnrmirror.mirror import push as pushing
    from cnrmirror.mirror import releases
else:
    identify = later("cnrmirror.archive.identify")
    pushing = later("cnrmirror.mirror.push")
    releases = later("cnrmirror.mirror.releases")


_MANY = 50  # lines
_COLUMNS = ("", "RELEASE", "MEDIA TYPE", "DIGEST", "SIZE", "FLAGS")

# RFC 6838, 4.2.
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][\w!#$&^.+-]{0,126}/[A-Za-z0-9][\w!#$&^.+-]{0,126}", re.A)


@click.command()
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--as", "package", metavar="NS/NAME", help="The package, if PATH does not name it.")
@click.option("--namespace", metavar="NS", help="The namespace to put the packages in.",
              shell_complete=words.namespaces)  # fmt: skip
@click.option("--release", metavar="R", help="The release, if PATH does not name it.")
@click.option("--media-type", "-t", metavar="T", help="The media type: helm, kpm, docker-compose…")
@click.option(
    "--channel",
    "channels",
    metavar="C",
    multiple=True,
    help="Point channel C at what is pushed; repeatable.",
)
@click.option(
    "--metadata",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Metadata (JSON) for the manifest.",
)
@click.option(
    "--attach",
    "attached",
    metavar="TYPE=FILE",
    multiple=True,
    help="A file that belongs to the release, and its media type; repeatable.",
)
@click.option(
    "--follow-outside", is_flag=True, help="Follow symlinks that lead out of a package folder."
)
@click.option(
    "--keep-going", is_flag=True, help="Leave out packages that are refused, and push the rest."
)
@click.option("--strict", is_flag=True, help="Refuse packages that have warnings.")
@click.option("--accept", is_flag=True, help="Replace a release that exists with other content.")
@DRY_RUN
@pass_context
def push(
    context: Context,
    paths: tuple[Path, ...],
    package: str | None,
    namespace: str | None,
    release: str | None,
    media_type: str | None,
    channels: tuple[str, ...],
    metadata: Path | None,
    attached: tuple[str, ...],
    follow_outside: bool,
    keep_going: bool,
    strict: bool,
    accept: bool,
    dry_run: bool,
) -> None:
    """Put packages into the mirror, all as one revision, or none.

    PATH is an archive, the folder of one package (.helmignore is honoured), or a folder of many,
    however deep. With --as, --release and -t any folder can be packed.

    \b
    cnrmirror push --as myname/elasticsearch --release 2.2.1 -t helm elasticsearch.tar.gz
    cnrmirror push --namespace charts --channel stable ./nginx
    cnrmirror push --namespace charts --attach application/pgp-signature=nginx-1.2.0.tgz.prov \\
        nginx-1.2.0.tgz
    """
    given = {"--as": package, "--namespace": namespace, "--release": release, "-t": media_type}
    empty = [name for name, value in given.items() if value == ""]
    if empty:
        raise UsageError(f"{empty[0]} is empty: give a value, or leave the option out")
    if package and namespace:
        raise UsageError("--as names the namespace already: leave --namespace out")
    wish = identify.Override(
        package=str(PackageName.parse(package)) if package else None,
        namespace=namespace,
        release=check_release(release) if release else None,
        media_type=check_media_type(media_type) if media_type else None,
    )
    raw = msgspec.Raw(b"null")
    if metadata is not None:
        raw = _metadata(metadata)
    files = [_attached(text) for text in attached]
    names = [check_channel(name) for name in channels]
    what = releases.What(names, raw, accept, files, keep_going, follow_outside, strict)
    try:
        with changing(context, dry_run) as project:
            report = pushing.push(project, paths, wish, now(), what)
    except (InputError, ConflictError) as error:
        for refused in () if context.as_json else error.details.get("refused", ()):
            click.echo(f"refused: {plain(refused['reason'])}", err=True)
        raise
    _tell(context, report, dry_run)
    if report.refused:
        sys.exit(DONE_BUT_FOR_SOME)


def _tell(context: Context, report: pushing.Report, dry_run: bool) -> None:
    many = len(report.pushed) > _MANY
    shown = [] if many else report.pushed
    if context.as_json or dry_run or not context.quiet:
        context.table(report, _COLUMNS, [_row(item, context.terminal) for item in shown])
    if context.as_json:
        return
    for item in shown:
        for warning in item.warnings:
            name = f"{item.identity.package}@{item.identity.release}"
            click.echo(f"warning: {name}: {plain(warning)}", err=True)
    for refused in report.refused:
        click.echo(f"refused: {plain(refused.reason)}", err=True)
    if many:
        context.done(None, [_summary(report.pushed)])
        if warned := sum(bool(item.warnings) for item in report.pushed):
            click.echo(f"{counted(warned, 'release')} with warnings: see --json", err=True)
    if report.refused:
        click.echo(f"{counted(len(report.refused), 'package')} left out", err=True)
    if not context.quiet:
        click.echo(revision_line(report.revision, dry_run))


def _row(item: releases.Pushed, in_terminal: bool) -> tuple[object, ...]:
    return (
        item.outcome,
        f"{item.identity.package}@{item.identity.release}",
        item.identity.media_type,
        item.digest[:12] if in_terminal else item.digest,
        sized(item.size) if in_terminal else item.size,
        *([f"[{', '.join(item.flags)}]"] if item.flags else [""] if in_terminal else []),
    )


def _summary(pushed: Sequence[releases.Pushed]) -> str:
    """How many releases of how many packages, and what became of them."""
    packages = len({item.identity.package for item in pushed})
    became = Counter(item.outcome for item in pushed)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(became.items()))
    return f"{counted(len(pushed), 'release')} of {counted(packages, 'package')}: {outcomes}"


def _attached(text: str) -> tuple[str, Path]:
    media_type, equals, path = text.partition("=")
    if not equals or not path or not _MEDIA_TYPE.fullmatch(media_type):
        raise UsageError(f"--attach {text}: write TYPE/SUBTYPE=FILE")
    return media_type, Path(path)


def _metadata(path: Path) -> msgspec.Raw:
    data = read_given(path, MAX_METADATA_BYTES)
    return normalise_metadata(parse_json(data, str(path)), str(path))


COMMAND = push
