"""The first root and targets of a mirror: who signs them, and whom they name."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cnrmirror.model.signed import REGISTRY, TARGET
from cnrmirror.trust.roles import expiry, to_bytes
from cnrmirror.trust.tuf import DelegatedRole, Delegations, Key, Metadata, Root, Signer, Targets


class Ceremony(msgspec.Struct, frozen=True):
    """Who signs the first root and targets, and whom they name.

    ``threshold``: how many of the root keys must sign from then on.
    """

    registry: str
    root_keys: Sequence[Signer]
    threshold: int
    targets_key: Signer
    publish_key: Key
    refresh_key: Key


def first_root(ceremony: Ceremony, now: str) -> bytes:
    """The first root, signed by all root keys: the file that clients pin."""
    root = Root(expires=expiry("root", now), consistent_snapshot=True)
    root.unrecognized_fields[REGISTRY] = ceremony.registry
    for signer in ceremony.root_keys:
        root.add_key(signer.public_key, "root")
    root.roles["root"].threshold = ceremony.threshold
    root.add_key(ceremony.targets_key.public_key, "targets")
    for role in ("snapshot", "timestamp"):
        root.add_key(ceremony.refresh_key, role)
    signed = Metadata(root)
    for signer in ceremony.root_keys:
        signed.sign(signer, append=True)
    return to_bytes(signed)


def targets_file(version: int, publish_key: Key, targets_key: Signer, now: str) -> bytes:
    """The targets role: that the publish key signs the catalog."""
    role = DelegatedRole("catalog", [publish_key.keyid], 1, True, paths=[TARGET])
    delegations = Delegations({publish_key.keyid: publish_key}, {"catalog": role})
    targets = Targets(version, expires=expiry("targets", now), delegations=delegations)
    metadata = Metadata(targets)
    metadata.sign(targets_key)
    return to_bytes(metadata)
