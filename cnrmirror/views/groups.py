"""The entries of one view by group: its lists read those that they need, and no others.

A view says in which groups an entry has a row (``View.rows``; mostly one, that of the namespace),
and what its lists of everything need of a whole group (``View.summary``). So a small change in a
large mirror reads and makes anew a few groups, and of all others their summaries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol

Entries = Mapping[str, Any]
"""The entries of one view, by package."""

Changes = Mapping[str, tuple[Any | None, Any | None]]
"""The entries of the packages that changed, before and after; None where there was, or is, none."""

Rows = Mapping[str, Any]
"""The rows of one group, by package, sorted."""


class Grouping(Protocol):
    """How the entries of a view stand in groups."""

    def rows(self, package: str, entry: Any) -> Mapping[str, Any]:
        """What the groups keep of an entry in which it stands: one row each."""

    def summary(self, name: str, rows: Rows) -> Any:
        """What lists of everything need of a group; None if nothing."""


class Groups(Protocol):
    """The entries of one view."""

    def group(self, name: str) -> Rows:
        """The rows of a group; none if there is no such group."""

    def summaries(self) -> Mapping[str, Any]:
        """The summary of every group that has rows."""


class Grouped:
    """Entries that are in memory (``Groups``)."""

    def __init__(self, view: Grouping, entries: Entries) -> None:
        self._view = view
        self._groups: dict[str, dict[str, Any]] = {}
        for package in sorted(entries):
            for name, row in view.rows(package, entries[package]).items():
                self._groups.setdefault(name, {})[package] = row
        self._summaries: dict[str, Any] | None = None

    def group(self, name: str) -> Rows:
        """See ``Groups``."""
        return self._groups.get(name, {})

    def summaries(self) -> Mapping[str, Any]:
        """See ``Groups``."""
        if self._summaries is None:
            found = self._groups.items()
            self._summaries = {name: self._view.summary(name, rows) for name, rows in found}
        return self._summaries


class Edited:
    """Entries after a change (``Groups``): what it does not touch is as it was before.

    ``touched``: the groups that have other rows.
    """

    def __init__(self, view: Grouping, before: Groups, changes: Changes) -> None:
        self._view, self._before = view, before
        self._edits: dict[str, dict[str, Any | None]] = {}
        for package, (old, new) in changes.items():
            rows = {} if new is None else view.rows(package, new)
            former = {} if old is None else view.rows(package, old)
            for name in former.keys() | rows.keys():
                if former.get(name) != rows.get(name):
                    self._edits.setdefault(name, {})[package] = rows.get(name)
        self._groups: dict[str, dict[str, Any]] = {}
        self._summaries: dict[str, Any] | None = None

    @property
    def touched(self) -> Collection[str]:
        return self._edits.keys()

    def group(self, name: str) -> Rows:
        """See ``Groups``."""
        edits = self._edits.get(name)
        if edits is None:
            return self._before.group(name)
        if name not in self._groups:
            self._groups[name] = _edited(self._before.group(name), edits)
        return self._groups[name]

    def summaries(self) -> Mapping[str, Any]:
        """See ``Groups``."""
        if self._summaries is None:
            found = dict(self._before.summaries())
            for name in self._edits:
                found.pop(name, None)
                if rows := self.group(name):
                    found[name] = self._view.summary(name, rows)
            self._summaries = found
        return self._summaries


def _edited(before: Rows, edits: Mapping[str, Any | None]) -> dict[str, Any]:
    found = dict(before)
    for package, row in edits.items():
        if row is None:
            found.pop(package, None)
        else:
            found[package] = row
    # Where one came, it has its place; what is replaced keeps its own.
    return found if edits.keys() <= before.keys() else dict(sorted(found.items()))


def every(groups: Groups) -> Iterator[tuple[str, Any]]:
    """All rows with their packages, group by group; the groups sorted as packages are."""
    for name in in_order(groups.summaries()):
        yield from groups.group(name).items()


def in_order(namespaces: Collection[str]) -> list[str]:
    """Namespaces in the order that their packages have among all others."""
    return sorted(namespaces, key=lambda name: f"{name}/")
