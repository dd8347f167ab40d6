"""show: one package."""

from __future__ import annotations

import click
import msgspec

from cnrmirror.cli.context import Context, pass_context
from cnrmirror.cli.origin import Origin, exit_if_stale, origin_options, read_verified
from cnrmirror.model.documents import PackageDocument
from cnrmirror.model.errors import NotFoundError
from cnrmirror.model.names import Reference, select_release


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


COMMAND = show
