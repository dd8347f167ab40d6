"""Keys and signed roles: The Update Framework 1.0 with one delegated target, the catalog root.

====================  ==========================================  ========  =========
role                  what it signs                               expires   key
====================  ==========================================  ========  =========
root                  which keys every other role has             365 d     offline
targets               that ``catalog`` may name the catalog root  365 d     offline
catalog               the catalog root's digest and length        90 d      publish
snapshot, timestamp   which versions are current                  90 d, 7 d refresh
====================  ==========================================  ========  =========

Every lower role is named with its length and digest, so that bytes are checked before they are
parsed. Files are compact JSON with sorted keys: one document has one form.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cnrmirror.model.documents import Head, RetentionFloor
from cnrmirror.model.errors import InvalidDocument, NotTrusted
from cnrmirror.model.signed import RETENTION, TARGET, SignedHead
from cnrmirror.objects.files import replace_durably, sync_filesystem, write_new
from cnrmirror.trust.ceremony import Ceremony, first_root, targets_file
from cnrmirror.trust.guard import Guard
from cnrmirror.trust.keys import PUBLISH, REFRESH, KeyFolder
from cnrmirror.trust.roles import (
    InForce,
    Versions,
    expiry,
    half_over,
    higher,
    meta_file,
    next_versions,
    over_a_gap,
    parse,
    to_bytes,
)
from cnrmirror.trust.tuf import (
    Key,
    Metadata,
    MetaFile,
    Root,
    Signer,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

S = TypeVar("S", Root, Timestamp, Snapshot, Targets)


class Due(msgspec.Struct, frozen=True):
    """What would be signed: the timestamp's version, and until when each role would be good."""

    timestamp: int
    expires: dict[str, datetime]


