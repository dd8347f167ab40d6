"""A Helm repository: ``index.yaml`` (YAML or JSON) and the archives that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import yaml

from cnrmirror.model.canonical import parse_json
from cnrmirror.model.digest import HEX64
from cnrmirror.model.errors import IncompleteError, InputError, InvalidDocument, NetworkError
from cnrmirror.model.instant import Instant
from cnrmirror.model.names import PackageName, Vendor, check_release, manifest_type
from cnrmirror.objects.base import WebReader
from cnrmirror.sources.base import Ask, Hole, Listing, Offer, Source
from cnrmirror.sources.kind import Problem, SourceRoom, Web, bad_namespace, bad_url

_MAX_INDEX = 256 << 20
_MAX_VERSIONS = 2_000_000
# Every scalar is a string: 1.10 stays 1.10, and an impossible date is no error.
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class HelmSource:
    """A chart repository behind HTTP.

    Args:
        name: what mirror.yaml calls it.
        http: reads below the repository's address.
        namespace: where its charts go.
        vendor: whose media types the manifests get.
        max_archive: bytes that an archive may have.
    """

    def __init__(
        self,
        name: str,
        http: WebReader,
        namespace: str,
        vendor: Vendor = "appr",
        max_archive: int = 100_000_000,
    ) -> None:
        self.name = name
        self._http = http
        self._namespace = namespace
        self._vendor = vendor
        self._max_archive = max_archive
        self._urls: dict[tuple[str, str], list[str]] = {}

    def look(self, ask: Ask) -> Listing:
        """See ``Source``."""
        url = f"{self._http.name}/index.yaml"
        entries = _entries(self._http.document(url, _MAX_INDEX).body, url)
        found: list[Offer] = []
        holes: list[Hole] = []
        for name, versions in sorted(entries.items(), key=lambda entry: str(entry[0])):
            package = f"{self._namespace}/{name}" if isinstance(name, str) else ""
            if not isinstance(versions, list):
                holes.append(Hole(package, "a list of versions was expected", package))
                continue
            if len(found) + len(holes) + len(versions) > _MAX_VERSIONS:
                raise InvalidDocument(f"{url}: more than {_MAX_VERSIONS} chart versions")
            for version in versions:
                try:
                    found.append(self._offer(package, version))
                except InputError as error:
                    holes.append(_hole(package, version, error.message))
        return Listing(found, {}, holes, [])

    def _offer(self, name: str, version: Any) -> Offer:
        package = str(PackageName.parse(name))
        if not isinstance(version, dict):
            raise InvalidDocument(f"{name}: not a chart version")
        release = version.get("version")
        if not isinstance(release, str):
            raise InvalidDocument(f"{name}: it has no version")
        release = check_release(release[1:] if release[:1] == "v" else release)
        urls = version.get("urls")
        if not isinstance(urls, list) or not urls or not all(isinstance(u, str) for u in urls):
            raise InvalidDocument(f"{name}@{release}: it has no address")
        addresses = [self._address(u, f"{name}@{release}") for u in urls[:8]]
        digest = version.get("digest")
        digest = digest.removeprefix("sha256:") if isinstance(digest, str) else ""
        if digest and not HEX64.fullmatch(digest):
            raise InvalidDocument(f"{name}@{release}: {digest[:80]!r} is no sha256 digest")
        self._urls[package, release] = addresses
        return Offer(
            package, release, "helm", _time(version.get("created")),
            manifest_type("helm", self._vendor), "", 0, addresses[0], blob_digest=digest,
            named=True,
        )  # fmt: skip

    def _address(self, url: str, what: str) -> str:
        try:
            found = urljoin(f"{self._http.name}/", url)
            good = urlsplit(found).scheme in ("http", "https") and bool(urlsplit(found).hostname)
        except ValueError:
            good = False
        if not good:
            raise InvalidDocument(f"{what}: {url[:200]!r} is no web address")
        return found

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``Source``; where the first address has nothing, the next one is asked."""
        urls = self._urls[offer.upstream, offer.release]
        for url in urls:
            begun = False
            try:
                for piece in self._http.get(url, self._max_archive, as_sent=True):
                    begun = True
                    yield piece
                return
            except (IncompleteError, NetworkError):
                if begun or url == urls[-1]:
                    raise


def _hole(package: str, version: Any, reason: str) -> Hole:
    release = version.get("version") if isinstance(version, dict) else None
    if not isinstance(release, str):
        return Hole(f"{package[:300]}@?", reason, package)
    return Hole(f"{package[:300]}@{release[:200]}", reason, package, release[:200])


def _entries(data: bytes, url: str) -> dict[str, Any]:
    try:
        if data.lstrip()[:1] == b"{":
            document = parse_json(data, url, _MAX_INDEX)
        else:
            document = yaml.load(data, Loader=_Loader)  # a safe loader
        entries = document["entries"]
        if not isinstance(entries, dict):
            raise TypeError("entries must be a mapping")
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidDocument(f"{url}: not the index of a Helm repository: {error}") from error
    return entries


_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?")


def _time(value: Any) -> str:
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


# -- its kind -------------------------------------------------------------------------------------


class Helm(Web, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="helm"):
    """A Helm repository, whose charts go into ``namespace``."""

    url: str
    namespace: str


class _Kind:
    settings = Helm

    def check(self, settings: Helm) -> Iterator[Problem]:
        """See ``Kind``."""
        yield from bad_namespace("namespace", settings.namespace)
        yield from bad_url("url", settings.url)

    def open(self, name: str, settings: Helm, room: SourceRoom) -> Source:
        """See ``Kind``."""
        http = room.http(settings.url, settings)
        return HelmSource(name, http, settings.namespace, room.vendor, room.limits.packed)


KIND = _Kind()
