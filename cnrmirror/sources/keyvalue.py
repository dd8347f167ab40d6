"""The datastore of a cnr-server or appr, without the server: a folder, Redis, or etcd.

Keys, below a prefix (``appr/packages/`` or ``cnr/packages/``)::

    packages.json                        {"packages": {NS: {NAME: …}}}
    NS/NAME/releases.json                {"releases": {R: {"manifests": {TYPE: …}, "channels": []}},
                                          "channels": {C: {"name": …, "current": …}}}
    NS/NAME/digests/sha256/DIGEST        the archive in base64
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from cnrmirror.documents import Channel, parse_json
from cnrmirror.errors import (
    CnrMirrorError,
    IncompleteError,
    InputError,
    InvalidDocument,
    NetworkError,
    TooLarge,
)
from cnrmirror.fetcher import FolderFetcher, HttpFetcher, read
from cnrmirror.interfaces import Hole, Listing, Offer, Progress, stage
from cnrmirror.names import PackageName
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

    def get(self, key: str, max_bytes: int) -> bytes:
        """The value of a key.

        Raises:
            IncompleteError: there is no such key.
            NetworkError: the store cannot be reached.
        """


class FolderKeys:
    """The server's "filesystem" datastore."""

    def __init__(self, folder: Path) -> None:
        self._fetcher = FolderFetcher(folder)

    def get(self, key: str, max_bytes: int) -> bytes:
        """See ``Keys``."""
        return read(self._fetcher.fetch(key, max_bytes))


class RedisKeys:
    """Redis; ``client`` is one of redis-py."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def get(self, key: str, max_bytes: int) -> bytes:
        """See ``Keys``."""
        try:
            if self._client.strlen(key) > max_bytes:
                raise TooLarge(f"{key}: more than {max_bytes} bytes")
            value = self._client.get(key)
        except CnrMirrorError:
            raise
        except (
            Exception
        ) as error:  # redis-py is an optional dependency: its errors have no names here
            raise NetworkError(f"Redis: {error}") from error
        if value is None:
            raise IncompleteError(f"Redis has no key {key}")
        data: bytes = value if isinstance(value, bytes) else str(value).encode()
        return data


class EtcdKeys:
    """etcd by its v2 HTTP API (``--enable-v2``)."""

    def __init__(self, http: HttpFetcher) -> None:
        self._http = http

    def get(self, key: str, max_bytes: int) -> bytes:
        """See ``Keys``."""
        url = f"{self._http.name}/v2/keys/{quote(key)}"
        # The value stands in a JSON string; escapes may double it.
        data = read(self._http.get(url, 2 * max_bytes + 65536))
        try:
            node = json.loads(data)["node"]
            return str(node["value"]).encode()
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InvalidDocument(f"{url}: not an etcd answer: {error}") from error


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
                data = self._keys.get(f"{prefix}packages.json", MAX_LIST_BYTES)
            except IncompleteError:
                continue
            self._prefix = prefix
            return parse_json(data, "packages.json", MAX_LIST_BYTES)
        raise IncompleteError(
            f"{self.name}: there is no packages.json below {', '.join(map(repr, prefixes))}"
        )

    def look(self, progress: Progress) -> Listing:
        """See ``interfaces.Source``."""
        index = self._index()
        try:
            names = sorted(
                f"{ns}/{name}" for ns, all_ in index["packages"].items() for name in all_
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidDocument(f"{self.name}: packages.json is not an index: {error}") from error
        found: list[Offer] = []
        channels: dict[str, list[Channel]] = {}
        holes: list[Hole] = []
        with stage(progress, f"Reading {self.name}", len(names)) as step:
            for name in names:
                try:
                    some, its, bad = self._package(name)
                    found += some
                    holes += bad
                    if its:
                        channels[name] = its
                except (InputError, IncompleteError) as error:
                    holes.append(Hole(name, error.message))
                step.advance()
        return Listing(found, channels, holes, [])

    def _package(self, name: str) -> tuple[list[Offer], list[Channel], list[Hole]]:
        PackageName.parse(name)
        key = f"{self._prefix}{name}/releases.json"
        data = parse_json(self._keys.get(key, MAX_DOCUMENT_BYTES), key, MAX_DOCUMENT_BYTES)
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
                holes.append(Hole(f"{name}:{channel_name}", error.message))
        return found, its, holes

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``interfaces.Source``."""
        key = f"{self._prefix}{offer.upstream}/digests/sha256/{offer.digest}"
        yield decode_blob(self._keys.get(key, self._max_archive * 4 // 3 + 4), key)
