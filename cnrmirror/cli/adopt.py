"""adopt: make a mirror again from what was published of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from cnrmirror.airgap.adopt import Adopted, WouldAdopt, adopt, rehearse, take_over, verified
from cnrmirror.bundle.places import reader_for
from cnrmirror.cli.changing import DRY_RUN
from cnrmirror.cli.context import Context, clock, counted, now, pass_context, sized
from cnrmirror.cli.keyring import PASSPHRASE_FILE, repository, vaults
from cnrmirror.mirror.create import KeyPlan, Made, create, refuse
from cnrmirror.mirror.home import online_folders
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.rootplan import Vault
from cnrmirror.trust.keys import PUBLISH, REFRESH


@click.command("adopt")
@click.argument("place", metavar="PLACE")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--root", required=True, metavar="ROOT.JSON",
              type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="A root of the registry that you trust.")  # fmt: skip
@click.option("--new-root", "anew", is_flag=True,
              help="For lost keys: make new keys, and a new registry.")  # fmt: skip
@click.option("--offline-keys", "offline", metavar="FOLDER", type=click.Path(path_type=Path),
              multiple=True, help="With --new-root: where the new offline keys go.")  # fmt: skip
@click.option("--solo", is_flag=True, help="With --new-root: as for 'init'.")
@PASSPHRASE_FILE
@DRY_RUN
@pass_context
def adopt_mirror(
    context: Context, place: str, folder: Path, root: Path, anew: bool, offline: tuple[Path, ...],
    solo: bool, passphrase_files: tuple[Path, ...], dry_run: bool,
) -> None:  # fmt: skip
    """Make a lost mirror again from where it is published.

    PLACE is an address, a bucket, a folder or a bundle; the mirror goes into DIR.

    Everything is verified with ROOT.JSON; expired metadata is accepted, too. With the mirror's
    keys, the next command continues it. If only mirror.yaml is lost, PLACE is DIR/site. What only
    mirror.yaml knew (sources, destinations) has to be written again. See docs/recovery.md.

    \b
    cnrmirror adopt s3://my-bucket/registry my-mirror --root root.json --dry-run
    cnrmirror adopt s3://my-bucket/registry my-mirror --root root.json
    cnrmirror adopt my-mirror/site my-mirror --root root.json
    cnrmirror adopt https://mirror.example.com mine --root root.json --new-root --offline-keys USB
    """
    reader = reader_for(place)
    clock_now = datetime.now(UTC)
    if dry_run:
        if anew:
            vaults_there = tuple(Vault(each) for each in offline or (None,))
            refuse(KeyPlan(online_folders(), vaults_there, solo))
        would = rehearse(folder, reader, root, clock_now, context.bar(), anew)
        context.result(would, [_would(would, anew)])
        return
    if not anew:
        done = adopt(folder, reader, root, clock_now, context.bar())
        context.done(done, [_made(done), *_next(context, folder)])
        return
    plan = KeyPlan(online_folders(), vaults(offline or (None,), passphrase_files), solo)
    remote = verified(reader, root, clock_now)
    made = create(folder, str(uuid.uuid4()), plan, now(), None if context.allow_past else clock)
    done = take_over(made, _signed(context), remote, now(), context.bar())
    context.done(done, [_made(done), *_new_root(made)])


def _signed(context: Context) -> Callable[[Project], Project]:
    """Gives a project the keys of this person."""

    def signed(project: Project) -> Project:
        project.signer = repository(project, context.allow_past)
        return project

    return signed


def _made(done: Adopted) -> str:
    packages = counted(done.packages, "package")
    return f"made {done.folder}: revision {done.revision}, {packages}, as published"


def _would(would: WouldAdopt, anew: bool) -> str:
    how = "with new keys, as a registry of its own" if anew else "as published"
    return (
        f"would make {would.folder}: revision {would.revision}, "
        f"{counted(would.packages, 'package')}, {how}; {counted(would.archives, 'archive')} of "
        f"its newest revision, {sized(would.bytes)}"
    )


def _new_root(made: Made) -> list[str]:
    return [
        f"a new registry, {made.id}: readers pin this file: {made.root}",
        f"  sha256 {made.sha256}",
        "  each reader, once: 'cnrmirror pull … --from PLACE --root root.json'",
        *(f"  key {name:8} {keyid}  {made.files[name]}" for name, keyid in made.keys.items()),
        *(f"NOT protected by a passphrase: {made.files[name]}" for name in made.unprotected),
        "publish to an empty destination: one that holds another registry is refused",
    ]


def _next(context: Context, folder: Path) -> list[str]:
    """Which keys are here, and what is to be done about the others."""
    project = Project(folder)
    signed = repository(project, context.allow_past)
    missing = []
    for role, purpose in (("catalog", PUBLISH), ("snapshot", REFRESH)):
        keys = signed.keys_of(role)
        if not any(signed.keys.held(purpose, key).where for key in keys):
            missing.append((purpose, ", ".join(key.keyid[:8] for key in keys)))
    if missing:
        names = " and ".join(f"{purpose} key ({keyids})" for purpose, keyids in missing)
        which = missing[0][0] if len(missing) == 1 else "online"
        return [
            f"not on this machine: the {names}; put the file into {signed.keys.places}, or make a "
            f"new key: 'cnrmirror -C {folder} keys rotate {which} --offline-keys FOLDER'"
        ]
    return [f"its keys are here: go on with 'cnrmirror -C {folder} refresh'"]


COMMAND = adopt_mirror
