"""pull: get a package, verified."""

from __future__ import annotations

from pathlib import Path

import click

from cnrmirror.archive.scan import Limits
from cnrmirror.cli.context import Context, pass_context
from cnrmirror.cli.origin import Origin, exit_if_stale, origin_options, read_verified
from cnrmirror.client.pull import pull as pull_package
from cnrmirror.model.names import Reference, check_media_type


@click.command()
@click.argument("reference", metavar="NS/NAME[@RELEASE|:CHANNEL|@sha256:DIGEST]")
@origin_options
@click.option("-t", "--media-type", metavar="T", help="The format, if there are several.")
@click.option(
    "--dest", default=".", show_default=True, type=click.Path(path_type=Path, file_okay=False),
    help="The folder in which NS_NAME_RELEASE appears.",
)  # fmt: skip
@click.option("--tarball", is_flag=True, help="The archive itself, not what is in it.")
@pass_context
def pull(
    context: Context,
    reference: str,
    origin: Origin,
    media_type: str | None,
    dest: Path,
    tarball: bool,
) -> None:
    """Get a package out of a mirror, verified from the pinned root to the last byte.

    RELEASE may be a semver range. Exit code 13: done, with expired metadata that was allowed.

    \b
    cnrmirror pull charts/nginx --from https://mirror.example.com --root root.json
    cnrmirror pull charts/nginx:stable --from /media/usb/site --tarball --dest /tmp
    """
    wanted = Reference.parse(reference)
    short = check_media_type(media_type) if media_type else None
    pulled, fresh = read_verified(
        origin, lambda remote: pull_package(remote, wanted, short, dest, tarball, Limits())
    )
    context.result(
        pulled,
        [
            f"{pulled.path}",
            f"{pulled.package}@{pulled.release} ({pulled.media_type}), digest {pulled.digest}",
            f"verified: revision {pulled.revision} of {pulled.source}, catalog {pulled.catalog}",
        ],
    )
    exit_if_stale(fresh)


COMMAND = pull
