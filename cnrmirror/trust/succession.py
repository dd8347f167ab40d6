"""The roots and targets that follow a mirror's own elsewhere, verified from its newest root."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from cnrmirror.model.errors import CnrMirrorError, NotTrusted
from cnrmirror.trust.roles import parse
from cnrmirror.trust.tuf import Metadata, RepositoryError, Root, SerializationError, Targets

_MOST = 1000
S = TypeVar("S", Root, Targets)
ReadFile = Callable[[str], bytes | None]
"""Gives a metadata file's bytes by its name; None if there is none."""


class Succession(msgspec.Struct, frozen=True):
    """Files that come after a mirror's own: bytes by version, and the newest of both roles."""

    roots: dict[int, bytes]
    targets: dict[int, bytes]
    newest_root: Root
    newest_targets: Targets | None

    def __bool__(self) -> bool:
        return bool(self.roots or self.targets)


def succession(root: bytes, targets_version: int, read: ReadFile, where: str) -> Succession:
    """The roots and targets at ``where`` that follow ours.

    Args:
        root: our newest root.
        targets_version: the version of our newest targets.
        read: gives the files there.

    Raises:
        NotTrusted: a file there is newer, and not signed by who may sign it.
    """
    trusted = _parsed(root, Root, where)
    roots: dict[int, bytes] = {}
    while (data := read(f"{trusted.signed.version + 1}.root.json")) is not None:
        trusted = _following(trusted.signed, data, where)
        roots[trusted.signed.version] = data
        if len(roots) > _MOST:
            raise NotTrusted(f"{where}: more than {_MOST} roots follow this mirror's own")
    judges = [
        trusted.signed,
        *(_parsed(old, Root, where).signed for old in (root, *roots.values())),
    ]
    targets: dict[int, bytes] = {}
    newest = None
    for version in range(targets_version + 1, targets_version + _MOST):
        data = read(f"{version}.targets.json")
        if data is None:
            break
        newest = _targets(judges, data, version, f"{where}/{version}.targets.json")
        targets[version] = data
    return Succession(roots, targets, trusted.signed, newest)


def _following(before: Root, data: bytes, where: str) -> Metadata[Root]:
    name = f"{where}/{before.version + 1}.root.json"
    found = _parsed(data, Root, name)
    new = found.signed
    if new.version != before.version + 1 or new.unrecognized_fields != before.unrecognized_fields:
        raise NotTrusted(f"{name}: it does not follow this mirror's own root")
    try:
        before.verify_delegate("root", found.signed_bytes, found.signatures)
        new.verify_delegate("root", found.signed_bytes, found.signatures)
    except (RepositoryError, SerializationError, ValueError) as error:
        raise NotTrusted(f"{name}: it does not follow this mirror's own root: {error}") from error
    return found


def _targets(judges: list[Root], data: bytes, version: int, name: str) -> Targets:
    """A targets file that one of the roots accepts: what a later root revoked was good once."""
    found = _parsed(data, Targets, name)
    for judge in judges:
        try:
            judge.verify_delegate("targets", found.signed_bytes, found.signatures)
        except (RepositoryError, SerializationError, ValueError):
            continue
        delegations = found.signed.delegations
        if found.signed.version == version and delegations and delegations.roles:
            return found.signed
    raise NotTrusted(f"{name}: not signed by who may sign it: remove it, or ask who put it there")


def _parsed(data: bytes, kind: type[S], where: str) -> Metadata[S]:
    try:
        found = parse(data, where)
    except CnrMirrorError as error:
        raise NotTrusted(f"{where}: {error.message}") from error
    if not isinstance(found.signed, kind):
        raise NotTrusted(f"{where}: of another role")
    return found
