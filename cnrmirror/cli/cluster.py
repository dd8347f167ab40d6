"""cluster: what a cluster of workers needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cnrmirror.cli.context import Context, pass_context
from cnrmirror.model.errors import ConflictError
from cnrmirror.model.later import later
from cnrmirror.objects.files import storage_errors

if TYPE_CHECKING:
    from cnrmirror.crew import certificates as making
else:
    making = later("cnrmirror.crew.certificates")


class Certificates(msgspec.Struct, frozen=True):
    """What ``--json`` says: the files."""

    files: list[str]


@click.group()
def cluster() -> None:
    """Make what a cluster needs: see --cluster of 'sync' and 'check'.

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

    In FOLDER: those of a scheduler, its workers and the coordinator, which runs the command with
    --cluster. Nobody without one of them can reach the cluster. The key of their authority is not
    kept: before they end, make all of them anew.

    \b
    cnrmirror cluster certificates cluster-certificates
    cnrmirror cluster certificates cluster-certificates --days 30
    """
    made = write_certificates(folder, making.certificates(days, datetime.now(UTC)))
    context.done(Certificates([str(path) for path in made]), map(str, made))


def write_certificates(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write certificates, and keys that nobody else can read.

    Args:
        folder: is made if it is not there.
        files: by their names.

    Returns:
        The files.

    Raises:
        ConflictError: there are such files already.
        StorageError: they cannot be written.
    """
    if taken := [name for name in files if (folder / name).exists()]:
        raise ConflictError(f"{folder / taken[0]}: there already; give another folder")
    with storage_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, data in files.items():
            mode = 0o600 if name.endswith(making.KEY) else 0o644
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with open(descriptor, "wb") as file:
                file.write(data)
    return [folder / name for name in files]


COMMAND = cluster
