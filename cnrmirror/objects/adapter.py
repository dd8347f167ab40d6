"""What requests asks with: connections that a guard makes, TLS by one rule, words about SOCKS."""

from __future__ import annotations

import importlib.util
import socket
import ssl
import threading
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.utils import select_proxy
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from cnrmirror.model.errors import InputError
from cnrmirror.objects.certificates import Tls
from cnrmirror.objects.guard import Guard
from cnrmirror.objects.origin import origin


class Adapter(requests.adapters.HTTPAdapter):
    """Sends requests; a session's .netrc and cookies are not for it.

    Args:
        url: the address whose host alone may have the client's certificate.
        guard: connects.
        tls: certificates.
        connections: kept open to each host.
    """

    def __init__(self, url: str, guard: Guard, tls: Tls, connections: int) -> None:
        self._origin = origin(url)
        self._guard = guard
        self._tls = tls
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        super().__init__(pool_maxsize=connections)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """As it was, with the guard's connections."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _pools(self._guard)

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """As it was; behind a proxy, the text of the address is checked.

        Raises:
            PrivateAddress: it is not a public one.
            InputError: the proxy needs a package that is not there.
        """
        url = str(request.url)
        proxy = select_proxy(url, proxies)
        if proxy:
            _check_proxy(proxy)
            self._guard.check_text(unquote(urlsplit(url).hostname or ""))
        return super().get_connection_with_tls_context(request, verify, proxies, cert)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """As it was; a proxy that speaks TLS is known by the same certificates."""
        if proxy.lower().startswith("https:"):
            options["proxy_ssl_context"] = self._context(False)
        return super().proxy_manager_for(proxy, **options)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """As it was, with one TLS context for all connections. Raises InputError."""
        host, options = super().build_connection_pool_key_attributes(request, True)
        if host["scheme"] == "https":
            options["ssl_context"] = self._context(origin(str(request.url)) == self._origin)
        return host, options

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the context knows all certificates."""

    def _context(self, ours: bool) -> ssl.SSLContext:
        with self._lock:
            if ours not in self._contexts:
                self._contexts[ours] = self._tls.context(ours)
            return self._contexts[ours]


def _check_proxy(proxy: str) -> None:
    """Raises InputError for a SOCKS proxy that cannot be spoken to."""
    if proxy.lower().startswith("socks") and importlib.util.find_spec("socks") is None:
        raise InputError("a SOCKS proxy needs another package: pip install 'cnrmirror[socks]'")


def _pools(guard: Guard) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's own pools and connections, but for who connects."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(guard, self)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(guard, self)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _connected(guard: Guard, wanted: HTTPConnection) -> socket.socket:
    """A guard's connection; its failures in urllib3's words."""
    host: str = wanted._dns_host
    try:
        return guard.connection(host, wanted.port, wanted.timeout, wanted.socket_options)
    except socket.gaierror as error:
        raise NameResolutionError(wanted.host, wanted, error) from error
    except TimeoutError as error:
        reason = f"Connection to {wanted.host} timed out. (connect timeout={wanted.timeout})"
        raise ConnectTimeoutError(wanted, reason) from error
    except OSError as error:
        reason = f"Failed to establish a new connection: {error}"
        raise NewConnectionError(wanted, reason) from error
