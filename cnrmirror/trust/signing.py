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
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from cnrmirror.model.documents import Head, RetentionFloor
from cnrmirror.model.errors import InvalidDocument, NotTrusted, TooLarge
from cnrmirror.model.signed import MAX_BYTES, TARGET, SignedHead
from cnrmirror.objects.files import replace_durably, sync_filesystem, write_new
from cnrmirror.trust.keys import PUBLISH, REFRESH, KeyFolder

LIFETIME = {"root": 365, "targets": 365, "catalog": 90, "snapshot": 90, "timestamp": 7}
REGISTRY = "x-registry"
RETENTION = "x-kept"
_SERIALIZER = JSONSerializer(compact=True)
S = TypeVar("S", Root, Timestamp, Snapshot, Targets)


def moment(now: str) -> datetime:
    """An ISO time without offset as a moment in UTC, to the second (TUF knows no fractions)."""
    return datetime.fromisoformat(now).replace(tzinfo=UTC, microsecond=0)


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


class Expiring(msgspec.Struct, frozen=True):
    """A role that expires soon."""

    role: str
    expires: str
    days: float


class Repository:
    """The signed metadata of one mirror, and the only place that writes it.

    Args:
        path: ``catalog/metadata``.
        scratch: for files in the making, on the same file system.
        keys: where the online keys are.
    """

    def __init__(self, path: Path, scratch: Path, keys: KeyFolder) -> None:
        self.path = path
        self._scratch = scratch
        self.keys = keys

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
        if name == "targets":
            return self._highest(name)
        # A catalog that no snapshot names was left behind by a killed command.
        snapshot = self.current(Snapshot, "snapshot")
        info = snapshot.signed.meta.get(f"{name}.json") if snapshot else None
        return info.version if info else 0

    def _highest(self, name: str) -> int:
        versions = (p.name.split(".")[0] for p in self.path.glob(f"*.{name}.json"))
        return max((int(v) for v in versions if v.isdigit()), default=0)

    def root_version(self) -> int:
        """The version of the newest root."""
        return self._highest("root")

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
                f"the {purpose} key ({ids}) is not in {self.keys.folder}: copy it there, name it "
                f"in mirror.yaml (trust.{purpose}), or make a new one with "
                f"'cnrmirror keys rotate {purpose}'",
                purpose=purpose, keyids=ids, folder=str(self.keys.folder),
            )  # fmt: skip
        return signer

    def expiring(self, now: str) -> list[Expiring]:
        """The roles with less than a tenth of their time, or three days, left (timestamp: one)."""
        found = []
        roles = {
            "root": self.current(Root, "root"),
            "targets": self.current(Targets, "targets"),
            "catalog": self.current(Targets, "catalog"),
            "snapshot": self.current(Snapshot, "snapshot"),
            "timestamp": self.current(Timestamp, "timestamp"),
        }
        for name, metadata in roles.items():
            if metadata is None:
                continue
            expires = metadata.signed.expires
            left = (expires - moment(now)) / timedelta(days=1)
            if left < max(1.0 if name == "timestamp" else 3.0, LIFETIME[name] / 10):
                found.append(Expiring(name, expires.isoformat(), round(left, 2)))
        return found

    # -- writing --

    def create(
        self,
        registry: str,
        root_keys: Sequence[Signer],
        threshold: int,
        targets_key: Signer,
        publish_key: Key,
        refresh_key: Key,
        now: str,
    ) -> bytes:
        """The first root and targets; gives the root's bytes, to be pinned by clients."""
        root = Root(expires=_expiry("root", now), consistent_snapshot=True)
        root.unrecognized_fields[REGISTRY] = registry
        for signer in root_keys:
            root.add_key(signer.public_key, "root")
        root.roles["root"].threshold = threshold
        root.add_key(targets_key.public_key, "targets")
        for role in ("snapshot", "timestamp"):
            root.add_key(refresh_key, role)
        signed_root = Metadata(root)
        for signer in root_keys[:]:
            signed_root.sign(signer, append=True)
        self.path.mkdir(parents=True, exist_ok=True)
        data = to_bytes(signed_root)
        self._write("1.root.json", data)
        self._write("1.targets.json", self._targets(1, publish_key, targets_key, now))
        return data

    @staticmethod
    def _targets(version: int, publish_key: Key, targets_key: Signer, now: str) -> bytes:
        role = DelegatedRole("catalog", [publish_key.keyid], 1, True, paths=[TARGET])
        delegations = Delegations({publish_key.keyid: publish_key}, {"catalog": role})
        targets = Targets(version, expires=_expiry("targets", now), delegations=delegations)
        metadata = Metadata(targets)
        metadata.sign(targets_key)
        return to_bytes(metadata)

    def renew_targets(self, publish_key: Key | None, offline: KeyFolder, now: str) -> None:
        """A new targets file, with another publish key if one is given; ``publish`` comes next.

        Raises:
            NotTrusted: the targets key is not in the folder.
        """
        signer = offline.signer("targets", self.keys_of("targets"))
        if signer is None:
            raise NotTrusted(
                f"{offline.folder}: the targets key is not here; say --offline-keys FOLDER"
            )
        old = self.current(Targets, "targets")
        version = old.signed.version + 1 if old else 1
        key = publish_key or self.keys_of("catalog")[0]
        self._write(f"{version}.targets.json", self._targets(version, key, signer, now))

    def check_keys(self) -> None:
        """Make sure that a revision can be signed here. Raises NotTrusted."""
        self._signer("catalog")
        self._signer("snapshot")

    def sign_revision(self, head: Head, now: str, above: SignedHead | None = None) -> None:
        """Sign a new catalog, snapshot and timestamp; the timestamp is replaced last, durably.

        Args:
            above: an edition that is published elsewhere: all versions are higher than there.

        Raises:
            NotTrusted: an online key is missing.
        """
        old = self.current(Targets, "catalog")
        descriptor = head.catalog
        target = TargetFile(
            descriptor.size,
            {"sha256": descriptor.digest},
            TARGET,
            {"custom": {"revision": head.revision}},
        )
        version = max(old.signed.version if old else 0, above.catalog.version if above else 0) + 1
        metadata = Metadata(
            Targets(version, expires=_expiry("catalog", now), targets={TARGET: target})
        )
        metadata.sign(self._signer("catalog"))
        data = to_bytes(metadata)
        self._write(f"{version}.catalog.json", data)
        info = {"catalog.json": _meta_file(version, data)}
        self._snapshot(info, now, always=True, above=above)

    def refresh(self, now: str) -> None:
        """Sign the timestamp again, and what it needs where more than half its time is over."""
        snapshot = self.current(Snapshot, "snapshot")
        catalog = self.current(Targets, "catalog")
        if snapshot is None or catalog is None:
            raise NotTrusted(f"{self.path}: there is no revision to refresh; restore it")
        if _half_over("catalog", catalog.signed, now) or not self._in_force(catalog, "catalog"):
            try:
                signer = self._signer("catalog")
            except NotTrusted:
                signer = None  # a machine that only refreshes; the caller warns of the expiry
            if signer is not None:
                catalog.signed.version += 1
                catalog.signed.expires = _expiry("catalog", now)
                catalog.sign(signer)
                data = to_bytes(catalog)
                self._write(f"{catalog.signed.version}.catalog.json", data)
                info = {"catalog.json": _meta_file(catalog.signed.version, data)}
                self._snapshot(info, now, always=True)
                return
        again = _half_over("snapshot", snapshot.signed, now)
        self._snapshot({}, now, always=again or not self._in_force(snapshot, "snapshot"))

    def _in_force(self, metadata: Metadata[Any], role: str) -> bool:
        """Whether one of the keys that the role has now signed it."""
        return any(key.keyid in metadata.signatures for key in self.keys_of(role))

    def require_keys(self, root: Root, targets: Targets | None = None) -> None:
        """Make sure that everything below a root that is to come can be signed here.

        Raises:
            NotTrusted: a key is missing; nothing was written.
        """
        self._signer("catalog", targets)
        self._signer("snapshot", root=root)

    def _snapshot(
        self,
        changed: dict[str, MetaFile],
        now: str,
        always: bool,
        above: SignedHead | None = None,
    ) -> None:
        """The snapshot, if it has to change, and the timestamp."""
        old = self.current(Snapshot, "snapshot")
        known = dict(old.signed.meta) if old else {}
        # New targets come into force together with a catalog that their key signed.
        named = known.get("targets.json")
        version = self._highest("targets") if changed or named is None else named.version
        data = (self.path / f"{version}.targets.json").read_bytes()
        meta = {**known, **changed, "targets.json": _meta_file(version, data)}
        timestamp = self.current(Timestamp, "timestamp")
        if always or old is None or meta != known:
            version = max(old.signed.version if old else 0, above.snapshot.version if above else 0)
            version += 1
            metadata = Metadata(Snapshot(version, expires=_expiry("snapshot", now), meta=meta))
            metadata.sign(self._signer("snapshot"))
            data = to_bytes(metadata)
            self._write(f"{version}.snapshot.json", data)
            kept = None
            if above is not None:
                mine: Any = (
                    timestamp.signed.unrecognized_fields.get(RETENTION) if timestamp else None
                )
                kept = _later(
                    msgspec.convert(mine, RetentionFloor) if mine else RetentionFloor(), above.kept
                )
            self._timestamp(timestamp, _meta_file(version, data), now, kept, above)
        else:
            assert timestamp is not None
            self._timestamp(timestamp, timestamp.signed.snapshot_meta, now, None)

    def _timestamp(
        self,
        old: Metadata[Timestamp] | None,
        info: MetaFile,
        now: str,
        kept: RetentionFloor | None,
        above: SignedHead | None = None,
    ) -> None:
        timestamp = Timestamp(
            max(old.signed.version if old else 0, above.version if above else 0) + 1,
            expires=_expiry("timestamp", now),
            snapshot_meta=info,
        )
        if kept is None:
            before: Any = old.signed.unrecognized_fields.get(RETENTION) if old else None
            kept = msgspec.convert(before, RetentionFloor) if before else RetentionFloor()
        kept = msgspec.structs.replace(kept, root=self.root_version())
        timestamp.unrecognized_fields[RETENTION] = msgspec.to_builtins(kept)
        metadata = Metadata(timestamp)
        metadata.sign(self._signer("timestamp"))
        sync_filesystem(self.path)
        replace_durably(self.path / "timestamp.json", to_bytes(metadata), self._scratch)

    def keep_from(self, kept: RetentionFloor, now: str) -> None:
        """Say in the timestamp from which versions on files are kept, before others are removed."""
        timestamp = self.current(Timestamp, "timestamp")
        if timestamp is not None:
            self._timestamp(timestamp, timestamp.signed.snapshot_meta, now, kept)

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


def _later(mine: RetentionFloor, theirs: RetentionFloor) -> RetentionFloor:
    """What both keep."""
    return RetentionFloor(
        max(mine.catalog, theirs.catalog),
        max(mine.snapshot, theirs.snapshot),
        max(mine.revision, theirs.revision),
        max(mine.root, theirs.root),
    )


def _expiry(role: str, now: str) -> datetime:
    return moment(now) + timedelta(days=LIFETIME[role])


def _half_over(role: str, signed: Signed, now: str) -> bool:
    return signed.expires - moment(now) < timedelta(days=LIFETIME[role]) / 2


def _meta_file(version: int, data: bytes) -> MetaFile:
    return MetaFile.from_data(version, data, ["sha256"])
