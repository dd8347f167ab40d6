"""diff: what changed between two revisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import click

from cnrmirror.catalog.changes import Change, changes_between
from cnrmirror.cli import words
from cnrmirror.cli.context import Context, counted, pass_context, when

_BECAME = {"+": "added", "-": "removed", "~": "changed"}


@click.command()
@click.argument("old", metavar="A", shell_complete=words.revisions)
@click.argument("new", metavar="B", default="head", shell_complete=words.revisions)
@pass_context
def diff(context: Context, old: str, new: str) -> None:
    """Show what changed from revision A to revision B.

    Releases and channels, one a line.

    B is the newest revision if it is left out. The sums are printed on standard error.

    \b
    cnrmirror diff 3
    cnrmirror --json diff 3 head
    """
    project = context.project()
    (_, before), (_, after) = project.revision(old), project.revision(new)
    changes = list(changes_between(project.catalog, before.tree, after.tree))
    first, second = (f"revision {r.revision} of {when(r.time, context)}" for r in (before, after))
    context.note(f"{first} → {second}")
    rows = [(c.change, c.what, _short(c.value) if context.terminal else c.value) for c in changes]
    context.table(changes, ("", "WHAT", "DIGEST OR RELEASE"), rows)
    context.note(_summary(changes))


def _short(value: str) -> str:
    return value[:12] if len(value) == 64 else value


def _summary(changes: Sequence[Change]) -> str:
    """How many came, went and are others now: what a change is of ends with the format, or not."""
    if not changes:
        return "nothing changed"
    kinds = Counter((_kind(change.what), change.change) for change in changes)
    return ", ".join(
        f"{counted(number, kind)} {_BECAME[sign]}" for (kind, sign), number in sorted(kinds.items())
    )


def _kind(what: str) -> str:
    if what.endswith(")"):
        return "release"
    return "detail of a release" if "@" in what else "channel"


COMMAND = diff
