"""The signed files of a mirror, as far as their owner has to know them: versions, digests, kept.

Signatures are not checked here: who does not trust the disk uses ``verify``. Formats: The Update
Framework 1.0, with one delegated target, the catalog root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from cnrmirror.model import typed
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import RetentionFloor
from cnrmirror.model.errors import DamageError

METADATA = "catalog/metadata"
TIMESTAMP = f"{METADATA}/timestamp.json"
TARGET = "catalog.json"
MAX_BYTES = 1 << 20
REGISTRY = "x-registry"
"""The field of a root that names the registry."""
RETENTION = "x-kept"
"""The field of a timestamp that says what is retained."""


class FileInfo(msgspec.Struct, frozen=True):
    """What one role says of another's file; only ``version`` is given everywhere."""

    version: int = 0
    length: int = 0
    hashes: dict[str, str] = {}
    custom: dict[str, Any] = {}


class Signed(msgspec.Struct, frozen=True, rename={"kept": RETENTION, "type": "_type"}):
    """The signed part of a role's file, as far as an owner has to know it."""

    version: int
    expires: str
    type: str = ""
    meta: dict[str, FileInfo] = {}
    targets: dict[str, FileInfo] = {}
    kept: RetentionFloor = RetentionFloor()


class RoleFile(msgspec.Struct, frozen=True):
    signed: Signed


def parse_role(data: bytes, where: str) -> Signed:
    """The signed part of a role's file. Raises DamageError."""
    try:
        return typed.decode(data, RoleFile).signed
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise DamageError(
            f"{where}: not signed metadata: {error}; restore it from a copy"
        ) from error


def retained_versions(floor: RetentionFloor, current: Mapping[str, int]) -> dict[str, range]:
    """The versions of each role whose files are retained, roots first.

    Args:
        floor: what the timestamp says is retained.
        current: the versions of targets, catalog and snapshot in force; a role that is left out has
            none.
    """
    return {
        "root": range(1, floor.root + 1),
        "targets": range(1, current.get("targets", 0) + 1),
        "catalog": range(floor.catalog, current.get("catalog", 0) + 1),
        "snapshot": range(floor.snapshot, current.get("snapshot", 0) + 1),
    }


class SignedHead(msgspec.Struct, frozen=True):
    """What a place stands at: a catalog root, and the signed files that make it current."""

    timestamp: bytes
    at: Descriptor
    revision: int
    version: int
    snapshot: FileInfo
    targets: FileInfo
    catalog: FileInfo
    kept: RetentionFloor

    def follows(self, other: SignedHead) -> bool:
        """Whether a reader of the other one can be given this one: no version goes back."""
        return self.version > other.version and all(
            mine.version > theirs.version or mine.hashes == theirs.hashes
            for mine, theirs in ((self.snapshot, other.snapshot), (self.catalog, other.catalog))
        )

    def retained(self) -> dict[str, range]:
        """The versions of each role whose files are retained, roots first."""
        current = {"targets": self.targets, "catalog": self.catalog, "snapshot": self.snapshot}
        return retained_versions(self.kept, {role: info.version for role, info in current.items()})

    def retained_since(self, other: SignedHead | None) -> dict[str, range]:
        """Those that are newer than what ``other`` has; all, if it is None."""
        had = other.retained() if other else {}
        return {
            role: range(max(versions.start, had[role].stop) if had else versions.start,
                        versions.stop)
            for role, versions in self.retained().items()
        }  # fmt: skip


Read = Callable[[str, FileInfo], bytes]


def signed_head_of(timestamp: bytes, read: Read, where: str) -> SignedHead:
    """The signed head that a timestamp names. Digests are checked here, signatures are not.

    Args:
        read: gives a metadata file by its name and what is said of it.

    Raises:
        DamageError: a file is missing, or not the one that is named.
    """

    def role(name: str, info: FileInfo) -> Signed:
        file_name = f"{info.version}.{name}.json"
        data = read(file_name, info)
        if info.hashes.get("sha256") != hashlib.sha256(data).hexdigest():
            raise DamageError(
                f"{where}/{file_name}: not the file that was signed; restore it from a copy"
            )
        return parse_role(data, f"{where}/{file_name}")

    signed = parse_role(timestamp, f"{where}/timestamp.json")
    try:
        snapshot_info = signed.meta["snapshot.json"]
        snapshot = role("snapshot", snapshot_info)
        catalog_info = snapshot.meta["catalog.json"]
        target = role("catalog", catalog_info).targets[TARGET]
        return SignedHead(
            timestamp, Descriptor(target.hashes["sha256"], target.length),
            int(target.custom["revision"]), signed.version, snapshot_info,
            snapshot.meta["targets.json"], catalog_info, signed.kept,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise DamageError(f"{where}: incomplete metadata ({error}); restore it") from error
