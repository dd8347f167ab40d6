"""What an OCI registry is shown: nothing, a password, or tokens that a service gives for one.

The ways are those of Docker's registry: a refusal (401) says which one is meant. A password is sent
to the registry only when it asks for one, else to its token service alone.
"""

from __future__ import annotations

import re
import threading
from urllib.parse import urlencode, urlsplit

import msgspec

from cnrmirror.model.canonical import parse_json
from cnrmirror.model.errors import AccessDenied, InvalidDocument, Tampered
from cnrmirror.objects.base import Extra, WebReader
from cnrmirror.sources.answers import refuse_page

_MAX_TOKEN = 64 << 10
_MAX_SCOPES = 1024
_PART = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"([^"\\]{0,4096})"|([^\s",]{1,4096}))')


class _Service(msgspec.Struct, frozen=True):
    """Where tokens are to be had."""

    realm: str
    service: str


class Credentials:
    """What is sent to one registry, by scope.

    Args:
        http: asks for tokens.
        base: the registry's address.
        given: what the source was given: ``Basic …`` for those who ask for it; anything else is
            sent with every request, as it is; "" for nothing.
    """

    def __init__(self, http: WebReader, base: str, given: str) -> None:
        self._http = http
        self._base = base
        self._password = given if given[:6].lower() == "basic " else ""
        self._always = "" if self._password else given
        self._tokens: dict[str, str] = {}
        self._service: _Service | None = None
        self._lock = threading.Lock()

    def of(self, scope: str) -> str:
        """The header for a scope; where a token is needed, it is asked for."""
        with self._lock:
            known, service = self._tokens.get(scope), self._service
        if self._always or known is not None or service is None:
            return known or self._always
        return self._kept(scope, self._token(service, scope))

    def after(self, refusal: AccessDenied, scope: str, used: str) -> str:
        """The header to try once more with.

        Args:
            refusal: what was answered.
            scope: what is asked for.
            used: what was sent.

        Raises:
            AccessDenied: that refusal, if nothing else can be shown.
        """
        challenge = str(refusal.details.get("challenge", ""))
        scheme, _, rest = challenge.strip().partition(" ")
        if refusal.details.get("status") != 401 or self._always:
            raise refusal
        if scheme.lower() == "basic" and self._password and used != self._password:
            self._always = self._password
            return self._password
        if scheme.lower() != "bearer":
            raise refusal
        parts = {m[1].lower(): m[2] or m[3] or "" for m in _PART.finditer(rest[:8192])}
        service = _Service(self._realm(parts.get("realm", "")), parts.get("service", ""))
        token = self._token(service, scope)
        with self._lock:
            self._service = service
        return self._kept(scope, token)

    def _realm(self, text: str) -> str:
        """The address of the token service. Raises Tampered if no password may be sent there."""
        try:
            parts = urlsplit(text)
            good = parts.scheme in ("http", "https") and bool(parts.hostname)
            good = good and parts.username is None
        except ValueError:
            good = False
        if not good or (self._base.startswith("https:") and parts.scheme == "http"):
            raise Tampered(f"{self._base}: it wants tokens of {text[:200]!r}: no secure address")
        return text

    def _token(self, service: _Service, scope: str) -> str:
        """A token for a scope. Raises AccessDenied, InvalidDocument, and what a host raises."""
        query = urlencode({"service": service.service, "scope": scope})
        url = f"{service.realm}{'&' if '?' in service.realm else '?'}{query}"
        extra = Extra(authorization=self._password)
        data = self._http.document(url, _MAX_TOKEN, extra=extra).body
        refuse_page(data, url, "a token")
        value = parse_json(data, url, _MAX_TOKEN)
        fields = value if isinstance(value, dict) else {}
        token = fields.get("token") or fields.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise InvalidDocument(f"{url}: it answers without a token")
        return f"Bearer {token}"

    def _kept(self, scope: str, token: str) -> str:
        with self._lock:
            self._tokens.pop(scope, None)
            while len(self._tokens) >= _MAX_SCOPES:
                del self._tokens[next(iter(self._tokens))]
            self._tokens[scope] = token
        return token
