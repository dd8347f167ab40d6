"""High-water marks: the newest that a client has accepted of a registry, and never forgets."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata
from tuf.api.serialization import DeserializationError, SerializationError

from cnrmirror.model.errors import NotTrusted, Rollback


class HighWater(msgspec.Struct, frozen=True):
    """The newest that was ever accepted of one registry; ``roots``: version → digest of each root.

    Whoever pins a later root of the same chain is held to the same mark.
    """

    root: int
    targets: int
    timestamp: int
    revision: int
    time: str
    digest: str
    timestamp_keys: list[str]
    catalog_keys: list[str]
    roots: dict[str, str] = {}


def check_high_water(name: str, old: HighWater, new: HighWater) -> None:
    """Nothing may be older than what was seen, but for what a new root makes void.

    A root with another refresh key voids the timestamp's versions; a root that comes with another
    publish key, the revision numbers: both keys may have been stolen, and the numbers run up.
    """
    if new.root < old.root:
        raise Rollback(f"{name}: offers root {new.root}, but root {old.root} was seen already")
    newer_root = new.root > old.root
    if not newer_root and new.targets < old.targets:
        raise Rollback(f"{name}: offers targets {new.targets}, but {old.targets} was seen already")
    if new.timestamp_keys == old.timestamp_keys and new.timestamp < old.timestamp:
        raise Rollback(
            f"{name}: offers timestamp {new.timestamp}, but {old.timestamp} was seen already"
        )
    if newer_root and new.catalog_keys != old.catalog_keys:
        return
    if new.revision < old.revision:
        raise Rollback(
            f"{name}: offers revision {new.revision}, but {old.revision} was seen already"
        )
    if new.revision == old.revision and new.digest != old.digest:
        raise Rollback(f"{name}: offers another catalog as revision {new.revision}")


def root_identity(data: bytes) -> str:
    """The digest of a root's signed part, however its file is written. Raises NotTrusted."""
    try:
        return hashlib.sha256(Metadata.from_bytes(data).signed_bytes).hexdigest()
    except (
        DeserializationError, SerializationError, RepositoryError, ValueError,
        RecursionError,
    ) as error:  # fmt: skip
        raise NotTrusted(f"not a TUF root file: {error}") from error


def lineage(marks: Path, identity: str) -> Path:
    """The mark of the registry that a root belongs to: one that has seen it, or a new one."""
    own = marks / f"{identity}.json"
    if own.exists():
        return own
    for path in sorted(marks.glob("*.json")):
        try:
            mark = msgspec.json.decode(path.read_bytes(), type=HighWater)
        except (OSError, ValueError):
            continue
        if identity in mark.roots.values():
            return path
    return own
