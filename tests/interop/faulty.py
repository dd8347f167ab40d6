"""A proxy on loopback that stands before a server and fails a part of the requests."""

from __future__ import annotations

import http.client
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_SKIPPED = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class Proxy:
    """What passed, and how much of it is to fail."""

    def __init__(self) -> None:
        self.url = ""
        self.rate = 0.0
        self.passed: list[tuple[str, str]] = []
        self.failed = 0
        self.chance = random.Random(7)
        self.lock = threading.Lock()

    def fault(self) -> str:
        with self.lock:
            if self.chance.random() >= self.rate:
                return ""
            self.failed += 1
            return self.chance.choice(["500", "503", "reset", "lost", "truncated"])


@contextmanager
def faulty(target: str) -> Iterator[Proxy]:
    """The proxy as long as the block lasts. ``lost``: it was done, but no answer came."""
    proxy = Proxy()
    parts = urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            with proxy.lock:
                proxy.passed.append((self.command, self.path))
            fault = proxy.fault()
            if fault in ("500", "503"):
                self._answer(int(fault), {}, b"<Error><Code>SlowDown</Code></Error>")
                return
            if fault == "reset":
                self._drop()
                return
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
            try:
                connection.putrequest(self.command, self.path, skip_host=True,
                                      skip_accept_encoding=True)  # fmt: skip
                for name, value in self.headers.items():
                    if name.lower() not in ("connection", "expect"):
                        connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                data = answer.read()
                headers = {k: v for k, v in answer.getheaders() if k.lower() not in _SKIPPED}
            finally:
                connection.close()
            if fault == "lost":
                self._drop()
            elif fault == "truncated" and data:
                self._answer(answer.status, headers, data, cut=len(data) // 2)
            else:
                self._answer(answer.status, headers, data)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass

        def _answer(
            self, status: int, headers: dict[str, str], data: bytes, cut: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data if cut is None else data[:cut])
            if cut is not None:
                self._drop()

        def _drop(self) -> None:
            self.close_connection = True
            try:
                self.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that hangs up is no news here

    server = Server(("127.0.0.1", 0), Handler)
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
