"""What the registry's POST and DELETE calls do to a mirror."""

from __future__ import annotations

import binascii
import threading
from collections.abc import Callable
from typing import Any, Literal

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
    CnrMirrorError,
    InputError,
    InvalidDocument,
    InvalidName,
    NotFoundError,
    UsageError,
)
from cnrmirror.model.names import PackageName, check_media_type, check_release
from cnrmirror.server.missing import NoRelease, no_channel, no_package
from cnrmirror.server.tokens import Forbidden, Right, Token, Tokens, Unauthorised, find
from cnrmirror.views import cnr_v1 as v1
from cnrmirror.views.routes import route

READ_METHODS = ("GET", "HEAD", "OPTIONS")
_REASON = "deleted by the registry's API"
# Which paths that can be read take which other methods.
_CHANGES = {"releases": ["POST"], "channel": ["DELETE"], "manifest": ["DELETE"]}


class Writing:
    """Takes pushes and deletions for one project.

    Args:
        project: the mirror, with a signer.
        now: tells the time of a change.
        tokens: gives those that count now, one of which a request must bring.
    """

    def __init__(self, project: Project, now: Callable[[], str], tokens: Tokens) -> None:
        self._project = project
        self._now = now
        self._tokens = tokens
        # An archive is in memory twice while it is decoded, and the mirror takes one at a time.
        self._one_body = threading.Lock()

    def permits(self, method: str, path: str, authorization: str) -> bool:
        """Whether a request would be let in: it brings a token that gives a right to this.

        Args:
            path: decoded.
            authorization: the header, or nothing.
        """
        try:
            token = self._token(authorization)
            call = _call_of(method, path)
            return call is not None and token.allows(call.right, call.package)
        except CnrMirrorError:
            return False

    def answer(self, request: Request, max_body: int) -> dict[str, Any]:
        """Do what a POST or DELETE asks for; the JSON that answers it.

        Raises:
            Unauthorised: it brings no token that counts.
            Forbidden: its token gives no right to this.
            TokensUnusable: nobody knows which tokens count.
            CnrMirrorError, HTTPException: it cannot be done.
        """
        token = self._token(request.headers.get("Authorization", ""))
        call = _call_of(request.method, request.path)
        if call is None:
            raise _no_call(request.path)
        _require(token, call.right, call.package)
        match call:
            case Call("push", package):
                with self._one_body:
                    return self._push(package, _values(request, max_body), token)
            case Call("set-channel", package, channel, str(release)):
                return self._set_channel(package, channel, release, token.name)
            case Call("remove-channel", package, channel, release):
                return self._remove_channel(package, channel, release, token.name)
            case Call(_, package, media_type, str(release)):
                return self._remove(package, release, media_type, token.name)
        raise AssertionError(call)

    def _token(self, authorization: str) -> Token:
        found = find(self._tokens(), authorization, self._now())
        if found is None:
            raise Unauthorised("a bearer token is needed to change this mirror")
        return found

    def _push(self, package: str, values: dict[str, Any], token: Token) -> dict[str, str]:
        force = str(values.get("force", "false")).lower() == "true"
        if force:
            _require(token, "delete", package)  # what is replaced is gone
        data, identity = _archive(package, values)
        metadata = normalise_metadata(values.get("metadata"))
        push_blob(self._project, data, identity, metadata, self._now(), force, token.name)
        return {"status": "ok"}

    def _remove(self, package: str, release: str, media_type: str, by: str) -> dict[str, str]:
        try:
            kind = check_media_type(media_type)
            # The registry leaves the channel at the release that is gone: it leads nowhere there.
            removal = change.Removal(package, release, kind, _REASON, "drop")
            change.remove(self._project, removal, self._now(), by)
        except (NotFoundError, InvalidName) as error:
            raise no_package(package) from error
        return {"status": "deleted", "package": package, "release": release}

    def _set_channel(self, package: str, name: str, release: str, by: str) -> dict[str, Any]:
        try:
            change.set_channel(self._project, package, name, release, self._now(), by)
        except NotFoundError as error:
            document = self._document(package)
            if not document.releases:
                raise no_package(package, release) from error
            raise NoRelease(error.message, **error.details) from error
        channel = next(c for c in self._project.document(package).channels if c.name == name)
        found: dict[str, Any] = msgspec.to_builtins(channel)
        return found

    def _remove_channel(
        self, package: str, name: str, release: str | None, by: str
    ) -> dict[str, str]:
        try:
            change.remove_channel(self._project, package, name, release, self._now(), by)
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


class Call(msgspec.Struct, frozen=True):
    """One of the registry's calls that change something.

    Args:
        kind: what is to be done.
        package: to which package, as the path says it.
        name: a channel; or the media type of a release that is to be removed.
        release: a release, if the path names one.
    """

    kind: Literal["push", "set-channel", "remove-channel", "remove"]
    package: str
    name: str = ""
    release: str | None = None

    @property
    def right(self) -> Right:
        """What a token must allow."""
        return "push" if self.kind in ("push", "set-channel") else "delete"


def _call_of(method: str, path: str) -> Call | None:
    """The call that a method and a decoded path are; None: none that changes anything."""
    parts = f"/{path.lstrip('/')}".removeprefix("/cnr").strip("/").split("/")
    if parts[:3] != ["api", "v1", "packages"]:
        return None
    match method, parts[3:]:
        case "POST", [namespace, name]:
            return Call("push", f"{namespace}/{name}")
        case "POST", [namespace, name, "channels", channel, release]:
            return Call("set-channel", f"{namespace}/{name}", channel, release)
        case "DELETE", [namespace, name, "channels", channel]:
            return Call("remove-channel", f"{namespace}/{name}", channel)
        case "DELETE", [namespace, name, "channels", channel, release]:
            return Call("remove-channel", f"{namespace}/{name}", channel, release)
        case "DELETE", [namespace, name, release, media_type]:
            return Call("remove", f"{namespace}/{name}", media_type, release)
    return None


def _no_call(path: str) -> NotFoundError | MethodNotAllowed:
    """The error of a path that takes no such method."""
    if (found := route(path, {})) is None:
        return NotFoundError(v1.NOT_FOUND)
    return MethodNotAllowed([*READ_METHODS, *_CHANGES.get(found.kind, ())])


def _require(token: Token, right: Right, package: str) -> None:
    """Raises Forbidden if a token gives no right to a package."""
    if not token.allows(right, package):
        namespace = package.partition("/")[0]
        raise Forbidden(f"this token does not allow to {right} in {namespace}", package=package)


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
