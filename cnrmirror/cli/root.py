"""root: propose, sign, status, publish."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.group import Group
from cnrmirror.cli.keyring import (
    OFFLINE_KEYS,
    PASSPHRASE_FILE,
    offline_keys,
    repository,
    vaults,
)
from cnrmirror.mirror.rootplan import NewKey, RootPlan, Vault, propose_root, refuse
from cnrmirror.mirror.rotate import install_root
from cnrmirror.model.errors import InputError, NotTrusted
from cnrmirror.objects.files import replace_durably
from cnrmirror.trust import rotation
from cnrmirror.trust.keys import REFRESH
from cnrmirror.trust.tuf import Root


class ProposalTold(msgspec.Struct, frozen=True):
    """What ``--json`` says of a proposal: its signatures, what it changes, the keys just made."""

    status: rotation.Status
    complete: bool
    changes: list[str]
    made: list[NewKey]


_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.group(cls=Group)
def root() -> None:
    """Make a new root: a file that is carried to each key, and signed.

    \b
    cnrmirror root propose --out next.json
    cnrmirror root sign next.json --offline-keys /media/usb/keys
    cnrmirror root publish next.json
    """


@root.command("propose")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write.")
@click.option("--replace", metavar="KEYID", multiple=True,
              help="Replace this key (its name or id) by a new one; repeatable.")  # fmt: skip
@click.option("--new-keys", "new_keys", metavar="FOLDER", type=click.Path(path_type=Path),
              help="Where new root and targets keys of --replace go.")  # fmt: skip
@click.option("--add", metavar="FOLDER", multiple=True, type=click.Path(path_type=Path),
              help="One more root key, which goes into this folder; repeatable.")  # fmt: skip
@click.option("--remove", metavar="KEYID", multiple=True,
              help="Remove this root key (its name or id); repeatable.")  # fmt: skip
@click.option("--threshold", type=click.IntRange(1), help="How many root keys must sign.")
@PASSPHRASE_FILE
@pass_context
def root_propose(
    context: Context,
    out: Path,
    replace: tuple[str, ...],
    new_keys: Path | None,
    add: tuple[Path, ...],
    remove: tuple[str, ...],
    threshold: int | None,
    passphrase_files: tuple[Path, ...],
) -> None:
    """Write the next root into a file: good for a year, with other keys if options name them.

    Keys are named as 'keys list' names them, or by the beginning of their id. With several
    --passphrase-file, their order is that of the folders: those of --add, then --new-keys.

    \b
    cnrmirror root propose --out next.json --add /media/c --threshold 2
    cnrmirror root propose --out next.json --replace root-2 --new-keys /media/usb
    cnrmirror root propose --out next.json --remove 3fa9c1d2
    """
    signed = repository(context.project(), context.allow_past)
    if out.exists() or not out.resolve().parent.is_dir():
        raise InputError(f"{out}: it exists already, or its folder does not; choose another --out")
    folders = (*add, *([new_keys] if new_keys else []))
    plan = RootPlan(replace, Vault(new_keys) if new_keys else None,
                    tuple(Vault(folder) for folder in add), remove, threshold)  # fmt: skip
    refuse(signed, plan)  # before anybody is asked for a passphrase
    protected = vaults(folders, passphrase_files)
    plan = msgspec.structs.replace(
        plan, added=protected[: len(add)], vault=protected[-1] if new_keys else None
    )
    proposal, made = propose_root(signed, plan, now())
    _save(out, proposal)
    _tell(context, proposal, made)


@root.command("sign")
@_FILE
@OFFLINE_KEYS
@PASSPHRASE_FILE
@pass_context
def root_sign(
    context: Context, file: Path, offline: tuple[Path, ...], passphrase_files: tuple[Path, ...]
) -> None:
    """Add the signatures of the keys in FOLDER. Needs no mirror: made for an offline machine.

    \b
    cnrmirror root sign next.json --offline-keys /media/usb/keys
    """
    proposal = rotation.from_file(file)
    keys = offline_keys(offline, passphrase_files)
    if not rotation.sign(proposal, keys):
        raise NotTrusted(f"{keys.places}: no key here counts for this root")
    _save(file, proposal)
    _tell(context, proposal)


@root.command("status")
@_FILE
@pass_context
def root_status(context: Context, file: Path) -> None:
    """Say how many signatures a proposal has, and how many it needs.

    \b
    cnrmirror root status next.json
    """
    _tell(context, rotation.from_file(file))


@root.command("publish")
@_FILE
@pass_context
def root_publish(context: Context, file: Path) -> None:
    """Make a proposal that has enough signatures the mirror's root.

    \b
    cnrmirror root publish next.json
    """
    project = context.project()
    project.signer = signed = repository(project, context.allow_past)
    result = install_root(project, signed, rotation.from_file(file), now())
    context.done(result, [f"root {result.version}, good until {result.expires}"])


def _save(file: Path, proposal: rotation.Proposal) -> None:
    try:
        replace_durably(file, rotation.to_file(proposal), file.parent)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error


def _tell(context: Context, proposal: rotation.Proposal, made: Sequence[NewKey] = ()) -> None:
    result = rotation.status(proposal)
    root = proposal.proposed.signed
    assert isinstance(root, Root)
    context.result(
        ProposalTold(result, result.complete, rotation.changes(proposal), list(made)),
        [
            *(_sentence(key) for key in made),
            f"root {result.version}, good until {result.expires}",
            *rotation.changes(proposal),
            f"signatures by the old root's keys: {result.old} of {result.old_threshold}",
            f"signatures by the new root's keys: {result.new} of {result.new_threshold}",
            *([] if result.targets_signed else ["the new targets key has not signed yet"]),
            "complete: 'cnrmirror root publish FILE' on the mirror's machine"
            if result.complete
            else "not complete: 'cnrmirror root sign FILE --offline-keys FOLDER' where a key is",
        ],
    )  # fmt: skip


def _sentence(key: NewKey) -> str:
    """Where a new key is, and whether it is protected."""
    if key.name == REFRESH:
        return f"made {key.name}: {key.file}, an online key"
    protection = "protected by a passphrase" if key.protected else (
        "NOT protected by a passphrase (--passphrase-file): whoever reads it can sign"
    )  # fmt: skip
    return f"made {key.name}: {key.file}, {protection}"


COMMAND = root
