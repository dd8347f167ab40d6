"""What of the views has to be written and removed to bring a destination to a revision.

Pure: from the revisions between which the views stand, the revision that they go to, and the form
that they have at the destination, to batches in an order that never breaks a reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from cnrmirror.catalog.tree import EMPTY, CatalogReader
from cnrmirror.model.documents import Node, PackageDocument
from cnrmirror.model.resource import Resource
from cnrmirror.views.cnr_v1 import ListEntry, row
from cnrmirror.views.layout import RANKS, rank

_PACKAGES_AT_ONCE = 100


class Form(msgspec.Struct, frozen=True):
    """What the views are at a destination: rendered, and in the layout that it needs.

    ``fingerprint`` differs whenever the same catalog would give other files.
    """

    fingerprint: str
    package: Callable[[PackageDocument | None], list[Resource]]
    aggregates: Callable[[list[ListEntry], Iterable[ListEntry]], list[Resource]]
    fixed: Callable[[], list[Resource]]


class Batch(msgspec.Struct, frozen=True):
    """What is written before the next batch, and what may be removed when all is written."""

    puts: list[Resource]
    deletes: list[str] = []


class ViewDiff:
    """The difference of the views.

    Args:
        catalog: reads the documents of all these revisions.
        form: the views at the destination.
        states: the trees between which the views stand; None for "there are no views".
        new: the tree that they go to.
        entries: the list entries of ``new``, by package.
    """

    def __init__(
        self, catalog: CatalogReader, form: Form, states: Sequence[Node | None], new: Node,
        entries: Mapping[str, ListEntry],
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._form = form
        self._trees = [EMPTY if state is None else state for state in states]
        self._empty = [state is None for state in states]
        self._new = new
        self._entries = entries

    def batches(self) -> Iterator[Batch]:
        """Everything that differs from any of the states, each package rendered once."""
        names = sorted(
            {d.name for tree in self._trees for d in self._catalog.diff(tree, self._new)}
        )
        entries = [dict(self._entries) for _ in self._trees]
        touched: list[ListEntry] = []
        for start in range(0, len(names), _PACKAGES_AT_ONCE):
            ranked: list[Batch] = [Batch([], []) for _ in range(RANKS)]
            for name in names[start : start + _PACKAGES_AT_ONCE]:
                olds = [self._catalog.get(tree, name) for tree in self._trees]
                touched += _put_back(name, olds, entries)
                puts, deletes = self._package(name, olds)
                for resource in puts:
                    ranked[rank(resource.path)].puts.append(resource)
                ranked[-1].deletes.extend(deletes)
            yield from (batch for batch in ranked if batch.puts or batch.deletes)
        if names or any(self._empty):
            touched += [self._entries[name] for name in names if name in self._entries]
            yield self._lists(entries, touched)
        if any(self._empty):
            yield Batch(self._form.fixed())

    def _package(
        self, name: str, olds: Sequence[PackageDocument | None]
    ) -> tuple[list[Resource], list[str]]:
        new = self._form.package(self._catalog.get(self._new, name))
        return _difference([self._form.package(old) for old in olds], new)

    def _lists(self, entries: Sequence[Mapping[str, ListEntry]], touched: list[ListEntry]) -> Batch:
        olds = [
            [] if empty else self._form.aggregates(in_order(old), touched)
            for old, empty in zip(entries, self._empty, strict=True)
        ]
        new = self._form.aggregates(in_order(self._entries), touched)
        return Batch(*_difference(olds, new))


def _put_back(
    name: str, olds: Sequence[PackageDocument | None], entries: Sequence[dict[str, ListEntry]]
) -> Iterator[ListEntry]:
    """Give each state's list entries the package as it was there; yields the old entries."""
    for found, old in zip(entries, olds, strict=True):
        found.pop(name, None)
        entry = row(old) if old else None
        if entry:
            found[name] = entry
            yield entry


def _difference(
    olds: Sequence[Iterable[Resource]], new: Iterable[Resource]
) -> tuple[list[Resource], list[str]]:
    """What has to be written and removed, whichever of the old states is there."""
    before = [{r.path: r for r in old} for old in olds]
    after = {r.path: r for r in new}
    gone = {path for old in before for path in old if path not in after}
    puts = [r for path, r in after.items() if any(old.get(path) != r for old in before)]
    return puts, sorted(gone, key=lambda path: (-rank(path), path))


def in_order(entries: Mapping[str, ListEntry]) -> list[ListEntry]:
    """List entries sorted by package."""
    return [entries[name] for name in sorted(entries)]
