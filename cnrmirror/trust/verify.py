"""From a pinned root to the current catalog root of a mirror, believing nothing.

``Trust.verify`` is three steps: the signed metadata (``updater``: python-tuf over any reader), the
catalog root that it names (``view``: pure checks), and what this client has accepted before
(``memory``): no older revision under the same keys is accepted again, even where the library's
copies were deleted.
"""

from __future__ import annotations

import errno
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cnrmirror.model.canonical import decode
from cnrmirror.model.digest import Descriptor, checked
from cnrmirror.model.documents import CatalogRoot, node_path
from cnrmirror.model.errors import InvalidDocument, NotTrusted, Rollback, StaleError, Tampered
from cnrmirror.model.instant import CLOCK_SKEW, Instant
from cnrmirror.model.later import later
from cnrmirror.model.signed import MAX_BYTES, SignedHead
from cnrmirror.objects.base import Reader, read
from cnrmirror.objects.files import locked, replace_durably, storage_errors
from cnrmirror.trust.memory import (
    HighWater,
    TrustMemory,
    check_high_water,
    newest,
    root_identity,
)
from cnrmirror.trust.roles import registry_of
from cnrmirror.trust.tuf import DeserializationError, Metadata, Root, exceptions
from cnrmirror.trust.view import TrustedView, check_catalog, check_receipt

if TYPE_CHECKING:
    from cnrmirror.trust import updater
else:
    updater = later("cnrmirror.trust.updater")


MAX_ROOT_BYTES = 8 << 20


_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Policy(msgspec.Struct, frozen=True):
    """How fresh the metadata must be.

    ``at``: the moment to verify for, in the place of the clock. ``allow_expired``: how long after
    its expiry it is still accepted, nothing else being skipped. ``expect``: the digest that the
    catalog root must have, from a receipt that came another way. ``any_age``: for the owner of the
    keys, who is about to sign what is expired again.
    """

    at: datetime | None = None
    allow_expired: timedelta = timedelta(0)
    expect: str | None = None
    any_age: bool = False


class Verified(msgspec.Struct, frozen=True):
    """A catalog root that the pinned root vouches for; ``notes`` are to be said to the user.

    ``offered`` is the timestamp file that the mirror gave: another than ``head.timestamp`` only if
    the mirror has two of one version. ``mark`` is what is remembered of it, ``root_file`` the root
    in force.
    """

    at: Descriptor
    root: CatalogRoot
    head: SignedHead
    root_version: int
    expires: str
    fresh: bool
    notes: list[str]
    offered: bytes
    mark: HighWater
    root_file: bytes

    @property
    def timestamp_version(self) -> int:
        return self.head.version


class Look:
    """A look at a mirror that passed: what was verified; ``accept`` remembers it."""

    def __init__(self, verified: Verified, accept: Callable[[], None]) -> None:
        self.verified = verified
        self._accept = accept

    def accept(self) -> None:
        """Hold everybody to this state from now on.

        Raises:
            Rollback: another process accepted a newer one meanwhile.
        """
        self._accept()


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
        self._memory = TrustMemory(marks, identity)
        self._known: list[HighWater] = []
        self._pin: Path | None = None

    def remember_as(self, pin: Path) -> None:
        """Keep the pinned root in this file once a mirror has passed with it."""
        self._pin = pin

    @property
    def registry(self) -> str:
        """The registry that the pinned root is of; "" if it names none."""
        return registry_of(parse_pinned(self.pinned, "the pinned root"))

    def hold_to(self, mark: HighWater) -> None:
        """Count what other files say that was accepted, where the memory knows less."""
        self._known.append(mark)

    def remember(self, mark: HighWater) -> None:
        """Hold everybody to what was signed here, unless a newer state was accepted."""
        with storage_errors(str(self._memory.path)):
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            self._memory.path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked():
                known = newest([mark, self._memory.recall()])
                assert known is not None
                self._memory.keep(known)

    def mark(self) -> HighWater | None:
        """What was accepted last; None if nothing ever was. Raises NotTrusted, NewerFormat."""
        return newest([self._memory.recall(), *self._known])

    def verify(self, reader: Reader, policy: Policy, now: datetime) -> Verified:
        """The current catalog root of a mirror, remembered. Raises as ``look`` does.

        If another process accepts a newer state between the look and its end, it looks again.
        """
        before = self.mark()
        try:
            return self._verified(reader, policy, now)
        except Rollback:
            if self.mark() == before:
                raise
        return self._verified(reader, policy, now)

    def _verified(self, reader: Reader, policy: Policy, now: datetime) -> Verified:
        with self.look(reader, policy, now) as found:
            found.accept()
            return found.verified

    @contextmanager
    def look(self, reader: Reader, policy: Policy, now: datetime) -> Iterator[Look]:
        """The current catalog root of a mirror, not remembered before it is accepted.

        Args:
            reader: reads the mirror.
            policy: how fresh it must be.
            now: the clock, UTC.

        Raises:
            TrustError: something is not what the keys signed, or older than what was seen.
            StaleError: expired, or the clock is behind.
            IncompleteError: a file is missing.
            NetworkError: the host cannot be reached.
            NewerFormat: a newer program wrote what is remembered.
        """
        with storage_errors(str(self._cache.parent)):
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            self._memory.path.parent.mkdir(parents=True, exist_ok=True)
        with self._private_copy() as work:
            old = self.mark()
            files = updater.TrustedFiles(self.pinned, work)
            view, notes = _metadata(reader, files, policy, now, old)
            check_receipt(view, policy.expect)
            root = _catalog_root(reader, view.at)
            check_catalog(view, root, now)
            new = view.high_water(root)
            if old is not None:
                check_high_water(reader.name, old, new)
            fresh = policy.at is None and not notes
            verified = Verified(
                view.at, root, view.head(root.revision), view.root.version,
                view.expires.isoformat(), fresh, [*notes, *_notes(view, policy)], view.offered,
                new, view.root_file,
            )  # fmt: skip
            yield Look(verified, functools.partial(self._accept, reader.name, new, work))

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

    def _accept(self, name: str, new: HighWater, work: Path) -> None:
        with self._locked(), storage_errors(str(self._memory.path)):
            # What another process accepted meanwhile counts.
            old = self.mark()
            if old is not None:
                check_high_water(name, old, new)
            self._memory.keep(new)
            if self._pin is not None and not _holds(self._pin, self.pinned):
                self._pin.parent.mkdir(parents=True, exist_ok=True)
                replace_durably(self._pin, self.pinned, self._pin.parent)
            # Only now: what the library took from a mirror that was refused is forgotten.
            shutil.rmtree(self._cache, ignore_errors=True)
            os.rename(work, self._cache)


