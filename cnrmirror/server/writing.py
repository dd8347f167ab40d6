"""What the registry's POST and DELETE calls do to a mirror."""

from __future__ import annotations

import binascii
import hmac
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pybase64
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.wrappers import Request

from cnrmirror.archive.identify import Identity
from cnrmirror.mirror import change
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push_blob
from cnrmirror.model.canonical import normalise_metadata, parse_json
from cnrmirror.model.documents import PackageDocument
from cnrmirror.model.errors import (
    InputError,
    InvalidDocument,
    InvalidName,
    NotFoundError,
    UsageError,
)
from cnrmirror.model.names import PackageName, check_media_type, check_release
from cnrmirror.server.missing import NoRelease, no_channel, no_package
from cnrmirror.views import cnr_v1 as v1
from cnrmirror.views.routes import route

READ_METHODS = ("GET", "HEAD", "OPTIONS")
_SCHEMES = ("bearer", "token", "basic")
_REASON = "deleted by the registry's API"
# Which paths that can be read take which other methods.
_CHANGES = {"releases": ["POST"], "channel": ["DELETE"], "manifest": ["DELETE"]}


class Writing:
    """Takes pushes and deletions for one project.

    Args:
        project: the mirror, with a signer.
        now: tells the time of a change.
        token: what a request must bring.
    """

    def __init__(self, project: Project, now: Callable[[], str], token: str) -> None:
        self._project = project
        self._now = now
        self._token = token.encode()
        # An archive is in memory twice while it is decoded, and the mirror takes one at a time.
        self._one_body = threading.Lock()

    def allows(self, given: str) -> bool:
        """Whether an Authorization header brings the token, after a scheme or alone."""
        scheme, _, token = given.partition(" ")
        if not token:
            scheme, token = "bearer", given
        good = hmac.compare_digest(token.strip().encode(), self._token)
        return good and scheme.lower() in _SCHEMES and bool(self._token)

    def answer(self, request: Request, max_body: int) -> dict[str, Any]:
        """Do what a POST or DELETE asks for; the JSON that answers it. Raises CnrMirrorError."""
        path = request.path.removeprefix("/cnr").strip("/").split("/")
        if path[:3] != ["api", "v1", "packages"]:
            raise NotFoundError(v1.NOT_FOUND)
        match request.method, path[3:]:
            case "POST", [namespace, name]:
                with self._one_body:
                    return self._push(f"{namespace}/{name}", _values(request, max_body))
            case "DELETE", [namespace, name, "channels", channel]:
                return self._remove_channel(f"{namespace}/{name}", channel, None)
            case "POST", [namespace, name, "channels", channel, release]:
                return self._set_channel(f"{namespace}/{name}", channel, release)
            case "DELETE", [namespace, name, "channels", channel, release]:
                return self._remove_channel(f"{namespace}/{name}", channel, release)
            case "DELETE", [namespace, name, release, media_type]:
                return self._remove(f"{namespace}/{name}", release, media_type)
        if (found := route(request.path, {})) is None:
            raise NotFoundError(v1.NOT_FOUND)
        raise MethodNotAllowed([*READ_METHODS, *_CHANGES.get(found.kind, ())])

    def _push(self, package: str, values: dict[str, Any]) -> dict[str, str]:
        data, identity = _archive(package, values)
        metadata = normalise_metadata(values.get("metadata"))
        force = str(values.get("force", "false")).lower() == "true"
        push_blob(self._project, data, identity, metadata, self._now(), force)
        return {"status": "ok"}

    def _remove(self, package: str, release: str, media_type: str) -> dict[str, str]:
        try:
            kind = check_media_type(media_type)
            # The registry leaves the channel at the release that is gone: it leads nowhere there.
            removal = change.Removal(package, release, kind, _REASON, "drop")
            change.remove(self._project, removal, self._now())
        except (NotFoundError, InvalidName) as error:
            raise no_package(package) from error
        return {"status": "deleted", "package": package, "release": release}

    def _set_channel(self, package: str, name: str, release: str) -> dict[str, Any]:
        try:
            change.set_channel(self._project, package, name, release, self._now())
        except NotFoundError as error:
            document = self._document(package)
            if not document.releases:
                raise no_package(package, release) from error
            raise NoRelease(error.message, **error.details) from error
        channel = next(c for c in self._project.document(package).channels if c.name == name)
        found: dict[str, Any] = msgspec.to_builtins(channel)
        return found

    def _remove_channel(self, package: str, name: str, release: str | None) -> dict[str, str]:
        try:
            change.remove_channel(self._project, package, name, release, self._now())
        except NotFoundError as error:
            document = self._document(package)
            if name not in [channel.name for channel in document.channels]:
                raise no_channel(name) from error
            if release is None or not document.of_release(release):
                raise no_package(package, release) from error
            # A release that is not in the channel is where it should be.
        if release is None:
            return {"channel": name, "package": package, "action": "delete"}
        return {"status": "deleted", "package": package, "name": name, "release": release}

    def _document(self, package: str) -> PackageDocument:
        """The document of a package. Raises NotFoundError in the registry's words."""
        document = self._project.catalog.get(self._project.tree(), package)
        if document is None:
            raise no_package(package)
        return document


def _values(request: Request, max_body: int) -> dict[str, Any]:
    """What a push says, in its query and, with more weight, in its body."""
    body = parse_json(_text(request), "the body", max_body)
    if not isinstance(body, dict):
        raise UsageError("the body must be a JSON object")
    return {**request.args.to_dict(), **body}


def _text(request: Request) -> str:
    """The body. Bytes and text are not kept both: a body may have the size of an archive."""
    try:
        return request.get_data(cache=False).decode()
    except UnicodeDecodeError as error:
        raise InvalidDocument(f"the body: not acceptable JSON: {error.reason}") from error


def _archive(package: str, values: dict[str, Any]) -> tuple[bytes, Identity]:
    """The archive that is pushed, out of ``values``, and as what. Raises UsageError, InputError."""
    for key in ("blob", "release"):
        if not isinstance(values.get(key), str):
            raise UsageError(f"the body needs {key!r}, a string")
    media_type = values.get("media_type", "kpm")
    if not isinstance(media_type, str):
        raise UsageError("'media_type' must be a string")
    try:
        data = pybase64.b64decode(values.pop("blob"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"the blob is not base64: {error}") from error
    name = str(PackageName.parse(package))
    return data, Identity(name, check_release(values["release"]), check_media_type(media_type))
