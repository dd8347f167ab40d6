"""cluster: what a cluster of workers needs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cnrmirror.cli.context import Context, pass_context
from cnrmirror.model.later import later

if TYPE_CHECKING:
    from cnrmirror.sync import certificates as making
else:
    making = later("cnrmirror.sync.certificates")


class Certificates(msgspec.Struct, frozen=True):
    """What ``--json`` says: the files."""

    files: list[str]


@click.group()
def cluster() -> None:
    """Make what a cluster needs that fetches for 'sync --cluster'.

    \b
    cnrmirror cluster certificates cluster-certificates
    """


@cluster.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True,
              help="How long they are good.")  # fmt: skip
@pass_context
def certificates(context: Context, folder: Path, days: int) -> None:
    """Make the certificates.

    In FOLDER: those of a scheduler, its workers and the coordinator, which runs 'sync --cluster'.
    Nobody without one of them can reach the cluster. The key of their authority is not kept: before
    they end, make all of them anew.

    \b
    cnrmirror cluster certificates cluster-certificates
    cnrmirror cluster certificates cluster-certificates --days 30
    """
    made = making.make_certificates(folder, days, datetime.now(UTC))
    context.done(Certificates([str(path) for path in made]), map(str, made))


COMMAND = cluster
