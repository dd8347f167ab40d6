"""The least that speaks S3: PUT, GET, HEAD, LIST, conditions, removals, in memory.

``python -m bench.sink PORT``. Signatures are not looked at: it stands in for a service that is
never the limit. ``GET /_count`` tells how many requests of each method there were, and forgets.
"""

from __future__ import annotations

import asyncio
import bisect
import hashlib
import json
import re
import sys
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

_PAGE = 1000
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
_DECODED = re.compile(rb"\r\nx-amz-decoded-content-length:", re.I)
_CONDITION = re.compile(rb"\r\nif-(none-match|match): *([^\r]+)", re.I)
_EXPECT = re.compile(rb"\r\nexpect: *100-continue", re.I)

objects: dict[str, tuple[bytes, str]] = {}
counts: dict[str, int] = {}
in_order: list[str] = []


class Connection(asyncio.Protocol):
    """One client; answers one request after the other."""

    def __init__(self) -> None:
        self._data = b""
        self._told = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while True:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._data[:end]
            match = _LENGTH.search(head)
            length = int(match[1]) if match else 0
            if len(self._data) < end + 4 + length:
                if _EXPECT.search(head) and not self._told:
                    self._told = True
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            self._told = False
            body = self._data[end + 4 : end + 4 + length]
            self._data = self._data[end + 4 + length :]
            self._transport.write(answer(head, body))


def answer(head: bytes, body: bytes) -> bytes:
    method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
    path, _, query = target.partition("?")
    if path == "/_count":
        found = json.dumps(counts).encode()
        counts.clear()
        return _reply(200, found)
    counts[method] = counts.get(method, 0) + 1
    key = unquote(path).lstrip("/").partition("/")[2]
    if method == "PUT":
        return _put(key, head, _whole(body) if _DECODED.search(head) else body)
    if method == "POST" and "delete" in query:
        for name in re.findall(rb"<Key>([^<]+)</Key>", body):
            _forget(name.decode())
        return _reply(200, b"<DeleteResult></DeleteResult>")
    if method == "DELETE":
        _forget(key)
        return _reply(204, b"")
    if not key:
        counts["LIST"] = counts.get("LIST", 0) + 1
        return _reply(200, _listed(parse_qs(query)))
    if key not in objects:
        return _reply(404, b"<Error><Code>NoSuchKey</Code></Error>", head=method == "HEAD")
    data, tag = objects[key]
    return _reply(200, data, tag, method == "HEAD")


def _put(key: str, head: bytes, body: bytes) -> bytes:
    condition = _CONDITION.search(head)
    if condition:
        there = objects[key][1] if key in objects else None
        wanted = condition[2].decode()
        if (there is not None) if wanted == "*" else wanted != there:
            return _reply(412, b"<Error><Code>PreconditionFailed</Code></Error>")
    tag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
    if key not in objects:
        in_order.clear()
    objects[key] = (body, tag)
    return _reply(200, b"", tag)


def _forget(key: str) -> None:
    if objects.pop(key, None):
        in_order.clear()


def _listed(query: dict[str, list[str]]) -> bytes:
    if not in_order:
        in_order.extend(sorted(objects))
    prefix = query.get("prefix", [""])[0]
    after = query.get("continuation-token", query.get("start-after", [""]))[0]
    start = bisect.bisect_right(in_order, after) if after else bisect.bisect_left(in_order, prefix)
    page = in_order[start : start + _PAGE]
    more = len(page) == _PAGE and page[-1].startswith(prefix)
    text = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{len(objects[key][0])}</Size>"
        f"<ETag>{escape(objects[key][1])}</ETag><StorageClass>STANDARD</StorageClass>"
        "<LastModified>2038-01-01T00:00:00.000Z</LastModified></Contents>"
        for key in page
        if key.startswith(prefix)
    )
    token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
    return (
        f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{text}"
        "</ListBucketResult>"
    ).encode()


def _whole(body: bytes) -> bytes:
    """What is in an ``aws-chunked`` body."""
    found = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.partition(b";")[0] or b"0", 16)
        if not length:
            break
        found.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(found)


def _reply(status: int, body: bytes, tag: str = "", head: bool = False) -> bytes:
    more = f"ETag: {tag}\r\nLast-Modified: Fri, 01 Jan 2038 00:00:00 GMT\r\n" if tag else ""
    return f"HTTP/1.1 {status} -\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + (
        b"" if head else body
    )


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(
        Connection, "127.0.0.1", port, backlog=512
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
