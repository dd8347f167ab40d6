"""A double of Google Cloud Storage's XML API, as far as a mirror asks it: objects by generation.

https://cloud.google.com/storage/docs/xml-api/overview. Conditional writes, ranges, lists in pages,
uploads in parts. Nobody is asked who he is. No packaged emulator answers all of that.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import msgspec

from tests.loopback import on_loopback

_KEPT = ("content-type", "cache-control", "content-disposition")
_PAGE = 100


class Stored(msgspec.Struct):
    """One object."""

    data: bytes
    headers: dict[str, str]
    generation: int
    etag: str


class Google:
    """What the service holds and what it does.

    Attributes:
        objects: by key, of one bucket; ``bucket`` is its name.
        trouble: how many of the next requests are answered with 503.
        pages: how many pages of lists are given before the next is answered with 503.
        locked: keys that may not be removed.
        lost: how many of the next writes are done, and answered with 503.
    """

    def __init__(self, bucket: str = "site") -> None:
        self.bucket = bucket
        self.objects: dict[str, Stored] = {}
        self.parts: dict[str, tuple[dict[str, str], dict[int, bytes]]] = {}
        self.trouble = self.lost = 0
        self.pages = -1
        self.locked: set[str] = set()
        self.lock = threading.Lock()
        self.numbers = itertools.count(1001)
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    google: Google
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *words: Any) -> None:
        pass

    def _say(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        self._say(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def _asked(self) -> tuple[str, dict[str, list[str]]] | None:
        """Key and query; None when it is answered already."""
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        google = self.google
        if google.trouble > 0:
            google.trouble -= 1
            self._error(503, "ServiceUnavailable")
        elif bucket != google.bucket:
            self._error(404, "NoSuchBucket")
        else:
            return key, parse_qs(parts.query, keep_blank_values=True)
        return None

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_PUT(self) -> None:
        data, asked = self._body(), self._asked()
        if asked is None:
            return
        key, query = asked
        if "uploadId" in query:
            number = int(query["partNumber"][0])
            self.google.parts[query["uploadId"][0]][1][number] = data
            return self._say(200, headers={"ETag": f'"{number}"'})
        wanted = self.headers.get("x-goog-if-generation-match")
        google = self.google
        with google.lock:
            known = google.objects.get(key)
            if wanted is not None and int(wanted) != (known.generation if known else 0):
                return self._error(412, "PreconditionFailed")
            stored = self._store(key, data, dict(self.headers.items()))
        if google.lost > 0:
            google.lost -= 1
            return self._error(503, "ServiceUnavailable")
        self._say(200, headers=_tags(stored))

    def _store(self, key: str, data: bytes, headers: dict[str, str]) -> Stored:
        kept = {k.lower(): v for k, v in headers.items() if k.lower() in _KEPT}
        etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        stored = Stored(data, kept, next(self.google.numbers), etag)
        self.google.objects[key] = stored
        return stored

    def do_POST(self) -> None:
        data, asked = self._body(), self._asked()
        if asked is None:
            return
        key, query = asked
        if "uploads" in query:
            name = f"upload{next(self.google.numbers)}"
            self.google.parts[name] = (dict(self.headers.items()), {})
            return self._say(200, _document("InitiateMultipartUpload", "UploadId", name))
        headers, parts = self.google.parts.pop(query["uploadId"][0])
        assert data.count(b"<PartNumber>") == len(parts)
        stored = self._store(key, b"".join(parts[n] for n in sorted(parts)), headers)
        stored.etag = f'"{stored.generation}-{len(parts)}"'  # no MD5, as of what is composed
        text = _document("CompleteMultipartUpload", "ETag", stored.etag)
        self._say(200, text, _tags(stored))

    def do_GET(self) -> None:
        asked = self._asked()
        if asked is None:
            return
        key, query = asked
        if not key:
            return self._list(query)
        stored = self.google.objects.get(key)
        if stored is None:
            return self._error(404, "NoSuchKey")
        if self.headers.get("If-Match", stored.etag) != stored.etag:
            return self._error(412, "PreconditionFailed")
        data, status, headers = stored.data, 200, {**_tags(stored), **stored.headers}
        if match := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            start, end = int(match[1]), min(int(match[2]), len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            data, status = data[start : end + 1], 206
        self._say(status, data, headers)

    do_HEAD = do_GET

    def _list(self, query: dict[str, list[str]]) -> None:
        prefix = query.get("prefix", [""])[0]
        self.google.pages -= 1
        if self.google.pages == -1:
            return self._error(503, "ServiceUnavailable")
        after = query.get("continuation-token", query.get("start-after", [""]))[0]
        keys = sorted(k for k in self.google.objects if k.startswith(prefix) and k > after)
        rows = "".join(_row(key, self.google.objects[key]) for key in keys[:_PAGE])
        if len(keys) > _PAGE:
            token = escape(keys[_PAGE - 1])
            rows += f"<NextContinuationToken>{token}</NextContinuationToken>"
        self._say(200, f"<ListBucketResult>{rows}</ListBucketResult>".encode())

    def do_DELETE(self) -> None:
        asked = self._asked()
        if asked is None:
            return
        if asked[0] in self.google.locked:
            return self._error(403, "ObjectUnderActiveHold")
        known = self.google.objects.pop(asked[0], None)
        self._say(204) if known else self._error(404, "NoSuchKey")


def _document(name: str, field: str, value: str) -> bytes:
    return f"<{name}Result><{field}>{escape(value)}</{field}></{name}Result>".encode()


def _row(key: str, stored: Stored) -> str:
    return (
        f"<Contents><Key>{escape(key)}</Key><Size>{len(stored.data)}</Size>"
        f"<LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>{escape(stored.etag)}</ETag></Contents>"
    )


def _tags(stored: Stored) -> dict[str, str]:
    return {
        "ETag": stored.etag, "x-goog-generation": str(stored.generation),
        "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
    }  # fmt: skip


@contextlib.contextmanager
def google() -> Iterator[Google]:
    """A service on loopback with one empty bucket."""
    found = Google()
    handler = type("Handler", (_Handler,), {"google": found})
    with on_loopback(handler) as found.url:
        yield found
