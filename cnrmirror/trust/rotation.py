"""A new root, carried as one file between the machines that hold the keys.

propose (on the mirror's machine) → sign (wherever a root key is) → status → publish. The file holds
the current root, the proposed one with the signatures that it has so far, and, if the targets key
changes, the targets file for the new key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import SerializationError

from cnrmirror.model.errors import InvalidDocument, NotTrusted, TooLarge
from cnrmirror.model.signed import MAX_BYTES
from cnrmirror.trust.keys import KeyFolder
from cnrmirror.trust.roles import expiry, parse
from cnrmirror.trust.signing import Repository


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


def propose(
    repository: Repository, replaced: Mapping[str, Key], threshold: int | None, now: str
) -> Proposal:
    """The next root: a year from now, with some keys replaced by others.

    Args:
        replaced: the id of a key that goes → the key that takes its place in all its roles.
        threshold: how many root keys must sign from then on; None leaves it as it is.

    Raises:
        NotTrusted: no role has a key of that id.
    """
    current = repository.current(Root, "root")
    if current is None:
        raise NotTrusted(f"{repository.path}: this mirror has no root.json")
    proposed: Metadata[Root] = Metadata(deepcopy(current.signed))
    root = proposed.signed
    root.version += 1
    root.expires = expiry("root", now)
    for old, new in replaced.items():
        roles = [name for name, role in root.roles.items() if old in role.keyids]
        if not roles:
            raise NotTrusted(f"the root has no key {old}; see 'cnrmirror keys list'")
        for role in roles:
            root.revoke_key(old, role)
            root.add_key(new, role)
    if threshold is not None:
        root.roles["root"].threshold = threshold
    if root.roles["root"].threshold > len(root.roles["root"].keyids):
        raise NotTrusted("the threshold is higher than the number of root keys")
    targets = None
    if root.roles["targets"].keyids != current.signed.roles["targets"].keyids:
        old_targets = repository.current(Targets, "targets")
        assert old_targets is not None
        targets = Metadata(deepcopy(old_targets.signed))
        targets.signed.version += 1
        targets.signed.expires = expiry("targets", now)
    return Proposal(current, proposed, targets)


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
    """The proposal in a file. Raises InvalidDocument, TooLarge."""
    try:
        with path.open("rb") as stream:
            data = stream.read(3 * MAX_BYTES + 1)
    except OSError as error:
        raise InvalidDocument(f"{path}: {error.strerror}") from error
    if len(data) > 3 * MAX_BYTES:
        raise TooLarge(f"{path}: more than {3 * MAX_BYTES} bytes")
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


def changes(proposal: Proposal) -> list[str]:
    """What the new root would change, one line each: what a person who signs has to compare."""
    old, new = proposal.current.signed, proposal.proposed.signed
    lines = [f"signed part of root {new.version}: sha256 {_digest(proposal.proposed)}"]
    for name in sorted(new.roles):
        before, after = old.roles[name], new.roles[name]
        lines += [
            f"{name}: key {keyid} goes" for keyid in before.keyids if keyid not in after.keyids
        ]
        lines += [
            f"{name}: key {keyid} comes" for keyid in after.keyids if keyid not in before.keyids
        ]
        if before.threshold != after.threshold:
            lines.append(f"{name}: {after.threshold} must sign, not {before.threshold}")
    if proposal.targets is not None and proposal.targets.signed.delegations:
        keys = ", ".join(sorted(proposal.targets.signed.delegations.keys))
        lines.append(f"targets {proposal.targets.signed.version}: publish key {keys}")
    return lines


def _digest(metadata: Metadata[Any]) -> str:
    return hashlib.sha256(metadata.signed_bytes).hexdigest()
