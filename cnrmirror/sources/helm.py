"""A Helm repository: ``index.yaml`` (YAML or JSON) and the archives that it names."""

from __future__ import annotations

from collections.abc import Iterator

from cnrmirror.model.errors import (
    AccessDenied,
    IncompleteError,
    InvalidName,
    NetworkError,
    Tampered,
)
from cnrmirror.model.names import PackageName, Vendor, manifest_type
from cnrmirror.objects.base import WebReader
from cnrmirror.sources.base import Ask, Hole, Listing, Offer, Source
from cnrmirror.sources.helmindex import MAX_INDEX, Duplicates, Reading, Version, entries_of
from cnrmirror.sources.kind import Problem, SourceRoom, Web, bad_namespace, bad_url


class HelmSource:
    """A chart repository behind HTTP.

    Args:
        name: what mirror.yaml calls it.
        http: reads below the repository's address.
        namespace: where its charts go.
        vendor: whose media types the manifests get.
        max_archive: bytes that an archive may have.
        duplicates: which of two entries for one release is taken.
    """

    def __init__(
        self,
        name: str,
        http: WebReader,
        namespace: str,
        vendor: Vendor = "appr",
        max_archive: int = 100_000_000,
        duplicates: Duplicates = "refuse",
    ) -> None:
        self.name = name
        self._http = http
        self._namespace = namespace
        self._vendor = vendor
        self._max_archive = max_archive
        self._duplicates = duplicates
        self._urls: dict[tuple[str, str], list[str]] = {}

    def look(self, ask: Ask) -> Listing:
        """See ``Source``: one request."""
        url = f"{self._http.name}/index.yaml"
        entries = entries_of(self._http.document(url, MAX_INDEX).body, url)
        reading = Reading(self._http.name, self._duplicates)
        found: list[Offer] = []
        holes: list[Hole] = []
        for key in sorted(entries, key=str):
            package = f"{self._namespace}/{key if isinstance(key, str) else '?'}"[:300]
            if not ask.wanted.package(package):
                continue
            try:
                PackageName.parse(package)
            except InvalidName as error:
                holes.append(Hole(package, error.message, package))
                continue
            versions, bad = reading.chart(package, entries[key])
            found += [self._offer(package, version) for version in versions]
            holes += bad
        return Listing(found, {}, holes, [])

    def _offer(self, package: str, version: Version) -> Offer:
        self._urls[package, version.release] = version.urls
        digest, *others = version.digests or [""]
        return Offer(
            package, version.release, "helm", version.created,
            manifest_type("helm", self._vendor), "", 0, version.urls[0], blob_digest=digest,
            other_digests=others, named=True,
        )  # fmt: skip

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
            except (AccessDenied, IncompleteError, NetworkError, Tampered):
                if begun or url == urls[-1]:
                    raise


# -- its kind -------------------------------------------------------------------------------------


class Helm(Web, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="helm"):
    """A Helm repository, whose charts go into ``namespace``.

    ``duplicates``: which of two entries that its index has for one release is taken, if they differ
    and are at other addresses; ``plain`` is the one without a "v".
    """

    url: str
    namespace: str
    duplicates: Duplicates = "refuse"


class _Kind:
    settings = Helm

    def check(self, settings: Helm) -> Iterator[Problem]:
        """See ``Kind``."""
        yield from bad_namespace("namespace", settings.namespace)
        yield from bad_url("url", settings.url)

    def open(self, name: str, settings: Helm, room: SourceRoom) -> Source:
        """See ``Kind``."""
        http = room.http(settings.url, settings)
        return HelmSource(
            name, http, settings.namespace, room.vendor, room.limits.packed, settings.duplicates
        )


KIND = _Kind()
