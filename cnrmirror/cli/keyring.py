"""Where this person's keys are, and the project opened with them."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import click

from cnrmirror.cli.context import Context, clock
from cnrmirror.mirror import rotate
from cnrmirror.mirror.home import online_folder, own_folder
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import InputError, UsageError
from cnrmirror.trust.guard import Guard
from cnrmirror.trust.signing import Repository
from cnrmirror.trust.witness import Witness

PASSPHRASE_FILE = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The first line of this file opens (or protects) the offline keys.",
)


def repository(project: Project, allow_past: bool = True) -> Repository:
    """The project's signed metadata, with this person's online keys.

    Args:
        allow_past: sign for whatever time is said; else for none that the clock belies.
    """
    folder = online_folder(project.config.id)
    return rotate.repository(
        project, folder, Guard(None if allow_past else clock, _witness(project))
    )


def _witness(project: Project) -> Witness | None:
    """What was signed in this folder last; nobody remembers where a person has no home."""
    with contextlib.suppress(UsageError):
        name = hashlib.sha256(str(project.folder.resolve()).encode()).hexdigest()
        return Witness(own_folder("STATE") / "signed" / f"{name}.json", project.config.id)
    return None


def signing_project(context: Context) -> Project:
    """The mirror that -C names, able to make revisions if the keys are here."""
    project = context.project()
    project.signer = repository(project, context.allow_past)
    return project


def passphrase(file: Path | None) -> bytes | None:
    """The first line of a passphrase file. Raises InputError if it is empty."""
    if file is None:
        return None
    with file.open("rb") as stream:
        line = stream.read(4096).split(b"\n", 1)[0].rstrip(b"\r")
    if not line:
        raise InputError(f"{file}: the passphrase is empty")
    return line
