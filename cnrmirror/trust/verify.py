"""From a pinned root to the current catalog root, believing nothing: python-tuf over any fetcher.

What is checked, in the order of TUF 1.0 §5: the roots, one by one; the timestamp and its age; the
snapshot, targets and catalog by length, digest, signatures, versions and age; then the catalog root
by length and digest. What the library does not remember when its cache is deleted, a high-water
mark kept apart does: no older revision under the same keys is accepted again.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import DeserializationError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from cnrmirror.model.canonical import decode
from cnrmirror.model.digest import Descriptor, checked
from cnrmirror.model.documents import CatalogRoot, RetentionFloor, node_path
from cnrmirror.model.errors import (
    BadSignature,
    CnrMirrorError,
    IncompleteError,
    InvalidDocument,
    NetworkError,
    NotTrusted,
    Rollback,
    StaleError,
    StorageError,
    Tampered,
    TrustError,
)
from cnrmirror.model.signed import MAX_BYTES, METADATA, TARGET
from cnrmirror.objects.base import Reader, read
from cnrmirror.objects.files import locked, replace_durably, storage_errors
from cnrmirror.trust.memory import HighWater, check_high_water, lineage, root_identity

_CONFIG = UpdaterConfig(
    root_max_length=MAX_BYTES, timestamp_max_length=16384,
    snapshot_max_length=MAX_BYTES, targets_max_length=MAX_BYTES,
)  # fmt: skip
_CLOCK_SKEW = timedelta(minutes=10)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?")
MAX_ROOT_BYTES = 8 << 20


class Policy(msgspec.Struct, frozen=True):
    """How fresh the metadata must be.

    ``at``: the moment to verify for, in the place of the clock. ``allow_expired``: how long after
    its expiry it is still accepted, nothing else being skipped. ``expect``: the digest that the
    catalog root must have, from a receipt that came another way.
    """

    at: datetime | None = None
    allow_expired: timedelta = timedelta(0)
    expect: str | None = None


class Verified(msgspec.Struct, frozen=True):
    """A catalog root that the pinned root vouches for; ``notes`` are to be said to the user."""

    at: Descriptor
    root: CatalogRoot
    root_version: int
    timestamp_version: int
    expires: str
    fresh: bool
    notes: list[str]


class _Bridge(FetcherInterface):
    """Our fetchers under python-tuf's interface; our errors keep their meaning on the way."""

    def __init__(self, fetcher: Reader) -> None:
        self._fetcher = fetcher
        self.failure: CnrMirrorError | None = None
        self._limit = MAX_BYTES
        self._reading: Iterator[bytes] = iter(())

    def close(self) -> None:
        """Hang up, if the library lost interest in the middle of a file."""
        if isinstance(self._reading, Generator):
            self._reading.close()

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """As python-tuf's own; remembers how long the file may be: nobody waits for more."""
        self._limit = min(max_length, MAX_BYTES)
        return super().download_bytes(url, max_length)

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix("mirror:///")
        try:
            # One byte more, so that a longer file is seen to be that.
            self._reading = self._fetcher.fetch(path, self._limit + 1)
            yield from self._reading
        except IncompleteError as error:
            self.failure = error
            raise exceptions.DownloadHTTPError(error.message, 404) from error
        except CnrMirrorError as error:
            self.failure = error
            raise exceptions.DownloadError(error.message) from error


