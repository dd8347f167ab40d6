"""keys, root, refresh: who signs, and until when."""

from __future__ import annotations

from pathlib import Path

import click
from tuf.api.metadata import Root

from cnrmirror.cli.common import Context, now, pass_context
from cnrmirror.cli.keyring import PASSPHRASE_FILE, online_folder, passphrase, repository
from cnrmirror.errors import InputError, NotTrusted, StaleError, UsageError
from cnrmirror.files import replace_durably
from cnrmirror.keys import PUBLISH, REFRESH, KeyFolder, generate, public_key, write_key
from cnrmirror.signing import Repository
from cnrmirror.workflow import rotation

_OFFLINE = click.option(
    "--offline-keys", "offline", metavar="FOLDER", required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder with the root and targets keys.",
)  # fmt: skip
_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


def _warn(signed: Repository) -> list[dict[str, object]]:
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
    warnings = _warn(signed)
    context.result(
        {"timestamp": timestamp.version, "expires": timestamp.expires, "warnings": warnings},
        [f"timestamp {timestamp.version}, good until {timestamp.expires}"],
    )
    if any(warning["days"] <= 0 for warning in warnings):  # type: ignore[operator]
        raise click.exceptions.Exit(StaleError.exit_code)  # readers refuse the mirror already


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
    _warn(signed)


@keys.command("rotate")
@click.argument("purpose", type=click.Choice([PUBLISH, REFRESH]))
@_OFFLINE
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
            signed.publish(project.head(), now())
    else:
        old = signed.root().roles["timestamp"].keyids[0]
        proposal = rotation.propose(signed, {old: new}, None, now())
        rotation.sign(proposal, folder)
        rotation.publish(project, signed, proposal, now())
    context.result(
        {"purpose": purpose, "key": new.keyid, "root": signed.root_version()},
        [f"{purpose} key is now {new.keyid}; the old one signs nothing any more"],
    )


@keys.command("renew")
@_OFFLINE
@PASSPHRASE_FILE
@pass_context
def keys_renew(context: Context, offline: Path, passphrase_file: Path | None) -> None:
    """Sign the targets role for another year; and the root, if enough of its keys are there."""
    project = context.project()
    signed = repository(project)
    folder = KeyFolder(offline, passphrase=passphrase(passphrase_file))
    with project.writing():
        signed.renew_targets(None, folder, now())
        signed.publish(project.head(), now())
    proposal = rotation.propose(signed, {}, None, now())
    rotation.sign(proposal, folder)
    lines = ["targets: good for another year"]
    if rotation.status(proposal).complete:
        rotation.publish(project, signed, proposal, now())
        lines.append(f"root {signed.root_version()}: good for another year")
    else:
        lines.append("root: not enough of its keys here; use 'cnrmirror root propose'")
    context.result({"root": signed.root_version()}, lines)


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
    project = context.project()
    signed = repository(project)
    current = signed.root()
    if out.exists() or not out.resolve().parent.is_dir():
        raise InputError(f"{out}: there is a file already, or no folder for it")
    replaced = {}
    for beginning in replace:
        found = [keyid for keyid in current.keys if keyid.startswith(beginning)]
        if len(found) != 1:
            raise UsageError(f"--replace {beginning}: {len(found)} keys begin so; see 'keys list'")
        made = generate()
        online = found[0] in current.roles["timestamp"].keyids
        if not online and new_keys is None:
            raise UsageError("say --new-keys FOLDER: where the new offline keys go")
        if not online and passphrase_file is None:
            click.echo("cnrmirror: the new key gets no passphrase (--passphrase-file)", err=True)
        target = online_folder(project.config.id) if online or new_keys is None else new_keys
        kind = next(name for name in ("timestamp", "targets", "root")
                    if found[0] in current.roles[name].keyids)  # fmt: skip
        kind = REFRESH if online else kind
        write_key(target, kind, made, None if online else passphrase(passphrase_file))
        replaced[found[0]] = made.public_key
    proposal = rotation.propose(signed, replaced, threshold, now())
    _save(out, proposal)
    _tell(context, proposal)


@root.command("sign")
@_FILE
@_OFFLINE
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
    result = rotation.publish(project, repository(project), rotation.from_file(file), now())
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


COMMANDS = [keys, root, refresh]
