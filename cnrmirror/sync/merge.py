"""What one source does to one package: a pure function of values, and the values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from cnrmirror.model.documents import (
    MAX_ATTACHMENTS,
    Channel,
    Content,
    PackageDocument,
    Release,
    Tombstone,
    all_attachments,
)
from cnrmirror.model.names import Vendor, content_type, newest_first
from cnrmirror.sources.base import Listing, Offer
from cnrmirror.sync.fetch import Fetched
from cnrmirror.sync.plan import PUSHED, Plan, Rules
from cnrmirror.sync.why import Why, gone_stones

ReleaseKey = tuple[str, str]


class Part(msgspec.Struct, frozen=True):
    """One source's part in one package.

    Args:
        drops: the releases that go, and why.
        arrived: the releases that came.
        stones: what the source says it took away.
        channels: the source's channels.
        had: the channels that this source gave before.
        follow: whether a channel that is gone upstream goes.
    """

    drops: dict[ReleaseKey, Why] = {}
    arrived: list[Release] = []
    stones: list[Tombstone] = []
    channels: list[Channel] = []
    had: list[str] = []
    follow: bool = False


class Merged(msgspec.Struct, frozen=True):
    """A package after one source's part.

    ``given`` names the channels that the source gave now, ``owned`` those that are its own from
    now on.
    """

    document: PackageDocument
    given: list[str]
    owned: list[str]


def merged(document: PackageDocument, part: Part, taken: Collection[str], now: str) -> Merged:
    """The package with what one source brought, dropped and says.

    Args:
        document: the package as it is at this point of the run.
        part: what the source does.
        taken: the channels that an earlier source gave in this run.
        now: when what is gone upstream is taken away.
    """
    releases = {r.key: r for r in document.releases}
    dropped = {key: releases.pop(key) for key in part.drops if key in releases}
    releases.update((r.key, _with_attachments(r, releases.get(r.key))) for r in part.arrived)
    told = {_of(stone) for stone in part.stones}
    gone = [
        release
        for key, release in dropped.items()
        if part.drops[key] is Why.GONE_UPSTREAM and key not in told
    ]
    stones = [*document.tombstones, *gone_stones(gone, now)]
    named = {_of(stone) for stone in stones}
    stones += [stone for stone in part.stones if _of(stone) not in named]
    channels, given, owned = _channels(document.channels, part, releases, taken)
    new = msgspec.structs.replace(
        document,
        releases=list(releases.values()),
        channels=channels,
        tombstones=[stone for stone in stones if _of(stone) not in releases],
    )
    return Merged(new.sorted(), given, owned)


def _with_attachments(release: Release, before: Release | None) -> Release:
    """The release with what belonged to the same archive before: attachments are only added."""
    if before is None or before.blob != release.blob:
        return release
    more = [a for a in release.attachments if a not in before.attachments]
    # What does not fit any more is no reason to lose the whole source.
    room = MAX_ATTACHMENTS - len(before.attachments)
    attachments = all_attachments(before.attachments, more[:room])
    return msgspec.structs.replace(release, attachments=attachments)


def _of(stone: Tombstone) -> ReleaseKey:
    return stone.release, stone.media_type


def _channels(
    before: Iterable[Channel],
    part: Part,
    releases: Mapping[ReleaseKey, Release],
    taken: Collection[str],
) -> tuple[list[Channel], list[str], list[str]]:
    """The channels of a package, those that the source gave, and those that are its own.

    A channel that was set here, in a package that has releases of others, stays as it is; one that
    is gone upstream goes only with ``follow``; the first source to give one has it.

    Args:
        releases: those that the package has now.
    """
    local = any(release.origin == PUSHED for release in releases.values())
    known = {release for release, _ in releases}
    channels = {c.name: c for c in _known(before, known)}
    set_here = channels.keys() - set(part.had) if local else set()
    given = {
        c.name: c
        for c in _known(part.channels, known)
        if c.name not in taken and c.name not in set_here
    }
    channels.update(given)
    if part.follow:
        for name in set(part.had) - {c.name for c in part.channels} - set(taken):
            channels.pop(name, None)
        # Of one that could not follow tonight, the source is the owner all the same.
        owned = set(given) | (channels.keys() & set(part.had) & {c.name for c in part.channels})
    else:
        owned = set(given) | (channels.keys() & set(part.had))
    return list(channels.values()), sorted(given), sorted(owned)


def _known(channels: Iterable[Channel], known: Collection[str]) -> Iterator[Channel]:
    """Channels, as far as what they name is here."""
    for channel in channels:
        kept = newest_first(r for r in channel.releases if r in known)
        if channel.current in known:
            yield Channel(channel.name, channel.current, kept)
        elif kept:
            yield Channel(channel.name, kept[0], kept)


# -- from one source's plan to one part a package -------------------------------------------------


def parts(
    plan: Plan,
    listing: Listing,
    rules: Rules,
    arrived: Iterable[tuple[str, Release]],
    had: Mapping[str, Sequence[str]],
) -> dict[str, Part]:
    """What a source does to each package that it touches, sorted by package.

    Args:
        plan: what was decided.
        listing: what the source has.
        rules: how it is treated.
        arrived: the releases that were fetched, each with its package.
        had: the channels that the source gave before, by package.
    """
    offered = {key[0] for key in plan.wanted}
    unread = {hole.package for hole in plan.holes if not hole.release}
    drops: dict[str, dict[ReleaseKey, Why]] = {}
    for action in plan.of_kind("drop"):
        drops.setdefault(action.package, {})[action.key[1:]] = action.why
    came: dict[str, list[Release]] = {}
    for package, release in arrived:
        came.setdefault(package, []).append(release)
    packages = offered | {action.package for action in plan.actions} | set(had)
    packages |= {package for package in listing.tombstones if rules.filter.names(package)}
    return {
        package: Part(
            drops.get(package, {}),
            came.get(package, []),
            listing.tombstones.get(package, []),
            listing.channels.get(package, []) if package in offered else [],
            list(had.get(package, ())),
            rules.deletes == "follow" and package in offered and package not in unread,
        )
        for package in sorted(packages)
    }


def release_of(origin: str, offer: Offer, fetched: Fetched, now: str) -> Release:
    """The release that an offer has become; ``now`` stands where its source tells no time."""
    vendor: Vendor = "cnr" if ".cnr." in offer.manifest_type else "appr"
    content = Content(
        fetched.diff_id,
        content_type(offer.media_type, vendor),
        offer.size or fetched.blob.size,
        offer.urls,
    )
    return Release(
        offer.release, offer.media_type, offer.created_at or now, offer.manifest_type, content,
        fetched.blob, offer.metadata, origin, list(fetched.flags),
        all_attachments(fetched.attachments),
    )  # fmt: skip
