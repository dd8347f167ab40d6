"""refresh: sign again, and say what expires."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import click
import msgspec

from cnrmirror.cli import freshness
from cnrmirror.cli.changing import DRY_RUN
from cnrmirror.cli.context import Context, clock, now, pass_context
from cnrmirror.cli.keyring import repository
from cnrmirror.mirror.project import Project
from cnrmirror.model.freshness import Expiry, Freshness
from cnrmirror.model.instant import Instant
from cnrmirror.trust.signing import Repository


class Refreshed(msgspec.Struct, frozen=True):
    """What ``--json`` says: the new timestamp, the roles that expire soon, and until when it holds.

    ``timestamp``: its version; ``expires``: with a Z, as the signed file has it.
    """

    timestamp: int
    expires: str
    warnings: list[freshness.Expiring]
    freshness: freshness.Told


class WouldRefresh(msgspec.Struct, frozen=True):
    """What ``--json --dry-run`` says: the roles that would be signed, and until when it would hold.

    ``timestamp``: the version that it would have.
    """

    timestamp: int
    roles: list[str]
    freshness: freshness.Told
    dry_run: Literal[True] = True


@click.command()
@DRY_RUN
@pass_context
def refresh(context: Context, dry_run: bool) -> None:
    """Sign again, so that clients know the mirror is alive; run it daily.

    Signs the timestamp, and snapshot and catalog once more than half their time is over. Says what
    expires soon. Timers, crontab lines, workflows: docs/automation.md.

    \b
    cnrmirror refresh --dry-run
    cnrmirror refresh
    cnrmirror -q refresh
    """
    project = context.project()
    project.signer = signed = repository(project, context.allow_past)
    if dry_run:
        _rehearse(context, project, signed)
        return
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


def _rehearse(context: Context, project: Project, signed: Repository) -> None:
    """Only say which roles would be signed, and until when readers would take the mirror."""
    project.require_writable()
    due = signed.due(now())

    def then(role: Expiry) -> Expiry:
        until: datetime | None = due.expires.get(role.role)
        return Expiry(Instant(until), role.role) if until else role

    found = Freshness([then(role) for role in project.metadata.freshness().roles])
    remedy = freshness.follower_remedy(project)
    freshness.warn(found, remedy)
    roles = sorted(due.expires)
    context.result(
        WouldRefresh(due.timestamp, roles, freshness.told(found)),
        [
            f"would sign {', '.join(roles)}",
            f"timestamp would be {due.timestamp}: {freshness.sentence(found, remedy)}",
        ],
    )
    if found.is_refused(clock()):
        raise click.exceptions.Exit(freshness.REFUSED)


COMMAND = refresh
