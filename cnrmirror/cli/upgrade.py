"""upgrade: raise the mirror's format."""

from __future__ import annotations

from typing import Literal

import click
import msgspec

from cnrmirror.cli.changing import DRY_RUN, changing
from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.model.format import Format


class Upgraded(msgspec.Struct, frozen=True):
    """What ``--json`` says: the formats before and after."""

    before: Format
    after: Format


class WouldUpgrade(msgspec.Struct, frozen=True):
    """What ``--json --dry-run`` says: the formats now, and as they would be."""

    before: Format
    after: Format
    dry_run: Literal[True] = True


@click.command()
@DRY_RUN
@pass_context
def upgrade(context: Context, dry_run: bool) -> None:
    """Raise the mirror's format to the newest that this program writes.

    No other command does so: a mirror keeps the format that it was made with, and its readers can
    go on. Afterwards, an older cnrmirror may refuse the mirror; the command says which.

    \b
    cnrmirror upgrade --dry-run
    cnrmirror upgrade
    """
    with changing(context, dry_run) as project:
        before, after = project.upgrade(now())
    if dry_run:
        context.result(WouldUpgrade(before, after), [_told(before, after, "would be ")])
    else:
        context.done(Upgraded(before, after), [_told(before, after)])


def _told(before: Format, after: Format, would: str = "") -> str:
    if before == after:
        return f"format {after.read} already: nothing to do"
    who = (
        f"a cnrmirror that does not know format {after.read} can no longer read the mirror"
        if after.read > before.read
        else f"a cnrmirror that does not know format {after.write} can read the mirror, but not "
        "change it"
    )
    return f"{would}raised from format {before.read} (write {before.write}) to {after.read} " + (
        f"(write {after.write}): {who}"
    )


COMMAND = upgrade
