"""Do two mirrors of one registry tell one story?"""

from __future__ import annotations

from cnrmirror.client.remote import Remote
from cnrmirror.model.errors import Equivocation, IncompleteError
from cnrmirror.model.signed import MAX_BYTES, TIMESTAMP
from cnrmirror.objects.base import read


def compare(first: Remote, second: Remote) -> list[str]:
    """Whether two mirrors of one registry tell one story; notes on what could not be told.

    Raises:
        Equivocation: one revision number with two catalogs, or two histories.
    """
    a, b = first.verified, second.verified
    if a.root.registry != b.root.registry:
        raise Equivocation(f"{first.reader.name} and {second.reader.name}: two registries")
    if a.timestamp_version == b.timestamp_version and _timestamp(first) != _timestamp(second):
        raise Equivocation(
            f"{first.reader.name} and {second.reader.name} have two timestamps of version "
            f"{a.timestamp_version}: keys were misused"
        )
    older, newer = (first, second) if a.root.revision <= b.root.revision else (second, first)
    revision = older.verified.root.revision
    digest = _catalog_of(newer, revision)
    if digest is None:
        return [f"{newer.reader.name} keeps no history back to revision {revision}"]
    if digest != older.verified.at.digest:
        raise Equivocation(
            f"revision {revision} is {digest} at {newer.reader.name}, but "
            f"{older.verified.at.digest} at {older.reader.name}: keys were misused"
        )
    return []


def _timestamp(remote: Remote) -> bytes:
    return read(remote.reader.fetch(TIMESTAMP, MAX_BYTES))


def _catalog_of(remote: Remote, revision: int) -> str | None:
    """The digest of the catalog of a revision; None if the history does not go back to it."""
    try:
        for at, root in remote.catalog.history(remote.verified.at):
            if root.revision <= revision:
                return at.digest if root.revision == revision else None
    except IncompleteError:
        pass
    return None
