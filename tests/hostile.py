"""Hosts that lie: a folder served over HTTP with faults, on loopback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import BinaryIO

Fault = Callable[[BaseHTTPRequestHandler, Path], bool]


class Host:
    """What the server saw: requests and bytes sent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.requests: list[str] = []
        self.sent = 0
        self.fault: Fault | None = None

    def send(self, stream: BinaryIO, data: bytes) -> None:
        stream.write(data)
        self.sent += len(data)


@contextmanager
def hosting(folder: Path) -> Iterator[Host]:
    """The folder over HTTP as long as the block lasts; ``fault`` may answer in its place."""
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
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    host.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()


def drip(name: str) -> Fault:
    """Sends the file byte by byte, very slowly."""

    def fault(handler: BaseHTTPRequestHandler, path: Path) -> bool:
        if path.name != name:
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        try:
            for _ in range(200):
                handler.wfile.write(b" ")
                handler.wfile.flush()
                time.sleep(0.05)
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
