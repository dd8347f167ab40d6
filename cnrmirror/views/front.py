"""What stands at the root of a site: a page for a person and for clients, and a recovery script."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from cnrmirror.model.resource import HTML_TYPE, Resource
from cnrmirror.views.base import Settings, WithoutPackages
from cnrmirror.views.templates import TEMPLATES, environment


def recovery_script() -> bytes:
    """``recover.sh``: whoever finds the files of a mirror needs no cnrmirror (docs/format.md)."""
    return (TEMPLATES / "recover.sh").read_bytes()


class FrontPage(WithoutPackages):
    """``recover.sh``; and a plain ``index.html`` where there are no pages."""

    name = "front"
    version = 3

    def __init__(self, settings: Settings) -> None:
        self._url = settings.url
        self._alone = not settings.pages
        self.tops = ("index.html", "recover.sh") if self._alone else ("recover.sh",)

    def fixed(self) -> Iterator[Resource]:
        """See ``base.View``."""
        if self._alone:
            template = environment().get_template("index.html")
            page = template.render(url=self._url, domain=urlsplit(self._url).netloc)
            yield Resource("index.html", page.encode(), HTML_TYPE)
        yield Resource("recover.sh", recovery_script(), "text/x-shellscript")
