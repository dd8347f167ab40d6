"""What the commands that make a revision share: doing it, or only saying what it would change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

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
        context.done({"revision": number}, [revision_line(number, False)])
        return
    changes = project.changes()
    lines = [f"{each.change}\t{each.what}\t{each.value}" for each in changes]
    value = {"revision": number, "dry_run": True, "changes": changes}
    context.result(value, [*lines, revision_line(number, True)])
