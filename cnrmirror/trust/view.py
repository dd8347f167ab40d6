"""What a mirror's signed metadata says once python-tuf has accepted it, and what more must hold.

Pure: nothing is fetched and nothing is remembered here. The rules:

1. the targets role delegates the catalog, and the catalog names the catalog root;
2. the catalog root has the digest of the receipt, if there is one;
3. the catalog root is of the registry that the root names, and of the revision that is signed;
4. its time is a time, and not in the future;
5. the timestamp says which root is the newest, and that one is here.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from cnrmirror.model import typed
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, RetentionFloor
from cnrmirror.model.errors import IncompleteError, InputError, StaleError, Tampered, TrustError
from cnrmirror.model.instant import CLOCK_SKEW, Instant
from cnrmirror.model.signed import REGISTRY, RETENTION, FileInfo, SignedHead
from cnrmirror.trust.memory import HighWater, catalog_keys
from cnrmirror.trust.tuf import MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp


class TrustedView(msgspec.Struct, frozen=True):
    """One mirror's metadata, its signatures, versions and age checked.

    ``timestamp_file`` is the file of the timestamp in force, ``offered`` the one that the mirror
    gave: another one, if what was accepted before has the same version. ``roots`` are the digests
    of the root chain by version, ``root_file`` is the newest of them.
    """

    name: str
    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets
    catalog: Targets
    target: TargetFile
    timestamp_file: bytes
    offered: bytes
    roots: dict[str, str]
    root_file: bytes

    @property
    def at(self) -> Descriptor:
        """The catalog root that is signed."""
        return Descriptor(self.target.hashes.get("sha256", ""), self.target.length)

    @property
    def expires(self) -> datetime:
        """When the first of the roles that are signed online expires."""
        return min(self.timestamp.expires, self.snapshot.expires, self.catalog.expires)

    def floor(self) -> RetentionFloor:
        """What the timestamp says is retained. Raises Tampered."""
        try:
            field = self.timestamp.unrecognized_fields.get(RETENTION)
            return typed.convert(field, RetentionFloor)
        except msgspec.ValidationError as error:
            raise Tampered(f"{self.name}: timestamp.json: {RETENTION}: {error}") from error

    def head(self, revision: int) -> SignedHead:
        """The signed head that this view is of."""
        return SignedHead(
            self.timestamp_file, self.at, revision, self.timestamp.version,
            _info(self.timestamp.snapshot_meta), _info(self.snapshot.meta["targets.json"]),
            _info(self.snapshot.meta["catalog.json"]), self.floor(),
        )  # fmt: skip

    def high_water(self, catalog: CatalogRoot) -> HighWater:
        """What is remembered of this view, once it is accepted."""
        return HighWater(
            self.root.version, self.targets.version, self.timestamp.version, catalog.revision,
            catalog.time, self.at.digest, sorted(self.root.roles["timestamp"].keyids),
            catalog_keys(self.targets), self.roots,
        )  # fmt: skip


def _info(file: MetaFile) -> FileInfo:
    return FileInfo(file.version, file.length or 0, file.hashes or {})


def check_receipt(view: TrustedView, expect: str | None) -> None:
    """Raises TrustError if the catalog root is not the one of a receipt."""
    if expect and expect != view.at.digest:
        raise TrustError(f"{view.name}: its catalog is {view.at.digest}, the receipt says {expect}")


def check_catalog(view: TrustedView, catalog: CatalogRoot, now: datetime) -> None:
    """Check that a catalog root is the one that the view is of.

    Args:
        view: the signed metadata.
        catalog: the document with the digest that is signed.
        now: the clock, UTC.

    Raises:
        Tampered: it is of another registry or revision, or nobody may sign it.
        StaleError: the clock is behind.
        IncompleteError: the host keeps the newest root back.
    """
    check_time(catalog.time, now, view.name)
    if view.root.unrecognized_fields.get(REGISTRY) != catalog.registry:
        raise Tampered(f"{view.name}: its catalog is of another registry")
    if view.target.unrecognized_fields.get("custom") != {"revision": catalog.revision}:
        raise Tampered(f"{view.name}: its catalog is of another revision")
    floor = view.floor()
    if floor.root > view.root.version:
        raise IncompleteError(f"{view.name}: root {floor.root} exists, but the host keeps it back")
    if catalog_keys(view.targets) is None:
        raise Tampered(f"{view.name}: its targets delegate the catalog to nobody")


def check_time(text: str, now: datetime, where: str) -> None:
    """Raises Tampered if a catalog root's time is none, StaleError if it is in the future."""
    try:
        made = Instant.parse(text)
    except InputError as error:
        raise Tampered(f"{where}: its catalog has no proper time: {error.message}") from error
    if made.at > now + CLOCK_SKEW:
        raise StaleError(
            f"{where}: its catalog is of {text}, which this machine's clock has in the future: "
            "set the clock"
        )
