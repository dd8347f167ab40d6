"""A service of S3's kind on loopback: says what it is told to say, notes what it was asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote

import msgspec

from tests.loopback import on_loopback

_SCOPE = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/s3/")


class Asked(msgspec.Struct):
    """One request: ``key`` is what is decoded of its path, ``kind`` its method and subresource."""

    kind: str
    path: str
    headers: Message
    body: bytes

    @property
    def key(self) -> str:
        return unquote(self.path.partition("?")[0])

    @property
    def signed_for(self) -> tuple[str, str]:
        """The access key and the region of a signature in the header; twice "" without one."""
        found = _SCOPE.search(self.headers.get("Authorization", ""))
        return (found[1], found[2]) if found else ("", "")


Answer = tuple[int, str, dict[str, str]]
Rule = Callable[[Asked], Answer | None]


def error(status: int, code: str, more: str = "", **headers: str) -> Answer:
    """What a service answers that refuses."""
    document = f"<Error><Code>{code}</Code><Message>of {code}</Message>{more}</Error>"
    return status, document, {"Content-Type": "application/xml", **headers}


class Double:
    """Takes and gives everything; ``rule`` may answer in its place."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self.objects: dict[str, bytes] = {}
        self.rule: Rule = lambda asked: None

    def kinds(self) -> set[str]:
        return {asked.kind for asked in self.asked}

    def answer(self, asked: Asked) -> tuple[int, bytes, dict[str, str]]:
        self.asked.append(asked)
        found = self.rule(asked)
        if found is not None:
            return found[0], found[1].encode(), found[2]
        if asked.kind == "PUT":
            self.objects[asked.key] = asked.body
            return 200, b"", {}
        if asked.kind == "LIST":
            return 200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>", {}
        if asked.kind == "MULTI-DELETE":
            return 200, b"<DeleteResult></DeleteResult>", {}
        if asked.kind == "DELETE":
            self.objects.pop(asked.key, None)
            return 204, b"", {}
        if asked.kind in ("GET", "HEAD") and asked.key not in self.objects:
            return 404, error(404, "NoSuchKey")[1].encode(), {}
        return 200, self.objects.get(asked.key, b""), {}


def _kind(method: str, path: str) -> str:
    query = path.partition("?")[2]
    if method == "GET" and "list-type" in query:
        return "LIST"
    return "MULTI-DELETE" if method == "POST" and query.startswith("delete") else method


@contextmanager
def serving() -> Iterator[Double]:
    """A double as long as the block lasts."""
    double = Double()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = re.sub("^http://[^/]+", "", self.path)  # as a proxy is asked
            asked = Asked(_kind(self.command, path), path, self.headers, body)
            status, data, headers = double.answer(asked)
            self.send_response(status)
            usual = {"ETag": '"1"', "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"}
            if status != 204:
                usual["Content-Length"] = str(len(data))
            for name, value in {**usual, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with on_loopback(Handler) as double.url:
        yield double
