"""upgrade: raise the mirror's format."""

from __future__ import annotations

import click
import msgspec

from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.model.format import Format


class Upgraded(msgspec.Struct, frozen=True):
    """What ``--json`` says: the formats before and after."""

    before: Format
    after: Format


@click.command()
@pass_context
def upgrade(context: Context) -> None:
    """Raise the mirror's format to the newest that this program writes.

    No other command does so: a mirror keeps the format that it was made with, and its readers can
    go on. Afterwards, an older cnrmirror may refuse the mirror; the command says which.

    \b
    cnrmirror upgrade
    """
    before, after = signing_project(context).upgrade(now())
    context.done(
        Upgraded(before, after),
        [_told(before, after)],
    )


def _told(before: Format, after: Format) -> str:
    if before == after:
        return f"format {after.read} already: nothing to do"
    who = (
        f"a cnrmirror that does not know format {after.read} can no longer read the mirror"
        if after.read > before.read
        else f"a cnrmirror that does not know format {after.write} can read the mirror, but not "
        "change it"
    )
    return f"raised from format {before.read} (write {before.write}) to {after.read} " + (
        f"(write {after.write}): {who}"
    )


COMMAND = upgrade
