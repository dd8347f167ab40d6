"""The next root as a person wants it: which keys come, where they go, which ones leave."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from cnrmirror.model.errors import UsageError
from cnrmirror.objects.files import storage_errors
from cnrmirror.trust.keys import PUBLISH, REFRESH, generate, write_key
from cnrmirror.trust.rotation import Proposal, RootChange, propose_change, root_names
from cnrmirror.trust.signing import Repository
from cnrmirror.trust.tuf import Key


class Vault(msgspec.Struct, frozen=True):
    """A folder for new offline keys, and the passphrase that is to protect them.

    ``folder``: None is a folder below that of the online keys. ``passphrase``: None leaves the keys
    as they are: whoever reads the file can sign.
    """

    folder: Path | None = None
    passphrase: bytes | None = None


class RootPlan(msgspec.Struct, frozen=True):
    """What a person wants the next root to have other than the one in force.

    ``replaced``, ``removed``: keys by their id, how it begins, or their name. ``added``: where one
    new root key each goes. ``vault``: where the new keys go that replace others. ``threshold``: how
    many root keys must sign from then on; None leaves it as it is.
    """

    replaced: tuple[str, ...] = ()
    vault: Vault | None = None
    added: tuple[Vault, ...] = ()
    removed: tuple[str, ...] = ()
    threshold: int | None = None


class NewKey(msgspec.Struct, frozen=True):
    """A key that was made, and its file; ``replaces``: the id of another one, if it does."""

    name: str
    key: str
    file: str
    protected: bool
    replaces: str = ""


class _Wanted(NamedTuple):
    """A key to be made: its name, where it goes, and whose place it takes."""

    name: str
    vault: Vault
    replaces: str = ""


def propose_root(signed: Repository, plan: RootPlan, now: str) -> tuple[Proposal, list[NewKey]]:
    """The next root, a year from now, and the keys that were made for it.

    Args:
        signed: the mirror's signed metadata.
        plan: what is to be other than now.
        now: ISO 8601, UTC.

    Raises:
        UsageError: a key is not named by one beginning, it is not said where new ones go, or there
            would be fewer root keys than must sign. Nothing was made.
        StorageError: a folder cannot be written to.
    """
    wanted = _wanted(signed, plan)
    removed = _removed(signed, plan)
    refuse(signed, plan)
    for vault in {id(item.vault): item.vault for item in wanted}.values():
        require_writable(_folder(vault))
    made: list[NewKey] = []
    replaced: dict[str, Key] = {}
    added: list[Key] = []
    for item in wanted:
        signer = generate()
        path = write_key(_folder(item.vault), item.name, signer, item.vault.passphrase)
        public = signer.public_key
        made.append(NewKey(item.name, public.keyid, str(path), bool(item.vault.passphrase),
                           item.replaces))  # fmt: skip
        if item.replaces:
            replaced[item.replaces] = public
        else:
            added.append(public)
    change = RootChange(replaced, added, removed, plan.threshold)
    return propose_change(signed, change, now), made


def key_names(signed: Repository) -> dict[str, str]:
    """What each key is called, by its id: root-1 …, targets, publish, refresh, as ``init`` says."""
    names = {key.keyid: REFRESH for key in signed.keys_of("timestamp")}
    names |= {key.keyid: PUBLISH for key in signed.keys_of("catalog")}
    names |= {key.keyid: "targets" for key in signed.keys_of("targets")}
    return names | root_names(signed)


def _named(names: Mapping[str, str], option: str, word: str) -> str:
    """The id of the key that is called so, or whose id begins so. Raises UsageError."""
    called = [keyid for keyid, name in names.items() if name == word]
    found = called or [keyid for keyid in names if keyid.startswith(word)]
    if len(found) != 1:
        raise UsageError(
            f"{option} {word}: {len(found)} keys have that name or id; see 'keys list'"
        )
    return found[0]


def _wanted(signed: Repository, plan: RootPlan) -> list[_Wanted]:
    """The keys that are to be made; a root key gets the next name, also if it replaces one."""
    root, names = signed.root(), key_names(signed)
    number = len(root_names(signed))
    found = []
    for word in plan.replaced:
        keyid = _named(names, "--replace", word)
        if keyid in root.roles["timestamp"].keyids:
            found.append(_Wanted(REFRESH, Vault(signed.keys.folder), keyid))
            continue
        if keyid not in root.keys:
            raise UsageError(
                f"--replace {word}: the root has no such key; the publish key is "
                "replaced by 'keys rotate publish'"
            )
        if plan.vault is None:
            raise UsageError("--replace needs --new-keys FOLDER: where the new offline keys go")
        if keyid in root.roles["targets"].keyids:
            found.append(_Wanted("targets", plan.vault, keyid))
        else:
            number += 1
            found.append(_Wanted(f"root-{number}", plan.vault, keyid))
    found += [_Wanted(f"root-{number + n}", vault) for n, vault in enumerate(plan.added, 1)]
    return found


def _removed(signed: Repository, plan: RootPlan) -> list[str]:
    names = key_names(signed)
    return [_named(names, "--remove", word) for word in plan.removed]


def refuse(signed: Repository, plan: RootPlan) -> None:
    """Make sure that a plan can be carried out.

    Raises:
        UsageError: see ``propose_root``.
    """
    role = signed.root().roles["root"]
    removed = _removed(signed, plan)
    for keyid in removed:
        if keyid not in role.keyids:
            raise UsageError(
                f"--remove {keyid[:8]}: it is not a current root key; others can be replaced"
            )
    gone = [*removed, *(item.replaces for item in _wanted(signed, plan) if item.replaces)]
    if len(set(gone)) < len(gone):
        raise UsageError("a key is named twice: remove it, or replace it, once")
    if plan.vault is not None and not plan.replaced:
        raise UsageError("--new-keys needs --replace; to add a root key use --add FOLDER")
    left = len(role.keyids) + len(plan.added) - len(removed)
    needed = role.threshold if plan.threshold is None else plan.threshold
    if left < needed:
        raise UsageError(
            f"too few root keys would be left: {left}, and {needed} must sign: add one "
            "(--add FOLDER), or use a lower --threshold"
        )


def _folder(vault: Vault) -> Path:
    if vault.folder is None:
        raise UsageError("no folder for the new offline keys was given")
    return vault.folder


def require_writable(folder: Path) -> None:
    """Make sure that keys can be put into a folder. Raises StorageError."""
    with storage_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tempfile.TemporaryFile(dir=folder).close()
