"""The pages that list packages: home, namespaces, the feed; and how a long list is split.

A list of more than ``ROWS`` names is split by their next letters, never by position: a new name
changes one page, not all behind it. Which pages a change touches follows from the names before and
after it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

import msgspec

from cnrmirror.model import typed
from cnrmirror.views.groups import Changes, Groups, in_order
from cnrmirror.views.pageicon import icon
from cnrmirror.views.pagevalues import Values

ROWS = 200
"""Rows of a page."""
NEWEST, FEED = 30, 50
OF_ONE = 10
"""How many of the newest releases of one package a list may show."""


class Dated(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A release with its time, as ``pagevalues.moment`` gives it."""

    created: str
    release: str
    media_type: str


class PageEntry(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What lists and search show of a package.

    ``newest``: its newest release by time, None if it has none. ``older``: the next ones as JSON,
    of which the lists of all packages read few.
    """

    release: str
    description: str
    media_types: list[str]
    newest: Dated | None
    older: msgspec.Raw
    deprecated: bool = False

    @classmethod
    def of(cls, release: str, description: str, dated: list[Dated], deprecated: bool) -> PageEntry:
        """Of a package with these releases, in any order; ``release`` is what is shown first."""
        by_time = sorted(dated, key=lambda d: (d.created, d.release, d.media_type), reverse=True)
        older = msgspec.Raw(msgspec.json.encode(by_time[1:OF_ONE]))
        types = sorted({each.media_type for each in dated})
        newest = by_time[0] if by_time else None
        return cls(release, description, types, newest, older, deprecated)

    def dated(self) -> Iterator[Dated]:
        """Its newest releases, at most ``OF_ONE``, newest first."""
        if self.newest is not None:
            yield self.newest
            yield from typed.decode(self.older, list[Dated])


class Members(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the pages of the mirror need of a namespace: how many packages, the newest time."""

    packages: int
    newest: str


class Part(msgspec.Struct, frozen=True):
    """One page of a list that is split: the names that begin with ``prefix``."""

    prefix: str
    names: list[str]

    @property
    def file(self) -> str:
        """What the page is called: no name that a file system keeps for itself."""
        return f"p-{self.prefix}.html"

    def holds(self, name: str) -> bool:
        """Whether a name has its place here."""
        low = name.lower()
        return low + "~" == self.prefix or low.startswith(self.prefix)


def parts_of(names: Collection[str], prefix: str = "") -> list[Part]:
    """A list as pages of at most ``ROWS`` names, in order; one page if that is enough.

    Names that differ in nothing but small and large letters stay together.
    """
    ordered = sorted(names, key=lambda name: (name.lower(), name))
    if len(ordered) <= ROWS or all(name.lower() == prefix for name in ordered):
        return [Part(prefix, ordered)]
    at = len(prefix) + 1
    below: dict[str, list[str]] = {}
    for name in ordered:
        below.setdefault(name[:at].lower(), []).append(name)
    # A name that ends here stands on a page of its own, before those that go on.
    found = []
    for start, some in below.items():
        whole = start == prefix
        found += [Part(f"{prefix}~", some)] if whole else parts_of(some, start)
    return found


def touched(now: Collection[str], changes: Changes | None) -> tuple[list[Part], list[Part]]:
    """The pages of a list, and those of them that a change of some names touches.

    Args:
        now: the names, before the change or after it.
        changes: what every name that changed was and is, None for "not there"; None: everything.
    """
    if changes is None:
        every = parts_of(now)
        return every, every
    gone = {name for name, (_, new) in changes.items() if new is None}
    come = {name for name, (old, _) in changes.items() if old is None}
    names = set(now)
    before, after = (names | gone) - come, (names | come) - gone
    shapes = [[part.prefix for part in parts_of(some)] for some in (before, after)]
    parts = parts_of(names)
    if shapes[0] != shapes[1]:  # each page names the others
        return parts, parts
    return parts, [part for part in parts if any(map(part.holds, changes))]


Package = tuple[str, PageEntry]


def newest_packages(groups: Groups) -> Iterator[Values]:
    """The packages with the newest releases, each once, newest first."""
    for first, (package, entry) in _newest(groups, NEWEST, _first_of):
        yield {
            "package": package, "release": first.release, "media_type": first.media_type,
            "created": first.created, "description": entry.description,
            "icon": icon(package), "href": f"packages/{package}/index.html",
        }  # fmt: skip


def newest_releases(groups: Groups) -> list[tuple[Dated, Package]]:
    """The newest releases of all packages, at most ``OF_ONE`` of one."""
    return _newest(groups, FEED, PageEntry.dated)


def _first_of(entry: PageEntry) -> Iterable[Dated]:
    return () if entry.newest is None else (entry.newest,)


def _newest(
    groups: Groups, most: int, shown: Callable[[PageEntry], Iterable[Dated]]
) -> list[tuple[Dated, Package]]:
    """So many of the newest; those of one time by package, and of one package the order stays.

    Namespaces are read as long as one of them may have any of these.
    """
    members = groups.summaries()
    found: list[tuple[Dated, Package]] = []
    by_time = sorted(in_order(members), key=lambda name: members[name].newest, reverse=True)
    for name in by_time:
        newest = members[name].newest
        if len(found) >= most:
            last, (package, _) = found[most - 1]
            if last.created > newest or (last.created == newest and package < f"{name}/"):
                break
        some = (
            (dated, (package, entry))
            for package, entry in groups.group(name).items()
            for dated in shown(entry)
        )
        found = _sorted([*found, *some])[:most]
    return found


def _sorted(found: list[tuple[Dated, Package]]) -> list[tuple[Dated, Package]]:
    found.sort(key=lambda pair: pair[1][0])
    return sorted(found, key=lambda pair: pair[0].created, reverse=True)


def row(package: str, entry: PageEntry, up: str) -> Values:
    """A package in the list of its namespace; ``up`` leads to the top of the site."""
    first = entry.newest.created if entry.newest else ""
    return {
        "package": package, "name": package.partition("/")[2], "release": entry.release,
        "media_types": entry.media_types, "created": first,
        "description": entry.description, "deprecated": entry.deprecated,
        "icon": icon(package), "href": f"{up}packages/{package}/index.html",
    }  # fmt: skip
