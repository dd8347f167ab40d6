"""python-tuf's client over any reader: from a pinned root to the metadata that is in force.

The order is that of TUF 1.0 §5: the roots, one by one; the timestamp and its age; the snapshot,
targets and catalog by length, digest, signatures, versions and age.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from cnrmirror.model.errors import (
    BadSignature,
    CnrMirrorError,
    IncompleteError,
    NetworkError,
    Rollback,
    StaleError,
    StorageError,
    Tampered,
)
from cnrmirror.model.signed import MAX_BYTES, METADATA, TARGET, TIMESTAMP
from cnrmirror.objects.base import Reader, read
from cnrmirror.trust.memory import root_identity
from cnrmirror.trust.tuf import TargetFile, Targets, exceptions, ngclient
from cnrmirror.trust.view import TrustedView

_CONFIG = ngclient.UpdaterConfig(
    root_max_length=MAX_BYTES, timestamp_max_length=16384,
    snapshot_max_length=MAX_BYTES, targets_max_length=MAX_BYTES,
)  # fmt: skip
MAX_ROOTS = _CONFIG.max_root_rotations + 1
_ROTATIONS = 2
_BASE = "mirror:///"


class TrustedFiles(msgspec.Struct, frozen=True):
    """Where a client begins: the pinned root, and a folder for python-tuf's copies."""

    pinned: bytes
    folder: Path

    def roots(self) -> dict[str, str]:
        """Version → identity of the roots that the library has accepted, one after the other."""
        return {
            path.name.partition(".")[0]: root_identity(path.read_bytes())
            for path in (self.folder / "root_history").glob("*.root.json")
        }


class _Bridge(ngclient.FetcherInterface):
    """Our readers under python-tuf's interface; our errors keep their meaning on the way."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.failure: CnrMirrorError | None = None
        self.offered = b""
        self._limit = MAX_BYTES
        self._reading: Iterator[bytes] = iter(())

    def close(self) -> None:
        """Hang up, if the library lost interest in the middle of a file."""
        if isinstance(self._reading, Generator):
            self._reading.close()

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """As python-tuf's own; remembers how long the file may be: nobody waits for more."""
        self._limit = min(max_length, MAX_BYTES)
        data = super().download_bytes(url, max_length)
        if url == f"{_BASE}{TIMESTAMP}":
            self.offered = data
        return data

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix(_BASE)
        try:
            # One byte more, so that a longer file is seen to be that.
            self._reading = self._reader.fetch(path, self._limit + 1)
            yield from self._reading
        except IncompleteError as error:
            self.failure = error
            raise exceptions.DownloadHTTPError(error.message, 404) from error
        except CnrMirrorError as error:
            self.failure = error
            raise exceptions.DownloadError(error.message) from error


def trusted_view(reader: Reader, files: TrustedFiles, reference: datetime) -> TrustedView:
    """The metadata that a mirror has in force at a time.

    Args:
        reader: reads the mirror.
        files: the pinned root, and the copies of what was accepted before; the folder changes.
        reference: the time at which the roles must not be expired.

    Raises:
        TrustError: something is not what the keys signed, or older than the copies.
        StaleError: expired; ``details["expires"]`` says when, unless it is the root: that is final.
        IncompleteError, NetworkError: something cannot be had.
    """
    for _ in range(_ROTATIONS):
        try:
            return _look_once(reader, files, reference)
        except BadSignature:
            # Who looked for roots just before keys were rotated meets what the new ones signed.
            if not _has_newer_root(reader, files):
                raise
    return _look_once(reader, files, reference)


def _has_newer_root(reader: Reader, files: TrustedFiles) -> bool:
    newest = max(map(int, files.roots()), default=0)
    try:
        read(reader.fetch(f"{METADATA}/{newest + 1}.root.json", MAX_BYTES))
    except CnrMirrorError:
        return False
    return newest > 0


def _look_once(reader: Reader, files: TrustedFiles, reference: datetime) -> TrustedView:
    bridge = _Bridge(reader)
    with _translated(reader.name, bridge):
        updater = ngclient.Updater(
            str(files.folder), f"{_BASE}{METADATA}/", fetcher=bridge, config=_CONFIG,
            bootstrap=files.pinned,
        )  # fmt: skip
        updater._trusted_set.reference_time = reference  # its only hook for a chosen time
        try:
            target = updater.get_targetinfo(TARGET)
        except exceptions.ExpiredMetadataError as error:
            raise _stale(reader.name, updater, error) from error
        return _view(reader.name, updater, target, files, bridge.offered)


def _view(
    name: str,
    updater: ngclient.Updater,
    target: TargetFile | None,
    files: TrustedFiles,
    offered: bytes,
) -> TrustedView:
    if target is None:
        raise Tampered(f"{name}: the signed catalog does not name {TARGET}")
    trusted = updater._trusted_set
    catalog = trusted.get("catalog")
    if not isinstance(catalog, Targets):
        raise Tampered(f"{name}: its targets delegate the catalog to nobody")
    timestamp = (files.folder / "timestamp.json").read_bytes()
    return TrustedView(
        name, trusted.root, trusted.timestamp, trusted.snapshot, trusted.targets, catalog, target,
        timestamp, offered, files.roots(), (files.folder / "root.json").read_bytes(),
    )  # fmt: skip


def _stale(name: str, updater: ngclient.Updater, error: Exception) -> StaleError:
    trusted = updater._trusted_set
    final = trusted.root.is_expired(trusted.reference_time)
    details = {} if final else {"expires": _expiry(updater)}
    return StaleError(
        f"{name}: {error}; the mirror was not signed again in time, or somebody shows you "
        "an old state",
        **details,
    )


def _expiry(updater: ngclient.Updater) -> datetime | None:
    """When the first of the roles that were loaded expired; None if the library does not tell."""
    trusted = updater._trusted_set
    roles = ("timestamp", "snapshot", "targets", "catalog")
    found = [trusted[role].expires for role in roles if role in trusted]
    return min((end for end in found if end <= trusted.reference_time), default=None)


@contextmanager
def _translated(name: str, bridge: _Bridge) -> Iterator[None]:
    """python-tuf's errors as ours; what our reader said goes before what became of it."""
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
