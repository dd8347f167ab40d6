"""init."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path

import click

from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.keyring import PASSPHRASE_FILE, online_folder, passphrase, repository
from cnrmirror.mirror.config import FILE_NAME
from cnrmirror.mirror.project import Project, prepare
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import NotTrusted
from cnrmirror.model.signed import MAX_BYTES
from cnrmirror.objects.files import storage_errors
from cnrmirror.trust.keys import PUBLISH, REFRESH, generate, public_key, write_key
from cnrmirror.trust.verify import parse_pinned


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--offline-keys", "offline", metavar="FOLDER", type=click.Path(path_type=Path),
    help="Where the root and targets keys go: a medium that is kept apart from this machine.",
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
    help="Make a mirror that takes over another one's state, as it was signed there: no keys.",
)  # fmt: skip
@PASSPHRASE_FILE
@pass_context
def init(
    context: Context,
    folder: Path,
    offline: Path | None,
    solo: bool,
    publish_key: tuple[str, str] | None,
    refresh_key: tuple[str, str] | None,
    follow: Path | None,
    passphrase_file: Path | None,
) -> None:
    """Make a new, empty mirror in DIR, and the keys that sign it.

    \b
    cnrmirror init my-mirror                                      # one person, one machine
    cnrmirror init my-mirror --offline-keys /media/usb/keys --passphrase-file FILE
    cnrmirror init their-mirror --follow root.json; cnrmirror -C their-mirror import BUNDLE
    """
    if follow is not None:
        _follower(context, folder, follow)
        return
    identity = str(uuid.uuid4())
    secret = passphrase(passphrase_file)
    if offline is not None:
        with storage_errors(str(offline)):  # before anything else is made
            offline.mkdir(parents=True, exist_ok=True, mode=0o700)
            tempfile.TemporaryFile(dir=offline).close()
    elsewhere = {PUBLISH: publish_key, REFRESH: refresh_key}
    public = {purpose: public_key(Path(key[1])) for purpose, key in elsewhere.items() if key}
    prepare(folder, identity)
    if public and "\ntrust:" not in (folder / FILE_NAME).read_text():
        lines = [f"  {purpose}: {elsewhere[purpose][0]}\n" for purpose in public]  # type: ignore[index]
        with (folder / FILE_NAME).open("a", encoding="utf-8") as file:
            file.write("\ntrust:\n" + "".join(lines))
    project = Project(folder)
    identity = project.config.id
    signer = repository(project)
    project.signer = signer
    solo = solo or offline is None
    online = online_folder(identity)
    offline = offline or online / "offline"
    roots = [generate() for _ in range(2 if solo else 3)]
    targets = generate()
    for number, key in enumerate(roots, 1):
        write_key(offline, f"root-{number}", key, secret)
    write_key(offline, "targets", targets, secret)
    for purpose in (PUBLISH, REFRESH):
        if purpose not in public:
            made = generate()
            write_key(online, purpose, made, None)
            public[purpose] = made.public_key
    data = signer.create(
        identity, roots, 1 if solo else 2, targets, public[PUBLISH], public[REFRESH], now()
    )
    project.sign_first(now())
    root = project.metadata.path / "1.root.json"
    digest = Descriptor.of(data).digest
    fingerprints = {
        name: key.keyid
        for name, key in [
            *((f"root-{n}", key.public_key) for n, key in enumerate(roots, 1)),
            ("targets", targets.public_key), *sorted(public.items()),
        ]
    }  # fmt: skip
    lost = (
        "lose both root keys, and"
        if solo
        else "lose one of the three root keys, and it can be replaced; lose two, and"
    )
    context.result(
        {"folder": str(folder), "id": identity, "root": str(root), "sha256": digest,
         "offline_keys": str(offline), "online_keys": str(online), "keys": fingerprints},
        [
            f"made {folder}: put packages in with "
            f"'cnrmirror -C {folder} push --namespace NS PATH'",
            f"clients pin this file: {root}",
            f"  sha256 {digest}",
            *(f"  key {name:8} {keyid}" for name, keyid in fingerprints.items()),
            f"offline keys (root, targets): {offline}"
            + ("" if secret else ", NOT protected by a passphrase"),
            "  move them to a medium that is kept apart from this machine, and keep copies",
            f"  {lost} everybody has to pin a new root; lose the targets key, and a new root "
            "names another",
            f"online keys (publish, refresh): {online}; whoever has them can sign revisions",
            f"sign again daily: 'cnrmirror -C {folder} refresh' (docs/trust.md)",
        ],
    )  # fmt: skip


def _follower(context: Context, folder: Path, root: Path) -> None:
    with root.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    registry = parse_pinned(data, str(root)).unrecognized_fields.get("x-registry")
    if not isinstance(registry, str):
        raise NotTrusted(f"{root}: it is not the root of a cnrmirror registry")
    prepare(folder, registry)
    (folder / "root.json").write_bytes(data)
    with (folder / FILE_NAME).open("a", encoding="utf-8") as config:
        config.write(
            "\n# This mirror takes over what was signed elsewhere; see 'cnrmirror import'.\n"
        )
        config.write("follow: root.json\n")
    digest = Descriptor.of(data).digest
    context.result(
        {"folder": str(folder), "id": registry, "sha256": digest},
        [
            f"made {folder}, which follows registry {registry}",
            f"  pinned root: sha256 {digest}; compare it with what the publisher says",
            f"take something in with 'cnrmirror -C {folder} import BUNDLE'",
        ],
    )


COMMAND = init
