"""Places in memory for tests of publishing, which look at every moment as a reader would."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import IncompleteError, Outdated
from cnrmirror.model.progress import Progress
from cnrmirror.model.resource import Alias, Base64Json, Resource
from cnrmirror.objects.base import Listed, Reader
from cnrmirror.objects.store import Store

API = "cnr/api/v1/packages"


class Killed(BaseException):
    """What a test raises in the place of SIGKILL."""


class MemoryPlace:
    """A bucket in memory. ``objects`` may be shared by several mirrors' places.

    ``before`` is called with the key before each write or removal, ``after`` after it.
    """

    def __init__(self, store: Store, objects: dict[str, bytes]) -> None:
        self.name = "s3://memory/x"
        self.requests = 0
        self.notes: list[str] = []
        self.objects = objects
        self.before: Callable[[str], None] = lambda key: None
        self.after: Callable[[str], None] = lambda key: None
        self._store = store

    def close(self) -> None:
        pass

    def read(self, key: str, max_bytes: int) -> tuple[bytes, str] | None:
        self.requests += 1
        data = self.objects.get(key)
        return None if data is None else (data, _tag(data))

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        self.requests += 1
        found = self.objects.get(key)
        if (None if found is None else _tag(found)) != expected:
            raise Outdated(key)
        self._write(key, data)
        return _tag(data)

    def put(self, resources: Sequence[Resource], progress: Progress, anew: bool = False) -> None:
        # In any order: the worst one for whoever relies on one.
        for resource in reversed(resources):
            self.requests += 1
            named_by_content = re.match("catalog/(blobs|nodes|targets)/", resource.path)
            if named_by_content and resource.path in self.objects and not anew:
                continue  # as a bucket with conditional writes does
            self._write(resource.path, self._bytes(resource))

    def delete(self, keys: Sequence[str]) -> None:
        self.requests += bool(keys)
        for key in keys:
            self.before(key)
            self.objects.pop(key, None)
            self.after(key)

    def listing(self) -> Iterator[Listed]:
        self.requests += 1
        for key, data in sorted(self.objects.items()):
            if not key.startswith(".cnrmirror/"):
                yield Listed(key, len(data), _tag(data))

    def holds(self, listed: Listed, resource: Resource) -> bool:
        return _tag(self._bytes(resource)) == listed.tag

    def _write(self, key: str, data: bytes) -> None:
        self.before(key)
        self.objects[key] = data
        self.after(key)

    def _bytes(self, resource: Resource) -> bytes:
        body = resource.body
        if isinstance(body, bytes):
            return body
        assert not isinstance(body, Alias)
        with self._store.open_blob(body.blob if isinstance(body, Base64Json) else body) as stream:
            return b"".join(body.chunks(stream)) if isinstance(body, Base64Json) else stream.read()


class MemoryFetcher(Reader):
    """Reads the same objects as a client."""

    name = "s3://memory/x"

    def __init__(self, objects: dict[str, bytes]) -> None:
        self._objects = objects

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        if path not in self._objects:
            raise IncompleteError(f"{path}: missing")
        yield self._objects[path]

    def close(self) -> None:
        pass


def reader_sees_no_gap(objects: dict[str, bytes]) -> None:
    """Whatever a document of the registry names is there: lists, packages, releases, archives."""
    listed = json.loads(objects.get(API, b"[]"))
    for row in listed:
        name = row["name"]
        manifests = json.loads(objects[f"{API}/{name}"])
        # A release that was just removed may still be listed, and is still there to be read.
        assert all(f"{API}/{name}/{release}" in objects for release in row["releases"])
        for manifest in manifests:
            release = f"{API}/{name}/{manifest['release']}"
            short = manifest["mediaType"].split(".")[-3]
            assert release in objects
            assert json.loads(objects[f"{release}/{short}"])["content"] == manifest["content"]
            assert f"{release}/{short}/pull" in objects
            assert f"{API}/{name}/blobs/sha256/{manifest['content']['digest']}" in objects
        for channel in json.loads(objects[f"{API}/{name}/channels"]):
            assert f"{API}/{name}/channels/{channel['name']}" in objects
            assert f"{API}/{name}/{channel['current']}" in objects


def verified_reader_sees_no_gap(objects: dict[str, bytes]) -> None:
    """Whatever the signed timestamp leads to is there, and is what it names."""
    path = "catalog/metadata/timestamp.json"
    if path not in objects:
        return
    info = json.loads(objects[path])["signed"]["meta"]["snapshot.json"]
    snapshot = objects[f"catalog/metadata/{info['version']}.snapshot.json"]
    assert hashlib.sha256(snapshot).hexdigest() == info["hashes"]["sha256"]
    info = json.loads(snapshot)["signed"]["meta"]["catalog.json"]
    catalog = json.loads(objects[f"catalog/metadata/{info['version']}.catalog.json"])
    target = catalog["signed"]["targets"]["catalog.json"]["hashes"]["sha256"]
    root = json.loads(objects[f"catalog/targets/{target}.catalog.json"])
    _walk(objects, root["tree"])


def _walk(objects: dict[str, bytes], node: dict[str, object]) -> None:
    for child in node.get("children", {}).values():  # type: ignore[attr-defined]
        _walk(objects, json.loads(objects[_node(child["digest"])]))
    for ref in node.get("packages", []):  # type: ignore[attr-defined]
        for release in json.loads(objects[_node(ref["digest"])])["releases"]:
            digest = release["blob"]["digest"]
            assert f"catalog/blobs/sha256/{digest[:2]}/{digest}" in objects


def _node(digest: str) -> str:
    return f"catalog/nodes/sha256/{digest[:2]}/{digest}"


def files(folder: Path) -> dict[str, bytes | str]:
    """Everything in a folder: bytes of files, targets of links."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = path.readlink().as_posix()
        elif path.is_file() and not name.startswith(".cnrmirror/"):
            found[name] = path.read_bytes()
    return found


def _tag(data: bytes) -> str:
    return Descriptor.of(data).digest
