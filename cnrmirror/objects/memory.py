"""Objects in memory: what a bucket does, without a network.

Several ``MemoryObjects`` may share one dictionary, as several publishers share one bucket.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import IncompleteError, Outdated, Tampered
from cnrmirror.model.progress import Progress
from cnrmirror.model.resource import Alias, Base64Json, Resource
from cnrmirror.objects.base import PIECE, STATE_FOLDER, Listed, Objects, bounded, check_path
from cnrmirror.objects.store import Store


class MemoryObjects(Objects):
    """A bucket in memory.

    Args:
        store: the mirror's blobs.
        objects: the bytes by key.
    """

    def __init__(self, store: Store, objects: dict[str, bytes], name: str = "memory") -> None:
        self.name = name
        self.requests = 0
        self.notes: list[str] = []
        self.objects = objects
        self._store = store

    def close(self) -> None:
        """Nothing is held open."""

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """See ``base.Reader``."""
        data = self.objects.get(check_path(path))
        if data is None:
            raise IncompleteError(f"{self.name}/{path}: missing", path=path)
        pieces = (data[start : start + PIECE] for start in range(0, len(data), PIECE))
        yield from bounded(pieces, max_bytes, f"{self.name}/{path}")

    def read(self, key: str, max_bytes: int) -> tuple[bytes, str] | None:
        """See ``base.Objects``."""
        self.requests += 1
        data = self.objects.get(key)
        if data is not None and len(data) > max_bytes:
            raise Tampered(f"{self.name}/{key}: longer than {max_bytes} bytes")
        return None if data is None else (data, _tag(data))

    def size(self, key: str) -> int | None:
        """See ``base.Objects``."""
        self.requests += 1
        data = self.objects.get(key)
        return None if data is None else len(data)

    def create(self, resources: Sequence[Resource], progress: Progress) -> list[str]:
        """See ``base.Objects``."""
        known = []
        # In any order: the worst one for whoever relies on one.
        for resource in reversed(resources):
            self.requests += 1
            if not self._create(resource.path, self._bytes(resource)):
                known.append(resource.path)
            progress.advance(1, resource.size)
        return known

    def put(self, resources: Sequence[Resource], progress: Progress) -> None:
        """See ``base.Objects``."""
        for resource in reversed(resources):
            self.requests += 1
            self._write(resource.path, self._bytes(resource))
            progress.advance(1, resource.size)

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """See ``base.Objects``."""
        self.requests += 1
        self._swap(key, data, expected)
        return _tag(data)

    def delete(self, keys: Sequence[str]) -> list[str]:
        """See ``base.Objects``."""
        self.requests += bool(keys)
        for key in keys:
            self._remove(key)
        return []

    def listing(self) -> Iterator[Listed]:
        """See ``base.Objects``."""
        self.requests += 1
        for key, data in sorted(self.objects.items()):
            if not key.startswith(f"{STATE_FOLDER}/"):
                yield Listed(key, len(data), _tag(data))

    def holds(self, listed: Listed, resource: Resource) -> bool:
        """See ``base.Objects``."""
        return _tag(self._bytes(resource)) == listed.tag

    # -- each of these is one indivisible step of the destination --

    def _create(self, key: str, data: bytes) -> bool:
        if key in self.objects:
            return False
        self._write(key, data)
        return True

    def _swap(self, key: str, data: bytes, expected: str | None) -> None:
        found = self.objects.get(key)
        if (None if found is None else _tag(found)) != expected:
            raise Outdated(f"{self.name}/{key}: somebody else published meanwhile")
        self._write(key, data)

    def _write(self, key: str, data: bytes) -> None:
        self.objects[key] = data

    def _remove(self, key: str) -> None:
        self.objects.pop(key, None)

    def _bytes(self, resource: Resource) -> bytes:
        body = resource.body
        if isinstance(body, bytes):
            return body
        assert not isinstance(body, Alias)
        with self._store.open_blob(body.blob if isinstance(body, Base64Json) else body) as stream:
            return b"".join(body.chunks(stream)) if isinstance(body, Base64Json) else stream.read()


def _tag(data: bytes) -> str:
    return Descriptor.of(data).digest
