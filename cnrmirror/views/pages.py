"""The catalogue for people: pages that a browser reads from any host, or from a disk.

::

    index.html                        what this is, newest packages, namespaces
    packages/index.html               every namespace; packages/-/PREFIX.html where they are many
    packages/NS/index.html            its packages; packages/NS/-/PREFIX.html where they are many
    packages/NS/NAME/index.html       one page a package; releases are drawn by the script
    revisions/index.html, feed.xml    what changed
    search/                           the index of the search: a view of its own (search.py)
    trust.html, assets/               what the check of the page proves; scripts and styles

Links name ``index.html`` (buckets and disks have no index documents) and are relative. Every page
follows from the catalog, the settings in its root, and the archives' readmes: an auditor renders
the same bytes. No file of a package is ever a file of the site.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import msgspec

from cnrmirror.model import typed
from cnrmirror.model.documents import CatalogRoot, Logged
from cnrmirror.model.errors import DamageError
from cnrmirror.model.resource import HTML_TYPE, SCRIPT_TYPE, Resource
from cnrmirror.views import pagelists
from cnrmirror.views.base import (
    LISTS_RANK,
    PACKAGE_RANK,
    ByNamespace,
    Look,
    Package,
    Settings,
    namespaces_of,
)
from cnrmirror.views.groups import Changes, Groups, Rows, in_order
from cnrmirror.views.pagelists import Dated, Members, PageEntry, Part, parts_of, row
from cnrmirror.views.pagevalues import (
    Values,
    chart_of,
    description_of,
    moment,
    newest,
    package_values,
)
from cnrmirror.views.searchwords import in_short
from cnrmirror.views.templates import rendered, script, style
from cnrmirror.views.theme import theme

HTML_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'", "Referrer-Policy": "no-referrer",
}  # fmt: skip
"""What a page is answered with: no other site may frame it, or learn who followed a link to it."""
FEED_TYPE = "application/atom+xml; charset=utf-8"

STYLE_TYPE = "text/css; charset=utf-8"
TOPS = ("index.html", "trust.html", "feed.xml", "packages", "revisions", "assets")


class PagesForm(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the catalog root says of the pages: which renderer, and what they take from mirror.yaml.

    ``templates``: the digest of own templates (``templates.digest_of_templates``); "" for none.
    """

    version: int
    templates: str = ""
    look: Look = Look()

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> PagesForm | None:
        """What a catalog root's settings say; None if there are no pages. Raises DamageError."""
        if "pages" not in settings:
            return None
        try:
            return typed.convert(settings["pages"], cls)
        except msgspec.ValidationError as error:
            raise DamageError(f"the catalog root's settings: pages: {error}") from error


