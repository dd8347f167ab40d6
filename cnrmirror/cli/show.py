"""show: one package."""

from __future__ import annotations

import click
import msgspec

from cnrmirror.cli.context import Context, pass_context
from cnrmirror.cli.origin import Origin, exit_if_stale, origin_options, read_verified
from cnrmirror.client.choose import meant
from cnrmirror.model.documents import PackageDocument, blob_path
from cnrmirror.model.errors import NotFoundError
from cnrmirror.model.names import Reference

_COLUMNS = ("RELEASE", "FORMAT", "CREATED", "SIZE", "DIGEST", "CHANNELS", "FLAGS")


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
    if ref.kind != "default":
        document = msgspec.structs.replace(document, releases=meant(document, ref))
        if not document.releases:
            raise NotFoundError(f"there is no {ref}; see 'cnrmirror show {ref.package}'")
    context.table(document, _COLUMNS, _rows(document))
    if not context.as_json:
        _tell_the_rest(document)
    exit_if_stale(fresh)


def _rows(document: PackageDocument) -> list[tuple[object, ...]]:
    return [
        (
            r.release,
            r.media_type,
            r.created_at,
            r.blob.size,
            r.content.digest,
            ",".join(c.name for c in document.channels if c.current == r.release),
            ",".join(r.flags),
        )
        for r in document.releases
    ]


def _tell_the_rest(document: PackageDocument) -> None:
    for release in document.releases:
        for attachment in release.attachments:
            click.echo(
                f"attached: {release.release} ({release.media_type}): {attachment.media_type}, "
                f"{attachment.size} bytes, {blob_path(attachment.digest)}",
                err=True,
            )
    for stone in document.tombstones:
        click.echo(
            f"removed: {stone.release} ({stone.media_type}) on {stone.removed_at}: {stone.reason}",
            err=True,
        )


COMMAND = show
