"""Search as a view: the files by which a page finds packages, without a server.

::

    search/s-PREFIX.js                words by their first letters
    search/r-HEX.js                   what is shown of packages

What is in them: ``searchshards``. They are there where the pages are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cnrmirror.model.documents import CatalogRoot
from cnrmirror.model.resource import SCRIPT_TYPE, Resource
from cnrmirror.views.base import PACKAGE_RANK, Package, Settings, WithoutPackages
from cnrmirror.views.groups import Changes, Groups, Rows
from cnrmirror.views.pages import Pages
from cnrmirror.views.pagetext import texts
from cnrmirror.views.pagevalues import chart_of, description_of, newest
from cnrmirror.views.searchgroups import Few, rows_of, summary_of
from cnrmirror.views.searchshards import Shared, shards
from cnrmirror.views.searchwords import Words, words_of


class Search(WithoutPackages):
    """The files of the search as a view (``base.View``)."""

    name = "search"
    version = Pages.version  # Others are told one version for both.
    tops = ("search",)
    uses_facts = True
    row_type, summary_type = Words, Few

    def __init__(self, settings: Settings) -> None:
        self._on = settings.pages
        self._settings = settings
        self._last: tuple[Changes | None, Shared] = None, Shared()

    def __reduce__(self) -> tuple[type[Search], tuple[Settings]]:
        """In another process it begins anew."""
        return Search, (self._settings,)

    def entry(self, package: Package) -> Words | None:
        """See ``base.View``."""
        if not self._on:
            return None
        release = newest(package.document)
        chart = chart_of(package, release)
        return words_of(
            package.document.package, release.release if release else "", description_of(chart),
            texts(chart.get("keywords", [])),
        )  # fmt: skip

    def rows(self, package: str, entry: Any) -> dict[str, Words]:
        """See ``base.View``."""
        return rows_of(package, entry)

    def summary(self, name: str, rows: Rows) -> Few:
        """See ``base.View``."""
        return summary_of(name, rows)

    def lists(
        self, groups: Groups, changes: Changes | None, root: CatalogRoot
    ) -> Iterator[Resource]:
        """See ``base.View``."""
        for name, data in shards(groups, changes, self._shared(changes)) if self._on else ():
            yield Resource(f"search/{name}", data, SCRIPT_TYPE)

    def _shared(self, changes: Changes | None) -> Shared:
        """What this call and the one about the other side of the same change have in common."""
        if changes is None or self._last[0] is not changes:
            self._last = changes, Shared()
        return self._last[1]

    def rank(self, path: str) -> int:
        """See ``base.View``: what pages load comes before them."""
        return PACKAGE_RANK - 1

    def fixed(self) -> Iterator[Resource]:
        """See ``base.View``."""
        yield from ()
