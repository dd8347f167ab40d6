"""What pushed archives make of a package's document: pure, nothing is read or written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from cnrmirror.archive.identify import Identity
from cnrmirror.mirror.intake import Incoming, Refusal
from cnrmirror.model.documents import Channel, Content, PackageDocument, Release, all_attachments
from cnrmirror.model.errors import ReleaseConflict
from cnrmirror.model.names import Vendor, content_type, manifest_type, newest_first

Outcome = Literal["new", "replaced", "attached", "unchanged"]


class Pushed(msgspec.Struct, frozen=True):
    """What became of one archive; ``warnings`` are for people."""

    identity: Identity
    digest: str
    size: int
    outcome: Outcome
    flags: tuple[str, ...]
    warnings: list[str] = []


class What(msgspec.Struct, frozen=True):
    """What is said of all that is pushed.

    Args:
        channels: names to point at the highest release that is pushed of each package.
        metadata: JSON for the manifests; null for none.
        accept: let a release that is there already be replaced by one of other content.
        attached: media types and files of what belongs to the one release that is pushed.
        keep_going: leave out what is refused, and take the rest.
        outside: follow symlinks that lead out of a package folder, too.
        strict: refuse what is only warned of.
    """

    channels: Sequence[str] = ()
    metadata: msgspec.Raw = msgspec.Raw(b"null")
    accept: bool = False
    attached: Sequence[tuple[str, Path]] = ()
    keep_going: bool = False
    outside: bool = False
    strict: bool = False


class Merge:
    """What a push makes of one package's document: pure, nothing is read or written.

    Attributes:
        taken: what was taken in, and what became of it.
        refusals: what was not.
    """

    def __init__(self, old: PackageDocument, now: str, what: What, vendor: Vendor) -> None:
        self.taken: list[tuple[Incoming, Pushed]] = []
        self.refusals: list[Refusal] = []
        self._old = old
        self._now = now
        self._what = what
        self._vendor = vendor
        self._releases = {release.key: release for release in old.releases}
        self._stones = {(stone.release, stone.media_type): stone for stone in old.tombstones}

    def of(self, items: Sequence[Incoming]) -> PackageDocument:
        """The document with all these releases, as far as they can be taken."""
        twice = clashes(items)
        for item in items:
            try:
                if item.where in twice:
                    raise twice[item.where]
                self.taken.append((item, self._take(item)))
            except ReleaseConflict as error:
                self.refusals.append(Refusal(item.where, error))
        if not self.taken:
            return self._old
        highest = newest_first(item.identity.release for item, _ in self.taken)[0]
        return msgspec.structs.replace(
            self._old,
            releases=list(self._releases.values()),
            channels=move(self._old.channels, dict.fromkeys(self._what.channels, highest)),
            tombstones=[s for key, s in self._stones.items() if key not in self._releases],
        ).sorted()

    def _take(self, item: Incoming) -> Pushed:
        identity, info, what = item.identity, item.info, self._what
        key = identity.release, identity.media_type
        old = self._releases.get(key)
        same = old is not None and old.content.digest == info.diff_id
        if not what.accept:
            self._check(item, old, same)
        attachments = all_attachments(old.attachments if old and same else [], item.attachments)
        outcome: Outcome
        if old and same and bytes(what.metadata) in (b"null", bytes(old.metadata)):
            outcome = "attached" if attachments != old.attachments else "unchanged"
            self._releases[key] = msgspec.structs.replace(old, attachments=attachments)
            size = old.content.size
        else:
            outcome, size = "replaced" if old else "new", info.blob.size
            self._releases[key] = Release(
                identity.release,
                identity.media_type,
                self._now,
                manifest_type(identity.media_type, self._vendor),
                Content(info.diff_id, content_type(identity.media_type, self._vendor), size),
                info.blob,
                what.metadata,
                flags=list(info.flags),
                attachments=attachments,
            )
        return Pushed(identity, info.diff_id, size, outcome, info.flags, item.warnings)

    def _check(self, item: Incoming, old: Release | None, same: bool) -> None:
        """Law 5: a release is never given other content, not even after its removal."""
        identity, digest = item.identity, item.info.diff_id
        metadata = bytes(self._what.metadata)
        stone = self._stones.get((identity.release, identity.media_type))
        if old and not same:
            raise _conflict(
                item,
                f"exists already with digest {old.content.digest}, this one has {digest}; push "
                "it as a new release, or use --accept to replace it",
            )
        if old and metadata not in (b"null", bytes(old.metadata)):
            raise _conflict(item, "exists already with other metadata; use --accept to replace it")
        if not old and stone and stone.digest != digest:
            raise _conflict(
                item,
                f"was removed on {stone.removed_at} ({stone.reason}) and had digest "
                f"{stone.digest}, not {digest}; push a new release, or use --accept (POST: force)",
            )


def clashes(items: Sequence[Incoming]) -> dict[str, ReleaseConflict]:
    """Those that are one release with different content, by where they are.

    One push must not say two things of one release: which one is meant is for a person.
    """
    by_release: dict[Identity, list[Incoming]] = {}
    for item in items:
        by_release.setdefault(item.identity, []).append(item)
    found = {}
    for same in by_release.values():
        if len({item.info.diff_id for item in same}) > 1:
            for item in same:
                others = " and ".join(other.where for other in same if other is not item)
                found[item.where] = _conflict(
                    item, f"is {others}, too, with different content: push only one of them"
                )
    return found


def _conflict(item: Incoming, why: str) -> ReleaseConflict:
    identity = item.identity
    return ReleaseConflict(
        f"{item.where}: {identity.package}@{identity.release} ({identity.media_type}) {why}",
        package=identity.package,
        release=identity.release,
        media_type=identity.media_type,
    )


def move(channels: Sequence[Channel], moved: dict[str, str]) -> list[Channel]:
    """The channels, with some of them pointing at another release now."""
    result = {c.name: c for c in channels}
    for name, release in moved.items():
        before = result[name].releases if name in result else []
        releases = newest_first(dict.fromkeys([*before, release]))
        result[name] = Channel(name, release, releases)
    return list(result.values())
