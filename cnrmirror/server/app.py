"""The registry over HTTP, by the same renderers that write the site.

Answers come from the catalog, so a site need not be built; errors are appr's, with its codes and
words. Reading needs no lock: a request sees one whole revision.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hmac
import os
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import msgspec
from werkzeug.exceptions import HTTPException, RequestedRangeNotSatisfiable, RequestEntityTooLarge
from werkzeug.wrappers import Request, Response

from cnrmirror.archive.identify import Identity
from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.mirror import change
from cnrmirror.mirror.config import Config
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push_blob
from cnrmirror.model.canonical import normalise_metadata, parse_json
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Head, Node, PackageDocument, PackageRef
from cnrmirror.model.errors import (
    BusyError,
    CnrMirrorError,
    ConflictError,
    IncompleteError,
    InputError,
    InvalidName,
    NotFoundError,
    StorageError,
    TooLarge,
    UsageError,
)
from cnrmirror.model.names import PackageName, check_media_type, check_release, select_release
from cnrmirror.model.resource import (
    CACHE_CONTROL,
    GZIP_TYPE,
    JSON_TYPE,
    Alias,
    Base64Json,
    Resource,
)
from cnrmirror.views import cnr_v1 as v1
from cnrmirror.views import front as html
from cnrmirror.views.base import Settings, in_order
from cnrmirror.views.cnr_paths import PACKAGES
from cnrmirror.views.routes import Route, route
from cnrmirror.views.site import ViewEntries

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


_CATALOG = re.compile(
    r"/catalog/(?:(?P<metadata>metadata/(?:[0-9]+\.[a-z]+|timestamp)\.json)"
    r"|targets/[0-9a-f]{64}\.catalog\.json|nodes/sha256/[0-9a-f]{2}/[0-9a-f]{64}"
    r"|(?P<blob>blobs/sha256/[0-9a-f]{2}/[0-9a-f]{64}))"
)
_STATUS: list[tuple[type[CnrMirrorError], int]] = [
    (NotFoundError, 404),
    (ConflictError, 409),
    (BusyError, 409),
    (TooLarge, 413),
    (InvalidName, 422),
    (InputError, 422),
    (UsageError, 400),
    (StorageError, 507),
]


class Served(Protocol):
    """What is needed of a mirror to answer for it: of a project, or of a bundle as it lies."""

    config: Config

    @property
    def catalog(self) -> CatalogReader:
        """Reads its documents."""

    def head(self) -> Head:
        """The current revision's head."""

    def tree(self) -> Node:
        """The current revision's tree."""

    def known_entries(self, head: Head) -> ViewEntries | None:
        """The entries of every view at a revision, if they are known without reading all of it."""

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """An archive. Raises DamageError, IncompleteError."""

    def open_file(self, path: str) -> BinaryIO:
        """A file below ``catalog/``. Raises FileNotFoundError, IncompleteError."""