class Trust:
    """What one client knows of one registry: the pinned root, and what it has accepted.

    Args:
        pinned: the bytes of the root file that the user trusts.
        cache: a folder for python-tuf's copies; may be deleted.
        marks: a folder for the high-water mark; deleting it forgets what was seen.
    """

    def __init__(self, pinned: bytes, cache: Path, marks: Path) -> None:
        self.pinned = pinned
        identity = root_identity(pinned)
        self._cache = cache / identity
        self._mark = lineage(marks, identity)
        self._pin: Path | None = None

    def remember_as(self, pin: Path) -> None:
        """Keep the pinned root in this file once a mirror has passed with it."""
        self._pin = pin

    def mark(self) -> HighWater | None:
        """What was accepted last; None if nothing ever was.

        Raises:
            NotTrusted: it is there, and cannot be read.
        """
        try:
            mark = msgspec.json.decode(self._mark.read_bytes(), type=HighWater)
            datetime.fromisoformat(mark.time)
            return mark
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # DecodeError is one, too
            raise NotTrusted(
                f"{self._mark}: cannot be read ({error}); it remembers the newest revision seen: "
                "remove it only if you accept to forget that"
            ) from error

    def verify(
        self, fetcher: Reader, policy: Policy, now: datetime, remember: bool = True
    ) -> Verified:
        """The current catalog root of a mirror.

        Args:
            now: the clock, UTC.
            remember: hold everybody to this state from now on; False for a look that comes before
                something that may fail.

        Raises:
            TrustError: something is not what the keys signed, or older than what was seen.
            StaleError: expired, or the clock is behind.
            IncompleteError: a file is missing.
            NetworkError: the host cannot be reached.
        """
        with storage_errors(str(self._cache.parent)):
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            self._mark.parent.mkdir(parents=True, exist_ok=True)
        with self._private_copy() as work:
            mark = self.mark()
            reference = self._reference(policy, now, mark)
            try:
                return self._attempt(
                    fetcher, work, reference, policy.at is None, [], policy, now, remember
                )
            except StaleError as error:
                if "expires" not in error.details or not policy.allow_expired or policy.at:
                    raise
                # The library does not tell when a role below the snapshot expired: then it is
                # asked for the earliest moment that is allowed.
                expired = error.details["expires"] or now - policy.allow_expired
                if now - expired > policy.allow_expired:
                    raise
                note = f"EXPIRED on {expired.isoformat()}, accepted because you allow it: NOT fresh"
                before = expired - timedelta(seconds=1)
                return self._attempt(
                    fetcher, work, before, False, [note], policy, now, remember, late=True
                )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone with what is remembered; never held while a host is waited for."""
        with storage_errors(str(self._cache)), locked(self._cache.with_suffix(".lock"), 60):
            yield

    @contextmanager
    def _private_copy(self) -> Iterator[Path]:
        """A copy of the library's cache to work on."""
        with storage_errors(str(self._cache.parent)):
            outer = Path(tempfile.mkdtemp(prefix=".work-", dir=self._cache.parent))
        try:
            with self._locked():
                if self._cache.is_dir():
                    _copy_tree(self._cache, outer / "cache")
            yield outer / "cache"
        finally:
            shutil.rmtree(outer, ignore_errors=True)

    @staticmethod
    def _reference(policy: Policy, now: datetime, mark: HighWater | None) -> datetime:
        seen = datetime.fromisoformat(mark.time).replace(tzinfo=UTC) if mark else None
        if policy.at is not None:
            if policy.at > now:
                raise StaleError(f"--at {policy.at.isoformat()} lies in the future")
            if seen and policy.at < seen:
                raise StaleError(
                    f"--at {policy.at.isoformat()} lies before {seen.isoformat()}, the time of a "
                    "revision that was accepted already"
                )
            return policy.at
        if seen and now < seen - _CLOCK_SKEW:
            raise StaleError(
                f"this machine's clock says {now.isoformat()}, before {seen.isoformat()}, the time "
                "of a revision that was accepted already: set the clock"
            )
        return now

    def _attempt(
        self,
        fetcher: Reader,
        work: Path,
        reference: datetime,
        fresh: bool,
        notes: list[str],
        policy: Policy,
        now: datetime,
        remember: bool,
        late: bool = False,
    ) -> Verified:
        bridge = _Bridge(fetcher)
        with _translated(fetcher.name, bridge):
            updater = Updater(
                str(work), f"mirror:///{METADATA}/", fetcher=bridge, config=_CONFIG,
                bootstrap=self.pinned,
            )  # fmt: skip
            updater._trusted_set.reference_time = reference  # its only hook for a chosen time
            info = None
            try:
                info = updater.get_targetinfo(TARGET)
            except exceptions.ExpiredMetadataError as error:
                details = (
                    {}
                    if updater._trusted_set.root.is_expired(reference)
                    else {"expires": _expiry(updater)}
                )
                raise StaleError(
                    f"{fetcher.name}: {error}; the mirror was not signed again in time, or "
                    "somebody holds an old state before you",
                    **details,
                ) from error
        trusted = updater._trusted_set
        if late and trusted.root.is_expired(now):
            raise StaleError(f"{fetcher.name}: the root itself is expired: pin a new one")
        if info is None:
            raise Tampered(f"{fetcher.name}: the signed catalog does not name {TARGET}")
        at = Descriptor(info.hashes.get("sha256", ""), info.length)
        if policy.expect and policy.expect != at.digest:
            raise TrustError(
                f"{fetcher.name}: its catalog is {at.digest}, the receipt says {policy.expect}"
            )
        root = self._catalog_root(fetcher, at)
        _moment(root.time, now, fetcher.name)
        if trusted.root.unrecognized_fields.get("x-registry") != root.registry:
            raise Tampered(f"{fetcher.name}: its catalog is of another registry")
        if info.unrecognized_fields.get("custom") != {"revision": root.revision}:
            raise Tampered(f"{fetcher.name}: its catalog is of another revision")
        try:
            kept = msgspec.convert(
                trusted.timestamp.unrecognized_fields.get("x-kept"), RetentionFloor
            )
        except msgspec.ValidationError as error:
            raise Tampered(f"{fetcher.name}: timestamp.json: x-kept: {error}") from error
        if kept.root > trusted.root.version:
            raise IncompleteError(
                f"{fetcher.name}: root {kept.root} exists, but the host keeps it back"
            )
        if trusted.root.version >= _CONFIG.max_root_rotations + 1:
            notes = [*notes, f"stopped at root version {trusted.root.version}: pin a newer root"]
        catalog = trusted.get("catalog")
        delegations = trusted.targets.delegations
        roles = delegations.roles if delegations else None
        if not isinstance(catalog, Targets) or roles is None or "catalog" not in roles:
            raise Tampered(f"{fetcher.name}: its targets delegate the catalog to nobody")
        if policy.at is not None:
            notes = [*notes, f"valid as of {policy.at.isoformat()}, NOT fresh"]
        new = HighWater(
            trusted.root.version,
            trusted.targets.version,
            trusted.timestamp.version,
            root.revision,
            root.time,
            at.digest,
            sorted(trusted.root.roles["timestamp"].keyids),
            sorted(roles["catalog"].keyids),
            _roots_in(work),
        )
        with self._locked(), storage_errors(str(self._mark)):
            # What another process accepted meanwhile counts.
            old = self.mark()
            if old is not None:
                check_high_water(fetcher.name, old, new)
            if remember:
                self._remember(old, new)
                # Only now: what the library took from a mirror that was refused is forgotten.
                shutil.rmtree(self._cache, ignore_errors=True)
                os.rename(work, self._cache)
        expires = min(trusted.timestamp.expires, trusted.snapshot.expires, catalog.expires)
        return Verified(at, root, new.root, new.timestamp, expires.isoformat(), fresh, notes)

    @staticmethod
    def _catalog_root(fetcher: Reader, at: Descriptor) -> CatalogRoot:
        path = node_path(at.digest, CatalogRoot)
        where = f"{fetcher.name}/{path}"
        if at.size > MAX_ROOT_BYTES:
            raise Tampered(f"{where}: a catalog root of {at.size} bytes")
        data = read(fetcher.fetch(path, at.size))
        try:
            root: CatalogRoot = decode(checked(at, data, where), CatalogRoot, where)
        except InvalidDocument as error:
            raise Tampered(error.message) from error
        return root

    def _remember(self, old: HighWater | None, new: HighWater) -> None:
        if old is not None:
            new = msgspec.structs.replace(new, roots={**old.roots, **new.roots})
        if old != new:
            replace_durably(self._mark, msgspec.json.encode(new), self._mark.parent)
        if self._pin is not None and not _holds(self._pin, self.pinned):
            self._pin.parent.mkdir(parents=True, exist_ok=True)
            replace_durably(self._pin, self.pinned, self._pin.parent)


