"""The files of TUF roles as values: their one form, how long they are good, which version is next.

Pure: nothing is read, written or signed here.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from cnrmirror.model import typed
from cnrmirror.model.documents import RetentionFloor
from cnrmirror.model.errors import InvalidDocument, StaleError, TooLarge
from cnrmirror.model.freshness import LIFETIME_DAYS
from cnrmirror.model.instant import Instant
from cnrmirror.model.signed import MAX_BYTES, REGISTRY, RETENTION, SignedHead
from cnrmirror.trust.tuf import (
    DeserializationError,
    JSONSerializer,
    Metadata,
    MetaFile,
    RepositoryError,
    Root,
    Signed,
    Snapshot,
    Targets,
    Timestamp,
)

_SERIALIZER = JSONSerializer(compact=True)


def to_bytes(metadata: Metadata[Any]) -> bytes:
    """The one form of a role's file."""
    return metadata.to_bytes(_SERIALIZER)


def parse(data: bytes, where: str) -> Metadata[Any]:
    """A role's file, bounded and well-formed; its signatures are not checked.

    Raises:
        TooLarge, InvalidDocument
    """
    if len(data) > MAX_BYTES:
        raise TooLarge(f"{where}: more than {MAX_BYTES} bytes")
    try:
        return Metadata.from_bytes(data)
    except (DeserializationError, RepositoryError, ValueError, RecursionError) as error:
        raise InvalidDocument(f"{where}: not TUF metadata: {error}") from error


def registry_of(root: Root) -> str:
    """The registry that a root is of; "" if it names none."""
    name = root.unrecognized_fields.get(REGISTRY)
    return name if isinstance(name, str) else ""


def meta_file(version: int, data: bytes) -> MetaFile:
    """How a superior role names a file: with its version, length and digest."""
    return MetaFile.from_data(version, data, ["sha256"])


# -- lifetimes -------------------------------------------------------------------------------------


def expiry(role: str, now: str) -> datetime:
    """When a role that is signed now expires."""
    return Instant.parse(now).to_tuf() + timedelta(days=LIFETIME_DAYS[role])


def refuse_past(now: str, clock: Instant | None) -> None:
    """Raises StaleError if what is signed for a time is expired already by this clock."""
    if clock is not None and expiry("timestamp", now) <= clock.at:
        raise StaleError(
            f"what is signed for {now} is expired already (the clock says {clock}): unset "
            "SOURCE_DATE_EPOCH, or use --allow-past"
        )


def half_over(role: str, signed: Signed, now: str) -> bool:
    """Whether more than half of a role's lifetime is over."""
    return signed.expires - Instant.parse(now).to_tuf() < timedelta(days=LIFETIME_DAYS[role]) / 2


# -- versions --------------------------------------------------------------------------------------


class Versions(msgspec.Struct, frozen=True):
    """The versions of the roles that are signed online; 0 where there is no file yet."""

    catalog: int = 0
    snapshot: int = 0
    timestamp: int = 0


def next_versions(old: Versions, above: SignedHead | None = None) -> Versions:
    """The versions of the next files.

    Args:
        old: those that are in force.
        above: a signed head that is published elsewhere: no version is as low as there.
    """
    there = (
        Versions(above.catalog.version, above.snapshot.version, above.version)
        if above
        else Versions()
    )
    return Versions(
        max(old.catalog, there.catalog) + 1,
        max(old.snapshot, there.snapshot) + 1,
        max(old.timestamp, there.timestamp) + 1,
    )


def over_a_gap(floor: RetentionFloor, following: Versions, versions: Versions) -> RetentionFloor:
    """The floor once these versions are signed: what was signed between, and is lost, is not kept.

    Args:
        floor: what is retained now.
        following: the versions that come next after what is in force, here and elsewhere.
        versions: those that are signed.
    """
    return RetentionFloor(
        versions.catalog if versions.catalog > following.catalog else floor.catalog,
        versions.snapshot if versions.snapshot > following.snapshot else floor.snapshot,
        floor.revision,
        floor.root,
    )


class InForce(msgspec.Struct, frozen=True):
    """The files of the roles that are signed online, as they are now."""

    catalog: Metadata[Targets] | None
    snapshot: Metadata[Snapshot] | None
    timestamp: Metadata[Timestamp] | None

    @property
    def versions(self) -> Versions:
        found = (self.catalog, self.snapshot, self.timestamp)
        return Versions(*(metadata.signed.version if metadata else 0 for metadata in found))

    @property
    def floor(self) -> RetentionFloor:
        """What the timestamp says is retained."""
        fields = self.timestamp.signed.unrecognized_fields if self.timestamp else {}
        return typed.convert(fields.get(RETENTION, {}), RetentionFloor)


def higher(mine: RetentionFloor, theirs: RetentionFloor) -> RetentionFloor:
    """The floor of what both retain."""
    return RetentionFloor(
        max(mine.catalog, theirs.catalog),
        max(mine.snapshot, theirs.snapshot),
        max(mine.revision, theirs.revision),
        max(mine.root, theirs.root),
    )
