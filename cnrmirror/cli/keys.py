"""keys: list, rotate, renew."""

from __future__ import annotations

from pathlib import Path

import click

from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.keyring import PASSPHRASE_FILE, online_folder, passphrase, repository
from cnrmirror.cli.refresh import warn_of_expiry
from cnrmirror.mirror.rotate import install_root
from cnrmirror.model.errors import NotTrusted
from cnrmirror.trust import rotation
from cnrmirror.trust.keys import PUBLISH, REFRESH, KeyFolder, generate, public_key, write_key

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
    signed = repository(context.project())
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
    warn_of_expiry(signed)


@keys.command("rotate")
@click.argument("purpose", type=click.Choice([PUBLISH, REFRESH]))
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
    use 'root propose', 'sign' and 'publish').
    """
    project = context.project()
    signed = repository(project)
    folder = KeyFolder(offline, passphrase=passphrase(passphrase_file))
    role = signed.root().roles["root"]
    needed = 1 if purpose == PUBLISH else role.threshold
    able = [k for k in signed.keys_of("targets" if purpose == PUBLISH else "root")
            if folder.signer("targets" if purpose == PUBLISH else "root", [k])]  # fmt: skip
    if len(able) < needed:
        raise NotTrusted(
            f"{offline}: {len(able)} of the {needed} keys that must sign are here; "
            "several machines: 'root propose', 'root sign', 'root publish'"
        )
    if public is not None:
        new = public_key(public)
        if signed.keys.signer(purpose, [new]) is None:
            raise NotTrusted(
                f"nothing here can sign with {new.keyid}: put its signer URI into mirror.yaml "
                f"(trust.{purpose}) first"
            )
    else:
        made = generate()
        write_key(online_folder(project.config.id), purpose, made, None)
        new = made.public_key
    if purpose == PUBLISH:
        with project.writing():
            signed.renew_targets(new, folder, now())
            signed.sign_revision(project.head(), now())
    else:
        old = signed.root().roles["timestamp"].keyids[0]
        proposal = rotation.propose(signed, {old: new}, None, now())
        rotation.sign(proposal, folder)
        install_root(project, signed, proposal, now())
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
    signed = repository(project)
    folder = KeyFolder(offline, passphrase=passphrase(passphrase_file))
    with project.writing():
        signed.renew_targets(None, folder, now())
        signed.sign_revision(project.head(), now())
    proposal = rotation.propose(signed, {}, None, now())
    rotation.sign(proposal, folder)
    lines = ["targets: good for another year"]
    if rotation.status(proposal).complete:
        install_root(project, signed, proposal, now())
        lines.append(f"root {signed.root_version()}: good for another year")
    else:
        lines.append("root: not enough of its keys here; use 'cnrmirror root propose'")
    context.result({"root": signed.root_version()}, lines)


COMMAND = keys
