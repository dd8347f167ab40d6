"""What the registry answers to a GET: from the catalog, by the renderers that write the site."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from typing import BinaryIO, Protocol

import msgspec
from werkzeug.wrappers import Request, Response

from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.mirror.settings import Config
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Head, Node, PackageDocument, PackageRef
from cnrmirror.model.errors import IncompleteError, NotFoundError, UsageError
from cnrmirror.model.names import select_release
from cnrmirror.model.resource import (
    CACHE_CONTROL,
    GZIP_TYPE,
    HTML_TYPE,
    JSON_TYPE,
    Alias,
    Base64Json,
    Resource,
)
from cnrmirror.server.content import Base64File, Content
from cnrmirror.server.missing import no_channel, no_match, no_package
from cnrmirror.views import cnr_v1 as v1
from cnrmirror.views.cnr_paths import PACKAGES, PREFIX
from cnrmirror.views.groups import every
from cnrmirror.views.oci_paths import digest_of
from cnrmirror.views.pages import HTML_HEADERS
from cnrmirror.views.routes import Route, route
from cnrmirror.views.site import Site, ViewGroups

_CATALOG = re.compile(
    r"/catalog/(?:(?P<metadata>metadata/(?:[0-9]+\.[a-z]+|timestamp)\.json)"
    r"|targets/[0-9a-f]{64}\.catalog\.json|nodes/sha256/[0-9a-f]{2}/[0-9a-f]{64}"
    r"|(?P<blob>blobs/sha256/[0-9a-f]{2}/[0-9a-f]{64}))"
)

# Links of pages are relative.
_MOVED = {"/cnr": "./", "/cnr/": "../"}
_SHORT = {"Cache-Control": CACHE_CONTROL["short"]}


class Served(Protocol):
    """What is needed of a mirror to answer for it: of a project, or of a bundle as it lies."""

    config: Config
    templates: Mapping[str, str]

    @property
    def catalog(self) -> CatalogReader:
        """Reads its documents."""

    def head(self) -> Head:
        """The current revision's head."""

    def tree(self) -> Node:
        """The current revision's tree."""

    def known_groups(self, head: Head) -> ViewGroups | None:
        """The entries of every view at a revision, if they are known without reading all of it."""

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """An archive. Raises DamageError, IncompleteError."""

    def open_file(self, path: str) -> BinaryIO:
        """A file below ``catalog/``. Raises FileNotFoundError, IncompleteError."""


