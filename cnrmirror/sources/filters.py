"""Which of the things that a source offers are wanted, and what they are called here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated

import msgspec

from cnrmirror.model.documents import Channel, Tombstone
from cnrmirror.model.errors import InvalidDocument, InvalidName
from cnrmirror.model.names import PackageName, matches, newest_first
from cnrmirror.sources.base import Listing, Offer

# A day, or a moment in UTC; "" for none.
_TIME = r"^(\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?)?)?$"


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to take of a source; everything, where nothing is said.

    ``packages`` and ``exclude`` are globs (``charts/*``) or, between slashes, regular expressions
    (``/charts/n.+/``). ``releases`` is a semver range. ``newest`` keeps so many releases of each
    package. ``channels`` keeps what these point at. ``created_after`` compares with the upstream's
    ISO time.
    """

    packages: list[str] = []
    exclude: list[str] = []
    media_types: list[str] = []
    releases: str = ""
    prereleases: bool = True
    newest: Annotated[int, msgspec.Meta(ge=0)] = 0
    created_after: Annotated[str, msgspec.Meta(pattern=_TIME)] = ""
    channels: list[str] = []

    def problems(self) -> Iterator[tuple[str, str]]:
        """Each pattern or range that cannot be: its key, and what is wrong with it."""
        for key, patterns in (("packages", self.packages), ("exclude", self.exclude)):
            for pattern in patterns:
                try:
                    glob_matches("", pattern)
                except InvalidDocument as error:
                    yield key, error.message
        if self.releases:
            try:
                matches("1.0.0", self.releases)
            except InvalidName as error:
                yield "releases", error.message

    def select(self, listing: Listing) -> list[Offer]:
        """The offers that are wanted, sorted."""
        chosen = [offer for offer in listing.offers if self._wants(offer)]
        if self.channels:
            current = {
                (package, channel.current)
                for package, channels in listing.channels.items()
                for channel in channels
                if channel.name in self.channels
            }
            chosen = [o for o in chosen if (o.package, o.release) in current]
        if self.newest:
            releases: dict[str, set[str]] = {}
            for offer in chosen:
                releases.setdefault(offer.package, set()).add(offer.release)
            kept = {p: set(newest_first(found)[: self.newest]) for p, found in releases.items()}
            chosen = [o for o in chosen if o.release in kept[o.package]]
        return sorted(chosen, key=lambda offer: offer.key)

    def names(self, package: str) -> bool:
        """Whether a package of this name is wanted at all."""
        return (
            not self.packages or any(glob_matches(package, p) for p in self.packages)
        ) and not any(glob_matches(package, p) for p in self.exclude)

    def _wants(self, offer: Offer) -> bool:
        return (
            self.names(offer.package)
            and (not self.media_types or offer.media_type in self.media_types)
            and (self.prereleases or "-" not in offer.release.partition("+")[0])
            and (not self.releases or matches(offer.release, self.releases))
            and (not self.created_after or offer.created_at > self.created_after)
        )


def glob_matches(name: str, pattern: str) -> bool:
    """Whether a name matches a glob or, between slashes, a regular expression."""
    if len(pattern) > 2 and pattern[0] == pattern[-1] == "/":
        try:
            return re.fullmatch(pattern[1:-1], name) is not None
        except re.error as error:
            raise InvalidDocument(f"{pattern}: not a regular expression: {error}") from error
    return fnmatchcase(name, pattern)


def renamed(name: str, names: Mapping[str, str]) -> str:
    """What a package is called here: by an exact entry, or by one of ``upstream/*: here/*``."""
    if name in names:
        return names[name]
    for pattern, target in names.items():
        if pattern.endswith("/*") and name.startswith(pattern[:-1]):
            return target[:-1] + name[len(pattern) - 1 :] if target.endswith("/*") else target
    return name


def upstream_names(name: str, names: Mapping[str, str]) -> str:
    """What the upstream calls a package of this name here: the other direction of ``renamed``."""
    for upstream, target in names.items():
        if target == name and not upstream.endswith("/*"):
            return upstream
    for upstream, target in names.items():
        if upstream.endswith("/*") and target.endswith("/*") and name.startswith(target[:-1]):
            return upstream[:-1] + name[len(target) - 1 :]
    return name


def mapped(listing: Listing, names: Mapping[str, str]) -> Listing:
    """The listing with its packages called as they are called here. Raises InvalidName."""
    if not names:
        return listing

    def here(name: str) -> str:
        return str(PackageName.parse(renamed(name, names)))

    channels: dict[str, list[Channel]] = {}
    for name, found in listing.channels.items():
        channels.setdefault(here(name), []).extend(found)
    stones: dict[str, list[Tombstone]] = {}
    for name, gone in listing.tombstones.items():
        stones.setdefault(here(name), []).extend(gone)
    offers = [_called(offer, here(offer.package)) for offer in listing.offers]
    holes = [
        msgspec.structs.replace(hole, package=renamed(hole.package, names))
        for hole in listing.holes
    ]
    return msgspec.structs.replace(
        listing, offers=offers, channels=channels, holes=holes, tombstones=stones
    )


def _called(offer: Offer, name: str) -> Offer:
    return (
        offer
        if name == offer.package
        else msgspec.structs.replace(offer, package=name, renamed_from=offer.package)
    )
