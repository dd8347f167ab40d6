"""Destinations in memory for tests of publishing, which look at every moment as a reader would."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from cnrmirror.model.progress import Progress
from cnrmirror.model.resource import Resource
from cnrmirror.objects.memory import MemoryObjects
from cnrmirror.objects.store import Store

API = "cnr/api/v1/packages"


class Killed(BaseException):
    """What a test raises in the place of SIGKILL."""


class WatchedObjects(MemoryObjects):
    """A bucket in memory that tells of every write. ``objects`` may be shared by several.

    ``before`` is called with the key before each write or removal, ``after`` after it.
    """

    def __init__(self, store: Store, objects: dict[str, bytes]) -> None:
        super().__init__(store, objects, "s3://memory/x")
        self.before: Callable[[str], None] = lambda key: None
        self.after: Callable[[str], None] = lambda key: None

    def _create(self, key: str, data: bytes) -> bool:
        if key in self.objects:
            return False
        self.before(key)
        created = super()._create(key, data)  # somebody else may have been faster
        if created:
            self.after(key)
        return created

    def _swap(self, key: str, data: bytes, expected: str | None) -> None:
        self.before(key)
        super()._swap(key, data, expected)
        self.after(key)

    def put(self, resources: Sequence[Resource], progress: Progress) -> None:
        for resource in reversed(resources):
            self.before(resource.path)
            super().put([resource], progress)
            self.after(resource.path)

    def _remove(self, key: str) -> None:
        self.before(key)
        super()._remove(key)
        self.after(key)


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
