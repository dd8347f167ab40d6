"""refresh: sign again, and say what expires."""

from __future__ import annotations

import click
import msgspec

from cnrmirror.cli import freshness
from cnrmirror.cli.context import Context, clock, now, pass_context
from cnrmirror.cli.keyring import repository


class Refreshed(msgspec.Struct, frozen=True):
    """What ``--json`` says: the new timestamp, the roles that expire soon, and until when it holds.

    ``timestamp``: its version; ``expires``: with a Z, as the signed file has it.
    """

    timestamp: int
    expires: str
    warnings: list[freshness.Expiring]
    freshness: freshness.Told


@click.command()
@pass_context
def refresh(context: Context) -> None:
    """Sign again, so that clients know the mirror is alive; run it daily.

    Signs the timestamp, and snapshot and catalog once more than half their time is over. Says what
    expires soon. Timers, crontab lines, workflows: docs/automation.md.

    \b
    cnrmirror refresh
    cnrmirror -q refresh
    """
    project = context.project()
    project.signer = signed = repository(project, context.allow_past)
    with project.writing():
        signed.refresh(now())
    timestamp = project.metadata.timestamp()
    found = project.metadata.freshness()
    freshness.warn(found, freshness.follower_remedy(project))
    context.done(
        Refreshed(
            timestamp.version,
            timestamp.expires,
            [freshness.of_role(role) for role in found.soon(clock())],
            freshness.told(found),
        ),
        [f"timestamp {timestamp.version}: {freshness.sentence(found)}"],
    )
    if found.is_refused(clock()):
        raise click.exceptions.Exit(freshness.REFUSED)


COMMAND = refresh
