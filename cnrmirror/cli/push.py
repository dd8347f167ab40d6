"""push."""

from __future__ import annotations

import re
from pathlib import Path

import click
import msgspec

from cnrmirror.archive.identify import Override
from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.mirror.push import push as push_paths
from cnrmirror.model.canonical import MAX_METADATA_BYTES, normalise_metadata, parse_json
from cnrmirror.model.errors import UsageError
from cnrmirror.model.names import PackageName, check_channel, check_media_type, check_release
from cnrmirror.objects.files import read_given

# RFC 6838, 4.2.
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][\w!#$&^.+-]{0,126}/[A-Za-z0-9][\w!#$&^.+-]{0,126}", re.A)


@click.command()
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--as", "package", metavar="NS/NAME", help="The package, if PATH does not tell.")
@click.option("--namespace", metavar="NS", help="The namespace to put the packages in.")
@click.option("--release", metavar="R", help="The release, if PATH does not tell.")
@click.option("--media-type", "-t", metavar="T", help="The format: helm, kpm, docker-compose…")
@click.option(
    "--channel", "channels", metavar="C", multiple=True, help="Point C at it; repeatable."
)
@click.option(
    "--metadata", metavar="FILE", type=click.Path(path_type=Path), help="JSON for the manifest."
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
@click.option("--accept", is_flag=True, help="Replace a release that is there with other content.")
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
    accept: bool,
) -> None:
    """Put packages into the mirror, all as one revision.

    PATH is an archive, the folder of one package (.helmignore is honoured), or a folder of many.

    \b
    cnrmirror push --as myname/elasticsearch --release 2.2.1 -t helm elasticsearch.tar.gz
    cnrmirror push --namespace charts --channel stable ./nginx
    cnrmirror push --namespace charts --attach application/pgp-signature=nginx-1.2.0.tgz.prov \\
        nginx-1.2.0.tgz
    """
    given = {"--as": package, "--namespace": namespace, "--release": release, "-t": media_type}
    empty = [name for name, value in given.items() if value == ""]
    if empty:
        raise UsageError(f"{empty[0]} is empty: say something, or leave it out")
    if package and namespace:
        raise UsageError("--as names the namespace already: leave --namespace out")
    wish = Override(
        package=str(PackageName.parse(package)) if package else None,
        namespace=namespace,
        release=check_release(release) if release else None,
        media_type=check_media_type(media_type) if media_type else None,
    )
    raw = msgspec.Raw(b"null")
    if metadata is not None:
        raw = _metadata(metadata)
    files = [_attached(text) for text in attached]
    project = signing_project(context)
    names = [check_channel(name) for name in channels]
    report = push_paths(project, paths, wish, now(), names, raw, accept, files, follow_outside)
    lines = [
        f"{item.outcome}\t{item.identity.package}@{item.identity.release}\t"
        f"{item.identity.media_type}\t{item.digest}\t{item.size}"
        + (f"\t[{', '.join(item.flags)}]" if item.flags else "")
        for item in report.pushed
    ]
    if len(lines) > 50:
        new = sum(item.outcome != "unchanged" for item in report.pushed)
        lines = [f"{len(lines)} packages, {new} of them new or replaced"]
    lines.append(f"revision {report.revision}" if report.revision else "nothing changed")
    context.result(report, lines)


def _attached(text: str) -> tuple[str, Path]:
    media_type, equals, path = text.partition("=")
    if not equals or not path or not _MEDIA_TYPE.fullmatch(media_type):
        raise UsageError(f"--attach {text}: say TYPE/SUBTYPE=FILE")
    return media_type, Path(path)


def _metadata(path: Path) -> msgspec.Raw:
    data = read_given(path, MAX_METADATA_BYTES)
    return normalise_metadata(parse_json(data, str(path)), str(path))


COMMAND = push