class Reading:
    """Answers what is read of one mirror; a request sees one whole revision, without a lock."""

    def __init__(self, mirror: Served) -> None:
        self._mirror = mirror
        self._groups = functools.lru_cache(maxsize=2)(self._read_groups)
        self._rendered = functools.lru_cache(maxsize=256)(self._render)
        self._lists = functools.lru_cache(maxsize=2)(self._read_lists)
        config = mirror.config
        views = msgspec.structs.replace(config.views, profile="full", precompress=False)
        self._site = Site(views, config.url, rules=False, templates=mirror.templates)
        self._of_package = functools.lru_cache(maxsize=32)(self._read_package)
        fixed = self._site.fixed()
        self._fixed = {f"/{r.path}": r for r in fixed if isinstance(r.body, bytes)}

    def answer(self, request: Request) -> Response:
        """The answer to a GET or HEAD. Raises CnrMirrorError, HTTPException."""
        found = route(request.path, request.args)
        if found is not None:
            return self._get(found, request)
        if request.path in self._fixed:
            return self._send(self._fixed[request.path], request)
        if request.path == "/" and (page := self._file("index.html")):
            return self._send(page, request)
        if match := _CATALOG.fullmatch(request.path):
            return self._catalog_file(match, request)
        if resource := self._file(request.path.lstrip("/")):
            response = self._send(resource, request)
            if digest := digest_of(resource.path):
                response.headers["Docker-Content-Digest"] = digest
            return response
        if moved := self._moved(request.path):
            return Response(status=301, headers={"Location": moved, **_SHORT})
        raise NotFoundError(v1.NOT_FOUND)

    def _moved(self, path: str) -> str | None:
        """Where the page of a folder is whose slash was left out, seen from the path."""
        if path in _MOVED:
            return _MOVED[path]
        page = self._file(f"{path[1:]}/")
        return f"{path.rpartition('/')[2]}/" if page and page.media_type == HTML_TYPE else None

    def _file(self, path: str) -> Resource | None:
        """A file of a view that has no calls of its own, by its address."""
        if not self._site.has_top(path) or path.startswith(PREFIX):
            return None
        name = self._site.package_in(path)
        if name is None:
            found = self._lists(self._mirror.head())
        else:
            ref = self._mirror.catalog.find(self._mirror.tree(), name)
            found = self._of_package(ref) if ref else {}
        for each in self._site.files_of(path):
            resource = found.get(each) or self._fixed.get(f"/{each}")
            if resource is not None and isinstance(resource.body, Alias):
                target = found.get(resource.body.seen_from(each))
                resource = target and msgspec.structs.replace(target, cache=resource.cache)
            if resource is not None:
                return resource
        return None

    def _read_package(self, ref: PackageRef) -> dict[str, Resource]:
        catalog = self._mirror.catalog
        return {
            r.path: r
            for r in self._site.package(
                self._site.load(catalog, catalog.document(ref), self._mirror)
            )
        }

    def _get(self, found: Route, request: Request) -> Response:
        if found.kind == "version":
            return self._send(self._fixed["/cnr/version/index.json"], request)
        if found.package is None:
            return self._send(self._list(found), request)
        ref = self._mirror.catalog.find(self._mirror.tree(), found.package)
        if ref is None:
            raise no_package(found.package, found.arguments.get("digest"))
        if not ref.releases:
            raise _emptied(found, found.package)
        return self._send(_one(found, *self._rendered(ref)), request)

    def _catalog_file(self, match: re.Match[str], request: Request) -> Response:
        """A file of the catalog as it is, for clients that verify."""
        try:
            stream = self._mirror.open_file(request.path.lstrip("/"))
        except (FileNotFoundError, IncompleteError):
            raise NotFoundError(v1.NOT_FOUND) from None
        length = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        tag = request.path.rpartition("/")[2]  # named by its digest
        if match["metadata"]:
            tag = Descriptor.of(stream.read()).digest
        cache = CACHE_CONTROL["no-cache" if match["metadata"] else "immutable"]
        kind = GZIP_TYPE if match["blob"] else JSON_TYPE
        return Content(stream, length, tag[:32]).answer(request, kind, cache)

    def _send(self, resource: Resource, request: Request) -> Response:
        content, cache = self._content(resource), CACHE_CONTROL[resource.cache]
        response = content.answer(request, resource.media_type, cache, resource.filename)
        if resource.media_type == HTML_TYPE:
            response.headers.update(HTML_HEADERS)
        return response

    def _content(self, resource: Resource) -> Content:
        match resource.body:
            case bytes() as data:
                return Content(data, len(data), Descriptor.of(data).digest[:32])
            case Alias():
                raise AssertionError(f"{resource.path}: aliases are resolved before this")
            case Base64Json() as form:
                file = Base64File(form, self._mirror.open_blob(form.blob))
                return Content(file, form.size, f"{form.blob.digest[:24]}-json")
            case blob:
                return Content(self._mirror.open_blob(blob), blob.size, blob.digest[:24])

    def _list(self, found: Route) -> Resource:
        rows: list[v1.Row] = [row for _, row in every(self._groups(self._mirror.head())["cnr-v1"])]
        if found.kind == "search":
            query = found.query.get("q", "")
            return Resource("search", v1.to_json([r.name for r in rows if query in r.name]))
        namespace, words = found.query.get("namespace"), found.query.get("query")
        chosen = (
            row
            for row in rows
            if (not namespace or row.name.startswith(f"{namespace}/"))
            and (not words or words in row.name)
        )
        media_type = found.query.get("media_type") or None
        return Resource("packages", v1.listing(chosen, media_type))

    def _read_groups(self, head: Head) -> ViewGroups:
        known = self._mirror.known_groups(head)
        if known is not None:
            return known
        catalog = self._mirror.catalog
        return self._site.read_entries(catalog, catalog.root(head.catalog).tree)

    def _read_lists(self, head: Head) -> dict[str, Resource]:
        root = self._mirror.catalog.root(head.catalog)
        return {r.path: r for r in self._site.all_lists(self._groups(head), root)}

    def _render(self, ref: PackageRef) -> tuple[PackageDocument, dict[str, Resource]]:
        document = self._mirror.catalog.document(ref)
        return document, {r.path: r for r in v1.package_resources(document)}


def _one(found: Route, document: PackageDocument, resources: dict[str, Resource]) -> Resource:
    """What answers a call about one package. Raises NotFoundError."""
    if found.kind in ("manifest", "pull"):
        found = _resolved(found, document)
    resource = resources.get(found.path)
    if wanted := found.kind == "releases" and found.query.get("media_type"):
        types = {r.media_type for r in document.releases}
        if wanted not in types:
            return Resource(found.path, v1.to_json([]))
        if len(types) == 1:
            resource = resources[f"{PACKAGES}/{document.package}/index.json"]
    if resource is None:
        raise _not_found(found, document.package)
    if isinstance(resource.body, Alias):
        return resources[resource.body.seen_from(resource.path)]
    return resource


def _resolved(found: Route, document: PackageDocument) -> Route:
    """The route with an exact release and media type in the place of a query and ``-``."""
    query, media_type = found.arguments["release"], found.arguments["media_type"]
    release = select_release(document.versions(), query)
    if release is None:
        raise no_match(document.package, query)
    if media_type == "-":
        types = [r.media_type for r in document.of_release(release)]
        if len(types) != 1:
            raise UsageError(f"media-type non specified: [{','.join(types)}]")
        media_type = types[0]
    arguments = {**found.arguments, "release": release, "media_type": media_type}
    return msgspec.structs.replace(found, arguments=arguments)


def _not_found(found: Route, package: str) -> NotFoundError:
    values = found.arguments
    if found.kind == "channel":
        return no_channel(values["channel"])
    release = values.get("release") or values.get("digest")
    return no_package(package, release, values.get("media_type"))


def _emptied(found: Route, package: str) -> NotFoundError:
    """What is said of a package all of whose releases were removed: it has no media types."""
    arguments = {k: v for k, v in found.arguments.items() if k != "media_type"}
    return _not_found(msgspec.structs.replace(found, arguments=arguments), package)
