"""What the commands that make a revision share: doing it, or only saying what it would change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from cnrmirror.catalog.changes import Change
from cnrmirror.cli.context import Context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.model.documents import Head
from cnrmirror.model.later import later

if TYPE_CHECKING:
    from cnrmirror.mirror import project as projects
    from cnrmirror.mirror import rehearse
else:
    projects = later("cnrmirror.mirror.project")
    rehearse = later("cnrmirror.mirror.rehearse")


class Changed(msgspec.Struct, frozen=True):
    """What ``--json`` says of a change: the revision that was made; null if nothing changed."""

    revision: int | None


class WouldChange(msgspec.Struct, frozen=True):
    """What ``--json --dry-run`` says: the number that the revision would have, and what is other.

    ``revision``: null if nothing would change.
    """

    revision: int | None
    changes: list[Change]
    dry_run: Literal[True] = True


DRY_RUN = click.option("--dry-run", is_flag=True, help="Only say what would change.")


@contextlib.contextmanager
def changing(context: Context, dry_run: bool) -> Iterator[projects.Project]:
    """The mirror that -C names, able to make revisions; with ``dry_run`` it keeps none."""
    project = signing_project(context)
    if not dry_run:
        yield project
        return
    with rehearse.rehearsal(project) as rehearsal:
        yield rehearsal


def revision_line(number: int | None, dry_run: bool) -> str:
    """What became of the mirror, or would become of it."""
    if number is None:
        return "nothing would change" if dry_run else "nothing changed"
    return f"{'would be ' * dry_run}revision {number}"


def tell_revision(context: Context, project: projects.Project, head: Head | None) -> None:
    """Say which revision was made, or, of a rehearsal, what it would change."""
    number = head.revision if head else None
    if not isinstance(project, rehearse.Rehearsal):
        context.done(Changed(number), [revision_line(number, False)])
        return
    changes = project.changes()
    lines = [f"{each.change}\t{each.what}\t{each.value}" for each in changes]
    context.result(WouldChange(number, changes), [*lines, revision_line(number, True)])
