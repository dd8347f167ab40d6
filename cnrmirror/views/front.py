"""What stands at the root of a site: a page for a person and for clients, and a recovery script."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

from cnrmirror.model.documents import CatalogRoot
from cnrmirror.model.resource import HTML_TYPE, Resource
from cnrmirror.views.base import LISTS_RANK, Changes, Entries, Package, Settings
from cnrmirror.views.templates import TEMPLATES, environment


def recovery_script() -> bytes:
    """``recover.sh``: whoever finds the files of a mirror needs no cnrmirror (docs/format.md)."""
    return (TEMPLATES / "recover.sh").read_bytes()


class FrontPage:
    """``recover.sh``; and a plain ``index.html`` where there are no pages."""

    name = "front"
    version = 3
    uses_facts = False
    entry_type = msgspec.UnsetType

    def __init__(self, settings: Settings) -> None:
        self._url = settings.url
        self._alone = not settings.pages
        self.tops = ("index.html", "recover.sh") if self._alone else ("recover.sh",)

    def package(self, package: Package) -> Iterator[Resource]:
        """A package has no file here."""
        yield from ()

    def entry(self, package: Package) -> None:
        """No list names it."""

    def lists(self, entries: Entries, changes: Changes, root: CatalogRoot) -> Iterator[Resource]:
        """There are none."""
        yield from ()

    def fixed(self) -> Iterator[Resource]:
        """See ``base.View``."""
        if self._alone:
            template = environment().get_template("index.html")
            page = template.render(url=self._url, domain=urlsplit(self._url).netloc)
            yield Resource("index.html", page.encode(), HTML_TYPE)
        yield Resource("recover.sh", recovery_script(), "text/x-shellscript")

    def rank(self, path: str) -> int:
        """See ``base.View``."""
        return LISTS_RANK

    def package_in(self, path: str) -> None:
        """See ``base.View``."""

    def address(self, path: str) -> str | None:
        """See ``base.View``."""
        return path

    def files_of(self, address: str) -> list[str]:
        """See ``base.View``."""
        return [address]

    def left_out(self, package: Package) -> Iterator[str]:
        """See ``base.View``."""
        yield from ()
