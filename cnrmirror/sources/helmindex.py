"""What stands in the ``index.yaml`` of a Helm repository, as far as it can be taken.

Everything is read as Helm reads it where Helm takes it: a ``v`` before a version, digests in
capital letters or none at all, charts without versions, versions that are nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

import msgspec
import yaml

from cnrmirror.model.canonical import parse_json
from cnrmirror.model.digest import HEX64
from cnrmirror.model.errors import InputError, InvalidDocument
from cnrmirror.model.instant import Instant
from cnrmirror.model.names import check_release
from cnrmirror.sources.answers import refuse_page
from cnrmirror.sources.base import Hole
from cnrmirror.sources.indexevents import Unread, entries_in

Duplicates = Literal["refuse", "first", "last", "plain"]
MAX_INDEX = 256 << 20
_MAX_VERSIONS = 2_000_000
_MAX_URLS = 8
_MAX_URL = 4096
_NOTHING = ("", "null", "~", "Null", "NULL", None)


class Version(msgspec.Struct, frozen=True):
    """One version of a chart.

    Args:
        release: the semantic version.
        written: as it stands in the index.
        urls: where the archive is, absolute web addresses, and ``oci://`` ones.
        digests: what the archive may have as sha256; any, if there are none.
        created: UTC without an offset; "" if unknown.
    """

    release: str
    written: str
    urls: list[str]
    digests: list[str]
    created: str


def entries_of(data: bytes, url: str) -> dict[Any, list[Any]]:
    """The versions of each key of an index, unread.

    Raises:
        InvalidDocument: not an index, or one in which a chart stands twice.
    """
    refuse_page(data, url, "an index")
    try:
        if data.lstrip()[:1] == b"{":
            entries = _in_json(parse_json(data, url, MAX_INDEX))
        else:
            entries = entries_in(data, _MAX_VERSIONS)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidDocument(f"{url}: not the index of a Helm repository: {error}") from error
    return {key: [] if _is_nothing(value) else value for key, value in entries.items()}


def _in_json(document: Any) -> dict[str, Any]:
    entries = {} if _is_nothing(document["entries"]) else document["entries"]
    if not isinstance(entries, dict):
        raise TypeError("entries must be a mapping")
    if sum(len(v) for v in entries.values() if isinstance(v, list)) > _MAX_VERSIONS:
        raise ValueError(f"more than {_MAX_VERSIONS} chart versions")
    return entries


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value in _NOTHING)


class Reading:
    """Reads the versions of one index.

    Args:
        base: what relative addresses are relative to.
        duplicates: which of two entries for one release is taken, if they do not agree.
    """

    def __init__(self, base: str, duplicates: Duplicates) -> None:
        self._base = f"{base}/"
        self._duplicates = duplicates
        self._addresses: dict[str, str] = {}

    def chart(self, package: str, versions: Any) -> tuple[list[Version], list[Hole]]:
        """The versions of one chart, one of each release, and what cannot be taken."""
        if not isinstance(versions, list):
            return [], [Hole(package, "a list of versions was expected", package)]
        found: dict[str, list[Version]] = {}
        holes: list[Hole] = []
        untold = 0
        for value in versions:
            if _is_nothing(value):
                continue
            try:
                version = self._version(value)
                found.setdefault(version.release, []).append(version)
            except InputError as error:
                if release := _release_of(value):
                    holes.append(Hole.of_release(package, release[:200], error.message))
                else:
                    untold += 1
        if untold:
            # They may be any of its releases.
            reason = f"{untold} of its entries do not tell their version"
            holes.append(Hole(f"{package}@?", reason, package))
        taken: list[Version] = []
        for release, several in found.items():
            try:
                taken.append(self._one(several))
            except InvalidDocument as error:
                holes.append(Hole.of_release(package, release, error.message))
        return taken, holes

    def _version(self, value: Any) -> Version:
        if not isinstance(value, dict):
            raise InvalidDocument("not a chart version")
        for field in value.values():
            if isinstance(field, Unread):
                raise InvalidDocument(field.reason)
        written = value.get("version")
        if not isinstance(written, str):
            raise InvalidDocument("it has no version")
        release = check_release(_release_of(value))
        urls = value.get("urls")
        if not isinstance(urls, list) or not urls:
            raise InvalidDocument("it has no address")
        return Version(
            release, written, list(self._web_addresses(urls[:_MAX_URLS])),
            list(_digest(value.get("digest"))), time_of(value.get("created")),
        )  # fmt: skip

    def _web_addresses(self, urls: list[Any]) -> Iterator[str]:
        """Those that can be asked; one is enough. Raises InvalidDocument if there is none."""
        found = [address for url in urls if (address := self._address(url))]
        if not found:
            shown = ", ".join(repr(str(url)[:200]) for url in urls[:3])
            raise InvalidDocument(f"{shown}: no address that can be asked")
        yield from dict.fromkeys(found)

    def _address(self, url: Any) -> str:
        if not isinstance(url, str) or len(url) > _MAX_URL:
            return ""
        if url not in self._addresses:
            try:
                found = urljoin(self._base, url)
                parts = urlsplit(found)
                good = parts.scheme in ("http", "https", "oci") and bool(parts.hostname)
            except ValueError:
                good = False
            self._addresses[url] = found if good else ""
        return self._addresses[url]

    def _one(self, several: list[Version]) -> Version:
        """One version of those that an index has for one release.

        With the same content, or at the same addresses, they are one: then the archive must have
        one of their digests.

        Raises:
            InvalidDocument: they do not agree, and nobody said which one is meant.
        """
        first = several[0]
        alike = all(v.digests and v.digests == first.digests for v in several)
        if alike or all(v.urls == first.urls for v in several):
            urls = dict.fromkeys(url for v in several for url in v.urls)
            digests = dict.fromkeys(digest for v in several for digest in v.digests)
            return msgspec.structs.replace(first, urls=list(urls), digests=list(digests))
        if self._duplicates == "first":
            return first
        if self._duplicates == "last":
            return several[-1]
        plain = [v for v in several if v.written == v.release]
        if self._duplicates == "plain" and len(plain) == 1:
            return plain[0]
        names = ", ".join(
            f"{v.written} {(v.digests or ['no digest'])[0][:12]}" for v in several[:5]
        )
        raise InvalidDocument(
            f"it is {len(several)} times in the index, with other content ({names}): say in "
            "mirror.yaml which one is meant, duplicates: first, last or plain (without a v)"
        )


def _digest(value: Any) -> Iterator[str]:
    if _is_nothing(value) or not isinstance(value, str):
        return
    digest = value.lower().removeprefix("sha256:")
    if not HEX64.fullmatch(digest):
        raise InvalidDocument(f"{value[:80]!r} is no sha256 digest")
    yield digest


def _release_of(value: Any) -> str:
    """The release that an entry tells, whether it can be or not; "" if it tells none."""
    written = value.get("version") if isinstance(value, dict) else None
    if not isinstance(written, str) or _is_nothing(written):
        return ""
    return written[1:] if written[:1] == "v" else written


_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?")


def time_of(value: Any) -> str:
    """As the registry writes times: UTC, no offset; "" for what is none."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return ""
    offset = (match[4] or "Z").replace("Z", "+00:00")
    try:
        moment = datetime.fromisoformat(f"{match[1]}T{match[2]}{(match[3] or '')[:7]}{offset}")
        return str(Instant.of(moment))
    except (ValueError, OverflowError):
        return ""