class Repository:
    """The signed metadata of one mirror, and the only place that writes it.

    Args:
        path: ``catalog/metadata``.
        scratch: for files in the making, on the same file system.
        keys: where the online keys are.
        guard: refuses what must not be signed.
    """

    def __init__(
        self, path: Path, scratch: Path, keys: KeyFolder, guard: Guard | None = None
    ) -> None:
        self.path = path
        self._scratch = scratch
        self.keys = keys
        self.guard = guard or Guard()

    # -- reading --

    def current(self, kind: type[S], name: str) -> Metadata[S] | None:
        """The newest file of a role that its superior names; None if there is none yet.

        Raises:
            InvalidDocument: it is damaged.
        """
        if kind is Timestamp:
            path = self.path / "timestamp.json"
        elif kind is Root:
            path = self.path / f"{self.root_version()}.root.json"
        elif kind is Snapshot:
            above = self.current(Timestamp, "timestamp")
            version = above.signed.snapshot_meta.version if above else 0
            path = self.path / f"{version}.snapshot.json"
        else:
            path = self.path / f"{self._version(name)}.{name}.json"
        if not path.exists():
            return None
        metadata = parse(path.read_bytes(), str(path))
        if not isinstance(metadata.signed, kind):
            raise InvalidDocument(f"{path}: of another role")
        return metadata

    def _version(self, name: str) -> int:
        # A catalog that no snapshot names was left behind by a killed command.
        snapshot = self.current(Snapshot, "snapshot")
        info = snapshot.signed.meta.get(f"{name}.json") if snapshot else None
        version = info.version if info else 0
        return self._last(name, version) if name == "targets" else version

    def _last(self, name: str, known: int) -> int:
        """The version of the newest file of an offline role: one that is to come counts."""
        while (self.path / f"{known + 1}.{name}.json").exists():
            known += 1
        return known

    def root_version(self) -> int:
        """The version of the newest root; 0 if there is none."""
        timestamp = self.current(Timestamp, "timestamp")
        return self._last("root", InForce(None, None, timestamp).floor.root if timestamp else 0)

    def root(self) -> Root:
        """The newest root. Raises NotTrusted if the mirror has none."""
        metadata = self.current(Root, "root")
        if metadata is None:
            raise NotTrusted(f"{self.path}: this mirror has no root.json; restore it from a copy")
        return metadata.signed

    def keys_of(self, role: str) -> list[Key]:
        """The public keys of a role, ``catalog`` included."""
        root = self.root()
        if role != "catalog":
            return [root.keys[i] for i in root.roles[role].keyids]
        targets = self.current(Targets, "targets")
        if targets is None or targets.signed.delegations is None:
            raise NotTrusted(f"{self.path}: no targets role; restore it from a copy")
        delegations = targets.signed.delegations
        assert delegations.roles is not None
        return [delegations.keys[i] for i in delegations.roles["catalog"].keyids]

    def _signer(
        self, role: str, targets: Targets | None = None, root: Root | None = None
    ) -> Signer:
        purpose = PUBLISH if role == "catalog" else REFRESH
        if targets is not None and targets.delegations and targets.delegations.roles:
            keyids = targets.delegations.roles["catalog"].keyids
            public = [targets.delegations.keys[keyid] for keyid in keyids]
        elif root is not None:
            public = [root.keys[keyid] for keyid in root.roles[role].keyids]
        else:
            public = self.keys_of(role)
        signer = self.keys.signer(purpose, public)
        if signer is None:
            ids = ", ".join(key.keyid[:8] for key in public)
            raise NotTrusted(
                f"the {purpose} key ({ids}) is not in {self.keys.places}: put it there, name it "
                f"in mirror.yaml (trust.{purpose}), or make a new one with "
                f"'cnrmirror keys rotate {purpose}' (online, if both are lost)",
                purpose=purpose, keyids=ids, folder=self.keys.places,
            )  # fmt: skip
        return signer

    # -- writing --

    def create(self, ceremony: Ceremony, now: str) -> bytes:
        """The first root and targets; gives the root's bytes, to be pinned by clients."""
        self._require(now)
        self.path.mkdir(parents=True, exist_ok=True)
        data = first_root(ceremony, now)
        self._write("1.root.json", data)
        targets = targets_file(1, ceremony.publish_key, ceremony.targets_key, now)
        self._write("1.targets.json", targets)
        return data

    def renew_targets(self, publish_key: Key | None, offline: KeyFolder, now: str) -> None:
        """A new targets file, with another publish key if one is given; ``publish`` comes next.

        Raises:
            NotTrusted: the targets key is not in the folder.
            StaleError: see ``Guard``.
        """
        self._require(now)
        signer = offline.signer("targets", self.keys_of("targets"))
        if signer is None:
            raise NotTrusted(
                f"{offline.places}: the targets key is not there; use --offline-keys FOLDER"
            )
        old = self.current(Targets, "targets")
        version = old.signed.version + 1 if old else 1
        key = publish_key or self.keys_of("catalog")[0]
        self._write(f"{version}.targets.json", targets_file(version, key, signer, now))

    def check_keys(self, now: str) -> None:
        """Make sure that a revision can be signed here, for that time.

        Raises:
            NotTrusted: a key is missing.
            StaleError: see ``Guard``.
        """
        self._require(now)
        self._signer("catalog")
        self._signer("snapshot")

    def require_refresh(self) -> None:
        """Make sure that what is below a new catalog can be signed here. Raises NotTrusted."""
        self._signer("snapshot")

    def look_back(self) -> None:
        """See ``Guard``."""
        self.guard.look_back(self.current(Timestamp, "timestamp"))

    def _require(self, now: str) -> None:
        """Refuse what must not be signed. Raises StaleError."""
        self.guard.require(now, self.current(Timestamp, "timestamp"))

    def sign_revision(
        self, head: Head, now: str, above: SignedHead | None = None,
        kept: RetentionFloor | None = None,
    ) -> None:  # fmt: skip
        """Sign a new catalog, snapshot and timestamp; the timestamp is replaced last, durably.

        Args:
            head: the catalog root that becomes current.
            now: ISO 8601, UTC.
            above: a signed head that is published elsewhere: all versions are higher than there.
            kept: from where on files are retained, if not from the same versions as before.

        Raises:
            NotTrusted: an online key is missing.
            StaleError: see ``Guard``.
        """
        self._require(now)
        old = self._in_force()
        floor = higher(old.floor, above.kept) if above else old.floor
        floor = higher(floor, kept) if kept else floor
        target = TargetFile(
            head.catalog.size, {"sha256": head.catalog.digest}, TARGET,
            {"custom": {"revision": head.revision}},
        )  # fmt: skip
        versions = next_versions(self.guard.highest(old.versions), above)
        floor = over_a_gap(floor, next_versions(old.versions, above), versions)
        self._sign_all(target, self._signer("catalog"), versions, floor, now)

    def due(self, now: str) -> Due:
        """What ``refresh`` would sign. Raises as it."""
        self._require(now)
        old = self._in_force()
        if old.catalog is None or old.snapshot is None:
            raise self._no_revision()
        self._signer("timestamp")
        found = {"timestamp": self.guard.expiry(now, old.timestamp)}
        catalog = self._signer_of_due_catalog(old.catalog, now) is not None
        if catalog or self._is_due(old.snapshot, "snapshot", now):
            found["snapshot"] = expiry("snapshot", now)
        if catalog:
            found["catalog"] = expiry("catalog", now)
        return Due(next_versions(self.guard.highest(old.versions)).timestamp, found)

    def refresh(self, now: str) -> None:
        """Sign the timestamp again, and what it needs where more than half its time is over.

        Raises:
            NotTrusted: there is no revision, or no key.
            StaleError: see ``Guard``.
        """
        self._require(now)
        old = self._in_force()
        if old.catalog is None or old.snapshot is None or old.timestamp is None:
            raise self._no_revision()
        versions = next_versions(self.guard.highest(old.versions))
        signer = self._signer_of_due_catalog(old.catalog, now)
        info = old.timestamp.signed.snapshot_meta
        if signer is not None:
            target = old.catalog.signed.targets[TARGET]
            floor = over_a_gap(old.floor, next_versions(old.versions), versions)
            self._sign_all(target, signer, versions, floor, now)
            return
        floor = old.floor
        if self._is_due(old.snapshot, "snapshot", now):
            info = self._sign_snapshot(old.snapshot.signed.meta, versions.snapshot, now)
            floor = over_a_gap(floor, next_versions(old.versions), versions)
            floor = msgspec.structs.replace(floor, catalog=old.floor.catalog)
        self._sign_timestamp(info, versions.timestamp, floor, now)

    def _no_revision(self) -> NotTrusted:
        return NotTrusted(f"{self.path}: there is no revision to refresh; restore it")

    def keep_from(self, kept: RetentionFloor, now: str) -> None:
        """Say in the timestamp from which versions on files are kept, before others are removed."""
        old = self._in_force()
        if old.timestamp is not None:
            info = old.timestamp.signed.snapshot_meta
            version = next_versions(self.guard.highest(old.versions)).timestamp
            self._sign_timestamp(info, version, kept, now)

    def _in_force(self) -> InForce:
        return InForce(
            self.current(Targets, "catalog"), self.current(Snapshot, "snapshot"),
            self.current(Timestamp, "timestamp"),
        )  # fmt: skip

    def _is_due(self, metadata: Metadata[Any], role: str, now: str) -> bool:
        """Whether half its time is over, or none of the keys that the role has now signed it."""
        signed = any(key.keyid in metadata.signatures for key in self.keys_of(role))
        return not signed or half_over(role, metadata.signed, now)

    def _signer_of_due_catalog(self, catalog: Metadata[Targets], now: str) -> Signer | None:
        """A signer, if the catalog has to be signed again, and its key is here.

        A machine that only refreshes has none; the caller warns of the expiry.
        """
        if not self._is_due(catalog, "catalog", now):
            return None
        try:
            return self._signer("catalog")
        except NotTrusted:
            return None

    def require_keys(self, root: Root, targets: Targets | None = None) -> None:
        """Make sure that everything below a root that is to come can be signed here.

        Raises:
            NotTrusted: a key is missing; nothing was written.
        """
        self._signer("catalog", targets)
        self._signer("snapshot", root=root)

    def _sign_all(
        self, target: TargetFile, signer: Signer, versions: Versions, floor: RetentionFloor,
        now: str,
    ) -> None:  # fmt: skip
        """The three roles that are signed online; new targets come into force with them."""
        catalog = Metadata(
            Targets(versions.catalog, expires=expiry("catalog", now), targets={TARGET: target})
        )
        catalog.sign(signer)
        meta = {
            "catalog.json": self._write_role("catalog", catalog),
            "targets.json": self._newest_targets(),
        }
        info = self._sign_snapshot(meta, versions.snapshot, now)
        self._sign_timestamp(info, versions.timestamp, floor, now)

    def _newest_targets(self) -> MetaFile:
        version = self._version("targets")
        return meta_file(version, (self.path / f"{version}.targets.json").read_bytes())

    def _sign_snapshot(self, meta: dict[str, MetaFile], version: int, now: str) -> MetaFile:
        metadata = Metadata(Snapshot(version, expires=expiry("snapshot", now), meta=meta))
        metadata.sign(self._signer("snapshot"))
        return self._write_role("snapshot", metadata)

    def _sign_timestamp(
        self, snapshot: MetaFile, version: int, floor: RetentionFloor, now: str
    ) -> None:
        expires = self.guard.expiry(now, self.current(Timestamp, "timestamp"))
        timestamp = Timestamp(version, expires=expires, snapshot_meta=snapshot)
        floor = msgspec.structs.replace(floor, root=self.root_version())
        timestamp.unrecognized_fields[RETENTION] = msgspec.to_builtins(floor)
        metadata = Metadata(timestamp)
        metadata.sign(self._signer("timestamp"))
        sync_filesystem(self.path)
        replace_durably(self.path / "timestamp.json", to_bytes(metadata), self._scratch)
        self.guard.note(self._in_force())

    def _write_role(self, role: str, metadata: Metadata[Any]) -> MetaFile:
        data, version = to_bytes(metadata), metadata.signed.version
        self._write(f"{version}.{role}.json", data)
        return meta_file(version, data)

    def write_root(self, data: bytes, version: int) -> None:
        """Put a new root beside the others; ``publish`` or ``refresh`` comes next."""
        self._write(f"{version}.root.json", data)

    def write_targets(self, data: bytes, version: int) -> None:
        """Put a targets file beside the others; ``publish`` comes next."""
        self._write(f"{version}.targets.json", data)

    def _write(self, name: str, data: bytes) -> None:
        # A version that a killed command left behind was never named by a timestamp.
        temporary = self._scratch / f"{os.getpid()}.{name}"
        temporary.unlink(missing_ok=True)
        write_new(str(temporary), [data])
        os.replace(temporary, self.path / name)
