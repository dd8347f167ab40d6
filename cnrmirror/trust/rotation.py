"""A new root, carried as one file between the machines that hold the keys.

propose (on the mirror's machine) → sign (wherever a root key is) → status → publish. The file holds
the current root, the proposed one with the signatures that it has so far, and, if the targets key
changes, the targets file for the new key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec

from cnrmirror.model.errors import InvalidDocument, NotTrusted
from cnrmirror.model.signed import MAX_BYTES
from cnrmirror.objects.files import read_regular
from cnrmirror.trust.keys import KeyFolder
from cnrmirror.trust.roles import expiry, parse
from cnrmirror.trust.signing import Repository
from cnrmirror.trust.tuf import Key, Metadata, Role, Root, SerializationError, Targets


class Proposal(msgspec.Struct, frozen=True):
    """The three documents of a proposal file; ``targets`` only if the targets key changes."""

    current: Metadata[Any]
    proposed: Metadata[Any]
    targets: Metadata[Any] | None


class Status(msgspec.Struct, frozen=True):
    """Signatures that a proposal has, and how many it needs, by the old root and by the new."""

    version: int
    expires: str
    old: int
    old_threshold: int
    new: int
    new_threshold: int
    targets_signed: bool

    @property
    def complete(self) -> bool:
        return (
            self.old >= self.old_threshold
            and self.new >= self.new_threshold
            and self.targets_signed
        )


class RootChange(msgspec.Struct, frozen=True):
    """What the next root has other than the one in force.

    ``replaced``: the id of a key that goes → the key that takes its place in all its roles.
    ``added``, ``removed``: root keys. ``threshold``: how many root keys must sign from then on;
    None leaves it as it is.
    """

    replaced: Mapping[str, Key] = {}
    added: Sequence[Key] = ()
    removed: Sequence[str] = ()
    threshold: int | None = None


def propose(
    repository: Repository, replaced: Mapping[str, Key], threshold: int | None, now: str
) -> Proposal:
    """The next root with some keys replaced by others: see ``propose_change``."""
    return propose_change(repository, RootChange(replaced, threshold=threshold), now)


def propose_change(repository: Repository, change: RootChange, now: str) -> Proposal:
    """The next root: a year from now, with other keys.

    Raises:
        NotTrusted: no role has a key of that id, or there are fewer root keys than must sign.
    """
    current = repository.current(Root, "root")
    if current is None:
        raise NotTrusted(f"{repository.path}: this mirror has no root.json")
    proposed: Metadata[Root] = Metadata(deepcopy(current.signed))
    root = proposed.signed
    root.version += 1
    root.expires = expiry("root", now)
    _change_keys(root, change)
    targets = None
    if root.roles["targets"].keyids != current.signed.roles["targets"].keyids:
        old_targets = repository.current(Targets, "targets")
        assert old_targets is not None
        targets = Metadata(deepcopy(old_targets.signed))
        targets.signed.version += 1
        targets.signed.expires = expiry("targets", now)
    return Proposal(current, proposed, targets)


def _change_keys(root: Root, change: RootChange) -> None:
    for old, new in change.replaced.items():
        roles = [name for name, role in root.roles.items() if old in role.keyids]
        if not roles:
            raise NotTrusted(f"the root has no key {old}; see 'cnrmirror keys list'")
        for role in roles:
            root.revoke_key(old, role)
            root.add_key(new, role)
    for key in change.added:
        root.add_key(key, "root")
    for keyid in change.removed:
        root.revoke_key(keyid, "root")
    if change.threshold is not None:
        root.roles["root"].threshold = change.threshold
    if root.roles["root"].threshold > len(root.roles["root"].keyids):
        raise NotTrusted("the threshold is higher than the number of root keys")


def root_names(repository: Repository) -> dict[str, str]:
    """What every root key is called that the mirror ever had: root-1, root-2, … by its id.

    In the order in which roots named them, so that a name is never another key's. ``init`` makes
    the first ones.
    """
    found: dict[str, str] = {}
    for version in range(1, repository.root_version() + 1):
        path = repository.path / f"{version}.root.json"
        if path.exists():
            root = parse(path.read_bytes(), str(path)).signed
            for keyid in root.roles["root"].keyids if isinstance(root, Root) else []:
                found.setdefault(keyid, f"root-{len(found) + 1}")
    return found


def sign(proposal: Proposal, keys: KeyFolder) -> int:
    """Add the signatures of all keys in a folder that count; how many were added."""
    added = 0
    root_keys = {
        **_keys(proposal.current.signed, "root"),
        **_keys(proposal.proposed.signed, "root"),
    }
    for key in root_keys.values():
        signer = keys.signer("root", [key])
        if signer is not None:
            proposal.proposed.sign(signer, append=True)
            added += 1
    if proposal.targets is not None:
        for key in _keys(proposal.proposed.signed, "targets").values():
            signer = keys.signer("targets", [key])
            if signer is not None:
                proposal.targets.sign(signer, append=True)
                added += 1
    return added


def _keys(root: Root, role: str) -> dict[str, Key]:
    return {keyid: root.keys[keyid] for keyid in root.roles[role].keyids}


def status(proposal: Proposal) -> Status:
    """How far a proposal is."""
    payload, signatures = proposal.proposed.signed_bytes, proposal.proposed.signatures
    old = proposal.current.signed.get_verification_result("root", payload, signatures)
    new = proposal.proposed.signed.get_verification_result("root", payload, signatures)
    targets_signed = True
    if proposal.targets is not None:
        targets_signed = bool(
            proposal.proposed.signed.get_verification_result(
                "targets", proposal.targets.signed_bytes, proposal.targets.signatures
            )
        )
    return Status(
        proposal.proposed.signed.version,
        proposal.proposed.signed.expires.isoformat(),
        len(old.signed), old.threshold, len(new.signed), new.threshold, targets_signed,
    )  # fmt: skip


def to_file(proposal: Proposal) -> bytes:
    """The proposal as the bytes of its file."""
    documents = {
        "current": proposal.current.to_dict(),
        "proposed": proposal.proposed.to_dict(),
        "targets": proposal.targets.to_dict() if proposal.targets else None,
    }
    return json.dumps(documents, sort_keys=True, indent=1).encode() + b"\n"


def from_file(path: Path) -> Proposal:
    """The proposal in a file. Raises InputError, InvalidDocument, TooLarge."""
    data = read_regular(path, 3 * MAX_BYTES)
    try:
        documents = json.loads(data)
        current, proposed, targets = (documents[k] for k in ("current", "proposed", "targets"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidDocument(f"{path}: not a root proposal: {error}") from error

    def metadata(document: Any, kind: type) -> Metadata[Any]:
        found = parse(json.dumps(document).encode(), str(path))
        if not isinstance(found.signed, kind):
            raise InvalidDocument(f"{path}: not a root proposal")
        try:
            found.signed_bytes  # noqa: B018 - what cannot be signed is none
        except (SerializationError, ValueError) as error:
            raise InvalidDocument(f"{path}: not a root proposal: {error}") from error
        return found

    proposal = Proposal(
        metadata(current, Root),
        metadata(proposed, Root),
        metadata(targets, Targets) if targets else None,
    )
    _check(proposal, path)
    return proposal


def _check(proposal: Proposal, path: Path) -> None:
    """Raises InvalidDocument for a proposal that 'root propose' would not make."""
    old, new = proposal.current.signed, proposal.proposed.signed
    if new.version != old.version + 1:
        raise InvalidDocument(f"{path}: root {new.version} does not follow root {old.version}")
    if new.unrecognized_fields != old.unrecognized_fields:
        raise InvalidDocument(f"{path}: it is for another registry; do not sign it")
    if new.consistent_snapshot != old.consistent_snapshot or set(new.roles) != set(old.roles):
        raise InvalidDocument(f"{path}: it is of another kind than the root before; do not sign it")


_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def changes(proposal: Proposal) -> list[str]:
    """What the new root would change, a sentence each: what a person who signs has to compare.

    Every word is of what is signed, so that it is the same on each machine.
    """
    old, new = proposal.current.signed, proposal.proposed.signed
    lines = [
        f"{name} {keyid} is {verb} (its file ends with -{keyid[:8]}.pem)"
        for role, name in _named_roles(old, new).items()
        for verb, keyids in _moved(old.roles[role], new.roles[role]).items()
        for keyid in keyids
    ]
    if not lines:
        lines.append("no key is added or removed")
    lines += [
        _must_sign(role, old.roles[role], new.roles[role])
        for role in sorted(new.roles)
        if role == "root" or old.roles[role].threshold != new.roles[role].threshold
    ]
    if proposal.targets is not None and proposal.targets.signed.delegations:
        keys = ", ".join(sorted(proposal.targets.signed.delegations.keys))
        lines.append(
            f"the role targets {proposal.targets.signed.version} is signed anew: publish key "
            f"{keys} signs revisions"
        )
    return [*lines, f"signed part of root {new.version}: sha256 {_digest(proposal.proposed)}"]


def _named_roles(old: Root, new: Root) -> dict[str, str]:
    """The roles of a root, and what their keys are called: the refresh key has two."""
    names = {"root": "root key", "targets": "targets key", "snapshot": "refresh key"}
    if any(root.roles["snapshot"].keyids != root.roles["timestamp"].keyids for root in (old, new)):
        names |= {"snapshot": "snapshot key", "timestamp": "timestamp key"}
    return names


def _moved(before: Role, after: Role) -> dict[str, list[str]]:
    """The keys that a role loses and gets."""
    return {
        "removed": [keyid for keyid in before.keyids if keyid not in after.keyids],
        "added": [keyid for keyid in after.keyids if keyid not in before.keyids],
    }


def _must_sign(role: str, before: Role, after: Role) -> str:
    """How many of a role's keys must sign: "two of three root keys must sign from now on"."""
    count, number = after.threshold, len(after.keyids)
    keys = f"{role} key{'' if number == 1 else 's'}"
    same = (before.threshold, len(before.keyids)) == (count, number)
    return (
        f"{_word(count)} of {_word(number)} {keys} must sign"
        f"{', as before' if same else ' from now on'}"
    )


def _word(number: int) -> str:
    return _COUNTS[number] if number < len(_COUNTS) else str(number)


def _digest(metadata: Metadata[Any]) -> str:
    return hashlib.sha256(metadata.signed_bytes).hexdigest()
