"""The datastore of a cnr-server or appr, without the server: a folder, Redis, or etcd.

Keys, below a prefix (``appr/packages/`` or ``cnr/packages/``)::

    packages.json                        {"packages": {NS: {NAME: …}}}
    NS/NAME/releases.json                {"releases": {R: {"manifests": {TYPE: …}, "channels": []}},
                                          "channels": {C: {"name": …, "current": …}}}
    NS/NAME/digests/sha256/DIGEST        the archive in base64

Such a store is often damaged: it is walked, and what its index says is believed only as far as it
adds to that. What is damaged spoils itself alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from cnrmirror.model.canonical import parse_json
from cnrmirror.model.documents import Channel
from cnrmirror.model.errors import (
    AccessDenied,
    CnrMirrorError,
    IncompleteError,
    InputError,
    InvalidDocument,
    TrustError,
)
from cnrmirror.model.names import PackageName
from cnrmirror.model.progress import stage
from cnrmirror.objects.base import read
from cnrmirror.sources.base import Ask, Hole, Listing, Offer, Source
from cnrmirror.sources.keys import RELEASES, EtcdKeys, FolderKeys, Keys, RedisKeys, few
from cnrmirror.sources.kind import Problem, SourceRoom, Web, bad_url
from cnrmirror.sources.manifests import (
    MAX_DOCUMENT_BYTES,
    MAX_LIST_BYTES,
    channel,
    decode_blob,
    offers,
)

# The two servers may have shared one store; the others are those of a part of a store, copied.
PREFIXES = (("appr/packages/", "cnr/packages/"), ("packages/",), ("",))
_INDEX = "packages.json"


class _Found(msgspec.Struct):
    """What lies below one prefix: the packages, and what is to be said of the index.

    ``damage`` is why the index cannot be believed; None if it can, or if there is none.
    """

    prefix: str
    names: list[str]
    notes: list[str]
    whole: bool
    damage: CnrMirrorError | None = None


class KeyValueSource:
    """A registry's datastore.

    Args:
        name: what mirror.yaml calls it.
        keys: where the keys are.
        prefix: what they begin with; all that is known, if it is None.
        max_archive: bytes that an archive may have.
    """

    def __init__(
        self, name: str, keys: Keys, prefix: str | None = None, max_archive: int = 100_000_000
    ) -> None:
        self.name = name
        self._keys = keys
        self._prefixes = PREFIXES if prefix is None else ((prefix,),)
        self._max_archive = max_archive

    def look(self, ask: Ask) -> Listing:
        """See ``Source``: two servers that shared one store are both seen."""
        unread: list[Hole] = []
        places = self._places(unread)
        listing = Listing(
            [], {}, unread, [note for place in places for note in place.notes],
            certain=all(place.whole for place in places),
        )  # fmt: skip
        asked = [(p.prefix, n) for p in places for n in p.names if ask.wanted.package(n)]
        with stage(ask.progress, f"Reading {self.name}", len(asked)) as step:
            for prefix, name in asked:
                self._take(listing, prefix, name, ask)
                step.advance()
        return listing

    # -- which packages there are ---------------------------------------------------------------

    def _places(self, unread: list[Hole]) -> list[_Found]:
        """The prefixes that have anything below them.

        Args:
            unread: gets what could not be looked into.

        Raises:
            IncompleteError: none has.
            InputError, TrustError: all that there is is an index that cannot be read.
        """
        for prefixes in self._prefixes:
            places = [found for prefix in prefixes if (found := self._walked(prefix, unread))]
            for place in places:
                if place.damage and not any(other.names for other in places):
                    raise place.damage
            if places:
                return places
        tried = ", ".join(repr(prefix) for prefixes in self._prefixes for prefix in prefixes)
        raise IncompleteError(f"{self.name}: neither a {_INDEX} nor a {RELEASES} below {tried}")

    def _walked(self, prefix: str, unread: list[Hole]) -> _Found | None:
        """What lies below a prefix; None if nothing does."""
        walked = set(few(self._keys.packages(prefix, unread)))
        try:
            index = read(self._keys.open(f"{prefix}{_INDEX}", MAX_LIST_BYTES))
        except IncompleteError:
            note = f"{prefix}{_INDEX} is missing: the packages were found by their own documents"
            return _Found(prefix, sorted(walked), [note], False) if walked else None
        except (InvalidDocument, TrustError) as error:
            return _Found(prefix, sorted(walked), [_unread(prefix, error)], False, error)
        try:
            named, notes = _named(parse_json(index, f"{prefix}{_INDEX}", MAX_LIST_BYTES))
        except InputError as error:
            return _Found(prefix, sorted(walked), [_unread(prefix, error)], False, error)
        if more := sorted(walked - named):
            some = ", ".join(more[:5]) + (" …" if len(more) > 5 else "")
            notes.append(f"{prefix}{_INDEX} does not name what is there: {some}")
        return _Found(prefix, sorted(walked | named), notes, not notes)

    # -- one package ----------------------------------------------------------------------------

    def _take(self, listing: Listing, prefix: str, name: str, ask: Ask) -> None:
        """Read one package into the listing."""
        before = len(listing.holes)
        try:
            PackageName.parse(name)
            key = f"{prefix}{name}/{RELEASES}"
            data = read(self._keys.open(key, MAX_DOCUMENT_BYTES))
            document = parse_json(data, key, MAX_DOCUMENT_BYTES)
            if not isinstance(document, dict) or not isinstance(document.get("releases"), dict):
                raise InvalidDocument(f"{key}: not a list of releases")
        except (AccessDenied, InputError, IncompleteError, TrustError) as error:
            listing.holes.append(Hole(name[:300], error.message, name[:300]))
            return
        releases = document["releases"]
        manifests, damaged = _manifests(name, releases)
        listing.holes.extend(damaged)
        found = offers(manifests, name, ask.wanted.filter.takes_type)
        listing.offers.extend(msgspec.structs.replace(o, place=prefix) for o in found.offers)
        listing.holes.extend(found.holes)
        lost = {hole.release for hole in listing.holes[before:]}
        known = {o.release for o in found.offers}
        rows = document.get("channels")
        its, bad = _channels(name, rows, releases, known, releases.keys() - known - lost)
        theirs = listing.channels.setdefault(name, []) if its else []
        theirs.extend(c for c in its if c.name not in {b.name for b in theirs})
        listing.holes.extend(bad)

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``Source``; its place is a prefix, and another one may have the archive."""
        prefixes = [offer.place, *(p for group in self._prefixes for p in group)]
        lacking = None
        for prefix in dict.fromkeys(prefixes):
            key = f"{prefix}{offer.upstream}/digests/sha256/{offer.digest}"
            pieces = self._keys.open(key, self._max_archive * 3 // 2)
            try:
                first = next(pieces, b"")
            except IncompleteError as error:
                lacking = lacking or error
                continue
            yield from decode_blob(chain([first], pieces), key)
            return
        assert lacking is not None
        raise lacking


def _unread(prefix: str, error: CnrMirrorError) -> str:
    what = f"{prefix}{_INDEX} is damaged: the packages were found by their own documents"
    return f"{what} ({error.message[:200]})"


def _named(index: Any) -> tuple[set[str], list[str]]:
    """The packages that an index names, and what is wrong with it. Raises InvalidDocument."""
    packages = index.get("packages") if isinstance(index, dict) else None
    if not isinstance(packages, dict):
        raise InvalidDocument(f"{_INDEX}: not an index")
    found: set[str] = set()
    notes = []
    for namespace, names in packages.items():
        if isinstance(names, dict | list):
            found.update(f"{namespace}/{name}" for name in names if isinstance(name, str))
        else:
            notes.append(f"{_INDEX}: its namespace {namespace[:200]!r} is damaged")
    return found, notes


def _manifests(name: str, releases: dict[str, Any]) -> tuple[list[Any], list[Hole]]:
    """The manifests in a package's rows, unread, and the rows that are damaged."""
    found: list[Any] = []
    holes = []
    for release, row in releases.items():
        manifests = row.get("manifests") if isinstance(row, dict) else None
        if isinstance(manifests, dict) and manifests:
            found += manifests.values()
        else:
            reason = "its row in releases.json is damaged"
            holes.append(Hole.of_release(name, release[:200], reason))
    return found, holes


def _channels(
    name: str, rows: Any, releases: dict[str, Any], known: set[str], unwanted: set[str]
) -> tuple[list[Channel], list[Hole]]:
    """The channels of a package; a row that is damaged is a hole, and no harm to the others.

    Args:
        rows: what stands there of them.
        releases: the package's rows, which name the channels that they are in.
        known: the releases that can be had.
        unwanted: those that nobody wants: a channel that points at one is none.
    """
    if rows is None:
        return [], []
    if not isinstance(rows, dict):
        return [], [Hole(f"{name} (channels)", "not a mapping of channels", name)]
    members: dict[str, list[str]] = {}
    for release, value in releases.items():
        names = value.get("channels") if isinstance(value, dict) else None
        for member in names if isinstance(names, list) else []:
            members.setdefault(str(member), []).append(release)
    found, holes = [], []
    for channel_name, row in rows.items():
        current = row.get("current") if isinstance(row, dict) else None
        if isinstance(current, str) and current in unwanted:
            continue
        try:
            found.append(channel(channel_name, current, members.get(channel_name, []), known))
        except InputError as error:
            holes.append(Hole(f"{name}:{channel_name}"[:300], error.message, name))
    return found, holes


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
        return FolderKeys(room.path(settings.folder))
    if settings.etcd:
        return EtcdKeys(room.http(settings.etcd, settings))
    try:
        redis: Any = importlib.import_module("redis")
    except ImportError as error:
        raise InputError("Redis needs another package: pip install 'cnrmirror[redis]'") from error
    variable = settings.password_env
    password = (room.secret("password_env", variable) or None) if variable else None
    try:
        client = redis.Redis.from_url(
            settings.redis, socket_timeout=settings.timeout_seconds, password=password,
            **room.tls(settings).of_redis(settings.redis),
        )  # fmt: skip
    except ValueError as error:
        raise InputError(f"source {name}: not an address of Redis: {error}") from error
    return RedisKeys(client)


KIND = _Kind()