class Pages(ByNamespace):
    """Pages for people as a view (``base.View``)."""

    name = "pages"
    version = 1  # The search has the same: raise it for that, too.
    tops = TOPS
    uses_facts = True
    row_type, summary_type = PageEntry, Members

    def __init__(self, settings: Settings) -> None:
        self._on = settings.pages
        self._settings = settings
        self._templates = settings.templates
        self._look = settings.look

    # -- what it renders --

    def package(self, package: Package) -> Iterator[Resource]:
        """See ``base.View``."""
        if not self._on:
            return
        path = f"packages/{package.document.package}/index.html"
        if package.named:
            yield Resource(path, b"", HTML_TYPE)
        else:
            yield self._page("package.html", path, package_values(package, self._settings))

    def entry(self, package: Package) -> PageEntry | None:
        """See ``base.View``."""
        if not self._on:
            return None
        document = package.document
        release = newest(document)
        chart = chart_of(package, release)
        dated = [Dated(moment(r.created_at), r.release, r.media_type) for r in document.releases]
        return PageEntry.of(
            release.release if release else "", in_short(description_of(chart)), dated,
            chart.get("deprecated") is True,
        )  # fmt: skip

    def summary(self, name: str, rows: Rows) -> Members:
        """See ``base.View``."""
        times = (entry.newest.created for entry in rows.values() if entry.newest)
        return Members(len(rows), max(times, default=""))

    def lists(
        self, groups: Groups, changes: Changes | None, root: CatalogRoot
    ) -> Iterator[Resource]:
        """See ``base.View``."""
        if self._on:
            for namespace in sorted(namespaces_of(groups, changes)):
                if rows := groups.group(namespace):
                    yield from self._of_namespace(namespace, rows, changes)
            yield from self._of_mirror(groups, root)

    def _of_namespace(
        self, namespace: str, rows: Mapping[str, PageEntry], changes: Changes | None
    ) -> Iterator[Resource]:
        """The lists of a namespace's packages that a change touches."""
        changed = None if changes is None else _within(namespace, changes)
        parts, some = pagelists.touched([p.partition("/")[2] for p in rows], changed)
        base = f"packages/{namespace}"
        for part in some if len(parts) > 1 else ():
            values = _rows(rows, namespace, part.names, "../../../")
            # Of this page alone: what another one holds does not change it.
            values |= {"total": len(part.names), "parts": _links(parts, part)}
            yield self._page("namespace.html", f"{base}/-/{part.file}", values)
        first = parts[0].names if len(parts) == 1 else []
        values = _rows(rows, namespace, first, "../../")
        values |= {"total": len(rows), "parts": _links(parts, None)}
        yield self._page("namespace.html", f"{base}/index.html", values)

    def _of_mirror(self, groups: Groups, root: CatalogRoot) -> Iterator[Resource]:
        """What every revision changes."""
        shared = _of_revision(root)
        namespaces: Mapping[str, Members] = groups.summaries()
        first = in_order(namespaces)[: pagelists.ROWS]
        values = {
            "newest": list(pagelists.newest_packages(groups)),
            "namespaces": [_namespace(name, namespaces, "") for name in first],
            "all_namespaces": len(namespaces),
        }
        yield self._page("home.html", "index.html", values | shared)
        yield from self._namespace_lists(namespaces)
        yield self._page("revisions.html", "revisions/index.html", _log(root) | shared)
        yield self._page("trust.html", "trust.html", shared)
        yield self._feed(groups, root)
        pin = msgspec.json.encode(shared["pin"]).decode()
        text = f'"use strict";globalThis.cnrmirror={{pin:{pin}}};\n'
        yield Resource("assets/root.js", text.encode(), SCRIPT_TYPE)

    def _namespace_lists(self, namespaces: Mapping[str, Members]) -> Iterator[Resource]:
        parts = parts_of(namespaces)
        for part in parts if len(parts) > 1 else ():
            rows = [_namespace(name, namespaces, "../../") for name in part.names]
            values = {"namespaces": rows, "parts": _links(parts, part)}
            yield self._page("namespaces.html", f"packages/-/{part.file}", values)
        first = parts[0].names if len(parts) == 1 else []
        values = {
            "namespaces": [_namespace(name, namespaces, "../") for name in first],
            "parts": _links(parts, None),
        }
        yield self._page("namespaces.html", "packages/index.html", values)

    def _feed(self, groups: Groups, root: CatalogRoot) -> Resource:
        top = f"{self._settings.url}/" if self._settings.url else ""
        found = [
            {
                "id": f"urn:cnr:{root.registry}:{package}:{dated.release}:{dated.media_type}",
                "title": f"{package} {dated.release} ({dated.media_type})",
                "href": f"{top}packages/{package}/index.html",
                "updated": dated.created or moment(root.time),
                "summary": entry.description,
            }
            for dated, (package, entry) in pagelists.newest_releases(groups)
        ]
        values = {
            "updated": found[0]["updated"] if found else moment(root.time),
            "entries": found, "registry": root.registry,
            "url": f"{top}feed.xml" if top else "",
        }  # fmt: skip
        return self._page("feed.xml", "feed.xml", values, FEED_TYPE)

    def fixed(self) -> Iterator[Resource]:
        """See ``base.View``."""
        if not self._on:
            return
        yield Resource("assets/pages.js", script(self._templates), SCRIPT_TYPE)
        yield Resource("assets/pages.css", style(self._templates), STYLE_TYPE)
        yield Resource("assets/theme.css", theme(self._look.accent).encode(), STYLE_TYPE)

    def _page(
        self, template: str, path: str, values: Values, media_type: str = HTML_TYPE
    ) -> Resource:
        up = "../" * path.count("/")
        shared = {"root": up, "site": self._site, "version": self.version}
        page = rendered(template, self._templates, {**shared, **values})
        return Resource(path, page.encode("utf-8", "replace"), media_type)

    @cached_property
    def _site(self) -> Values:
        """What all pages say of the mirror."""
        settings = self._settings
        return {
            "title": self._look.title, "logo": self._look.logo or self._look.title[:1].upper(),
            "accent": self._look.accent, "url": settings.url,
            "host": urlsplit(settings.url).netloc, "helm": settings.helm, "oci": settings.oci,
        }  # fmt: skip

    # -- files by their paths --

    def rank(self, path: str) -> int:
        """See ``base.View``: what pages load comes before them, and what links to them behind."""
        if path.startswith("assets/"):
            return PACKAGE_RANK - 1
        return LISTS_RANK if self.package_in(path) is None else PACKAGE_RANK

    def package_in(self, path: str) -> str | None:
        """See ``base.View``."""
        parts = path.split("/")
        if len(parts) == 4 and parts[0] == "packages" and parts[2] != "-":
            return f"{parts[1]}/{parts[2]}"
        return None

    def address(self, path: str) -> str | None:
        """See ``base.View``."""
        return path

    def files_of(self, address: str) -> list[str]:
        """See ``base.View``."""
        return [f"{address}index.html" if address.endswith("/") else address]

    def left_out(self, package: Package) -> Iterator[str]:
        """See ``base.View``: a page has all."""
        yield from ()


