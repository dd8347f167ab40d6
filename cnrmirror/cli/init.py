"""init."""

from __future__ import annotations

import uuid
from pathlib import Path

import click
import msgspec

from cnrmirror.cli.context import Context, clock, now, pass_context
from cnrmirror.cli.keyring import PASSPHRASE_FILE, vaults
from cnrmirror.mirror.create import (
    KeyElsewhere,
    KeyPlan,
    Made,
    MadeFollower,
    create,
    create_follower,
    create_member,
    refuse,
)
from cnrmirror.mirror.home import online_folders
from cnrmirror.mirror.places import check_place
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.rootplan import Vault
from cnrmirror.mirror.settings import StoreAt
from cnrmirror.model.errors import UsageError
from cnrmirror.objects.scheme import FOLDER
from cnrmirror.publish.shared import Shared
from cnrmirror.trust.keys import PUBLISH, REFRESH


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--offline-keys", "offline", metavar="FOLDER", type=click.Path(path_type=Path), multiple=True,
    help="Where the root and targets keys go: a medium that is kept apart from this machine. Given "
    "once for each root key, each folder gets one, and the first also the targets key.",
)  # fmt: skip
@click.option(
    "--solo", is_flag=True,
    help="For one person: two root keys of which one suffices, instead of two of three. "
    "The default without --offline-keys.",
)  # fmt: skip
@click.option(
    "--publish-key", "publish_key", nargs=2, metavar="URI PEM",
    help="A publish key that is elsewhere (awskms:…, gcpkms:…, hsm:…), and its public half.",
)  # fmt: skip
@click.option(
    "--refresh-key", "refresh_key", nargs=2, metavar="URI PEM", help="The same for the refresh key."
)
@click.option(
    "--follow", metavar="ROOT.JSON", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Make a mirror without keys, which imports another one's revisions as signed there.",
)  # fmt: skip
@click.option(
    "--store", metavar="ADDRESS",
    help="Keep the mirror itself in s3://BUCKET/PREFIX, gs://…, az://… or another folder: DIR has "
    "its configuration, its root file and caches.",
)  # fmt: skip
@click.option(
    "--endpoint", metavar="URL",
    help="With --store: the service's address, if it is not Amazon's, Google's or Microsoft's.",
)  # fmt: skip
@click.option(
    "--root", metavar="ROOT.JSON", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="With --store: work on the mirror that is there already, of which this is the root.",
)  # fmt: skip
@PASSPHRASE_FILE
@pass_context
def init(
    context: Context,
    folder: Path,
    offline: tuple[Path, ...],
    solo: bool,
    publish_key: tuple[str, str] | None,
    refresh_key: tuple[str, str] | None,
    follow: Path | None,
    store: str | None,
    endpoint: str | None,
    root: Path | None,
    passphrase_files: tuple[Path, ...],
) -> None:
    """Make a new, empty mirror in DIR, and the keys that sign it.

    \b
    cnrmirror init my-mirror                                      # one person, one machine
    cnrmirror init my-mirror --offline-keys /media/usb/keys       # one medium
    cnrmirror init my-mirror --offline-keys A --offline-keys B --offline-keys C
    cnrmirror init their-mirror --follow root.json; cnrmirror -C their-mirror import BUNDLE
    cnrmirror init my-mirror --store s3://my-bucket/registry      # the mirror is in the bucket
    cnrmirror init second --store s3://my-bucket/registry --root root.json
    """
    if follow is not None:
        if store is not None:
            raise UsageError("--follow and --store: a mirror that follows has its own site")
        _tell_follower(context, create_follower(folder, follow))
        return
    at = _store(store, endpoint, root)
    if at is not None and root is not None:
        _tell_member(context, create_member(folder, root, at))
        return
    elsewhere = {
        purpose: KeyElsewhere(key[0], Path(key[1]))
        for purpose, key in ((PUBLISH, publish_key), (REFRESH, refresh_key))
        if key
    }
    plan = KeyPlan(online_folders(), tuple(Vault(place) for place in offline or (None,)), solo,
                   elsewhere)  # fmt: skip
    refuse(plan)  # before anybody is asked for a passphrase
    plan = msgspec.structs.replace(plan, vaults=vaults(offline or (None,), passphrase_files))
    limit = None if context.allow_past else clock
    made = create(folder, str(uuid.uuid4()), plan, now(), limit, at)
    if at is not None:
        Shared(Project(folder)).share()
    _tell(context, made, plan)


def _store(store: str | None, endpoint: str | None, root: Path | None) -> StoreAt | None:
    """Where the mirror itself is to be. Raises UsageError, InputError."""
    if store is None:
        if endpoint is not None or root is not None:
            raise UsageError("--endpoint and --root go with --store")
        return None
    at = StoreAt(to=store, endpoint=endpoint or "")
    if check_place(at) is FOLDER:  # mirror.yaml says it as seen from DIR
        at = msgspec.structs.replace(at, to=str(Path(store).resolve()))
    return at


def _tell(context: Context, made: Made, plan: KeyPlan) -> None:
    folder = made.folder
    lost = (
        "lose both root keys, and"
        if plan.is_solo
        else "lose one of the three root keys, and it can be replaced; lose two, and"
    )
    keys = [
        f"  key {name:8} {keyid}  {made.files.get(name, 'elsewhere: mirror.yaml names its signer')}"
        for name, keyid in made.keys.items()
    ]
    context.done(
        made,
        [
            f"made {folder}: put packages in with 'cnrmirror -C {folder} push --namespace NS PATH'",
            f"clients pin this file: {made.root}",
            f"  sha256 {made.sha256}",
            *keys,
            "root and targets are offline keys: keep each on a medium apart from this machine, and "
            "a copy of each elsewhere",
            *_unprotected(made),
            f"  {lost} everybody has to pin a new root; lose the targets key, and a new root "
            "names another",
            "publish (signs revisions) and refresh (signs that they are current) are online keys; "
            "whoever has both files can sign revisions",
            f"sign again daily: 'cnrmirror -C {folder} refresh' (docs/trust.md)",
        ],
    )


def _unprotected(made: Made) -> list[str]:
    """Which offline keys have no passphrase, and what helps."""
    if not made.unprotected:
        return []
    first = made.unprotected[0]
    return [
        *(f"NOT protected by a passphrase: {made.files[name]}" for name in made.unprotected),
        "  whoever reads them can sign: lock them up, or replace each: "
        f"'cnrmirror -C {made.folder} root propose --out FILE --replace {first} --new-keys FOLDER "
        "--passphrase-file FILE'",
    ]


def _tell_member(context: Context, made: MadeFollower) -> None:
    context.done(
        made,
        [
            f"made {made.folder}, to work on registry {made.id} in its store",
            f"  its root: sha256 {made.sha256}",
            "to change it, put its online keys where 'cnrmirror keys' looks for them, or into "
            "CNRMIRROR_KEYS (docs/trust.md)",
        ],
    )


def _tell_follower(context: Context, made: MadeFollower) -> None:
    context.done(
        made,
        [
            f"made {made.folder}, which follows registry {made.id}",
            f"  pinned root: sha256 {made.sha256}; compare it with what the publisher says",
            f"import a bundle with 'cnrmirror -C {made.folder} import BUNDLE'",
        ],
    )


COMMAND = init
