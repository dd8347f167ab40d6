"""pull: get a package, verified."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from cnrmirror.cli import words
from cnrmirror.cli.context import Context, pass_context, sized
from cnrmirror.cli.origin import Origin, exit_if_stale, origin_options, read_verified
from cnrmirror.cli.signatures import checks_of, signature_options
from cnrmirror.model.errors import TooLarge
from cnrmirror.model.later import later
from cnrmirror.model.names import Reference, check_media_type

if TYPE_CHECKING:
    from cnrmirror.archive import scan
    from cnrmirror.client import pull as pulling
else:
    scan = later("cnrmirror.archive.scan")
    pulling = later("cnrmirror.client.pull")


_DEEPEST = 256
_LIMITS = {
    "packed": "Bytes of an archive.",
    "unpacked": "Bytes that it unpacks to.",
    "member": "Bytes of one file in it.",
    "members": "Files, folders and links in it.",
    "name": "Bytes of a path in it.",
    "depth": "Folders in folders.",
    "ratio": "Bytes unpacked for one packed.",
    "extended_header": "Bytes of a tar's extended header.",
}


_Command = TypeVar("_Command", bound=Callable[..., Any])


def _limit_options(command: _Command) -> _Command:
    """One option for each limit of a package that is unpacked."""
    for key, value in reversed(msgspec.structs.asdict(scan.Limits()).items()):
        command = click.option(
            f"--max-{key.replace('_', '-')}",
            metavar="N",
            type=click.IntRange(1, _DEEPEST if key == "depth" else None),
            default=value,
            show_default=True,
            help=_LIMITS[key],
        )(command)
    return command


@click.command()
@click.argument("reference", metavar="NS/NAME[@RELEASE|:CHANNEL|@sha256:DIGEST]",
                shell_complete=words.references)  # fmt: skip
@origin_options
@click.option("-t", "--media-type", metavar="T", help="The media type, if there are several.")
@click.option(
    "--dest", default=".", show_default=True, type=click.Path(path_type=Path, file_okay=False),
    help="The folder in which NS_NAME_RELEASE is made.",
)  # fmt: skip
@click.option("--tarball", is_flag=True, help="Write the archive itself, and do not unpack it.")
@click.option(
    "--dry-run", is_flag=True,
    help="Only say what would be written, and where: the archive is not fetched.",
)  # fmt: skip
@signature_options
@_limit_options
@pass_context
def pull(
    context: Context,
    /,
    reference: str,
    origin: Origin,
    media_type: str | None,
    dest: Path,
    tarball: bool,
    dry_run: bool,
    verify_provenance: Path | None,
    cosign_key: Path | None,
    **limits: int,
) -> None:
    """Fetch a package from a mirror, and verify it from the root file on.

    RELEASE may be a semver range.
    With --verify-provenance or --cosign-key, a package that is not signed so is not fetched.

    \b
    cnrmirror pull charts/nginx --from https://mirror.example.com --root root.json --dry-run
    cnrmirror pull charts/nginx --from https://mirror.example.com --root root.json
    cnrmirror pull charts/nginx:stable --from /media/usb/site --tarball --dest /tmp
    """
    most = scan.Limits(**{key.removeprefix("max_"): value for key, value in limits.items()})
    wanted = Reference.parse(reference)
    short = check_media_type(media_type) if media_type else None
    checks = checks_of(verify_provenance, cosign_key)
    if dry_run:
        chosen, fresh = read_verified(
            origin, lambda remote: pulling.choose(remote, wanted, short, dest, tarball, checks)
        )
        _tell_chosen(context, chosen)
        exit_if_stale(fresh)
        return
    try:
        pulled, fresh = read_verified(
            origin, lambda remote: pulling.pull(remote, wanted, short, dest, tarball, most, checks)
        )
    except TooLarge as error:
        if key := error.details.get("limit"):
            option = f"--max-{key.replace('_', '-')} {error.details['met']}"
            raise TooLarge(
                f"{error.message}; {option} (or more) allows it, if you trust the publisher, and "
                "--tarball writes the archive without unpacking it",
                **error.details,
            ) from error
        raise
    context.done(pulled, [pulled.path, *_lines(pulled)])
    exit_if_stale(fresh)


def _tell_chosen(context: Context, chosen: pulling.Pulled) -> None:
    """Say what would be written: ``--dry-run``."""
    context.result(
        pulling.WouldPull(**msgspec.structs.asdict(chosen)),
        [f"would write {chosen.path}, from an archive of {sized(chosen.blob.size)}",
         *_lines(chosen)],
    )  # fmt: skip


def _lines(pulled: pulling.Pulled) -> list[str]:
    return [
        f"{pulled.package}@{pulled.release} ({pulled.media_type}), digest {pulled.digest}",
        f"verified: revision {pulled.revision} of {pulled.source}, catalog {pulled.catalog}",
        *(f"{signer.kind}: good, by {signer}" for signer in pulled.signed_by),
    ]


COMMAND = pull
