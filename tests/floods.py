"""Clients that do harm to a server: idle, slow, half open, large, deaf; and one that means well."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from threading import Event, Thread
from urllib.parse import urlsplit

BEGUN = b"GET /cnr/api/v1/packages HTTP/1.1\r\nHost: a\r\nX-Slow: "
PUSH = b"POST /cnr/api/v1/packages/ns/a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%s\r\n"
PATIENCE = 30.0


def connected(address: str) -> socket.socket:
    """A connection to a server by its URL."""
    parts = urlsplit(address)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=PATIENCE)


def answered(sock: socket.socket) -> bytes:
    """All that comes until the server ends the connection."""
    found = b""
    try:
        while piece := sock.recv(1 << 16):
            found += piece
    except ConnectionError:
        pass
    return found


class Flood:
    """Connections of one kind to a server; closed when the block ends."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._over = Event()
        self._threads: list[Thread] = []
        self.sockets: list[socket.socket] = []

    def __enter__(self) -> Flood:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for sock in self.sockets:
            sock.close()
        for thread in self._threads:
            thread.join()

    def idle(self, count: int) -> None:
        """Say nothing."""
        self.sockets += [connected(self._address) for _ in range(count)]

    def half_open(self, count: int) -> None:
        """Begin a request and end our side of the connection, or nothing more comes."""
        for number in range(count):
            sock = connected(self._address)
            sock.sendall(BEGUN)
            if number % 2:
                sock.shutdown(socket.SHUT_WR)
            self.sockets.append(sock)

    def slow(self, count: int) -> None:
        """Send a byte of a header a second."""
        slow = [connected(self._address) for _ in range(count)]
        for sock in slow:
            sock.sendall(BEGUN)
        self.sockets += slow

        def drip() -> None:
            while not self._over.wait(1):
                for sock in slow:
                    _sent(sock, b"x")

        self._start(drip)

    def large(self, count: int, size: int = 100 << 20) -> None:
        """Post as fast as possible, without a token."""
        for _ in range(count):
            sock = connected(self._address)
            self.sockets.append(sock)
            self._start(lambda sock=sock: _post(sock, size, self._over))  # type: ignore[misc]

    def _start(self, target: Callable[[], None]) -> None:
        self._threads.append(Thread(target=target, daemon=True))
        self._threads[-1].start()


def _post(sock: socket.socket, size: int, over: Event) -> None:
    _sent(sock, PUSH % (size, b""))
    for _ in range(size >> 16):
        if over.is_set() or not _sent(sock, b" " * (1 << 16)):
            return


def _sent(sock: socket.socket, data: bytes) -> bool:
    try:
        sock.sendall(data)
        return True
    except OSError:
        return False


def waits(address: str, seconds: float, path: str = "/cnr/api/v1/packages") -> list[float]:
    """How long each request of a client that means well took, one every 50 ms.

    Raises:
        OSError: it was refused, or waited for ``PATIENCE``.
    """
    found = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        with connected(address) as sock:
            request = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            sock.sendall(request.encode())
            answer = answered(sock)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise OSError(f"answered with {answer[:100]!r}")
        found.append(time.monotonic() - began)
        time.sleep(0.05)
    return found
