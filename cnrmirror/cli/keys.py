"""keys: list, rotate, renew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click
import msgspec

from cnrmirror.cli import freshness
from cnrmirror.cli.changing import DRY_RUN
from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.group import Group
from cnrmirror.cli.keyring import OFFLINE_KEYS, PASSPHRASE_FILE, offline_keys, repository
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.rootplan import key_names
from cnrmirror.mirror.rotate import (
    Rotation,
    RotationPlan,
    plan_rotation,
    renew,
    rotate_key,
    rotate_online,
)
from cnrmirror.model.instant import Instant
from cnrmirror.trust.keys import PUBLISH, REFRESH, KeyFolder, public_key
from cnrmirror.trust.signing import Repository

ONLINE = "online"
_ROLES = {
    "root": "root", "targets": "targets", "catalog": PUBLISH, "snapshot": REFRESH,
    "timestamp": REFRESH,
}  # fmt: skip


class KeysRotated(msgspec.Struct, frozen=True):
    """What ``--json`` says: the ids of the new keys by their purposes; the version of the root."""

    keys: dict[str, str]
    root: int


class WouldRotate(msgspec.Struct, frozen=True):
    """What ``--json --dry-run`` says."""

    rotations: list[RotationPlan]
    dry_run: Literal[True] = True


class Renewed(msgspec.Struct, frozen=True):
    """What ``--json`` says: the version of the root that is in force."""

    root: int


@click.group(cls=Group)
def keys() -> None:
    """List, renew and rotate the keys that sign the mirror.

    \b
    cnrmirror keys list
    """


@keys.command("list")
@click.option(
    "--offline-keys", "offline", metavar="FOLDER", multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Look for private keys in this folder, too; repeatable.",
)  # fmt: skip
@pass_context
def keys_list(context: Context, offline: tuple[Path, ...]) -> None:
    """List every key: its role, how it is protected, and where it is.

    A role of three keys has three rows. UNTIL is when the role expires as it is
    signed now. PROTECTION: by a passphrase; plain, so that the file's reader can sign; elsewhere,
    with a signer that mirror.yaml names; or not here.

    \b
    cnrmirror keys list --offline-keys /media/usb/keys
    """
    project = context.project()
    project.signer = signed = repository(project, context.allow_past)
    found = _rows(project, signed, offline)
    shown = [
        (row.name, row.role, f"{row.threshold} of {row.keys}",
         freshness.local(Instant.parse(row.until)), row.protection, row.private, row.key)
        for row in found
    ]  # fmt: skip
    columns = ("NAME", "ROLE", "MUST SIGN", "UNTIL", "PROTECTION", "PRIVATE KEY", "KEY")
    context.table(found, columns, shown, spare=("KEY", "MUST SIGN", "PRIVATE KEY"))
    freshness.tell(project, context)


class KeyRow(msgspec.Struct, frozen=True):
    """A key in a role; ``keys``: how many the role has; ``private``: where its half is, or "-"."""

    name: str
    role: str
    threshold: int
    keys: int
    until: str
    protection: str
    private: str
    key: str


def _rows(project: Project, signed: Repository, folders: Sequence[Path]) -> list[KeyRow]:
    """Every key of every role."""
    root, names = signed.root(), key_names(signed)
    until = {found.role: str(found.at) for found in project.metadata.freshness().roles}
    elsewhere = KeyFolder(*folders, *(folder / "offline" for folder in signed.keys.folders))
    rows = []
    for role, purpose in _ROLES.items():
        threshold = root.roles[role].threshold if role in root.roles else 1
        keys_of = signed.keys_of(role)
        for key in keys_of:
            held = signed.keys.held(purpose, key)
            if not held.where:
                held = elsewhere.held(purpose, key)
            rows.append(
                KeyRow(names[key.keyid], role, threshold, len(keys_of), until[role],
                       held.protection, held.where or "-", key.keyid)
            )  # fmt: skip
    return rows


@keys.command("rotate")
@click.argument("purpose", type=click.Choice([PUBLISH, REFRESH, ONLINE]))
@OFFLINE_KEYS
@PASSPHRASE_FILE
@click.option("--public-key", "public", type=click.Path(path_type=Path), metavar="PEM",
              help="The new key's public half; mirror.yaml (trust.…) has its signer.")  # fmt: skip
@DRY_RUN
@pass_context
def keys_rotate(
    context: Context, purpose: str, offline: tuple[Path, ...], passphrase_files: tuple[Path, ...],
    public: Path | None, dry_run: bool,
) -> None:  # fmt: skip
    """Replace an online key: after it was stolen, or once a year.

    The publish key signs the role catalog; its replacement needs the offline targets key. The
    refresh key signs snapshot and timestamp; its replacement needs enough root keys at once (else
    use 'root propose', 'sign' and 'publish'). online replaces both, where both are lost.

    \b
    cnrmirror keys rotate publish --offline-keys /media/usb/keys --dry-run
    cnrmirror keys rotate publish --offline-keys /media/usb/keys
    """
    project = context.project()
    project.signer = signed = repository(project, context.allow_past)
    folder = offline_keys(offline, passphrase_files)
    if dry_run:
        purposes = (PUBLISH, REFRESH) if purpose == ONLINE else (purpose,)
        _rehearse(context, signed, [Rotation(each, folder) for each in purposes])
        return
    if purpose == ONLINE:
        made = rotate_online(project, signed, folder, now())
        context.done(
            KeysRotated({name: key.keyid for name, key in made.items()}, signed.root_version()),
            [f"{name} key is now {key.keyid}" for name, key in made.items()],
        )
        return
    rotation = Rotation(purpose, folder, public_key(public) if public else None)
    new = rotate_key(project, signed, rotation, now())
    context.done(
        KeysRotated({purpose: new.keyid}, signed.root_version()),
        [f"{purpose} key is now {new.keyid}; the old one signs nothing any more"],
    )


def _rehearse(context: Context, signed: Repository, rotations: Sequence[Rotation]) -> None:
    """Say which keys would go, once those that must sign are known to be here."""
    plans = [plan_rotation(signed, each) for each in rotations]
    lines = [
        f"{plan.purpose} key {', '.join(plan.going)} would be replaced: signed by {plan.role} keys "
        f"{', '.join(keyid[:8] for keyid in plan.signers)}"
        for plan in plans
    ]
    context.result(WouldRotate(plans), [*lines, "nothing was changed"])


@keys.command("renew")
@OFFLINE_KEYS
@PASSPHRASE_FILE
@pass_context
def keys_renew(
    context: Context, offline: tuple[Path, ...], passphrase_files: tuple[Path, ...]
) -> None:
    """Sign the targets role for another year; and the root, if enough of its keys are there.

    \b
    cnrmirror keys renew --offline-keys /media/usb/keys
    """
    project = context.project()
    project.signer = signed = repository(project, context.allow_past)
    folder = offline_keys(offline, passphrase_files)
    lines = ["targets: signed for another year"]
    if renew(project, signed, folder, now()):
        lines.append(f"root {signed.root_version()}: signed for another year")
    else:
        lines.append("root: not enough of its keys here; use 'cnrmirror root propose'")
    context.done(Renewed(signed.root_version()), lines)


COMMAND = keys
