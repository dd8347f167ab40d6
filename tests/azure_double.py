"""Azure Blob Storage as far as it refuses: one answer to every request, in the service's words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.loopback import on_loopback


class Azure:
    """What is answered, and where: ``status`` and ``code``; removals are answered in a batch."""

    def __init__(self) -> None:
        self.status, self.code = 403, "AuthorizationFailure"
        self.asked = 0
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    azure: Azure
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *words: Any) -> None:
        pass

    def _answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        azure = self.azure
        azure.asked += 1
        text = f"<Error><Code>{azure.code}</Code><Message>{azure.code}.</Message></Error>"
        if "comp=batch" not in self.path:
            return self._say(azure.status, "application/xml", text)
        number = re.search(rb"Content-ID: (\d+)", sent)
        head = ["--b", "Content-Type: application/http"]
        head.append(f"Content-ID: {int(number[1]) if number else 0}")
        one = [f"HTTP/1.1 {azure.status} {azure.code}", f"x-ms-error-code: {azure.code}"]
        lines = [*head, "", *one, f"Content-Length: {len(text)}", "", text, "--b--", ""]
        self._say(202, "multipart/mixed; boundary=b", "\r\n".join(lines))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer

    def _say(self, status: int, kind: str, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("x-ms-error-code", self.azure.code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())


@contextlib.contextmanager
def azure() -> Iterator[Azure]:
    """A service on loopback that refuses."""
    found = Azure()
    handler = type("Handler", (_Handler,), {"azure": found})
    with on_loopback(handler) as url:
        found.url = f"{url}/account"
        yield found
