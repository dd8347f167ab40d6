"""refresh: sign again, and say what expires."""

from __future__ import annotations

import click

from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.keyring import repository
from cnrmirror.model.errors import StaleError
from cnrmirror.trust.signing import Repository


def warn_of_expiry(signed: Repository) -> list[dict[str, object]]:
    found = signed.expiring(now())
    remedy = {
        "root": "root propose … publish",
        "targets": "keys renew --offline-keys FOLDER",
        "catalog": "refresh, where the publish key is",
    }
    for item in found:
        click.echo(
            f"cnrmirror: {item.role} expires on {item.expires}, in {item.days:g} days: "
            f"'cnrmirror {remedy.get(item.role, 'refresh')}'",
            err=True,
        )
    return [{"role": w.role, "expires": w.expires, "days": w.days} for w in found]


@click.command()
@pass_context
def refresh(context: Context) -> None:
    """Sign again, so that clients know the mirror is alive; run it daily.

    Signs the timestamp, and snapshot and catalog once more than half their time is over. Says what
    expires soon. A timer for systemd and a crontab line: docs/trust.md.
    """
    project = context.project()
    signed = repository(project)
    with project.writing():
        signed.refresh(now())
    timestamp = project.metadata.timestamp()
    warnings = warn_of_expiry(signed)
    context.result(
        {"timestamp": timestamp.version, "expires": timestamp.expires, "warnings": warnings},
        [f"timestamp {timestamp.version}, good until {timestamp.expires}"],
    )
    if any(warning["days"] <= 0 for warning in warnings):  # type: ignore[operator]
        raise click.exceptions.Exit(StaleError.exit_code)  # readers refuse the mirror already


COMMAND = refresh
