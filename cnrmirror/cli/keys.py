"""keys: list, rotate, renew."""

from __future__ import annotations

from pathlib import Path

import click

from cnrmirror.cli import freshness
from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.keyring import PASSPHRASE_FILE, passphrase, repository
from cnrmirror.mirror.rotate import Rotation, renew, rotate_key, rotate_online
from cnrmirror.trust.keys import PUBLISH, REFRESH, KeyFolder, public_key

ONLINE = "online"
OFFLINE_KEYS = click.option(
    "--offline-keys", "offline", metavar="FOLDER", required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder with the root and targets keys.",
)  # fmt: skip


@click.group()
def keys() -> None:
    """The keys that sign the mirror."""


@keys.command("list")
@pass_context
def keys_list(context: Context) -> None:
    """Every role: its keys, how many must sign, and where the private halves are, if here."""
    project = context.project()
    signed = repository(project, context.allow_past)
    root = signed.root()
    rows = []
    for role in ("root", "targets", "catalog", "snapshot", "timestamp"):
        threshold = root.roles[role].threshold if role in root.roles else 1
        for key in signed.keys_of(role):
            purpose = PUBLISH if role == "catalog" else REFRESH
            rows.append((role, threshold, key.keyid, signed.keys.where(purpose, key) or "-"))
    names = ("role", "threshold", "key", "private")
    context.table(
        [dict(zip(names, row, strict=True)) for row in rows],
        ("ROLE", "THRESHOLD", "KEY", "PRIVATE KEY"), rows,
    )  # fmt: skip
    freshness.tell(project, context.as_json)


@keys.command("rotate")
@click.argument("purpose", type=click.Choice([PUBLISH, REFRESH, ONLINE]))
@OFFLINE_KEYS
@PASSPHRASE_FILE
@click.option("--public-key", "public", type=click.Path(path_type=Path), metavar="PEM",
              help="Take this key; mirror.yaml (trust.…) has its signer's URI.")  # fmt: skip
@pass_context
def keys_rotate(
    context: Context, purpose: str, offline: Path, passphrase_file: Path | None, public: Path | None
) -> None:
    """Replace an online key: after it was stolen, or once a year.

    publish needs the offline targets key; refresh needs enough root keys in one folder (else
    use 'root propose', 'sign' and 'publish'). online replaces both, where both are lost.
    """
    project = context.project()
    signed = repository(project, context.allow_past)
    folder = KeyFolder(offline, passphrase=passphrase(passphrase_file))
    if purpose == ONLINE:
        made = rotate_online(project, signed, folder, now())
        context.result(
            {"keys": {name: key.keyid for name, key in made.items()}},
            [f"{name} key is now {key.keyid}" for name, key in made.items()],
        )
        return
    rotation = Rotation(purpose, folder, public_key(public) if public else None)
    new = rotate_key(project, signed, rotation, now())
    context.result(
        {"purpose": purpose, "key": new.keyid, "root": signed.root_version()},
        [f"{purpose} key is now {new.keyid}; the old one signs nothing any more"],
    )


@keys.command("renew")
@OFFLINE_KEYS
@PASSPHRASE_FILE
@pass_context
def keys_renew(context: Context, offline: Path, passphrase_file: Path | None) -> None:
    """Sign the targets role for another year; and the root, if enough of its keys are there."""
    project = context.project()
    signed = repository(project, context.allow_past)
    folder = KeyFolder(offline, passphrase=passphrase(passphrase_file))
    lines = ["targets: good for another year"]
    if renew(project, signed, folder, now()):
        lines.append(f"root {signed.root_version()}: good for another year")
    else:
        lines.append("root: not enough of its keys here; use 'cnrmirror root propose'")
    context.result({"root": signed.root_version()}, lines)


COMMAND = keys
