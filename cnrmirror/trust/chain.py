"""The roots of a mirror that vouch for each other, and what they say of a timestamp.

``verify`` says whether a mirror can be used. This is for evidence: it gives what can be known of a
mirror that cannot be used, and what two mirrors, or two moments, can be held against each other by.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from cnrmirror.model.errors import CnrMirrorError, InvalidDocument
from cnrmirror.model.evidence import SignedFile
from cnrmirror.model.instant import Instant
from cnrmirror.model.signed import MAX_BYTES, METADATA
from cnrmirror.objects.base import Reader, read
from cnrmirror.trust.roles import parse, registry_of
from cnrmirror.trust.tuf import (
    Metadata,
    RepositoryError,
    Root,
    SerializationError,
    Targets,
    Timestamp,
)

_MOST = 1000


class Role(msgspec.Struct, frozen=True):
    """A role's file as it was read, and what it is called in evidence."""

    found: Metadata[Any]
    file: SignedFile


class RootChain(msgspec.Struct, frozen=True):
    """The roots that vouch for each other, by version; the pinned one is among them.

    ``ended`` says why there is no older one, and no newer one, that could be read.
    """

    roots: dict[int, Role]
    ended: list[str]

    @property
    def newest(self) -> Role:
        """The root in force, as far as the mirror shows it."""
        return self.roots[max(self.roots)]

    @property
    def registry(self) -> str:
        """The registry that the roots are of; "" if they name none."""
        return registry_of(self.newest.found.signed)

    def accept(self, role: str, found: Metadata[Any]) -> bool:
        """Whether any root accepts a file of a role that roots name."""
        return any(accepts(root.found.signed, role, found) for root in self.roots.values())


def accepts(judge: Root | Targets, role: str, found: Metadata[Any]) -> bool:
    """Whether enough keys that the judge names for the role have signed the file."""
    try:
        judge.verify_delegate(role, found.signed_bytes, found.signatures)
    except (RepositoryError, SerializationError, ValueError):
        return False
    return True


def read_role(data: bytes, where: str) -> Role:
    """A role's file; its signatures are not checked. Raises TooLarge, InvalidDocument."""
    found = parse(data, where)
    try:
        content = hashlib.sha256(found.signed_bytes).hexdigest()
    except (SerializationError, ValueError) as error:
        raise InvalidDocument(f"{where}: not TUF metadata: {error}") from error
    expires = str(Instant.of(found.signed.expires))
    digest = hashlib.sha256(data).hexdigest()
    return Role(found, SignedFile(found.signed.version, digest, content, expires))


def fetch_role(reader: Reader, name: str) -> Role:
    """A role's file of a mirror; its signatures are not checked.

    Raises:
        TooLarge, InvalidDocument: it is none.
        IncompleteError, Tampered, NetworkError, AccessDenied: it cannot be had.
    """
    path = f"{METADATA}/{name}"
    return read_role(read(reader.fetch(path, MAX_BYTES)), f"{reader.name}/{path}")


def read_chain(reader: Reader, pinned: bytes) -> RootChain:
    """The roots of a mirror, older and newer ones than the pinned one.

    Raises:
        InvalidDocument: the pinned root is none.
    """
    first = read_role(pinned, "the pinned root")
    roots, ended = {first.file.version: first}, []
    for step in (-1, 1):
        known = first
        while len(roots) < _MOST and known.file.version + step > 0:
            version = known.file.version + step
            try:
                other = fetch_role(reader, f"{version}.root.json")
            except CnrMirrorError as error:
                ended.append(error.message)
                break
            old, new = (other, known) if step < 0 else (known, other)
            if not _follows(old.found, new.found):
                ended.append(f"{reader.name}: root {version} and the pinned one are not of a chain")
                break
            roots[version] = known = other
    return RootChain(roots, ended)


def _follows(old: Metadata[Any], new: Metadata[Any]) -> bool:
    """Whether one root is the next after the other, and both are signed as they must be."""
    one, two = old.signed, new.signed
    return (
        isinstance(one, Root)
        and isinstance(two, Root)
        and two.version == one.version + 1
        and accepts(one, "root", old)
        and accepts(one, "root", new)
        and accepts(two, "root", new)
    )


def read_timestamp(reader: Reader, chain: RootChain) -> SignedFile | None:
    """The timestamp that a mirror offers, expired or not; None if the newest root rejects it."""
    try:
        role = fetch_role(reader, "timestamp.json")
    except CnrMirrorError:
        return None
    newest = chain.newest.found.signed
    good = isinstance(role.found.signed, Timestamp) and accepts(newest, "timestamp", role.found)
    return role.file if good else None