def _moment(text: str, now: datetime, where: str) -> datetime:
    """When a catalog root was made: UTC, not in the future. Raises Tampered, StaleError."""
    if not _TIME.fullmatch(text):
        raise Tampered(f"{where}: its catalog has no proper time: {text!r:.60}")
    try:
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError as error:
        raise Tampered(f"{where}: its catalog has no proper time: {error}") from error
    if moment > now + _CLOCK_SKEW:
        raise StaleError(
            f"{where}: its catalog is of {text}, which this machine's clock has in the future: "
            "set the clock"
        )
    return moment


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except FileNotFoundError:
        return False


def _expiry(updater: Updater) -> datetime | None:
    """When the last role that was loaded expires; None if it is the root: that is final."""
    trusted = updater._trusted_set
    roles = ("timestamp", "snapshot", "targets", "catalog")
    found = [trusted[role].expires for role in roles if role in trusted]
    now = trusted.reference_time
    expired = [moment for moment in found if moment <= now]
    return min(expired) if expired else None


@contextmanager
def _translated(name: str, bridge: _Bridge) -> Iterator[None]:
    """python-tuf's errors as ours; what our fetcher said goes before what became of it."""
    try:
        yield
    except CnrMirrorError:
        raise
    except exceptions.DownloadLengthMismatchError as error:
        raise Tampered(f"{name}: {error}") from error
    except exceptions.UnsignedMetadataError as error:
        raise BadSignature(f"{name}: {error}") from error
    except exceptions.BadVersionNumberError as error:
        raise Rollback(f"{name}: {error}") from error
    except exceptions.RepositoryError as error:
        raise Tampered(f"{name}: {error}") from error
    except exceptions.DownloadError as error:
        raise (bridge.failure or NetworkError(f"{name}: {error}")) from error
    except OSError as error:
        raise StorageError(f"the client's own state: {error}") from error
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise Tampered(f"{name}: metadata that cannot be read: {error}") from error
    finally:
        bridge.close()


def parse_pinned(data: bytes, where: str) -> Root:
    """The root in a file that somebody wants to pin. Raises NotTrusted."""
    try:
        root = Metadata.from_bytes(data[: MAX_BYTES + 1]).signed
        if not isinstance(root, Root):
            raise ValueError("a role file, but not a root's")
        return root
    except (DeserializationError, exceptions.RepositoryError, ValueError, RecursionError) as error:
        raise NotTrusted(f"{where}: not a TUF root file: {error}") from error


def _roots_in(cache: Path) -> dict[str, str]:
    """Version → identity of the roots that the library has accepted, one after the other."""
    found = {}
    for path in (cache / "root_history").glob("*.root.json"):
        found[path.name.partition(".")[0]] = root_identity(path.read_bytes())
    return found


def _copy_tree(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target, symlinks=True)
    except shutil.Error as error:  # a list of what failed; the first says enough
        raise OSError(errno.EIO, str(error.args[0][0][2]), str(source)) from error
