"""Where a reader may go: what a public host says never leads it into the network around it.

The redirect of a registry, or an address in an index, may name a host of this network, or this
machine. The addresses that a name resolves to are checked, and those are connected to: no second
look-up could give others. Behind a proxy, which resolves names itself, only the text of an address
is checked.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from urllib3.util import connection

Place = tuple[Any, Any, int, str, tuple[Any, ...]]
"""One of ``socket.getaddrinfo``'s: family, type, protocol, name, and the address to connect to."""
Options = Sequence[tuple[int, int, int | bytes]] | None
_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class PrivateAddress(Exception):
    """A host whose address is not a public one; ``place`` is that address."""

    def __init__(self, host: str, place: str) -> None:
        super().__init__(host, place)
        self.host = host
        self.place = place


def resolve(host: str, port: int) -> Sequence[Place]:
    """What a name resolves to. Raises socket.gaierror."""
    return socket.getaddrinfo(host, port, connection.allowed_gai_family(), socket.SOCK_STREAM)


def connect(place: Place, timeout: float | None, options: Options) -> socket.socket:
    """A connection to an address that was resolved. Raises OSError."""
    family, kind, protocol, _, address = place
    found = socket.socket(family, kind, protocol)
    try:
        for option in options or ():
            found.setsockopt(*option)
        found.settimeout(timeout)
        found.connect(address)
    except BaseException:
        found.close()
        raise
    return found


class Net(msgspec.Struct, frozen=True):
    """How names are resolved and connections made; tests have a network of their own."""

    resolve: Callable[[str, int], Sequence[Place]] = resolve
    connect: Callable[[Place, float | None, Options], socket.socket] = connect


class Guard:
    """Connects to public addresses only, unless the reader's own host is not public itself.

    The own host is public from the first public address on that its name resolves to, and stays
    so: a name that changes into a private address, or has one beside, leads nowhere by it.

    Args:
        own: the host that the reader was given.
        allowed: connect to whatever there is.
        net: resolves and connects.
    """

    def __init__(self, own: str, allowed: bool, net: Net) -> None:
        self._own = _plain(own)
        self._allowed = allowed
        self._net = net
        self._inside: bool | None = None
        self._lock = threading.Lock()

    def connection(
        self, host: str, port: int, timeout: float | None, options: Options
    ) -> socket.socket:
        """A connection to the first address of a host that takes it.

        Raises:
            PrivateAddress: it has no address that may be connected to.
            OSError: it cannot be connected to.
        """
        failure = OSError("the name has no address")
        for place in self._places(host.strip("[]"), port):
            try:
                return self._net.connect(place, timeout, options)
            except OSError as error:
                failure = error
        raise failure

    def _places(self, host: str, port: int) -> Sequence[Place]:
        found = self._net.resolve(host, port)
        public = [place for place in found if is_public(place[4][0])]
        if _plain(host) == self._own:
            self._learn(bool(public))
        if self._allowed or len(public) == len(found) or self._is_inside():
            return found
        if not public:
            raise PrivateAddress(host, str(found[0][4][0]))
        return public

    def check_text(self, host: str) -> None:
        """Raises PrivateAddress for a host whose text alone says that it is not public."""
        place = _written(host)
        if not place or self._allowed or is_public(place) or _plain(host) == self._own:
            return
        if not self._is_inside():
            raise PrivateAddress(host, place)

    def _learn(self, public: bool) -> None:
        with self._lock:
            if public:
                self._inside = False
            elif self._inside is None:
                self._inside = True

    def _is_inside(self) -> bool:
        if self._inside is None:
            try:
                found = self._net.resolve(self._own, 0)
            except (OSError, ValueError):
                return False  # nothing is known of it, for now
            self._learn(any(is_public(place[4][0]) for place in found))
        return bool(self._inside)


def is_public(place: str) -> bool:
    """Whether an address is one of the internet's, that any host there may send one to.

    IPv4 is seen through the forms of IPv6 that carry it: mapped, NAT64 (RFC 6052), 6to4.
    """
    address = ipaddress.ip_address(place)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None:
            return address in _UNICAST and address.is_global
        address = inner
    return address.is_global and not address.is_multicast


def _plain(host: str) -> str:
    return host.rstrip(".").lower()


def _written(host: str) -> str:
    """The address that the text of a host is, also as 127.1 or 0x7f000001; "" for a name."""
    name = _plain(host)
    if name == "localhost" or name.endswith(".localhost"):
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(name))
    except (OSError, ValueError):
        return ""
