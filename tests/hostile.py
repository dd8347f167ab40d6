"""Hosts that lie: a folder served over HTTP with faults, on loopback; and the time they take."""

from __future__ import annotations

import queue
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Protocol


class Stream(Protocol):
    def write(self, data: bytes, /) -> object: ...


Fault = Callable[[BaseHTTPRequestHandler, Path], bool]
A_STUCK_TEST = 120.0
"""Real seconds after which a host that is never hung up on ends by itself."""


class HeldClock:
    """A clock that stands still until somebody lets it go on.

    So a client's patience depends on what its host did and not on how busy the machine is:
    ``HttpReader(url, **held.times)``.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> float:
        return self.now

    def wait(self, done: queue.SimpleQueue[Any], seconds: float) -> Any:
        """The ``wait`` of HttpReader, by this clock."""
        deadline = self.now + seconds
        while self.now < deadline:
            try:
                return done.get(timeout=0.01)
            except queue.Empty:
                pass
        raise queue.Empty

    @property
    def times(self) -> dict[str, Any]:
        """The arguments of HttpReader that have to do with time."""
        return {"clock": self.read, "sleep": self.advance, "wait": self.wait}


class Host:
    """What the server saw: requests and bytes sent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.requests: list[str] = []
        self.sent = 0
        self.fault: Fault | None = None

    def send(self, stream: Stream, data: bytes) -> None:
        stream.write(data)
        self.sent += len(data)


@contextmanager
def hosting(folder: Path, tls: ssl.SSLContext | None = None) -> Iterator[Host]:
    """The folder over HTTP as long as the block lasts; ``fault`` may answer in its place.

    With ``tls`` over HTTPS.
    """
    host = Host(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement

        def do_GET(self) -> None:
            host.requests.append(self.path)
            path = folder / self.path.lstrip("/").partition("?")[0]
            if host.fault is not None and host.fault(self, path):
                return
            if not path.is_file():
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            with path.open("rb") as stream:
                try:
                    while piece := stream.read(1 << 16):
                        host.send(self.wfile, piece)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that hangs up is no news here

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    host.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()


def drip(name: str, clock: HeldClock) -> Fault:
    """Sends the file byte by byte, one a second by the clock, until the client hangs up."""

    def fault(handler: BaseHTTPRequestHandler, path: Path) -> bool:
        if path.name != name:
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 20))
        handler.end_headers()
        end = time.monotonic() + A_STUCK_TEST
        try:
            while time.monotonic() < end:
                handler.wfile.write(b" ")
                handler.wfile.flush()
                clock.advance(1)
                time.sleep(0.001)
        except OSError:
            pass
        handler.close_connection = True
        return True

    return fault


def endless(name: str, host: Host) -> Fault:
    """Sends bytes for ever (at most a GiB), after the file's own."""

    def fault(handler: BaseHTTPRequestHandler, path: Path) -> bool:
        if path.name != name:
            return False
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        try:
            host.send(handler.wfile, path.read_bytes())
            for _ in range(1 << 14):
                host.send(handler.wfile, b" " * (1 << 16))
        except OSError:
            pass
        handler.close_connection = True
        return True

    return fault
