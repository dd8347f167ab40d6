"""root: propose, sign, status, publish."""

from __future__ import annotations

from pathlib import Path

import click
from tuf.api.metadata import Root

from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.keyring import PASSPHRASE_FILE, passphrase, repository
from cnrmirror.cli.keys import OFFLINE_KEYS
from cnrmirror.mirror.rotate import RootChange, install_root, propose_root, unprotected
from cnrmirror.model.errors import InputError, NotTrusted
from cnrmirror.objects.files import replace_durably
from cnrmirror.trust import rotation
from cnrmirror.trust.keys import KeyFolder

_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.group()
def root() -> None:
    """A new root, carried as one file between the machines that hold its keys."""


@root.command("propose")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to carry.")
@click.option("--replace", metavar="KEYID", multiple=True,
              help="Replace this key (or its beginning) by a new one; repeatable.")  # fmt: skip
@click.option("--new-keys", metavar="FOLDER", type=click.Path(path_type=Path),
              help="Where new root and targets keys go.")  # fmt: skip
@click.option("--threshold", type=click.IntRange(1), help="How many root keys must sign.")
@PASSPHRASE_FILE
@pass_context
def root_propose(
    context: Context,
    out: Path,
    replace: tuple[str, ...],
    new_keys: Path | None,
    threshold: int | None,
    passphrase_file: Path | None,
) -> None:
    """Write the next root into a file: a year from now, with some keys replaced.

    \b
    cnrmirror root propose --out next.json --replace 3fa9c1d2 --new-keys /media/usb
    """
    signed = repository(context.project(), context.allow_past)
    if out.exists() or not out.resolve().parent.is_dir():
        raise InputError(f"{out}: there is a file already, or no folder for it")
    change = RootChange(replace, new_keys, passphrase(passphrase_file), threshold)
    if unprotected(signed, change):
        click.echo("cnrmirror: the new key gets no passphrase (--passphrase-file)", err=True)
    proposal = propose_root(signed, change, now())
    _save(out, proposal)
    _tell(context, proposal)


@root.command("sign")
@_FILE
@OFFLINE_KEYS
@PASSPHRASE_FILE
@pass_context
def root_sign(context: Context, file: Path, offline: Path, passphrase_file: Path | None) -> None:
    """Add the signatures of the keys in FOLDER. Needs no mirror: made for an offline machine."""
    proposal = rotation.from_file(file)
    if not rotation.sign(proposal, KeyFolder(offline, passphrase=passphrase(passphrase_file))):
        raise NotTrusted(f"{offline}: no key here counts for this root")
    _save(file, proposal)
    _tell(context, proposal)


@root.command("status")
@_FILE
@pass_context
def root_status(context: Context, file: Path) -> None:
    """How many signatures a proposal has, and how many it needs."""
    _tell(context, rotation.from_file(file))


@root.command("publish")
@_FILE
@pass_context
def root_publish(context: Context, file: Path) -> None:
    """Make a proposal that is signed enough the mirror's root."""
    project = context.project()
    result = install_root(
        project, repository(project, context.allow_past), rotation.from_file(file), now()
    )
    context.result(result, [f"root {result.version}, good until {result.expires}"])


def _save(file: Path, proposal: rotation.Proposal) -> None:
    try:
        replace_durably(file, rotation.to_file(proposal), file.parent)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error


def _tell(context: Context, proposal: rotation.Proposal) -> None:
    result = rotation.status(proposal)
    root = proposal.proposed.signed
    assert isinstance(root, Root)
    context.result(
        {"status": result, "complete": result.complete, "changes": rotation.changes(proposal)},
        [
            f"root {result.version}, good until {result.expires}",
            *rotation.changes(proposal),
            f"signatures by the old root's keys: {result.old} of {result.old_threshold}",
            f"signatures by the new root's keys: {result.new} of {result.new_threshold}",
            *([] if result.targets_signed else ["the new targets key has not signed yet"]),
            "complete: 'cnrmirror root publish FILE' on the mirror's machine"
            if result.complete
            else "not complete: 'cnrmirror root sign FILE --offline-keys FOLDER' where a key is",
        ],
    )


COMMAND = root
