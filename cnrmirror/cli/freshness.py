"""What commands say of how long readers take the mirror."""

from __future__ import annotations

from datetime import timedelta

import click
import msgspec

from cnrmirror.cli.context import Context, clock, duration
from cnrmirror.mirror.project import Project
from cnrmirror.model.freshness import Expiry, Freshness
from cnrmirror.model.instant import Instant

REFUSED = 18
"""The exit code for "readers refuse it, or soon will"."""
_REMEDIES = {
    "root": "cnrmirror root propose, sign, publish",
    "targets": "cnrmirror keys renew --offline-keys FOLDER",
    "catalog": "cnrmirror refresh, where the publish key is",
}

fresh_for_option = click.option(
    "--fresh-for", metavar="3d",
    help=f"End with exit code {REFUSED} if readers would refuse the mirror sooner: for monitors.",
)  # fmt: skip


class Expiring(msgspec.Struct, frozen=True):
    """A role that expires soon, for ``--json``."""

    role: str
    expires: str
    days: float


class Told(msgspec.Struct, frozen=True):
    """How long readers take a mirror, for ``--json``: ``days`` are negative once it is over."""

    good_until: str
    role: str
    days: float
    refused: bool


def fresh_for(text: str | None) -> timedelta:
    """What ``--fresh-for`` says; nothing, if it is not there."""
    return duration("--fresh-for", text) if text is not None else timedelta(0)


def told(freshness: Freshness) -> Told:
    """How long readers take what is signed."""
    present, first = clock(), freshness.first
    return Told(
        str(first.at), first.role, _days_left(first, present), freshness.is_refused(present)
    )


def of_role(role: Expiry) -> Expiring:
    """One role that expires soon."""
    return Expiring(role.role, str(role.at), _days_left(role, clock()))


def sentence(freshness: Freshness, remedy: str = "") -> str:
    """Until when readers take what is signed, in local time, and what is to be done if not."""
    present, first = clock(), freshness.first
    if not freshness.is_refused(present):
        return (
            f"readers accept the mirror until {local(first.at)} (in {_days(first, present)}, when "
            f"its {first.role} expires)"
        )
    return (
        f"readers refuse the mirror: its {first.role} expired on {local(first.at)}, "
        f"{_days(first, present)} ago: {remedy or _remedy(first)}"
    )


def warn(freshness: Freshness, remedy: str = "") -> None:
    """Say on standard error which roles expire soon, or are expired, and what helps."""
    present = clock()
    for role in freshness.soon(present):
        verb = "expired" if role.left(present) <= timedelta(0) else "expires"
        when = f"{_days(role, present)} ago" if verb == "expired" else f"in {_days(role, present)}"
        helps = remedy or _remedy(role)
        click.echo(f"cnrmirror: {role.role} {verb} on {local(role.at)}, {when}: {helps}", err=True)


def tell(project: Project, context: Context) -> None:
    """Say on standard error until when readers take the mirror, and what expires soon.

    Nothing with ``--json``: the results of ``check`` and ``publish`` say it.
    """
    found = project.metadata.freshness()
    if not context.as_json:
        warn(found, follower_remedy(project))
        if not found.is_refused(clock()):
            context.note(f"cnrmirror: {sentence(found)}")


def follower_remedy(project: Project) -> str:
    """What helps a mirror that follows another, and signs nothing; "" for any other one."""
    return "import a newer state from its sender" if project.config.follow else ""


def local(moment: Instant) -> str:
    """A moment in the time of this machine, as people read it."""
    return moment.at.astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _remedy(role: Expiry) -> str:
    return _REMEDIES.get(role.role, "cnrmirror refresh")


def _days_left(role: Expiry, present: Instant) -> float:
    return round(role.left(present) / timedelta(days=1), 2)


def _days(role: Expiry, present: Instant) -> str:
    days = abs(role.left(present) / timedelta(days=1))
    if days < 2:
        hours = round(days * 24)
        return f"{hours} hour{'' if hours == 1 else 's'}"
    return f"{days:.0f} days"
