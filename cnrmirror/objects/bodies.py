"""What is written of a resource: its bytes, its headers, many at a time."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from cnrmirror.model.digest import CHUNK
from cnrmirror.model.progress import Progress
from cnrmirror.model.resource import CACHE_CONTROL, Alias, Base64Json, Resource
from cnrmirror.objects.limiter import together
from cnrmirror.objects.store import Store

MULTIPART_FROM = 16 << 20
PARALLEL, _NEAR = 64, 8
# Bodies larger than this are held in memory only so many at a time.
_BULKY, _BULKY_AT_ONCE = 1 << 20, 8
_SAMPLE, _FAR_SECONDS = 64, 0.005


def attributes_of(resource: Resource, storage_class: str) -> dict[str, str]:
    """The headers that an object is stored with."""
    found = {
        "Content-Type": resource.media_type,
        "Cache-Control": CACHE_CONTROL[resource.cache],
        "Content-Disposition": resource.filename,
        "Storage-Class": storage_class,
    }
    return {name: value for name, value in found.items() if value}


def body_size(resource: Resource) -> int:
    """How many bytes a resource has."""
    body = resource.body
    assert not isinstance(body, Alias)
    return len(body) if isinstance(body, bytes) else body.size


@contextlib.contextmanager
def open_body(resource: Resource, store: Store) -> Iterator[Any]:
    """The bytes of a small body; a stream of pieces of a large one."""
    body = resource.body
    if isinstance(body, bytes):
        yield body
        return
    assert not isinstance(body, Alias)
    blob = body.blob if isinstance(body, Base64Json) else body
    with store.open_blob(blob) as stream:
        pieces = body.chunks(stream) if isinstance(body, Base64Json) else _pieces(stream)
        yield b"".join(pieces) if body_size(resource) < MULTIPART_FROM else pieces


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: stream.read(CHUNK), b"")


def digests(resource: Resource, store: Store) -> tuple[str, bytes]:
    """The MD5 of a resource's bytes, in hex as an ETag may have it, and their sha256."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with open_body(resource, store) as body:
        for piece in [body] if isinstance(body, bytes) else body:
            md5.update(piece)
            sha256.update(piece)
    return md5.hexdigest(), sha256.digest()


class Crew:
    """Writes resources, the small ones as many at a time as is good for the service."""

    def __init__(self) -> None:
        self._threads: int | None = None
        self._lock = threading.Lock()
        self._bulky = threading.Semaphore(_BULKY_AT_ONCE)

    def each(
        self, write: Callable[[Resource], object], resources: Sequence[Resource], progress: Progress
    ) -> None:
        """All of them. Raises the first error, when all have stopped."""
        large = [r for r in resources if body_size(r) >= MULTIPART_FROM]
        small = [r for r in resources if body_size(r) < MULTIPART_FROM]

        def one(resource: Resource) -> None:
            write(resource)
            with self._lock:
                progress.advance(1, body_size(resource))

        if self._threads is None and len(small) > _SAMPLE:
            began = time.monotonic()
            together(one, small[:_SAMPLE], _NEAR)
            each = (time.monotonic() - began) * _NEAR / _SAMPLE
            # Where answers come at once, more threads only stand in each other's way.
            self._threads = PARALLEL if each > _FAR_SECONDS else _NEAR
            small = small[_SAMPLE:]
        together(one, small, self._threads or PARALLEL)
        for resource in large:
            one(resource)

    def room_for(self, resource: Resource) -> contextlib.AbstractContextManager[object]:
        """Waits while too many large bodies are in memory."""
        return self._bulky if body_size(resource) > _BULKY else contextlib.nullcontext()
