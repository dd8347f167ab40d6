"""A new mirror and the keys that sign it; or one that follows another and needs none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import yaml

from cnrmirror.mirror.config import FILE_NAME
from cnrmirror.mirror.layout import Layout
from cnrmirror.mirror.places import partial_store
from cnrmirror.mirror.prepare import prepare
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.rootplan import Vault, require_writable
from cnrmirror.mirror.rotate import repository
from cnrmirror.mirror.settings import StoreAt
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import ConflictError, NotFoundError, NotTrusted, UsageError
from cnrmirror.model.instant import Instant
from cnrmirror.model.signed import MAX_BYTES, TIMESTAMP
from cnrmirror.objects.files import read_regular, storage_errors
from cnrmirror.trust.ceremony import Ceremony
from cnrmirror.trust.guard import Guard
from cnrmirror.trust.keys import PUBLISH, REFRESH, generate, public_key, write_key
from cnrmirror.trust.roles import refuse_past, registry_of
from cnrmirror.trust.tuf import CryptoSigner, Key
from cnrmirror.trust.verify import parse_pinned

_IGNORE = """\
# For a mirror in git: what may be deleted at any time, and what must stay secret.
/.state/scratch/
/secrets/
*.pem
# A package may have such a name, and is no secret:
!/site/**
# site/ has the catalog, without which a clone is no mirror. If site/ is kept elsewhere, remove
# the "#" of the next line.
#/site/
"""


class KeyElsewhere(msgspec.Struct, frozen=True):
    """A key that a signer holds: its URI, and the PEM file of its public half."""

    uri: str
    public: Path


class KeyPlan(msgspec.Struct, frozen=True):
    """Which keys a new mirror has, and where they go.

    ``online``: the folder in which every registry has a folder of online keys. ``vaults``: where
    the root and targets keys go, all into one, or one root key into each, and the targets key into
    the first. ``solo``: one of two root keys must sign, in the place of two of three.
    ``elsewhere``: online keys by their purpose.
    """

    online: Path
    vaults: tuple[Vault, ...] = (Vault(),)
    solo: bool = False
    elsewhere: Mapping[str, KeyElsewhere] = {}

    @property
    def is_solo(self) -> bool:
        """Whether one person holds all: so without a medium for offline keys."""
        return self.solo or any(vault.folder is None for vault in self.vaults)

    @property
    def root_keys(self) -> int:
        """How many root keys there are."""
        return 2 if self.is_solo else 3


class Made(msgspec.Struct, frozen=True):
    """A mirror that was made; ``sha256`` is that of ``root``, the file that clients pin.

    ``keys``: the id of each key, by its name. ``files``: where their private halves are, but for
    those that are elsewhere. ``offline_keys``: the folder of the targets key, and of all offline
    keys if they have one folder. ``unprotected``: the names of those without a passphrase.
    """

    folder: str
    id: str
    root: str
    sha256: str
    online_keys: str
    keys: dict[str, str]
    offline_keys: str
    files: dict[str, str]
    unprotected: list[str]


class MadeFollower(msgspec.Struct, frozen=True):
    """A mirror that follows another; ``sha256`` is that of the pinned root."""

    folder: str
    id: str
    sha256: str


def create(
    folder: Path, identity: str, plan: KeyPlan, now: str,
    clock: Callable[[], Instant] | None = None, store: StoreAt | None = None,
) -> Made:  # fmt: skip
    """Make a new, empty mirror, and the keys that sign it.

    Args:
        folder: where; it may not exist yet.
        identity: the registry's; what a killed init has left keeps its own.
        plan: which keys, and where they go.
        now: ISO 8601, UTC.
        clock: see ``Guard``.
        store: where the mirror itself is to be, if not in the folder; it is not brought there.

    Raises:
        ConflictError: there is a mirror in the store.
        UsageError: there are neither one folder for offline keys nor as many as root keys.
        StaleError: what is signed for ``now`` is expired already.
        InvalidDocument: the folder holds a mirror already.
        InputError: a public key cannot be read.
        StorageError: a folder cannot be written to.
    """
    refuse_past(now, clock() if clock else None)
    public = _require(plan)
    project = _project(folder, identity, plan, store)
    identity = project.config.id
    online = plan.online / identity
    signed = repository(project, online, Guard(clock))
    project.signer = signed
    offline = _offline_keys(online / "offline", plan)
    made = _online_keys(online, {PUBLISH, REFRESH} - set(public))
    public |= {name: key.public for name, key in made.items()}
    roots, targets = [key.signer for key in offline[:-1]], offline[-1].signer
    data = signed.create(
        Ceremony(identity, roots, 1 if plan.is_solo else 2, targets, public[PUBLISH],
                 public[REFRESH]), now,
    )  # fmt: skip
    project.sign_first(now)
    if store is not None:
        project.layout.root.write_bytes(data)
    keys = {key.name: key.signer.public_key for key in offline} | dict(sorted(public.items()))
    return Made(
        str(folder), identity, str(project.trusted_root),
        Descriptor.of(data).digest, str(online), {name: key.keyid for name, key in keys.items()},
        str(offline[-1].file.parent),
        {key.name: str(key.file) for key in (*offline, *made.values())},
        [key.name for key in offline if not key.protected],
    )  # fmt: skip


def _require(plan: KeyPlan) -> dict[str, Key]:
    """The public keys that are elsewhere, once all is known to be there that a plan needs."""
    refuse(plan)
    for vault in plan.vaults:
        if vault.folder is not None:
            require_writable(vault.folder)
    return {purpose: public_key(key.public) for purpose, key in plan.elsewhere.items()}


def _project(folder: Path, identity: str, plan: KeyPlan, store: StoreAt | None) -> Project:
    """A project that has nothing yet; what a killed init has left."""
    if store is not None and _is_taken(folder, store):
        raise ConflictError(
            f"{store.to}: a mirror is there already; to work on it from here, say "
            "--root ROOT.JSON, its root file"
        )
    prepare(folder, identity, elsewhere=store is not None)
    _ignore(folder)
    _name_signers(folder / FILE_NAME, plan)
    if store is not None:
        _name_store(folder / FILE_NAME, store)
    return Project(folder)


def _is_taken(folder: Path, store: StoreAt) -> bool:
    """Whether a mirror is in the store. Raises AccessDenied, NetworkError, UsageError."""
    place = partial_store(folder, Layout(folder), store).place
    return place.read(TIMESTAMP, MAX_BYTES) is not None


def _name_store(configuration: Path, store: StoreAt) -> None:
    """Say in mirror.yaml where the mirror itself is."""
    if "\nstore:" not in configuration.read_text(encoding="utf-8"):
        plain = StoreAt(to="")
        said = {
            name: value
            for name, value in msgspec.structs.asdict(store).items()
            if value != getattr(plain, name)
        }
        with configuration.open("a", encoding="utf-8") as file:
            file.write("\n# Where the mirror itself is; here are only its root file and caches.\n")
            yaml.safe_dump({"store": said}, file, sort_keys=False, allow_unicode=True)


def _ignore(folder: Path) -> None:
    """Say what git is not to keep of the mirror, where nobody has said it yet."""
    path = folder / ".gitignore"
    with storage_errors(str(path)):
        if not path.exists():
            path.write_text(_IGNORE, encoding="utf-8")


def refuse(plan: KeyPlan) -> None:
    """Make sure that the offline keys can be shared out among their folders. Raises UsageError."""
    folders = [vault.folder.resolve() for vault in plan.vaults if vault.folder is not None]
    if len(plan.vaults) not in (1, plan.root_keys):
        raise UsageError(
            f"{len(plan.vaults)} folders for {plan.root_keys} root keys: give one --offline-keys "
            f"FOLDER for all, or {plan.root_keys}, one for each"
        )
    if len(set(folders)) < len(folders):
        raise UsageError("--offline-keys: two of these folders are the same one")


def _name_signers(configuration: Path, plan: KeyPlan) -> None:
    """Say in mirror.yaml where the keys are that are elsewhere."""
    if plan.elsewhere and "\ntrust:" not in configuration.read_text(encoding="utf-8"):
        lines = [f"  {purpose}: {key.uri}\n" for purpose, key in plan.elsewhere.items()]
        with configuration.open("a", encoding="utf-8") as file:
            file.write("\ntrust:\n" + "".join(lines))


class _MadeKey(NamedTuple):
    """A new key, what it is called, and its file."""

    name: str
    signer: CryptoSigner
    file: Path
    protected: bool

    @property
    def public(self) -> Key:
        return self.signer.public_key


def _make(name: str, vault: Vault, default: Path) -> _MadeKey:
    signer = generate()
    file = write_key(vault.folder or default, name, signer, vault.passphrase)
    return _MadeKey(name, signer, file, bool(vault.passphrase))


def _offline_keys(default: Path, plan: KeyPlan) -> list[_MadeKey]:
    """New root keys, and a new targets key as the last, written to their folders."""
    vaults = plan.vaults * (plan.root_keys if len(plan.vaults) == 1 else 1)
    roots = [_make(f"root-{n}", vault, default) for n, vault in enumerate(vaults, 1)]
    return [*roots, _make("targets", vaults[0], default)]


def _online_keys(folder: Path, purposes: set[str]) -> dict[str, _MadeKey]:
    """New online keys, written to their folder."""
    return {purpose: _make(purpose, Vault(folder), folder) for purpose in sorted(purposes)}


def read_root(path: Path) -> tuple[bytes, str]:
    """The root in a file, and the registry that it is of.

    Raises:
        NotTrusted: it is not the root file of a cnrmirror registry.
    """
    data = read_regular(path, MAX_BYTES)
    registry = registry_of(parse_pinned(data, str(path)))
    if not registry:
        raise NotTrusted(f"{path}: it is not the root of a cnrmirror registry")
    return data, registry


def create_follower(folder: Path, root: Path) -> MadeFollower:
    """Make a mirror that takes over what was signed elsewhere.

    Args:
        folder: where; it may not exist yet.
        root: the root file to pin.

    Raises:
        NotTrusted: it is not the root file of a cnrmirror registry.
        InvalidDocument: the folder holds a mirror already.
    """
    made = _pinned(folder, root, elsewhere=False)
    with (folder / FILE_NAME).open("a", encoding="utf-8") as config:
        config.write(
            "\n# This mirror takes over what was signed elsewhere; see 'cnrmirror import'.\n"
            "follow: root.json\n"
        )
    return made


def _pinned(folder: Path, root: Path, elsewhere: bool) -> MadeFollower:
    """A folder that trusts what this root's keys signed."""
    data, registry = read_root(root)
    prepare(folder, registry, elsewhere)
    _ignore(folder)
    Layout(folder).root.write_bytes(data)
    return MadeFollower(str(folder), registry, Descriptor.of(data).digest)


def create_member(folder: Path, root: Path, store: StoreAt) -> MadeFollower:
    """Make a folder in which one more machine works on a mirror that is in an object store.

    Args:
        folder: where; it may not exist yet.
        root: the mirror's root file.
        store: where the mirror is.

    Raises:
        NotTrusted: it is not the root file of a cnrmirror registry.
        InvalidDocument: the folder holds a mirror already.
        NotFoundError: there is no mirror in the store.
    """
    if not _is_taken(folder, store):
        raise NotFoundError(f"{store.to}: there is no mirror; without --root, 'init' makes one")
    made = _pinned(folder, root, elsewhere=True)
    _name_store(folder / FILE_NAME, store)
    return made
