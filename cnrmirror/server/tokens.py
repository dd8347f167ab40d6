"""Who may change a mirror over HTTP: tokens by name, each for some namespaces, to push or delete.

The file of tokens has the sha256 of each, so that who reads it can do nothing with it: a token is
long and random, and cannot be found by trying.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import threading
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml

from cnrmirror.mirror.config import StrictLoader
from cnrmirror.model import typed
from cnrmirror.model.errors import AccessDenied, CnrMirrorError, InputError, InvalidDocument
from cnrmirror.model.names import PackageName
from cnrmirror.objects.files import read_regular

Right = Literal["push", "delete"]
Tokens = Callable[[], Sequence["Token"]]
"""The tokens that count now. Raises TokensUnusable."""

_MAX_BYTES = 256 << 10
_SCHEMES = ("bearer", "token", "basic")
_NAME = r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
_DIGEST = r"\A[0-9a-f]{64}\Z"
_DAY = r"\A([0-9]{4}-[0-9]{2}-[0-9]{2})?\Z"
_NOTHING = {hashlib.sha256(text).hexdigest() for text in (b"", b"\n")}
_ADVICE = "see docs/serve.md, Tokens"


class Unauthorised(AccessDenied):
    """No token, or none that counts."""


class Forbidden(AccessDenied):
    """A token that counts, and has no right to this."""

    code = "forbidden"


class TokensUnusable(CnrMirrorError):
    """The file of tokens is not what it must be: nobody's token counts."""


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One token, and what may be done with it.

    Args:
        name: who uses it; the messages of revisions, which are public, say it. "": they do not.
        sha256: of the token, in hex.
        namespaces: where it counts, or ``*``: everywhere.
        may: what may be done there.
        until: the last day on which it counts, in UTC; for ever if it is left out.
    """

    name: Annotated[str, msgspec.Meta(pattern=_NAME)]
    sha256: Annotated[str, msgspec.Meta(pattern=_DIGEST)]
    namespaces: list[str] | Literal["*"]
    may: list[Right]
    until: Annotated[str, msgspec.Meta(pattern=_DAY)] = ""

    def allows(self, right: Right, package: str) -> bool:
        """Whether it gives a right to a package: its namespace is one of those, to the letter."""
        namespace = package.partition("/")[0]
        return right in self.may and (self.namespaces == "*" or namespace in self.namespaces)

    def counts(self, now: str) -> bool:
        """Whether it is good at a time (ISO 8601, UTC)."""
        return not self.until or now[:10] <= self.until


def one_token(token: str) -> Tokens:
    """A single token with all rights, and no name; an empty one is none."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    found = [Token(name="", sha256=digest, namespaces="*", may=["push", "delete"])]
    return lambda: found if token else []


def find(tokens: Sequence[Token], authorization: str, now: str) -> Token | None:
    """The token that an Authorization header brings, after a scheme or alone.

    All are compared, each in constant time. None: it brings none that counts.
    """
    scheme, _, token = authorization.partition(" ")
    if not token:
        scheme, token = "bearer", authorization
    digest = hashlib.sha256(token.strip().encode()).hexdigest()
    found = [one for one in tokens if hmac.compare_digest(one.sha256, digest)]
    good = found and scheme.lower() in _SCHEMES and found[0].counts(now)
    return found[0] if good else None


class TokensFile:
    """The tokens of a file, which is read again when it has changed.

    A file that has become bad is believed no more, and no token counts until it is good again.

    Args:
        path: the file.
        tell: is told once why a file that has changed cannot be used.

    Raises:
        InputError: it cannot be read, others may change it, or it is not what it must be.
    """

    def __init__(self, path: Path, tell: Callable[[str], None] = lambda text: None) -> None:
        self._path = path
        self._tell = tell
        self._lock = threading.Lock()
        self._stamp = _stamp(path)
        self._tokens: list[Token] | None = read_tokens(path)

    def __call__(self) -> Sequence[Token]:
        """The tokens as the file has them now. Raises TokensUnusable."""
        with self._lock:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._stamp, self._tokens = stamp, self._read()
            if self._tokens is None:
                raise TokensUnusable("changes are not taken now: the tokens cannot be read")
            return self._tokens

    def _read(self) -> list[Token] | None:
        try:
            return read_tokens(self._path)
        except InputError as error:
            self._tell(f"{error.message}; no token counts until that is put right")
            return None


def read_tokens(path: Path) -> list[Token]:
    """The tokens that stand in a file, YAML or JSON: a list, an entry a token.

    Raises:
        InputError: it cannot be read, others may change it, or it is not what it must be.
    """
    data = read_regular(path, _MAX_BYTES)
    if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(f"{path}: other users can change this file: chmod go-w it")
    try:
        found = typed.convert(yaml.load(data, Loader=StrictLoader), list[Token])
        for number, token in enumerate(found):
            _check(token, found[:number])
    except (msgspec.ValidationError, InputError, yaml.YAMLError, ValueError, RecursionError) as bad:
        reason = bad.message if isinstance(bad, InputError) else str(bad)
        raise InvalidDocument(f"{path}: {reason}; {_ADVICE}") from bad
    return found


def _check(token: Token, before: Sequence[Token]) -> None:
    """Raises InputError if a token is none, or one that is there already."""
    if token.sha256 in _NOTHING:
        raise InputError(f"{token.name}: sha256 is that of no token at all: hash the token itself")
    if token.until and not _is_day(token.until):
        raise InputError(f"{token.name}: until: {token.until}: there is no such day")
    if token.name in [other.name for other in before]:
        raise InputError(f"the name {token.name!r} is there twice")
    if other := next((other for other in before if other.sha256 == token.sha256), None):
        raise InputError(f"{other.name} and {token.name} have one token: give each its own")
    for namespace in [] if token.namespaces == "*" else token.namespaces:
        try:
            PackageName.parse(f"{namespace}/x")
        except InputError as error:
            raise InputError(
                f"{token.name}: {namespace!r} is not a namespace; write whole names, or "
                "namespaces: '*'"
            ) from error
    if not token.namespaces or not token.may:
        raise InputError(f"{token.name}: it gives no right: say 'namespaces' and 'may'")


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
