"""Where a registry's datastore has its keys: a folder, Redis, or etcd."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from cnrmirror.model import typed
from cnrmirror.model.errors import (
    AccessDenied,
    IncompleteError,
    InvalidDocument,
    NetworkError,
    Tampered,
)
from cnrmirror.objects.base import PIECE, WebReader
from cnrmirror.objects.folder import FolderReader
from cnrmirror.sources.base import Hole

RELEASES = "releases.json"
_MARKS = (RELEASES, "digests")
_MAX_LISTED_BYTES = 64 << 20
_MAX_PACKAGES, _MAX_PAGES = 1_000_000, 1_000_000


class Keys(Protocol):
    """Where the keys are."""

    def open(self, key: str, max_bytes: int) -> Iterator[bytes]:
        """The value of a key, piece by piece.

        Raises:
            IncompleteError: there is no such key.
            InvalidDocument: it is there, and has no value that can be read.
            Tampered: it is longer than ``max_bytes``.
            NetworkError: the store cannot be reached.
        """

    def packages(self, prefix: str, unread: list[Hole]) -> Iterator[str]:
        """``NS/NAME`` of everything below a prefix that looks like a package, unsorted.

        Args:
            unread: gets what could not be looked into.

        Raises:
            NetworkError: the store cannot be reached.
            InvalidDocument: it has no end.
        """


def few(names: Iterator[str]) -> Iterator[str]:
    """The same names, as long as they are not too many. Raises InvalidDocument."""
    for number, name in enumerate(names):
        if number >= _MAX_PACKAGES:
            raise InvalidDocument(f"more than {_MAX_PACKAGES} packages")
        yield name


class FolderKeys:
    """The server's "filesystem" datastore."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reader = FolderReader(folder)

    def open(self, key: str, max_bytes: int) -> Iterator[bytes]:
        """See ``Keys``."""
        try:
            yield from self._reader.fetch(key, max_bytes)
        except NetworkError as error:
            if not self._folder.is_dir():
                raise
            raise InvalidDocument(error.message) from error  # the disk is there: one file is bad

    def packages(self, prefix: str, unread: list[Hole]) -> Iterator[str]:
        """See ``Keys``; no symlink is followed."""
        if not self._folder.is_dir():
            raise NetworkError(f"{self._folder}: there is no such folder: is the medium there?")
        top = self._folder / prefix
        for namespace in _folders(top, unread):
            for name in _folders(top / namespace, unread):
                if any(os.path.lexists(top / namespace / name / mark) for mark in _MARKS):
                    yield f"{namespace}/{name}"


def _folders(path: Path, unread: list[Hole]) -> Iterator[str]:
    """The names of the folders in a folder; none if it is none."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield os.fsencode(entry.name).decode(errors="backslashreplace")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        unread.append(Hole(str(path), f"it cannot be looked into: {error.strerror}"))


class RedisKeys:
    """Redis; ``client`` is one of redis-py."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def open(self, key: str, max_bytes: int) -> Iterator[bytes]:
        """See ``Keys``."""
        size = self._ask("strlen", key)
        if not size and not self._ask("exists", key):
            raise IncompleteError(f"Redis has no key {key}")
        if size > max_bytes:
            raise Tampered(f"{key}: longer than the {max_bytes} bytes that it may have")
        for start in range(0, size, PIECE):
            yield self._ask("getrange", key, start, start + PIECE - 1)

    def packages(self, prefix: str, unread: list[Hole]) -> Iterator[str]:
        """See ``Keys``: by SCAN, which keeps nobody else waiting."""
        escaped = re.sub(r"([*?\[\]\\])", r"\\\1", prefix)
        cursor, seen = 0, set()
        for _ in range(_MAX_PAGES):
            cursor, found = self._ask("scan", cursor, f"{escaped}*/*/*", 1000)
            for key in found:
                text = key.decode(errors="backslashreplace") if isinstance(key, bytes) else key
                namespace, _, rest = text[len(prefix) :].partition("/")
                name, _, rest = rest.partition("/")
                package = f"{namespace}/{name}"
                if rest.partition("/")[0] in _MARKS and package not in seen:
                    seen.add(package)
                    yield package
            if cursor == 0:
                return
        raise InvalidDocument(f"Redis: its keys have no end after {_MAX_PAGES} pages")

    def _ask(self, command: str, *arguments: Any) -> Any:
        try:
            return getattr(self._client, command)(*arguments)
        except Exception as error:  # an optional dependency: its errors have no names here
            text = f"{type(error).__name__}: {error}"[:1000]
            if "WRONGTYPE" in text:
                raise InvalidDocument(f"Redis: {arguments[0]!r:.200}: no text") from error
            raise NetworkError(f"Redis: {text}") from error


class EtcdKeys:
    """etcd by its v2 HTTP API (``--enable-v2``)."""

    def __init__(self, http: WebReader) -> None:
        self._http = http

    def open(self, key: str, max_bytes: int) -> Iterator[bytes]:
        """See ``Keys``. The value stands in a JSON string, so it is held whole."""
        node = self._node(key, 2 * max_bytes + 65536)  # escapes may double it
        if node.value is None:
            raise InvalidDocument(f"{self._http.name}: {key}: not a key with a value")
        yield node.value.encode(errors="surrogatepass")

    def packages(self, prefix: str, unread: list[Hole]) -> Iterator[str]:
        """See ``Keys``; one request a folder: a walk in one request would send all archives."""
        for namespace in self._below(prefix.rstrip("/"), unread):
            for package in self._below(namespace.key, unread) if namespace.dir else ():
                marks = self._below(package.key, unread) if package.dir else ()
                if any(node.key.rpartition("/")[2] in _MARKS for node in marks):
                    yield "/".join(package.key.split("/")[-2:])

    def _below(self, path: str, unread: list[Hole]) -> list[_EtcdNode]:
        try:
            return self._node(path.lstrip("/"), _MAX_LISTED_BYTES).nodes
        except IncompleteError:
            pass
        except (AccessDenied, InvalidDocument, Tampered) as error:
            unread.append(Hole(path[:300], f"it cannot be looked into: {error.message}"))
        return []

    def _node(self, key: str, max_bytes: int) -> _EtcdNode:
        url = f"{self._http.name}/v2/keys/{quote(key)}"
        data = self._http.document(url, max_bytes).body
        try:
            return typed.decode(data, _EtcdAnswer).node
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidDocument(f"{url}: not an etcd answer: {error}") from error


class _EtcdNode(msgspec.Struct):
    key: str = ""
    value: str | None = None
    dir: bool = False
    nodes: list[_EtcdNode] = []


class _EtcdAnswer(msgspec.Struct):
    node: _EtcdNode
