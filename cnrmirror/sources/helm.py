"""A Helm repository: ``index.yaml`` (YAML or JSON) and the archives that it names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import yaml

from cnrmirror.documents import parse_json
from cnrmirror.errors import InputError, InvalidDocument, Tampered
from cnrmirror.fetcher import HttpFetcher, read
from cnrmirror.interfaces import Hole, Listing, Offer, Progress
from cnrmirror.names import PackageName, Vendor, check_release, manifest_type

_MAX_INDEX = 256 << 20
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
        http: HttpFetcher,
        namespace: str,
        vendor: Vendor = "appr",
        max_archive: int = 100_000_000,
    ) -> None:
        self.name = name
        self._http = http
        self._namespace = namespace
        self._vendor = vendor
        self._max_archive = max_archive
        self._digests: dict[str, str] = {}

    def look(self, progress: Progress) -> Listing:
        """See ``interfaces.Source``."""
        url = f"{self._http.name}/index.yaml"
        data = read(self._http.get(url, _MAX_INDEX))
        entries = _entries(data, url)
        found: list[Offer] = []
        holes: list[Hole] = []
        for name, versions in sorted(entries.items()):
            for version in versions if isinstance(versions, list) else []:
                try:
                    found.append(self._offer(str(name), version))
                except InputError as error:
                    release = version.get("version") if isinstance(version, dict) else "?"
                    holes.append(Hole(f"{name}@{release}", error.message))
        return Listing(found, {}, holes, [])

    def _offer(self, name: str, version: Any) -> Offer:
        package = str(PackageName.parse(f"{self._namespace}/{name}"))
        if not isinstance(version, dict):
            raise InvalidDocument(f"{name}: not a chart version")
        release = str(version.get("version", ""))
        release = check_release(release[1:] if release[:1] == "v" else release)
        urls = version.get("urls")
        if not isinstance(urls, list) or not urls or not isinstance(urls[0], str):
            raise InvalidDocument(f"{name}@{release}: it has no address")
        url = urljoin(f"{self._http.name}/", urls[0])
        if not url.startswith(("http://", "https://")):
            raise InvalidDocument(f"{name}@{release}: {url} is no web address")
        digest = version.get("digest")
        if isinstance(digest, str):
            self._digests[url] = digest.removeprefix("sha256:")
        return Offer(
            package, release, "helm", _time(version.get("created")),
            manifest_type("helm", self._vendor), "", 0, url,
        )  # fmt: skip

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``interfaces.Source``; the digest in the index, where there is one, is checked."""
        hasher = hashlib.sha256()
        for piece in self._http.get(offer.place, self._max_archive):
            hasher.update(piece)
            yield piece
        expected = self._digests.get(offer.place)
        if expected and hasher.hexdigest() != expected:
            raise Tampered(f"{offer.place}: digest {hasher.hexdigest()}, the index says {expected}")


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


def _time(value: Any) -> str:
    """As the registry writes times; YAML may have made a datetime of it already."""
    text = value.isoformat() if hasattr(value, "isoformat") else str(value or "")
    return text.removesuffix("Z").removesuffix("+00:00")[:26]
