"""The registry over HTTP, by the same renderers that write the site.

Answers come from the catalog, so a site need not be built; errors are appr's, with its codes and
words.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import (
    HTTPException,
    MethodNotAllowed,
    RequestedRangeNotSatisfiable,
    RequestEntityTooLarge,
)
from werkzeug.wrappers import Request, Response

from cnrmirror.model.errors import (
    BusyError,
    CnrMirrorError,
    ConflictError,
    InputError,
    InvalidName,
    NotFoundError,
    StorageError,
    TooLarge,
    UsageError,
)
from cnrmirror.model.exposition import CONTENT_TYPE
from cnrmirror.server.oci import completed, is_registry
from cnrmirror.server.reading import Reading, Served
from cnrmirror.server.tokens import Forbidden, TokensUnusable, Unauthorised
from cnrmirror.server.writing import READ_METHODS, Writing
from cnrmirror.views import cnr_v1 as v1

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from cnrmirror.server.metrics import Metrics

HEALTH = "/healthz"
METRICS = "/metrics"

_STATUS: list[tuple[type[CnrMirrorError], int]] = [
    (NotFoundError, 404),
    (ConflictError, 409),
    (BusyError, 409),
    (TooLarge, 413),
    (InvalidName, 422),
    (InputError, 422),
    (UsageError, 400),
    (StorageError, 507),
    (Unauthorised, 401),
    (Forbidden, 403),
    (TokensUnusable, 503),
]


class Application:
    """A WSGI application over one mirror.

    Args:
        mirror: what is read.
        writing: takes POST and DELETE; None: they are refused.
        metrics: what ``/metrics`` says; None: there is no such path.
    """

    def __init__(
        self, mirror: Served, writing: Writing | None = None, metrics: Metrics | None = None
    ) -> None:
        self._mirror = mirror
        self._metrics = metrics
        self._reading = Reading(mirror)
        self._writing = writing
        changes = () if writing is None else ("POST", "DELETE")
        self._allowed = ", ".join((*READ_METHODS, *changes))
        # Base64 and the JSON around it.
        self.max_body = mirror.config.limits.packed * 4 // 3 + (2 << 20)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        request.max_content_length = self.max_body
        if "," in environ.get("HTTP_RANGE", ""):
            del environ["HTTP_RANGE"]  # several ranges: the whole is a valid answer (RFC 9110)
        try:
            response = self._answer(request)
        except CnrMirrorError as error:
            response = _refused(error)
        except HTTPException as error:
            response = _http_error(error)
        except OSError as error:
            message = f"the mirror cannot be read: {error.strerror}"
            response = _json(v1.error("internal-error", message), 500)
        if is_registry(request.path):
            response = completed(response, request.path)
        # No page elsewhere is to read a scrape with a reader's browser.
        if self._metrics is None or request.path != METRICS:
            response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["X-Content-Type-Options"] = "nosniff"
        if self._metrics is not None:
            bodiless = request.method == "HEAD" or response.status_code in (204, 304)
            size = 0 if bodiless else response.content_length or 0
            self._metrics.count(response.status_code, size)
        return response(environ, start_response)

    def wants_body(self, method: str, path: str, authorization: str, length: int) -> bool:
        """Whether the body of a request is worth waiting for: a change, by somebody who may.

        Args:
            path: decoded.
            authorization: the header, or nothing.
            length: what Content-Length says, or 0.
        """
        if self._writing is None or method not in ("POST", "DELETE") or length > self.max_body:
            return False
        return self._writing.permits(method, path, authorization)

    def _health(self) -> Response:
        """Whether the mirror can answer: its signed files, its catalog root and what they name."""
        try:
            head = self._mirror.head()
            self._mirror.tree()
        except CnrMirrorError as error:
            return _unwell(error.code, error.message)
        except OSError as error:
            return _unwell("internal-error", str(error.strerror))
        found = {"state": "ok", "revision": head.revision, "catalog": head.catalog.digest}
        return _no_store(_json(found))

    def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return self._preflight()
        if request.method in ("GET", "HEAD"):
            if self._metrics is not None and request.path == METRICS:
                return _no_store(Response(self._metrics.text(), content_type=CONTENT_TYPE))
            return self._health() if request.path == HEALTH else self._reading.answer(request)
        if self._writing is None or request.method not in ("POST", "DELETE"):
            return self._not_allowed(request)
        return _json(self._writing.answer(request, self.max_body))

    def _not_allowed(self, request: Request) -> Response:
        message = f"{request.method} is none of the registry's calls"
        if self._writing is None:
            message = v1.READ_ONLY
        response = _json(v1.error("unsupported", message), 405)
        response.headers["Allow"] = self._allowed
        return response

    def _preflight(self) -> Response:
        headers = {
            "Access-Control-Allow-Methods": self._allowed,
            "Access-Control-Allow-Headers": "Authorization, Content-Type, Range",
            "Access-Control-Max-Age": "86400",
        }
        return Response(status=204, headers=headers)


def _unwell(code: str, message: str) -> Response:
    return _no_store(_json({"state": "unavailable", "code": code, "message": message}, 503))


def _no_store(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


def _refused(error: CnrMirrorError) -> Response:
    status = next((s for kind, s in _STATUS if isinstance(error, kind)), 500)
    code = "invalid-release" if isinstance(error, InvalidName) else error.code
    response = _json(v1.error(code, error.message, **error.details), status)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _http_error(error: HTTPException) -> Response:
    if isinstance(error, RequestEntityTooLarge):
        return _json(v1.error("invalid-parameters", "the body is too large"), 413)
    if isinstance(error, MethodNotAllowed):
        message = "the registry has no such call for this path"
        response = _json(v1.error("unsupported", message), 405)
        response.headers["Allow"] = ", ".join(error.valid_methods or ())
        return response
    response = _json(v1.error("invalid-usage", str(error)), error.code or 400)
    if isinstance(error, RequestedRangeNotSatisfiable):
        response.headers["Content-Range"] = f"bytes */{error.length}"
    return response


def _json(value: Any, status: int = 200) -> Response:
    return Response(v1.to_json(value), status=status, content_type="application/json")
