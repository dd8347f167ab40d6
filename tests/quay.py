"""A registry that answers as Quay's application registry did, in memory, over loopback.

Its list is cut before it is filtered by who may see what, so a cut one has any number of rows; it
names the formats of the newest release only. Digests stand with their algorithm, errors are
objects, and there are fields that no other registry has.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import semantic_version

from cnrmirror.archive.inspect import inspect
from tests.conftest import NOW, chart_bytes
from tests.hostile import Host, hosting
from tests.test_sources import reply

API = "/cnr/api/v1/packages"
USER = "Basic " + base64.b64encode(b"robot:token").decode()


class Quay:
    """What it has, and how it answers."""

    def __init__(self) -> None:
        self.packages: dict[str, dict[str, dict[str, bytes]]] = {}
        self.channels: dict[str, list[dict[str, Any]]] = {}
        self.cap = 50
        self.private: set[str] = set()
        self.user = ""
        self.host: Host

    def add(self, package: str, release: str, *types: str) -> None:
        """A release in some formats; helm if none is named."""
        found = self.packages.setdefault(package, {}).setdefault(release, {})
        for media_type in types or ("helm",):
            text = "" if media_type == "helm" else media_type
            found[media_type] = chart_bytes(package.partition("/")[2], release, text)

    def asked(self) -> list[str]:
        """What was asked for since this was called last, sorted."""
        found = sorted(path.removeprefix(API) for path in self.host.requests)
        self.host.requests.clear()
        return found

    def answer(self, path: str) -> tuple[int, Any]:
        """Status, and bytes or what becomes JSON."""
        address = urlsplit(path)
        if not address.path.startswith(API):
            return 404, _error("not-found", "no such address")
        parts = [unquote(part) for part in address.path[len(API) :].split("/")[1:]]
        if not parts:
            return 200, self._list(address.query.partition("namespace=")[2])
        name, rest = "/".join(parts[:2]), parts[2:]
        if name in self.private:
            return 403, _error("forbidden", f"you may not see {name}")
        releases = self.packages.get(name)
        if not releases:
            return 404, _error("package-not-found", f"package {name} doesn't exist")
        return self._below(name, releases, rest)

    def _list(self, namespace: str) -> list[dict[str, Any]]:
        cut = sorted(self.packages)[: self.cap]
        return [
            {"name": name, "namespace": name.partition("/")[0], "releases": list(releases),
             "default": max(releases), "manifests": sorted(releases[max(releases)]),
             "channels": None, "created_at": NOW, "updated_at": NOW, "visibility": "public"}
            for name in cut
            if name not in self.private and name.startswith(namespace)
            for releases in [self.packages[name]]
        ]  # fmt: skip

    def _below(
        self, name: str, releases: dict[str, dict[str, bytes]], rest: list[str]
    ) -> tuple[int, Any]:
        if not rest:
            shown = [_best(release, list(releases)) for release in releases]
            return 200, [_manifest(name, r, t, b) for r in shown for t, b in releases[r].items()]
        if rest == ["channels"]:
            return 200, self.channels.get(name, [])
        if rest[:2] == ["blobs", "sha256"]:
            blobs = (b for formats in releases.values() for b in formats.values())
            found = [b for b in blobs if _digest(b) == rest[2]]
            return (200, found[0]) if found else (404, _error("blob-not-found", "no blob"))
        formats = releases.get(_best(rest[0], list(releases)), {})
        if len(rest) == 1 and rest[0] in releases:
            release = _best(rest[0], list(releases))
            return 200, [_manifest(name, release, t, blob) for t, blob in formats.items()]
        if len(rest) == 2 and rest[1] in formats:
            release = _best(rest[0], list(releases))
            return 200, _manifest(name, release, rest[1], formats[rest[1]])
        if len(rest) == 3 and rest[2] == "pull" and rest[1] in formats:
            return 200, formats[rest[1]]
        return 404, _error("package-not-found", f"no release {rest[0]}")


def _best(query: str, releases: list[str]) -> str:
    """A release is a range to it: of two that differ in their build, it gives the later one."""
    if query.endswith("+") and query[:-1] in releases:
        return query[:-1]
    if not all(map(semantic_version.validate, [query, *releases])):
        return query
    spec = semantic_version.SimpleSpec(query)
    best = spec.select(map(semantic_version.Version, sorted(releases, reverse=True)))
    return str(best) if best else query


def _digest(blob: bytes) -> str:
    return inspect(io.BytesIO(blob)).diff_id


def _manifest(name: str, release: str, media_type: str, blob: bytes) -> dict[str, Any]:
    content = {
        "digest": f"sha256:{_digest(blob)}", "size": len(blob), "urls": [],
        "mediaType": f"application/vnd.cnr.package.{media_type}.v0.tar+gzip",
    }  # fmt: skip
    return {
        "package": name, "release": release, "created_at": NOW, "metadata": None,
        "digest": f"sha256:{hashlib.sha256(blob).hexdigest()}", "content": content,
        "mediaType": f"application/vnd.cnr.package-manifest.{media_type}.v0.json",
        "channels": [], "package_id": 7,
    }  # fmt: skip


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "details": {}}}


@contextmanager
def quay(folder: Path) -> Iterator[Quay]:
    """The registry as long as the block lasts; ``user`` is the header that it wants, if any."""
    registry = Quay()

    def answer(handler: BaseHTTPRequestHandler, path: Path) -> bool:
        if registry.user and handler.headers.get("Authorization") != registry.user:
            status, value = 401, _error("unauthorized-access", "please log in")
        else:
            status, value = registry.answer(handler.path)
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        reply(handler, body, status)
        return True

    with hosting(folder) as host:
        host.fault = answer
        registry.host = host
        yield registry
