"""The mirror's own signed metadata on disk, read without checking signatures.

A mirror's owner reads the pointer of each command from here; whoever does not trust the disk uses
``verify``. Formats: The Update Framework 1.0, with one delegated target, the catalog root.

::

    metadata/timestamp.json → N.snapshot.json → N.targets.json, N.catalog.json
    N.catalog.json → targets/HEX.catalog.json (the catalog root)

``timestamp.json`` is the only file that changes. Its field ``x-kept`` says from which versions on
superseded files are kept, so that a missing one can be told from one that was collected.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from cnrmirror.descriptor import Descriptor
from cnrmirror.documents import Head, Kept
from cnrmirror.errors import DamageError

TARGET = "catalog.json"
MAX_BYTES = 1 << 20


class FileInfo(msgspec.Struct, frozen=True):
    """What one role says of another's file; only ``version`` is given everywhere."""

    version: int = 0
    length: int = 0
    hashes: dict[str, str] = {}
    custom: dict[str, Any] = {}


class Signed(msgspec.Struct, frozen=True, rename={"kept": "x-kept"}):
    """The signed part of a role's file, as far as an owner has to know it."""

    version: int
    expires: str
    meta: dict[str, FileInfo] = {}
    targets: dict[str, FileInfo] = {}
    kept: Kept = Kept()


class RoleFile(msgspec.Struct, frozen=True):
    signed: Signed


def parse_role(data: bytes, where: str) -> Signed:
    """The signed part of a role's file. Raises DamageError."""
    try:
        return msgspec.json.decode(data, type=RoleFile).signed
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise DamageError(
            f"{where}: not signed metadata: {error}; restore it from a copy"
        ) from error


class MetadataFolder:
    """``catalog/metadata`` of a mirror."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def role(self, file_name: str, info: FileInfo | None = None) -> Signed:
        """A role's file, with the digest that another one gives for it, if it does.

        Raises:
            DamageError: missing, or not what it must be.
        """
        path = self.path / file_name
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_BYTES)
        except FileNotFoundError:
            raise DamageError(f"{path}: this metadata is missing; restore it from a copy") from None
        if info is not None and info.hashes.get("sha256") != hashlib.sha256(data).hexdigest():
            raise DamageError(f"{path}: not the file that was signed; restore it from a copy")
        return parse_role(data, str(path))

    def timestamp(self) -> Signed:
        """The pointer. Raises DamageError."""
        return self.role("timestamp.json")

    def head(self) -> Head:
        """The current head.

        Raises:
            DamageError: a file of the chain is missing, or not the one that was signed.
        """
        timestamp = self.timestamp()
        try:
            info = timestamp.meta["snapshot.json"]
            snapshot = self.role(f"{info.version}.snapshot.json", info)
            info = snapshot.meta["catalog.json"]
            target = self.role(f"{info.version}.catalog.json", info).targets[TARGET]
            at = Descriptor(target.hashes["sha256"], target.length)
            return Head(at, int(target.custom["revision"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DamageError(f"{self.path}: incomplete metadata ({error}); restore it") from error

    def superseded(self, before: float) -> tuple[int, int, list[Path]]:
        """Catalog and snapshot files that only readers before a time (seconds) may still want.

        Returns:
            The lowest versions of catalog and snapshot that stay, and the files below them.
        """
        current = self.role("timestamp.json").meta["snapshot.json"].version
        snapshot = self.role(f"{current}.snapshot.json")
        lowest = []
        old = []
        for role, newest in (
            ("catalog", snapshot.meta["catalog.json"].version),
            ("snapshot", current),
        ):
            files = self.versions(role)
            young = [v for v, path in files if v >= newest or path.stat().st_mtime >= before]
            lowest.append(min(young, default=newest))
            old += [path for v, path in files if v < lowest[-1]]
        return lowest[0], lowest[1], old

    def versions(self, role: str) -> list[tuple[int, Path]]:
        """The files ``N.ROLE.json``, by their N."""
        found = []
        for path in self.path.glob(f"*.{role}.json"):
            number = path.name.partition(".")[0]
            if number.isdigit() and path.name == f"{number}.{role}.json":
                found.append((int(number), path))
        return sorted(found)
