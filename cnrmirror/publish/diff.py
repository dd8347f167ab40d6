"""What of the views has to be written and removed to bring a destination to a revision.

Pure: from the revisions between which the views stand, the revision that they go to, and the form
that they have at the destination, to batches in an order that never breaks a reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import msgspec

from cnrmirror.catalog.tree import EMPTY, CatalogReader
from cnrmirror.model.documents import CatalogRoot, Node
from cnrmirror.model.resource import Resource
from cnrmirror.views.base import RANKS, Archives, Package
from cnrmirror.views.hosts import HOST_FILES
from cnrmirror.views.site import (
    NO_JEKYLL,
    Site,
    ViewChanges,
    ViewGroups,
    add_entries,
    changes,
    reversed_changes,
)

_PACKAGES_AT_ONCE = 100
_OF_HOSTS = (NO_JEKYLL, *HOST_FILES)


class Form(msgspec.Struct, frozen=True):
    """What the views are at a destination: a site's, in the layout that it needs.

    ``placed`` gives files their keys there; ``extra`` are the files that the host wants of its own.
    ``fingerprint`` differs whenever the same catalog would give other files. ``host`` is one of
    static sites, or "". ``left_out``: what clients cannot do there.
    """

    site: Site
    placed: Callable[[Iterable[Resource]], list[Resource]]
    extra: list[Resource]
    fingerprint: str
    host: str = ""
    left_out: list[str] = []

    def package(self, package: Package | None) -> list[Resource]:
        """As ``Site.package``, as the destination has them."""
        return self.placed(self.site.package(package))

    def lists(
        self, groups: ViewGroups, moved: ViewChanges | None, root: CatalogRoot
    ) -> list[Resource]:
        """As ``Site.lists``, as the destination has them."""
        return self.placed(self.site.lists(groups, moved, root))

    def all_lists(self, groups: ViewGroups, root: CatalogRoot) -> list[Resource]:
        """As ``Site.all_lists``, as the destination has them."""
        return self.placed(self.site.all_lists(groups, root))

    def fixed(self) -> list[Resource]:
        """As ``Site.fixed``, as the destination has them, and what the host wants."""
        return [*self.placed(self.site.fixed()), *self.extra]

    def is_ours(self, key: str) -> bool:
        """Whether a key is below a name that is a mirror's; others are somebody else's."""
        return key.startswith("catalog/") or key in _OF_HOSTS or self.site.has_top(key)


class Batch(msgspec.Struct, frozen=True):
    """What is written before the next batch, and what may be removed when all is written."""

    puts: list[Resource]
    deletes: list[str] = []


class ViewDiff:
    """The difference of the views.

    Args:
        catalog: reads the documents of all these revisions.
        archives: those that are here; of one that is not, a page is taken for another.
        form: the views at the destination.
        states: the revisions between which the views stand; None for "there are no views".
        new: the revision that they go to.
        groups: the entries of ``new``.
    """

    def __init__(
        self, catalog: CatalogReader, archives: Archives, form: Form,
        states: Sequence[CatalogRoot | None], new: CatalogRoot, groups: ViewGroups,
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._archives = archives
        self._form = form
        self._states = list(states)
        self._trees = [state.tree if state else EMPTY for state in states]
        self._new = new
        self._groups = groups

    @cached_property
    def names(self) -> dict[str, int]:
        """The packages that differ, in order, and about how much: releases that came or went."""
        found: dict[str, int] = {}
        for tree in self._trees:
            for each in self._catalog.diff(tree, self._new.tree):
                old, new = (ref.releases if ref else 0 for ref in (each.old, each.new))
                found[each.name] = max(found.get(each.name, 0), 1 + abs(new - old))
        return dict(sorted(found.items()))

    def batches(self) -> Iterator[Batch]:
        """Everything that differs from any of the states, each package rendered once."""
        moved: list[ViewChanges] = [{} for _ in self._trees]
        yield from self._of_packages(list(self.names), moved)
        yield from self._of_lists(moved)

    def some(self, names: Sequence[str]) -> tuple[list[Batch], list[Batch]]:
        """What ``batches`` has of these packages, and about what it has beside packages."""
        moved: list[ViewChanges] = [{} for _ in self._trees]
        packages = list(self._of_packages(names, moved))
        return packages, list(self._of_lists(moved))

    def _of_packages(self, names: Sequence[str], moved: Sequence[ViewChanges]) -> Iterator[Batch]:
        """What differs of these packages; what changed in their entries goes to ``moved``."""
        for start in range(0, len(names), _PACKAGES_AT_ONCE):
            ranked: list[Batch] = [Batch([], []) for _ in range(RANKS)]
            for name in names[start : start + _PACKAGES_AT_ONCE]:
                olds = [self._package(tree, name) for tree in self._trees]
                new = self._package(self._new.tree, name)
                for each, old in zip(moved, olds, strict=True):
                    add_entries(each, self._form.site.moved(name, old, new))
                puts, deletes = self._difference(
                    [self._form.package(old) for old in olds], self._form.package(new)
                )
                for resource in puts:
                    ranked[self._form.site.rank(resource.path)].puts.append(resource)
                ranked[-1].deletes.extend(deletes)
            yield from (batch for batch in ranked if batch.puts or batch.deletes)

    def _of_lists(self, moved: Sequence[ViewChanges]) -> Iterator[Batch]:
        """What differs beside the packages."""
        if any(state != self._new for state in self._states):
            yield self._lists(moved)
        if None in self._states:
            yield Batch(self._form.fixed())

    def _package(self, tree: Node, name: str) -> Package | None:
        document = self._catalog.get(tree, name)
        if document is None:
            return None
        return self._form.site.load(self._catalog, document, self._archives)

    def _lists(self, moved: Sequence[ViewChanges]) -> Batch:
        puts: dict[str, Resource] = {}
        deletes: dict[str, None] = {}
        for each, state in zip(moved, self._states, strict=True):
            old: list[Resource] = []
            if state:
                before = self._form.site.edited(self._groups, reversed_changes(each))
                old = self._form.lists(before, each, state)
            written, gone = changes(old, self._form.lists(self._groups, each, self._new))
            puts.update((resource.path, resource) for resource in written)
            deletes.update(dict.fromkeys(gone))
        return Batch(list(puts.values()), list(deletes))

    def _difference(
        self, olds: Sequence[Iterable[Resource]], new: Iterable[Resource]
    ) -> tuple[list[Resource], list[str]]:
        """What has to be written and removed, whichever of the old states is there."""
        before = [{r.path: r for r in old} for old in olds]
        after = {r.path: r for r in new}
        gone = {path for old in before for path in old if path not in after}
        puts = [r for path, r in after.items() if any(old.get(path) != r for old in before)]
        return puts, sorted(gone, key=lambda path: (-self._form.site.rank(path), path))