def _metadata(
    reader: Reader,
    files: updater.TrustedFiles,
    policy: Policy,
    now: datetime,
    old: HighWater | None,
) -> tuple[TrustedView, list[str]]:
    """The signed metadata in force, and what is to be said if it is expired, but allowed."""
    try:
        return updater.trusted_view(reader, files, _reference(policy, now, old)), []
    except StaleError as error:
        if "expires" not in error.details or not policy.allow_expired or policy.at:
            raise
        # The library does not tell when a role below the snapshot expired: then it is asked for
        # the earliest moment that is allowed.
        expired = error.details["expires"] or now - policy.allow_expired
        if now - expired > policy.allow_expired:
            raise
    view = updater.trusted_view(reader, files, expired - timedelta(seconds=1))
    if view.root.is_expired(now):
        raise StaleError(f"{reader.name}: the root itself is expired: pin a new one")
    return view, [f"EXPIRED on {expired.isoformat()}, accepted because you allow it: NOT fresh"]


def _reference(policy: Policy, now: datetime, old: HighWater | None) -> datetime:
    """The time to verify for. Raises StaleError if it is in the future, or before what was seen."""
    if policy.any_age:
        return _LONG_AGO
    seen = Instant.parse(old.time).at if old else None
    if policy.at is not None:
        if policy.at > now:
            raise StaleError(f"--at {policy.at.isoformat()} lies in the future")
        if seen and policy.at < seen:
            raise StaleError(
                f"--at {policy.at.isoformat()} lies before {seen.isoformat()}, the time of a "
                "revision that was accepted already"
            )
        return policy.at
    if seen and now < seen - CLOCK_SKEW:
        raise StaleError(
            f"this machine's clock says {now.isoformat()}, before {seen.isoformat()}, the time "
            "of a revision that was accepted already: set the clock"
        )
    return now


def _notes(view: TrustedView, policy: Policy) -> Iterator[str]:
    if view.root.version >= updater.MAX_ROOTS:
        yield f"stopped at root version {view.root.version}: pin a newer root"
    if policy.at is not None:
        yield f"valid as of {policy.at.isoformat()}, NOT fresh"


def _catalog_root(reader: Reader, at: Descriptor) -> CatalogRoot:
    path = node_path(at.digest, CatalogRoot)
    where = f"{reader.name}/{path}"
    if at.size > MAX_ROOT_BYTES:
        raise Tampered(f"{where}: a catalog root of {at.size} bytes")
    data = read(reader.fetch(path, at.size))
    try:
        root: CatalogRoot = decode(checked(at, data, where), CatalogRoot, where)
    except InvalidDocument as error:
        raise Tampered(error.message) from error
    return root


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except FileNotFoundError:
        return False


def parse_pinned(data: bytes, where: str) -> Root:
    """The root in a file that somebody wants to pin. Raises NotTrusted."""
    try:
        root = Metadata.from_bytes(data[: MAX_BYTES + 1]).signed
        if not isinstance(root, Root):
            raise ValueError("a role file, but not a root's")
        return root
    except (DeserializationError, exceptions.RepositoryError, ValueError, RecursionError) as error:
        raise NotTrusted(f"{where}: not a TUF root file: {error}") from error


def _copy_tree(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target, symlinks=True)
    except shutil.Error as error:  # a list of what failed; the first says enough
        raise OSError(errno.EIO, str(error.args[0][0][2]), str(source)) from error
