"""show: one package."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cnrmirror.cli import words
from cnrmirror.cli.context import Context, ago, pass_context, plain, sized
from cnrmirror.cli.origin import Origin, exit_if_stale, origin_options, read_verified
from cnrmirror.cli.signatures import checks_of, signature_options
from cnrmirror.model import typed
from cnrmirror.model.digest import CHUNK, Descriptor
from cnrmirror.model.documents import PackageDocument, blob_path
from cnrmirror.model.flags import meaning_of
from cnrmirror.model.later import later
from cnrmirror.model.names import Reference
from cnrmirror.views.base import Package

if TYPE_CHECKING:
    from cnrmirror.client import describe as describing
    from cnrmirror.client import remote as remotes
    from cnrmirror.client import signatures
    from cnrmirror.mirror import project as projects
    from cnrmirror.views import site
else:
    describing = later("cnrmirror.client.describe")
    remotes = later("cnrmirror.client.remote")
    signatures = later("cnrmirror.client.signatures")
    projects = later("cnrmirror.mirror.project")
    site = later("cnrmirror.views.site")


_COLUMNS = ("RELEASE", "MEDIA TYPE", "CREATED", "SIZE", "DIGEST", "CHANNELS", "FLAGS")
_SPARE = ("DIGEST", "SIZE", "MEDIA TYPE")


@click.command()
@click.argument("reference", metavar="NS/NAME[@RELEASE|:CHANNEL]",
                shell_complete=words.references)  # fmt: skip
@origin_options
@signature_options
@pass_context
def show(
    context: Context,
    reference: str,
    origin: Origin,
    verify_provenance: Path | None,
    cosign_key: Path | None,
) -> None:
    """Show what is known of a package or release.

    Of a package, also what its newest release says of itself.

    RELEASE may be a semver range. Reads this mirror, or the one that --from names, verified.
    --verify-provenance and --cosign-key say of each signed release whether a given key signed it.

    \b
    cnrmirror show charts/nginx
    cnrmirror --json show charts/nginx:stable --from https://mirror.example.com
    """
    ref = Reference.parse(reference)
    checks = checks_of(verify_provenance, cosign_key)

    def of_remote(remote: remotes.Remote) -> tuple[describing.Shown, list[signatures.Verdict]]:
        document = remote.document(str(ref.package))
        found = describing.describe(ref, document, remote.catalog, remote.blob)
        return found, signatures.verdicts(found.document, checks, remote.blob)

    fresh = True
    if origin.sources:
        (shown, found), fresh = read_verified(origin, of_remote)
    else:
        project = context.project()
        blob = functools.partial(_pieces, project)
        shown = describing.describe(ref, project.document(str(ref.package)), project.catalog, blob)
        found = signatures.verdicts(shown.document, checks, blob)
    verified = {"verified": found} if checks else {}
    rows = _rows(shown.document, context)
    context.table({**_value(shown), **verified}, _COLUMNS, rows, spare=_SPARE)
    if not context.as_json:
        _tell_the_rest(shown, found)
    exit_if_stale(fresh)


def _pieces(project: projects.Project, blob: Descriptor) -> Iterator[bytes]:
    with project.open_blob(blob) as stream:
        yield from iter(lambda: stream.read(CHUNK), b"")


def _value(shown: describing.Shown) -> dict[str, object]:
    """The document as it stands in the catalog, and beside it what was worked out of it."""
    fields = typed.decode(msgspec.json.encode(shown.document), dict[str, msgspec.Raw])
    signatures = [
        {"release": r.release, "media_type": r.media_type, "signatures": r.signatures}
        for r in shown.document.releases
        if r.signatures
    ]
    more = {"images": shown.images, "signatures": signatures, "left_out": _left_out(shown)}
    return {**fields, **more}


def _left_out(shown: describing.Shown) -> list[str]:
    """What of it Helm and OCI clients cannot have, and why."""
    package = Package(shown.document, shown.document.inline_facts)
    return site.Site(site.ViewSettings(), "").left_out(package)


def _rows(document: PackageDocument, context: Context) -> list[tuple[object, ...]]:
    return [
        (
            r.release,
            r.media_type,
            ago(r.created_at, context) if context.terminal else r.created_at,
            sized(r.blob.size) if context.terminal else r.blob.size,
            r.content.digest[:12] if context.terminal else r.content.digest,
            ",".join(c.name for c in document.channels if c.current == r.release),
            ",".join(r.flags),
        )
        for r in document.releases
    ]


def _tell_the_rest(shown: describing.Shown, verified: Sequence[signatures.Verdict]) -> None:
    document = shown.document
    for flag in sorted({flag for release in document.releases for flag in release.flags}):
        click.echo(f"[{plain(flag)}]: {plain(meaning_of(flag))}", err=True)
    for release in document.releases:
        for attachment in release.attachments:
            click.echo(
                f"attached: {release.release} ({release.media_type}): {attachment.media_type}, "
                f"{attachment.size} bytes, {blob_path(attachment.digest)}",
                err=True,
            )
    asked = {verdict.kind for verdict in verified}
    for release in document.releases:
        if found := [kind for kind in release.signatures if kind not in asked]:
            what = f"{release.release} ({release.media_type})"
            click.echo(f"signed, not verified here: {what}: {', '.join(found)}", err=True)
    for verdict in verified:
        click.echo(plain(verdict), err=True)
    for text in _left_out(shown):
        click.echo(plain(text), err=True)
    for stone in document.tombstones:
        click.echo(
            f"removed: {stone.release} ({stone.media_type}) on {stone.removed_at}: {stone.reason}",
            err=True,
        )
    for name, text in shown.about():
        click.echo(f"{name}: {plain(text)}", err=True)


COMMAND = show
