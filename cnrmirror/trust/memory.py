"""Trust memory: the newest that a client has accepted of a registry, and never forgets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from cnrmirror.model import typed
from cnrmirror.model.documents import Upstream
from cnrmirror.model.errors import InputError, NotTrusted, Rollback
from cnrmirror.model.format import FIRST, KNOWN, Format, require_readable, require_writable
from cnrmirror.model.instant import Instant
from cnrmirror.model.signed import SignedHead
from cnrmirror.objects.files import replace_durably
from cnrmirror.trust.tuf import (
    DeserializationError,
    Metadata,
    RepositoryError,
    Root,
    SerializationError,
    Signed,
    Targets,
)


class HighWater(msgspec.Struct, frozen=True):
    """The newest that was ever accepted of one registry; ``roots``: version → digest of each root.

    Whoever pins a later root of the same chain is held to the same high-water mark. Keys are None
    where it is not known which ones were in force.
    """

    root: int
    targets: int
    timestamp: int
    revision: int
    time: str
    digest: str
    timestamp_keys: list[str] | None
    catalog_keys: list[str] | None
    roots: dict[str, str] = {}
    format: Format = FIRST

    @property
    def age_order(self) -> tuple[int, int]:
        """Orders what was accepted one after the other: a new root may begin to count anew."""
        return self.root, self.timestamp


def newest(marks: Iterable[HighWater | None]) -> HighWater | None:
    """The one that was accepted last, with the roots of all; None if there is none."""
    known = [mark for mark in marks if mark is not None]
    if not known:
        return None
    last = max(known, key=lambda mark: mark.age_order)
    roots = {version: digest for mark in known for version, digest in mark.roots.items()}
    return msgspec.structs.replace(last, roots={**roots, **last.roots})


class Renewal(msgspec.Struct, frozen=True):
    """Whether the numbers of timestamps, and of revisions, begin anew."""

    timestamp: bool
    catalog: bool


def renewal(old: HighWater, new: HighWater) -> Renewal:
    """Which numbers a newer root has made void, because it names another key for them.

    One root has one set of keys: under the same root, all numbers go on.
    """
    newer_root = new.root > old.root
    return Renewal(
        newer_root and old.timestamp_keys != new.timestamp_keys,
        newer_root and old.catalog_keys not in (None, new.catalog_keys),
    )


def check_high_water(name: str, old: HighWater, new: HighWater) -> None:
    """Refuse what is older than what was accepted, but for what a new root makes void.

    A root with another refresh key voids the timestamp's versions; a root that comes with another
    publish key, the revision numbers: both keys may have been stolen, and the numbers run up.

    Args:
        name: what the mirror is called in messages.
        old: what was accepted before.
        new: what the mirror offers; its keys are known.

    Raises:
        Rollback: it is older.
    """
    if new.root < old.root:
        raise Rollback(f"{name}: offers root {new.root}, but root {old.root} was seen already")
    renewed = renewal(old, new)
    if new.root == old.root and new.targets < old.targets:
        raise Rollback(f"{name}: offers targets {new.targets}, but {old.targets} was seen already")
    if not renewed.timestamp and new.timestamp < old.timestamp:
        raise Rollback(
            f"{name}: offers timestamp {new.timestamp}, but {old.timestamp} was seen already"
        )
    if renewed.catalog:
        return
    if new.revision < old.revision:
        raise Rollback(
            f"{name}: offers revision {new.revision}, but {old.revision} was seen already"
        )
    if new.revision == old.revision and new.digest != old.digest:
        raise Rollback(f"{name}: offers another catalog as revision {new.revision}")


def catalog_keys(targets: Targets) -> list[str] | None:
    """The ids of the publish keys, sorted; None if the catalog is delegated to nobody."""
    roles = targets.delegations.roles if targets.delegations else None
    return sorted(roles["catalog"].keyids) if roles and "catalog" in roles else None


def high_water_of(head: SignedHead, time: str, root: bytes, targets: bytes) -> HighWater:
    """What the files of a mirror that follows another say that was accepted.

    Args:
        head: what the mirror stands at.
        time: that of the catalog root.
        root: the root file in force; where it or the next cannot be read, keys are not known.
        targets: the targets file in force.
    """
    signed_root, delegating = _signed(root), _signed(targets)
    return HighWater(
        head.kept.root, head.targets.version, head.version, head.revision, time, head.at.digest,
        sorted(signed_root.roles["timestamp"].keyids) if isinstance(signed_root, Root) else None,
        catalog_keys(delegating) if isinstance(delegating, Targets) else None,
    )  # fmt: skip


def _signed(data: bytes) -> Signed | None:
    try:
        return Metadata.from_bytes(data).signed
    except (DeserializationError, RepositoryError, ValueError, RecursionError):
        return None


def high_water_of_upstream(upstream: Upstream) -> HighWater:
    """What a catalog root says that was taken in of another mirror; the keys are not known."""
    return HighWater(
        upstream.root, 0, upstream.timestamp, upstream.revision, upstream.time, upstream.catalog,
        None, None,
    )  # fmt: skip


def root_identity(data: bytes) -> str:
    """The digest of a root's signed part, however its file is written. Raises NotTrusted."""
    try:
        return hashlib.sha256(Metadata.from_bytes(data).signed_bytes).hexdigest()
    except (
        DeserializationError, SerializationError, RepositoryError, ValueError,
        RecursionError,
    ) as error:  # fmt: skip
        raise NotTrusted(f"not a TUF root file: {error}") from error


class _Versioned(msgspec.Struct, frozen=True):
    format: Format = FIRST


class TrustMemory:
    """The file with the high-water mark of one registry.

    Args:
        folder: where the files of all registries are; deleting one forgets what was accepted.
        identity: that of a root of the registry.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.path = _lineage(folder, identity)

    def recall(self) -> HighWater | None:
        """What was accepted last; None if nothing ever was.

        Raises:
            NotTrusted: it is there, and cannot be read.
            NewerFormat: a newer program wrote it.
        """
        try:
            data = self.path.read_bytes()
            require_readable(typed.decode(data, _Versioned).format, str(self.path))
            mark = typed.decode(data, HighWater)
            Instant.parse(mark.time)
            return mark
        except FileNotFoundError:
            return None
        except (OSError, ValueError, InputError) as error:  # DecodeError is a ValueError
            raise NotTrusted(
                f"{self.path}: cannot be read ({error}); it remembers the newest revision seen: "
                "remove it only if you accept to forget that"
            ) from error

    def keep(self, mark: HighWater) -> None:
        """Hold everybody to this mark from now on.

        Raises:
            NewerFormat: a newer program wrote what is there; nothing was written.
        """
        old = self.recall()
        if old is not None:
            require_writable(old.format, str(self.path))
            mark = msgspec.structs.replace(mark, roots={**old.roots, **mark.roots})
        mark = msgspec.structs.replace(mark, format=old.format if old else KNOWN)
        if old != mark:
            replace_durably(self.path, msgspec.json.encode(mark), self.path.parent)


def _lineage(folder: Path, identity: str) -> Path:
    """The file of the registry that a root belongs to: one that has seen it, or a new one."""
    own = folder / f"{identity}.json"
    if own.exists():
        return own
    for path in sorted(folder.glob("*.json")):
        try:
            mark = typed.decode(path.read_bytes(), HighWater)
        except (OSError, ValueError):
            continue
        if identity in mark.roots.values():
            return path
    return own