def _of_revision(root: CatalogRoot) -> Values:
    pin = root.root
    return {
        "revision": {
            "number": root.revision, "time": moment(root.time), "message": root.message,
            "packages": root.packages, "releases": root.releases, "registry": root.registry,
        },
        "pin": {"version": pin.version, "sha256": pin.digest} if pin else None,
    }  # fmt: skip


def _log(root: CatalogRoot) -> Values:
    every: list[CatalogRoot | Logged] = [root, *root.log]
    return {
        "log": [
            {
                "revision": each.revision, "time": moment(each.time), "message": each.message[:200],
                "packages": each.packages, "releases": each.releases,
            }
            for each in every
        ]
    }  # fmt: skip


def _within(namespace: str, changes: Changes) -> Changes:
    """The changes of a namespace's packages, by their names in it."""
    parted = ((package.partition("/"), pair) for package, pair in changes.items())
    return {name: pair for (where, _, name), pair in parted if where == namespace}


def _rows(
    entries: Mapping[str, PageEntry], namespace: str, names: Iterable[str], up: str
) -> Values:
    packages = [f"{namespace}/{name}" for name in names]
    return {
        "namespace": namespace, "rows": [row(package, entries[package], up) for package in packages]
    }  # fmt: skip


def _namespace(name: str, namespaces: Mapping[str, Members], up: str) -> Values:
    href = f"{up}packages/{name}/index.html"
    return {"name": name, "packages": namespaces[name].packages, "href": href}


def _links(parts: list[Part], current: Part | None) -> list[Values]:
    """All pages of a list, seen from one of them, or from its first page; none if it has one."""
    base = "" if current else "-/"
    return [
        {"prefix": part.prefix, "href": f"{base}{part.file}", "current": part is current}
        for part in (parts if len(parts) > 1 else ())
    ]
