"""The listing of a source as the mirror sees it: its names here, and what of it is wanted."""

from __future__ import annotations

import msgspec

from cnrmirror.model.collector import without_cycles
from cnrmirror.model.documents import Channel, Tombstone
from cnrmirror.model.names import PackageName
from cnrmirror.sources.base import Hole, Listing, Offer
from cnrmirror.sources.filters import Filter, Wanted, renamed


def select(wanted: Filter, listing: Listing) -> list[Offer]:
    """The offers that are wanted, sorted."""
    chosen = [
        offer
        for offer in listing.offers
        if wanted.names(offer.package)
        and wanted.takes_type(offer.media_type)
        and wanted.takes_release(offer.release)
        and wanted.takes_time(offer.created_at)
    ]
    if wanted.channels or wanted.newest:
        releases: dict[str, set[str]] = {}
        for offer in chosen:
            releases.setdefault(offer.package, set()).add(offer.release)
        kept = {
            package: wanted.kept(found, currents(wanted, listing.channels.get(package, [])))
            for package, found in releases.items()
        }
        chosen = [o for o in chosen if o.release in kept[o.package]]
    return sorted(chosen, key=lambda offer: offer.key)


def currents(wanted: Filter, channels: list[Channel]) -> set[str]:
    """What the channels that a filter names point at."""
    return {channel.current for channel in channels if channel.name in wanted.channels}


def wanted_hole(wanted: Filter, hole: Hole) -> bool:
    """Whether a hole concerns what is wanted; one of which nobody knows what it is, does."""
    if hole.package and not wanted.names(hole.package):
        return False
    return not hole.release or wanted.takes_release(hole.release)


@without_cycles()
def mapped(listing: Listing, wanted: Wanted) -> Listing:
    """The listing with its packages called as they are called here, and holes of what is wanted.

    Raises:
        InvalidName: a package cannot be called as ``names`` would have it.
    """
    names = wanted.names

    def here(name: str) -> str:
        return str(PackageName.parse(renamed(name, names)))

    channels: dict[str, list[Channel]] = {}
    for name, found in listing.channels.items():
        channels.setdefault(here(name), []).extend(found)
    stones: dict[str, list[Tombstone]] = {}
    for name, gone in listing.tombstones.items():
        stones.setdefault(here(name), []).extend(gone)
    offers = [_called(offer, here(offer.package)) for offer in listing.offers]
    called = (
        msgspec.structs.replace(hole, package=renamed(hole.package, names))
        for hole in listing.holes
    )
    holes = [hole for hole in called if wanted_hole(wanted.filter, hole)]
    return msgspec.structs.replace(
        listing, offers=offers, channels=channels, holes=holes, tombstones=stones
    )


def _called(offer: Offer, name: str) -> Offer:
    return (
        offer
        if name == offer.package
        else msgspec.structs.replace(offer, package=name, renamed_from=offer.package)
    )
