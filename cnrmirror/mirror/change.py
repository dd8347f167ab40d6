"""Channels, removals, rollback: each is one revision."""

from __future__ import annotations

from typing import Literal

import msgspec

from cnrmirror.mirror.project import Project
from cnrmirror.mirror.releases import move
from cnrmirror.model.documents import (
    CatalogRoot,
    Channel,
    Head,
    PackageDocument,
    Release,
    Tombstone,
)
from cnrmirror.model.errors import DamageError, InputError, NotFoundError
from cnrmirror.model.names import check_channel, newest_first

_MAX_REASON = 1000


def credited(message: str, by: str) -> str:
    """The message of a revision, with the name of who asked for it; without, if that is ""."""
    return f"{message} (by {by})" if by else message


def set_channel(
    project: Project, package: str, channel: str, release: str, now: str, by: str = ""
) -> Head | None:
    """Point a channel at a release; it is made if it is new. Raises NotFoundError, InvalidName."""
    check_channel(channel)
    with project.signing(now):
        document = project.document(package)
        if not document.of_release(release):
            raise NotFoundError(
                f"Release {release} doesn't exist for package {package}",
                package=package,
                release=release,
            )
        new = _with_channels(document, move(document.channels, {channel: release}))
        message = credited(f"{package}:{channel} → {release}", by)
        return project.commit(_if_changed(document, new), message, now)


def remove_channel(
    project: Project, package: str, channel: str, release: str | None, now: str, by: str = ""
) -> Head | None:
    """Take a channel away, or one release out of it: then the highest that is left is current.

    Raises:
        NotFoundError: no such channel, or the release was never in it.
    """
    with project.signing(now):
        document = project.document(package)
        found = next((c for c in document.channels if c.name == channel), None)
        if found is None or (release is not None and release not in found.releases):
            raise NotFoundError(
                f"Channel '{channel}' doesn't exist for package '{package}'"
                if found is None
                else f"release {release} is not in channel {channel} of {package}",
                package=package,
                channel=channel,
            )
        left = [] if release is None else [r for r in found.releases if r != release]
        new = _with_channels(document, _replaced(document.channels, found, left))
        message = credited(f"remove channel {package}:{channel}", by)
        return project.commit({package: new}, message, now)


def _replaced(channels: list[Channel], old: Channel, left: list[str]) -> list[Channel]:
    rest = [c for c in channels if c.name != old.name]
    if not left:
        return rest
    ordered = newest_first(left)
    return [*rest, Channel(old.name, old.current if old.current in left else ordered[0], ordered)]


def _with_channels(document: PackageDocument, channels: list[Channel]) -> PackageDocument:
    return msgspec.structs.replace(document, channels=channels).sorted()


def _if_changed(old: PackageDocument, new: PackageDocument) -> dict[str, PackageDocument | None]:
    return {} if new == old else {new.package: new}


ChannelRule = Literal["move", "drop"]
"""What becomes of a channel whose current release goes: it moves to the highest left, or goes."""


class Removal(msgspec.Struct, frozen=True):
    """A release that goes, and why; ``media_type``: only that format of it.

    ``channels``: what becomes of those that point at it; they move if nothing is said.
    """

    package: str
    release: str
    media_type: str | None
    reason: str
    channels: ChannelRule | None = None

    def meant(self, document: PackageDocument) -> list[Release]:
        """What of a package's document it is about."""
        releases = document.of_release(self.release)
        return [r for r in releases if self.media_type in (None, r.media_type)]

    def gone(self, document: PackageDocument) -> list[Release]:
        """What of a package's document goes. Raises NotFoundError if nothing does."""
        found = self.meant(document)
        if not found:
            raise NotFoundError(
                f"there is no release {self.release}"
                + (f" ({self.media_type})" if self.media_type else "")
                + f" of {self.package}; see 'cnrmirror show {self.package}'",
                package=self.package,
                release=self.release,
                media_type=self.media_type,
            )
        return found

    def left_alone(self, document: PackageDocument) -> list[tuple[Channel, str | None]]:
        """The channels whose current release goes; each with the one to which it would move."""
        if len(self.gone(document)) < len(document.of_release(self.release)):
            return []
        found = []
        for channel in document.channels:
            if channel.current == self.release:
                left = newest_first(r for r in channel.releases if r != self.release)
                found.append((channel, left[0] if left else None))
        return found


def remove(project: Project, removal: Removal, now: str, by: str = "") -> Head | None:
    """Take a release away and leave a tombstone that says when and why.

    Args:
        by: who asked for it, for the revision's message; "": that is not said.

    Raises:
        NotFoundError: there is no such release (in this media type).
    """
    check_reason(removal.reason)
    with project.signing(now):
        document = project.document(removal.package)
        new = without(document, removal, now)
        message = f"remove {removal.package}@{removal.release}: {removal.reason}"
        return project.commit({removal.package: new}, credited(message, by), now)


def check_reason(reason: str) -> None:
    """Raises InputError if a reason is no line that people can read."""
    if len(reason) > _MAX_REASON or not reason.isprintable():
        raise InputError(f"--reason must be one line of at most {_MAX_REASON} characters")


def without(document: PackageDocument, removal: Removal, now: str) -> PackageDocument:
    """A package's document after a removal. Raises NotFoundError."""
    gone, release = removal.gone(document), removal.release
    kept = [r for r in document.releases if r not in gone]
    channels = document.channels
    if not any(r.release == release for r in kept):
        for channel in document.channels:
            left = [r for r in channel.releases if r != release]
            dropped = channel.current == release and removal.channels == "drop"
            channels = _replaced(channels, channel, [] if dropped else left)
    stones = [Tombstone(release, r.media_type, r.content.digest, now, removal.reason) for r in gone]
    return PackageDocument(
        document.package, kept, channels, [*stones, *document.tombstones]
    ).sorted()


def rollback(project: Project, revision: str, now: str) -> Head | None:
    """A new revision with the content of an old one. Raises NotFoundError."""
    with project.signing(now):
        _, root = project.revision(revision)
        _require_whole(project, root)
        return project.commit_tree(root.tree, f"rollback to revision {root.revision}", now)


def _require_whole(project: Project, root: CatalogRoot) -> None:
    """Raises DamageError if something that the revision needs is not there any more."""
    for difference in project.catalog.diff(project.tree(), root.tree):
        if difference.new is None:
            continue
        for release in project.catalog.document(difference.new).releases:
            for blob in release.blobs:
                if not project.store.has_blob(blob):
                    what = "the archive" if blob == release.blob else "an attachment"
                    raise DamageError(
                        f"revision {root.revision} needs {what} of {difference.name}@"
                        f"{release.release} ({blob.digest}), which is not there any more: "
                        "restore it from a copy"
                    )
