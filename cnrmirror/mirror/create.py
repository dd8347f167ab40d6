"""A new mirror and the keys that sign it; or one that follows another and needs none."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from securesystemslib.signer import CryptoSigner, Key

from cnrmirror.mirror.config import FILE_NAME
from cnrmirror.mirror.project import Project, prepare
from cnrmirror.mirror.rotate import repository
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import NotTrusted
from cnrmirror.model.instant import Instant
from cnrmirror.model.signed import MAX_BYTES, REGISTRY
from cnrmirror.objects.files import storage_errors
from cnrmirror.trust.ceremony import Ceremony
from cnrmirror.trust.guard import Guard
from cnrmirror.trust.keys import PUBLISH, REFRESH, generate, public_key, write_key
from cnrmirror.trust.roles import refuse_past
from cnrmirror.trust.verify import parse_pinned


class KeyElsewhere(msgspec.Struct, frozen=True):
    """A key that a signer holds: its URI, and the PEM file of its public half."""

    uri: str
    public: Path


class KeyPlan(msgspec.Struct, frozen=True):
    """Which keys a new mirror has, and where they go.

    ``online``: the folder in which every registry has a folder of online keys. ``offline``: the
    folder of the root and targets keys; None puts them below the online ones. ``solo``: one of two
    root keys must sign, in the place of two of three. ``elsewhere``: online keys by their purpose.
    """

    online: Path
    offline: Path | None = None
    passphrase: bytes | None = None
    solo: bool = False
    elsewhere: Mapping[str, KeyElsewhere] = {}

    @property
    def is_solo(self) -> bool:
        """Whether one person holds all: so without a medium for offline keys."""
        return self.solo or self.offline is None


class Made(msgspec.Struct, frozen=True):
    """A mirror that was made; ``sha256`` is that of ``root``, the file that clients pin."""

    folder: str
    id: str
    root: str
    sha256: str
    offline_keys: str
    online_keys: str
    keys: dict[str, str]


class MadeFollower(msgspec.Struct, frozen=True):
    """A mirror that follows another; ``sha256`` is that of the pinned root."""

    folder: str
    id: str
    sha256: str


def create(
    folder: Path, identity: str, plan: KeyPlan, now: str,
    clock: Callable[[], Instant] | None = None,
) -> Made:  # fmt: skip
    """Make a new, empty mirror, and the keys that sign it.

    Args:
        folder: where; it may not exist yet.
        identity: the registry's; what a killed init has left keeps its own.
        plan: which keys, and where they go.
        now: ISO 8601, UTC.
        clock: see ``Guard``.

    Raises:
        StaleError: what is signed for ``now`` is expired already.
        InvalidDocument: the folder holds a mirror already.
        InputError: a public key cannot be read.
        StorageError: a folder cannot be written to.
    """
    refuse_past(now, clock() if clock else None)
    if plan.offline is not None:
        with storage_errors(str(plan.offline)):  # before anything else is made
            plan.offline.mkdir(parents=True, exist_ok=True, mode=0o700)
            tempfile.TemporaryFile(dir=plan.offline).close()
    public = {purpose: public_key(key.public) for purpose, key in plan.elsewhere.items()}
    prepare(folder, identity)
    _name_signers(folder / FILE_NAME, plan)
    project = Project(folder)
    identity = project.config.id
    online = plan.online / identity
    signed = repository(project, online, Guard(clock))
    project.signer = signed
    offline = plan.offline or online / "offline"
    roots, targets = _offline_keys(offline, plan)
    public = {**public, **_online_keys(online, {PUBLISH, REFRESH} - set(public))}
    data = signed.create(
        Ceremony(identity, roots, 1 if plan.is_solo else 2, targets, public[PUBLISH],
                 public[REFRESH]), now,
    )  # fmt: skip
    project.sign_first(now)
    named: list[tuple[str, Key]] = [
        (f"root-{number}", key.public_key) for number, key in enumerate(roots, 1)
    ]
    named += [("targets", targets.public_key), *sorted(public.items())]
    return Made(
        str(folder), identity, str(project.metadata.path / "1.root.json"),
        Descriptor.of(data).digest, str(offline), str(online),
        {name: key.keyid for name, key in named},
    )  # fmt: skip


def _name_signers(configuration: Path, plan: KeyPlan) -> None:
    """Say in mirror.yaml where the keys are that are elsewhere."""
    if plan.elsewhere and "\ntrust:" not in configuration.read_text(encoding="utf-8"):
        lines = [f"  {purpose}: {key.uri}\n" for purpose, key in plan.elsewhere.items()]
        with configuration.open("a", encoding="utf-8") as file:
            file.write("\ntrust:\n" + "".join(lines))


def _offline_keys(folder: Path, plan: KeyPlan) -> tuple[list[CryptoSigner], CryptoSigner]:
    """New root keys, and a new targets key, written to their folder."""
    roots = [generate() for _ in range(2 if plan.is_solo else 3)]
    targets = generate()
    for number, key in enumerate(roots, 1):
        write_key(folder, f"root-{number}", key, plan.passphrase)
    write_key(folder, "targets", targets, plan.passphrase)
    return roots, targets


def _online_keys(folder: Path, purposes: set[str]) -> dict[str, Key]:
    """New online keys, written to their folder: the public halves."""
    made = {purpose: generate() for purpose in sorted(purposes)}
    for purpose, key in made.items():
        write_key(folder, purpose, key, None)
    return {purpose: key.public_key for purpose, key in made.items()}


def create_follower(folder: Path, root: Path) -> MadeFollower:
    """Make a mirror that takes over what was signed elsewhere.

    Args:
        folder: where; it may not exist yet.
        root: the root file to pin.

    Raises:
        NotTrusted: it is not the root file of a cnrmirror registry.
        InvalidDocument: the folder holds a mirror already.
    """
    with root.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    registry = parse_pinned(data, str(root)).unrecognized_fields.get(REGISTRY)
    if not isinstance(registry, str):
        raise NotTrusted(f"{root}: it is not the root of a cnrmirror registry")
    prepare(folder, registry)
    (folder / "root.json").write_bytes(data)
    with (folder / FILE_NAME).open("a", encoding="utf-8") as config:
        config.write(
            "\n# This mirror takes over what was signed elsewhere; see 'cnrmirror import'.\n"
            "follow: root.json\n"
        )
    return MadeFollower(str(folder), registry, Descriptor.of(data).digest)
