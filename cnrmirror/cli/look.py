"""list, show."""

from __future__ import annotations

from collections.abc import Iterable

import click
import msgspec

from cnrmirror.cli.common import Context, pass_context
from cnrmirror.cli.trusted import Origin, exit_if_stale, origin_options, read_verified
from cnrmirror.documents import PackageDocument
from cnrmirror.errors import NotFoundError
from cnrmirror.names import Reference, select_release
from cnrmirror.site.v1 import Row, row


@click.command("list")
@click.option("--namespace", metavar="NS", help="Only this namespace.")
@click.option("-t", "--media-type", metavar="T", help="Only packages that have this format.")
@origin_options
@pass_context
def list_packages(
    context: Context, namespace: str | None, media_type: str | None, origin: Origin
) -> None:
    """The packages: name, default release, formats, number of releases.

    Of this mirror, or of the one that --from names: verified.
    """

    def wanted(documents: Iterable[PackageDocument]) -> list[Row]:
        return [
            item
            for item in map(row, documents)
            if item
            and (namespace is None or item.name.startswith(f"{namespace}/"))
            and (media_type is None or media_type in item.types)
        ]

    fresh = True
    if origin.sources:
        found, fresh = read_verified(origin, lambda remote: wanted(remote.documents()))
    else:
        project = context.project()
        refs = project.catalog.packages(project.tree())
        found = wanted(project.catalog.document(ref) for ref in refs)
    found.sort(key=lambda item: item.name)
    rows = [(r.name, r.releases[0], ",".join(sorted(r.types)), len(r.releases)) for r in found]
    context.table(found, ("PACKAGE", "DEFAULT", "FORMATS", "RELEASES"), rows)
    exit_if_stale(fresh)


@click.command()
@click.argument("reference", metavar="NS/NAME[@RELEASE|:CHANNEL]")
@origin_options
@pass_context
def show(context: Context, reference: str, origin: Origin) -> None:
    """What is known of a package or release; RELEASE may be a semver range.

    Of this mirror, or of the one that --from names: verified.
    """
    ref = Reference.parse(reference)
    fresh = True
    if origin.sources:
        document, fresh = read_verified(origin, lambda remote: remote.document(str(ref.package)))
    else:
        document = context.project().document(str(ref.package))
    if ref.kind == "default":
        releases = document.releases
    elif ref.kind == "digest":
        releases = [r for r in document.releases if r.content.digest == ref.value]
    else:
        releases = document.of_release(_resolve(document, ref))
    if not releases and ref.kind != "default":
        raise NotFoundError(f"there is no {ref}; see 'cnrmirror show {ref.package}'")
    columns = ("RELEASE", "FORMAT", "CREATED", "SIZE", "DIGEST", "CHANNELS", "FLAGS")
    rows = [
        (
            r.release,
            r.media_type,
            r.created_at,
            r.blob.size,
            r.content.digest,
            ",".join(c.name for c in document.channels if c.current == r.release),
            ",".join(r.flags),
        )
        for r in releases
    ]
    shown = msgspec.structs.replace(document, releases=releases)
    context.table(shown, columns, rows)
    if not context.as_json:
        for stone in document.tombstones:
            click.echo(
                f"removed: {stone.release} ({stone.media_type}) on {stone.removed_at}: "
                f"{stone.reason}",
                err=True,
            )
    exit_if_stale(fresh)


def _resolve(document: PackageDocument, ref: Reference) -> str:
    if ref.kind == "channel":
        channel = next((c for c in document.channels if c.name == ref.value), None)
        return channel.current if channel else ""
    return select_release(document.versions(), ref.value) or ""


COMMANDS = [list_packages, show]
