"""cost: what the mirror holds, here and at each place."""

from __future__ import annotations

from collections.abc import Iterator

import click

from cnrmirror.cli import words
from cnrmirror.cli.context import Context, pass_context
from cnrmirror.publish.cost import Cost, cost_at, cost_here
from cnrmirror.publish.open import find_destinations

_COLUMNS = ("PLACE", "KIND", "FILES", "BYTES")


@click.command()
@click.argument("names", metavar="[TARGET|s3://…|DIR]...", nargs=-1,
                shell_complete=words.targets)  # fmt: skip
@pass_context
def cost(context: Context, names: tuple[str, ...]) -> None:
    """Count what the mirror holds at each destination, and the cost.

    By kind, in this mirror and at each destination; and what other forms would cost.

    All targets of mirror.yaml, unless some are named. No destination is asked: what a publish
    would write there is counted. A form is what a target can leave out or have besides
    (docs/publish.md). Prices are Amazon's list prices for S3.

    \b
    cnrmirror cost
    cnrmirror cost s3://my-bucket/registry
    """
    project = context.project()
    targets = find_destinations(project, names) if names or project.config.publish else []
    costs = [cost_here(project), *(cost_at(project, target) for target in targets)]
    rows = [row for each in costs for row in _rows(each)]
    context.table(costs, _COLUMNS, rows)


def _rows(cost: Cost) -> Iterator[tuple[str, str, str, str]]:
    place = cost.place
    for kind, amount in cost.kinds.items():
        yield place, kind, str(amount.files), str(amount.bytes)
    yield place, "all", str(cost.all.files), str(cost.all.bytes)
    yield place, "a release", f"{cost.files_a_release:.2f}", ""
    yield place, "times the archives", "", f"{cost.times_archives:.2f}"
    for form, amount in cost.choices.items():
        yield place, f"forms: {form}", f"{amount.files:+}", f"{amount.bytes:+}"
    if cost.put_dollars:
        yield place, "first publish", "", f"${cost.put_dollars:.4f}"
        yield place, "a month", "", f"${cost.month_dollars:.4f}"


COMMAND = cost
