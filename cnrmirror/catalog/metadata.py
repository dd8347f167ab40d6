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

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Head, RetentionFloor, RootFile
from cnrmirror.model.errors import DamageError, InputError
from cnrmirror.model.freshness import LIFETIME_DAYS, Expiry, Freshness
from cnrmirror.model.instant import Instant
from cnrmirror.model.signed import (
    MAX_BYTES,
    METADATA,
    FileInfo,
    Signed,
    SignedHead,
    parse_role,
    signed_head_of,
)
from cnrmirror.objects.partial import PartialStore


def freshness_of(head: SignedHead, read: Callable[[str], bytes], where: str) -> Freshness:
    """When the roles in force expire.

    Args:
        read: gives a metadata file by its name.
        where: what messages call the folder of these files.

    Raises:
        DamageError: one is not what it must be.
    """
    files = {
        "root": f"{head.kept.root}.root.json",
        "targets": f"{head.targets.version}.targets.json",
        "catalog": f"{head.catalog.version}.catalog.json",
        "snapshot": f"{head.snapshot.version}.snapshot.json",
        "timestamp": "timestamp.json",
    }
    return Freshness([_expiry(role, read(name), f"{where}/{name}") for role, name in files.items()])


def _expiry(role: str, data: bytes, where: str) -> Expiry:
    text = parse_role(data, where).expires
    try:
        return Expiry(Instant.parse(text.removesuffix("Z")), role)
    except InputError as error:
        raise DamageError(f"{where}: {error.message}") from error


class MetadataFolder:
    """``catalog/metadata`` of a mirror.

    Args:
        path: the folder.
        partial: the store of a mirror that is elsewhere, where what is not in the folder is read,
            but the pointer.
    """

    def __init__(self, path: Path, partial: PartialStore | None = None) -> None:
        self.path = path
        self._partial = partial

    def find(self, file_name: str) -> bytes | None:
        """A file's bytes; None if it is not there."""
        try:
            with (self.path / file_name).open("rb") as stream:
                return stream.read(MAX_BYTES)
        except FileNotFoundError:
            if self._partial is None or file_name == "timestamp.json":
                return None
        found = self._partial.place.read(f"{METADATA}/{file_name}", MAX_BYTES)
        return found[0] if found else None

    def read(self, file_name: str, info: FileInfo | None = None) -> bytes:
        """A file's bytes. Raises DamageError if it is missing."""
        found = self.find(file_name)
        if found is None:
            path = self.path / file_name
            raise DamageError(f"{path}: this metadata is missing; restore it from a copy")
        return found

    def role(self, file_name: str) -> Signed:
        """A role's file. Raises DamageError if it is missing, or not what it must be."""
        return parse_role(self.read(file_name), str(self.path / file_name))

    def timestamp(self) -> Signed:
        """The pointer. Raises DamageError."""
        return self.role("timestamp.json")

    def signed_head(self) -> SignedHead:
        """What the mirror stands at.

        Raises:
            DamageError: a file of the chain is missing, or not the one that was signed.
        """
        return self.signed_head_at(self.read("timestamp.json"))

    def signed_head_at(self, timestamp: bytes) -> SignedHead:
        """What an earlier timestamp named. Raises DamageError if that is not kept any more."""
        return signed_head_of(timestamp, self.read, str(self.path))

    def head(self) -> Head:
        """The current head. Raises as ``signed_head`` does."""
        signed = self.signed_head()
        return Head(signed.at, signed.revision)

    def root_in_force(self) -> RootFile:
        """The root that the timestamp names; the first one before anything is signed."""
        signed = (self.path / "timestamp.json").exists()
        version = self.timestamp().kept.root if signed else 1
        data = self.read(f"{version}.root.json")
        return RootFile(version, Descriptor.of(data).digest)

    def freshness(self) -> Freshness:
        """When the roles in force expire. Raises DamageError."""
        return freshness_of(self.signed_head(), self.read, str(self.path))

    def superseded_before(self, limit: Instant) -> dict[str, int]:
        """The lowest versions of catalog and snapshot that readers since ``limit`` may want.

        A version is superseded when the next one is signed.
        """
        retained = self.signed_head().retained()
        found = {}
        for role in ("catalog", "snapshot"):
            lowest, newest = retained[role].start, retained[role].stop - 1
            lifetime = timedelta(days=LIFETIME_DAYS[role])
            while lowest < newest:
                following = f"{lowest + 1}.{role}.json"
                data = self.find(following)
                where = str(self.path / following)
                if data is not None and _expiry(role, data, where).at.plus(-lifetime) >= limit:
                    break
                lowest += 1
            found[role] = lowest
        return found

    def superseded(self, before: float) -> tuple[int, int, list[Path]]:
        """Catalog and snapshot files that only readers before a time (seconds) may still want.

        Returns:
            The lowest versions of catalog and snapshot that stay, and the files below them.
        """
        retained = self.signed_head().retained()
        lowest = []
        old = []
        for role in ("catalog", "snapshot"):
            newest = retained[role].stop - 1
            files = self.versions(role)
            young = [v for v, path in files if v >= newest or path.stat().st_mtime >= before]
            lowest.append(min(young, default=newest))
            old += [path for v, path in files if v < lowest[-1]]
        return lowest[0], lowest[1], old

    def below(self, kept: RetentionFloor, before: float) -> list[Path]:
        """Catalog and snapshot files that need not be kept, and came before a time (seconds)."""
        return [
            path
            for role, lowest in (("catalog", kept.catalog), ("snapshot", kept.snapshot))
            for version, path in self.versions(role)
            if version < lowest and path.stat().st_mtime < before
        ]

    def versions(self, role: str) -> list[tuple[int, Path]]:
        """The files ``N.ROLE.json``, by their N."""
        found = []
        for path in self.path.glob(f"*.{role}.json"):
            number = path.name.partition(".")[0]
            if number.isdigit() and path.name == f"{number}.{role}.json":
                found.append((int(number), path))
        return sorted(found)
