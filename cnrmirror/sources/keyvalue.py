"""The datastore of a cnr-server or appr, without the server: a folder, Redis, or etcd.

Keys, below a prefix (``appr/packages/`` or ``cnr/packages/``)::

    packages.json                        {"packages": {NS: {NAME: …}}}
    NS/NAME/releases.json                {"releases": {R: {"manifests": {TYPE: …}, "channels": []}},
                                          "channels": {C: {"name": …, "current": …}}}
    NS/NAME/digests/sha256/DIGEST        the archive in base64
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from cnrmirror.model.canonical import parse_json
from cnrmirror.model.documents import Channel
from cnrmirror.model.errors import (
    IncompleteError,
    InputError,
    InvalidDocument,
    NetworkError,
    Tampered,
    TrustError,
)
from cnrmirror.model.names import PackageName
from cnrmirror.model.progress import stage
from cnrmirror.objects.base import PIECE, WebReader, read
from cnrmirror.objects.folder import FolderReader
from cnrmirror.sources.base import Ask, Hole, Listing, Offer, Source
from cnrmirror.sources.kind import Problem, SourceRoom, Web, bad_url
from cnrmirror.sources.manifests import (
    MAX_DOCUMENT_BYTES,
    MAX_LIST_BYTES,
    channel,
    decode_blob,
    offers,
)

PREFIXES = ("appr/packages/", "cnr/packages/", "packages/", "")


class Keys(Protocol):
    """Where the keys are."""

    def open(self, key: str, max_bytes: int) -> Iterator[bytes]:
        """The value of a key, piece by piece.

        Raises:
            IncompleteError: there is no such key.
            Tampered: it is longer than ``max_bytes``.
            NetworkError: the store cannot be reached.
        """


class FolderKeys:
    """The server's "filesystem" datastore."""

    def __init__(self, folder: Path) -> None:
        self._reader = FolderReader(folder)

    def open(self, key: str, max_bytes: int) -> Iterator[bytes]:
        """See ``Keys``."""
        return self._reader.fetch(key, max_bytes)


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

    def _ask(self, command: str, *arguments: Any) -> Any:
        try:
            return getattr(self._client, command)(*arguments)
        except Exception as error:  # an optional dependency: its errors have no names here
            raise NetworkError(f"Redis: {type(error).__name__}: {error}") from error


class EtcdKeys:
    """etcd by its v2 HTTP API (``--enable-v2``)."""

    def __init__(self, http: WebReader) -> None:
        self._http = http

    def open(self, key: str, max_bytes: int) -> Iterator[bytes]:
        """See ``Keys``. The value stands in a JSON string, so it is held whole."""
        url = f"{self._http.name}/v2/keys/{quote(key)}"
        data = self._http.document(url, 2 * max_bytes + 65536).body  # escapes may double it
        try:
            value = msgspec.json.decode(data, type=_EtcdAnswer).node.value
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidDocument(f"{url}: not an etcd answer: {error}") from error
        yield value.encode(errors="surrogatepass")


class _EtcdNode(msgspec.Struct):
    value: str


class _EtcdAnswer(msgspec.Struct):
    node: _EtcdNode


