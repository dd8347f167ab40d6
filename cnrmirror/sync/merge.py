"""One source's part of a sync merged into package documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from cnrmirror.mirror.project import Project
from cnrmirror.model.documents import Channel, Content, PackageDocument, Release, Tombstone
from cnrmirror.model.names import content_type, newest_first
from cnrmirror.sources.base import Listing
from cnrmirror.sync.fetch import Fetched
from cnrmirror.sync.plan import PUSHED, Key, Plan, Rules
from cnrmirror.sync.why import Why, gone_stones

T = TypeVar("T")


# -- merging --------------------------------------------------------------------------------------


class Run:
    """One run over several sources: what has changed so far, and who gave what."""

    def __init__(self, project: Project, names: Sequence[str], now: str, keep: bool) -> None:
        self.project = project
        self.now = now
        self.keep = keep
        self.changed: dict[str, PackageDocument] = {}
        self.taken: set[Key] = set()
        self.taken_channels: set[tuple[str, str]] = set()
        self.owned: dict[str, list[Key]] = {name: [] for name in names}
        self._tree = project.tree()
        for ref in project.catalog.packages(self._tree):
            for release in project.catalog.document(ref).releases:
                if release.origin in self.owned:
                    key = (ref.name, release.release, release.media_type)
                    self.owned[release.origin].append(key)

    def document(self, package: str) -> PackageDocument | None:
        """A package as it is at this point of the run."""
        return self.changed.get(package) or self.project.catalog.get(self._tree, package)

    def documents(self, packages: Iterable[str]) -> dict[str, PackageDocument]:
        found = {package: self.document(package) for package in packages}
        return {package: document for package, document in found.items() if document}


def merge_source(
    run: Run,
    found: Plan,
    listing: Listing,
    fetched: Mapping[Key, Fetched],
    rules: Rules,
    had: Mapping[str, list[str]],
) -> dict[str, list[str]]:
    """One source's part into the run's documents; the channels that are this source's."""
    offered = {key[0] for key in found.wanted}
    packages = offered | {a.package for a in found.actions} | set(had)
    packages |= {package for package in listing.tombstones if rules.filter.names(package)}
    unread = {hole.package for hole in found.holes}
    drops = _by_package(found.of_kind("drop"), lambda action: action.package)
    arrived = _by_package(fetched.items(), lambda item: item[0][0])
    owned: dict[str, list[str]] = {}
    for package in sorted(packages):
        old = run.document(package) or PackageDocument(package, [])
        releases = {r.key: r for r in old.releases}
        stones = list(old.tombstones)
        upstream_stones = listing.tombstones.get(package, [])
        for action in drops.get(package, []):
            key = action.key
            if key[1:] in releases:
                gone = releases.pop(key[1:])
                if action.why is Why.GONE_UPSTREAM and not _named(upstream_stones, key):
                    stones += gone_stones([gone], run.now)
        for key, result in arrived.get(package, []):
            releases[key[1:]] = _release(found.source, found.wanted[key], result, run.now)
        stones += [t for t in upstream_stones if not _named(stones, (package, *_of(t)))]
        stones = [t for t in stones if _of(t) not in releases]
        wanted = package in offered
        its = listing.channels.get(package, []) if wanted else []
        known = {release for release, _ in releases}
        channels, mine = _channels(
            run, old, its, known, had.get(package, []),
            rules.deletes == "follow" and wanted and package not in unread,
        )  # fmt: skip
        if mine:
            owned[package] = mine
        new = PackageDocument(package, list(releases.values()), channels, stones).sorted()
        if new != old and (new.releases or new.tombstones or old.releases):
            run.changed[package] = new
    return owned


def _by_package(items: Iterable[T], package: Callable[[T], str]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for item in items:
        found.setdefault(package(item), []).append(item)
    return found


def _of(stone: Tombstone) -> tuple[str, str]:
    return stone.release, stone.media_type


def _named(stones: Iterable[Tombstone], key: tuple[str, ...]) -> bool:
    return any(_of(stone) == key[1:] for stone in stones)


def _channels(
    run: Run,
    old: PackageDocument,
    upstream: Sequence[Channel],
    known: set[str],
    had: Sequence[str],
    follow: bool,
) -> tuple[list[Channel], list[str]]:
    """The channels of a package, and the names of those that this source gave.

    A channel that was set here, in a package that has releases of others, stays as it is; one that
    is gone upstream goes only with ``deletes: follow``; the first source to give one has it.
    """
    local = any(r.origin == PUSHED for r in old.releases)
    channels = {c.name: c for c in _known(old.channels, known)}
    mine = []
    for channel in _known(upstream, known):
        key = (old.package, channel.name)
        set_here = local and channel.name in channels and channel.name not in had
        if key not in run.taken_channels and not set_here:
            run.taken_channels.add(key)
            channels[channel.name] = channel
            mine.append(channel.name)
    if follow:
        for name in set(had) - {c.name for c in upstream}:
            channels.pop(name, None)
    else:
        mine += [name for name in had if name in channels and name not in mine]
    return list(channels.values()), sorted(mine)


def _known(channels: Sequence[Channel], known: set[str]) -> Iterator[Channel]:
    """Channels, as far as what they name is here."""
    for channel in channels:
        kept = newest_first(r for r in channel.releases if r in known)
        if channel.current in known:
            yield Channel(channel.name, channel.current, kept)
        elif kept:
            yield Channel(channel.name, kept[0], kept)


def _release(origin: str, offer: Any, result: Fetched, now: str) -> Release:
    vendor: Any = "cnr" if ".cnr." in offer.manifest_type else "appr"
    content = Content(
        result.diff_id,
        content_type(offer.media_type, vendor),
        offer.size or result.blob.size,
        offer.urls,
    )
    return Release(
        offer.release, offer.media_type, offer.created_at or now, offer.manifest_type, content,
        result.blob, offer.metadata, origin, list(result.flags),
    )  # fmt: skip