class Application:
    """A WSGI application over one mirror.

    Args:
        project: the mirror; one that is a Project, if pushes are taken.
        now: tells the time of a push.
        token: the bearer token that POST and DELETE must bring; None: they are refused.
    """

    def __init__(self, project: Served, now: Callable[[], str], token: str | None) -> None:
        self._project = project
        self._now = now
        self._token = token
        # Base64 and the JSON around it.
        self.max_body = project.config.limits.packed * 4 // 3 + (2 << 20)
        self._rows = functools.lru_cache(maxsize=2)(self._read_rows)
        self._rendered = functools.lru_cache(maxsize=256)(self._render)
        fixed = v1.fixed_resources(project.config.views.dialect, project.config.url)
        (page,) = html.FrontPage(Settings(project.config.url)).fixed()
        self._fixed = {f"/{r.path}": r for r in (*fixed, page) if isinstance(r.body, bytes)}
        self._fixed["/"] = page
        self._fixed["/cnr/"] = self._fixed["/cnr"] = page

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        request.max_content_length = self.max_body
        if "," in environ.get("HTTP_RANGE", ""):
            del environ["HTTP_RANGE"]  # several ranges: the whole is a valid answer (RFC 9110)
        try:
            response = self._answer(request)
        except CnrMirrorError as error:
            status = next((s for kind, s in _STATUS if isinstance(error, kind)), 500)
            code = "invalid-release" if isinstance(error, InvalidName) else error.code
            response = self._json(v1.error(code, error.message, **error.details), status)
        except RequestEntityTooLarge:
            response = self._json(v1.error("invalid-parameters", "the body is too large"), 413)
        except RequestedRangeNotSatisfiable as error:
            response = self._json(v1.error("invalid-usage", str(error)), 416)
            response.headers["Content-Range"] = f"bytes */{error.length}"
        except HTTPException as error:
            response = self._json(v1.error("invalid-usage", str(error)), error.code or 400)
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return self._preflight()
        found = route(request.path, request.args)
        if request.method in ("GET", "HEAD"):
            if found is not None:
                return self._get(found, request)
            if request.path in self._fixed:
                return self._send(self._fixed[request.path], request)
            if match := _CATALOG.fullmatch(request.path):
                return self._catalog_file(match, request)
            raise NotFoundError(v1.NOT_FOUND)
        if self._token is None or request.method not in ("POST", "DELETE"):
            response = self._json(v1.error("unsupported", v1.READ_ONLY), 405)
            if self._token is not None:
                message = f"{request.method} is none of the registry's calls"
                response = self._json(v1.error("unsupported", message), 405)
            response.headers["Allow"] = self._allowed
            return response
        refused = self._unauthorised(request)
        return refused or self._write(request)

    @property
    def _allowed(self) -> str:
        return "GET, HEAD, OPTIONS" + ("" if self._token is None else ", POST, DELETE")

    def _preflight(self) -> Response:
        headers = {
            "Access-Control-Allow-Methods": self._allowed,
            "Access-Control-Allow-Headers": "Authorization, Content-Type, Range",
            "Access-Control-Max-Age": "86400",
        }
        return Response(status=204, headers=headers)

    # -- reading ------------------------------------------------------------------------------

    def _get(self, found: Route, request: Request) -> Response:
        if found.kind == "version":
            return self._send(self._fixed["/cnr/version/index.json"], request)
        if found.package is None:
            return self._send(self._list(found), request)
        ref = self._project.catalog.find(self._project.tree(), found.package)
        if ref is None or not ref.releases:
            raise _no_package(found.package, found.arguments.get("digest"))
        return self._send(self._one(found, *self._rendered(ref)), request)

    def _catalog_file(self, match: re.Match[str], request: Request) -> Response:
        """A file of the catalog as it is, for clients that verify."""
        try:
            stream = self._project.open_file(request.path.lstrip("/"))
        except (FileNotFoundError, IncompleteError):
            raise NotFoundError(v1.NOT_FOUND) from None
        kind = GZIP_TYPE if match["blob"] else JSON_TYPE
        length = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        if match["metadata"]:
            tag = Descriptor.of(stream.read()).digest[:32]
            stream.seek(0)
        else:
            tag = request.path.rpartition("/")[2][:32]  # named by its digest
        pieces = iter(lambda: stream.read(1 << 16), b"")
        response = Response(pieces, mimetype=None, content_type=kind)
        response.call_on_close(stream.close)
        cache = CACHE_CONTROL["no-cache" if match["metadata"] else "immutable"]
        response.headers["Cache-Control"] = cache
        response.content_length = length
        response.set_etag(tag)
        return response.make_conditional(request, accept_ranges=True, complete_length=length)

    def _list(self, found: Route) -> Resource:
        rows = self._rows(self._project.head())
        if found.kind == "search":
            query = found.query.get("q", "")
            return Resource("search", v1.to_json([r.name for r in rows if query in r.name]))
        namespace, words = found.query.get("namespace"), found.query.get("query")
        chosen = [
            r
            for r in rows
            if (not namespace or r.name.startswith(f"{namespace}/"))
            and (not words or words in r.name)
        ]
        media_type = found.query.get("media_type") or None
        return Resource("packages", v1.to_json(v1.listing(chosen, media_type)))

    def _read_rows(self, head: Head) -> list[v1.ListEntry]:
        known = self._project.known_entries(head)
        if known is not None:
            return list(in_order(known["cnr-v1"]))
        catalog = self._project.catalog
        tree = catalog.root(head.catalog).tree
        documents = (catalog.document(ref) for ref in catalog.packages(tree))
        return sorted((r for r in map(v1.list_entry, documents) if r), key=lambda r: r.name)

    def _render(self, ref: PackageRef) -> tuple[PackageDocument, dict[str, Resource]]:
        document = self._project.catalog.document(ref)
        return document, {r.path: r for r in v1.package_resources(document)}

    @staticmethod
    def _one(found: Route, document: PackageDocument, resources: dict[str, Resource]) -> Resource:
        if found.kind in ("manifest", "pull"):
            found = _resolved(found, document)
        resource = resources.get(found.path)
        if chosen := found.kind == "releases" and found.query.get("media_type"):
            if not any(r.media_type == chosen for r in document.releases):
                return Resource(found.path, v1.to_json([]))
            if len({r.media_type for r in document.releases}) == 1:
                resource = resources[f"{PACKAGES}/{document.package}/index.json"]
        if resource is None:
            raise _not_found(found, document)
        return resource

    def _send(self, resource: Resource, request: Request) -> Response:
        body = resource.body
        data: Any
        if isinstance(body, bytes):
            data, length, tag = body, len(body), Descriptor.of(body).digest[:32]
        elif isinstance(body, Alias):
            raise AssertionError(f"{resource.path}: aliases are resolved before this")
        else:
            blob = body.blob if isinstance(body, Base64Json) else body
            stream = self._project.open_blob(blob)
            pieces = iter(lambda: stream.read(1 << 16), b"")
            data = body.chunks(stream) if isinstance(body, Base64Json) else pieces
            length, tag = body.size, blob.digest[:24] + ("-json" if body is not blob else "")
        response = Response(data, mimetype=None, content_type=resource.media_type)
        if not isinstance(body, bytes):
            response.call_on_close(stream.close)
        response.headers["Cache-Control"] = CACHE_CONTROL[resource.cache]
        response.content_length = length
        response.set_etag(tag)
        if resource.filename:
            response.headers["Content-Disposition"] = resource.filename
        return response.make_conditional(request, accept_ranges=True, complete_length=length)

    @staticmethod
    def _json(value: Any, status: int = 200) -> Response:
        return Response(v1.to_json(value), status=status, content_type="application/json")

    # -- writing ------------------------------------------------------------------------------

    def _unauthorised(self, request: Request) -> Response | None:
        given = request.headers.get("Authorization", "")
        scheme, _, token = given.partition(" ")
        if not token:
            scheme, token = "bearer", given
        good = hmac.compare_digest(token.strip().encode(), (self._token or "").encode())
        if scheme.lower() in ("bearer", "token", "basic") and good and self._token:
            return None
        response = self._json(
            v1.error("unauthorized-access", "a bearer token is needed to change this mirror"), 401
        )
        response.headers["WWW-Authenticate"] = "Bearer"
        return response

    @property
    def _writable(self) -> Project:
        assert isinstance(self._project, Project)
        return self._project

    def _write(self, request: Request) -> Response:
        path = request.path.removeprefix("/cnr").strip("/").split("/")
        if path[:3] != ["api", "v1", "packages"]:
            raise NotFoundError(v1.NOT_FOUND)
        match request.method, path[3:]:
            case "POST", [namespace, name]:
                return self._json(self._push(f"{namespace}/{name}", request))
            case "DELETE", [namespace, name, "channels", channel]:
                return self._remove_channel(f"{namespace}/{name}", channel, None)
            case "POST", [namespace, name, "channels", channel, release]:
                return self._set_channel(f"{namespace}/{name}", channel, release)
            case "DELETE", [namespace, name, "channels", channel, release]:
                return self._remove_channel(f"{namespace}/{name}", channel, release)
            case "DELETE", [namespace, name, release, media_type]:
                package = str(PackageName.parse(f"{namespace}/{name}"))
                change.remove(
                    self._writable, package, release, check_media_type(media_type),
                    "deleted by the registry's API", self._now(),
                )  # fmt: skip
                return self._json({"status": "deleted", "package": package, "release": release})
        raise NotFoundError(v1.NOT_FOUND)

    def _push(self, package: str, request: Request) -> dict[str, str]:
        values = {**request.args.to_dict()}
        body = parse_json(request.get_data(cache=False), "the body", self.max_body)
        if not isinstance(body, dict):
            raise UsageError("the body must be a JSON object")
        values.update(body)
        for key in ("blob", "release"):
            if not isinstance(values.get(key), str):
                raise UsageError(f"the body needs {key!r}, a string")
        media_type = values.get("media_type", "kpm")
        if not isinstance(media_type, str):
            raise UsageError("'media_type' must be a string")
        try:
            data = base64.b64decode(values["blob"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise InputError(f"the blob is not base64: {error}") from error
        identity = Identity(
            str(PackageName.parse(package)),
            check_release(values["release"]),
            check_media_type(media_type),
        )
        metadata = normalise_metadata(values.get("metadata"))
        force = str(values.get("force", "false")).lower() == "true"
        push_blob(self._writable, data, identity, metadata, self._now(), force)
        return {"status": "ok"}

    def _set_channel(self, package: str, channel: str, release: str) -> Response:
        change.set_channel(self._writable, package, channel, release, self._now())
        document = self._writable.document(package)
        found = next(c for c in document.channels if c.name == channel)
        return self._json(msgspec.to_builtins(found))

    def _remove_channel(self, package: str, channel: str, release: str | None) -> Response:
        change.remove_channel(self._writable, package, channel, release, self._now())
        if release is None:
            return self._json({"channel": channel, "package": package, "action": "delete"})
        return self._json(
            {"status": "deleted", "package": package, "name": channel, "release": release}
        )


def _resolved(found: Route, document: PackageDocument) -> Route:
    """The route with an exact release and media type in the place of a query and ``-``."""
    query, media_type = found.arguments["release"], found.arguments["media_type"]
    release = select_release(document.versions(), query)
    if release is None:
        raise _error(
            "package-release-not-found",
            f"No release match '{query}' for package '{document.package}'",
            package=document.package,
            release_query=query,
        )
    if media_type == "-":
        types = [r.media_type for r in document.of_release(release)]
        if len(types) != 1:
            raise UsageError(f"media-type non specified: [{','.join(types)}]")
        media_type = types[0]
    arguments = {**found.arguments, "release": release, "media_type": media_type}
    return msgspec.structs.replace(found, arguments=arguments)


def _not_found(found: Route, document: PackageDocument) -> NotFoundError:
    values = found.arguments
    if found.kind == "channel":
        # The servers put the channel's name into the place of the package's.
        name = values["channel"]
        message = f"No channel found for package '{name}'"
        return _error("channel-not-found", message, package=name)
    release = values.get("release") or values.get("digest")
    return _no_package(document.package, release, values.get("media_type"))


def _no_package(
    package: str, release: str | None = None, media_type: str | None = None
) -> NotFoundError:
    return _error(
        "package-not-found",
        f"package {package} doesn't exist, v: {release}, type: {media_type}",
        package=package,
        release=release,
        media_type=media_type,
    )


def _error(code: str, message: str, **details: Any) -> NotFoundError:
    error = NotFoundError(message, **details)
    error.code = code  # type: ignore[misc]
    return error