class KeyValueSource:
    """A registry's datastore.

    Args:
        name: what mirror.yaml calls it.
        keys: where the keys are.
        prefix: what they begin with; found out if it is None.
        max_archive: bytes that an archive may have.
    """

    def __init__(
        self, name: str, keys: Keys, prefix: str | None = None, max_archive: int = 100_000_000
    ) -> None:
        self.name = name
        self._keys = keys
        self._prefix = prefix
        self._max_archive = max_archive

    def _index(self) -> Any:
        """``packages.json``; finds the prefix out."""
        prefixes = PREFIXES if self._prefix is None else (self._prefix,)
        for prefix in prefixes:
            try:
                data = read(self._keys.open(f"{prefix}packages.json", MAX_LIST_BYTES))
            except IncompleteError:
                continue
            self._prefix = prefix
            return parse_json(data, "packages.json", MAX_LIST_BYTES)
        raise IncompleteError(
            f"{self.name}: there is no packages.json below {', '.join(map(repr, prefixes))}"
        )

    def look(self, ask: Ask) -> Listing:
        """See ``Source``."""
        index = self._index()
        try:
            names = sorted(
                f"{ns}/{name}" for ns, names in index["packages"].items() for name in names
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidDocument(f"{self.name}: packages.json is not an index: {error}") from error
        found: list[Offer] = []
        channels: dict[str, list[Channel]] = {}
        holes: list[Hole] = []
        with stage(ask.progress, f"Reading {self.name}", len(names)) as step:
            for name in names:
                try:
                    some, its, bad = self._package(name)
                    found += some
                    holes += bad
                    if its:
                        channels[name] = its
                except (InputError, IncompleteError, TrustError) as error:
                    holes.append(Hole(name, error.message, name))
                step.advance()
        return Listing(found, channels, holes, [])

    def _package(self, name: str) -> tuple[list[Offer], list[Channel], list[Hole]]:
        PackageName.parse(name)
        key = f"{self._prefix}{name}/releases.json"
        data = parse_json(read(self._keys.open(key, MAX_DOCUMENT_BYTES)), key, MAX_DOCUMENT_BYTES)
        try:
            releases = data["releases"]
            manifests = [m for r in releases.values() for m in r["manifests"].values()]
            members = {
                c: [r for r, value in releases.items() if c in value["channels"]]
                for c in data["channels"]
            }
            currents = {c: value["current"] for c, value in data["channels"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidDocument(f"{key}: not a list of releases: {error}") from error
        found, holes = offers(manifests, name)
        known = {o.release for o in found}
        its = []
        for channel_name, current in currents.items():
            try:
                its.append(channel(channel_name, current, members[channel_name], known))
            except InputError as error:
                holes.append(Hole(f"{name}:{channel_name}"[:300], error.message, name))
        return found, its, holes

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``Source``."""
        key = f"{self._prefix}{offer.upstream}/digests/sha256/{offer.digest}"
        yield from decode_blob(self._keys.open(key, self._max_archive * 3 // 2), key)


# -- its kind -------------------------------------------------------------------------------------


class KeyValue(Web, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="keyvalue"):
    """A registry's datastore: one of ``folder``, ``redis`` (an URL), ``etcd`` (an URL).

    ``password_env`` names the variable that holds Redis' password.
    """

    folder: str = ""
    redis: str = ""
    etcd: str = ""
    prefix: str | None = None
    password_env: str = ""


class _Kind:
    settings = KeyValue

    def check(self, settings: KeyValue) -> Iterator[Problem]:
        """See ``Kind``."""
        if sum(map(bool, (settings.folder, settings.redis, settings.etcd))) != 1:
            yield "", "one of folder, redis and etcd is needed"
        if settings.etcd:
            yield from bad_url("etcd", settings.etcd)
        if "@" in settings.redis.partition("://")[2] or "password=" in settings.redis:
            yield "redis", "no password here: name its variable in password_env"

    def open(self, name: str, settings: KeyValue, room: SourceRoom) -> Source:
        """See ``Kind``."""
        keys = _keys(name, settings, room)
        return KeyValueSource(name, keys, settings.prefix, room.limits.packed)


def _keys(name: str, settings: KeyValue, room: SourceRoom) -> Keys:
    if settings.folder:
        return FolderKeys(room.folder / settings.folder)
    if settings.etcd:
        return EtcdKeys(room.http(settings.etcd, settings))
    try:
        redis: Any = importlib.import_module("redis")
    except ImportError as error:
        raise InputError("Redis needs another package: pip install 'cnrmirror[redis]'") from error
    password = None
    if settings.password_env:
        password = room.environment.get(settings.password_env)
        if not password:
            raise InputError(f"source {name}: the variable {settings.password_env} is not set")
    try:
        client = redis.Redis.from_url(
            settings.redis, socket_timeout=settings.timeout_seconds, password=password
        )
    except ValueError as error:
        raise InputError(f"source {name}: not an address of Redis: {error}") from error
    return RedisKeys(client)


KIND = _Kind()
