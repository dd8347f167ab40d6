"""A Helm repository: ``index.yaml`` (YAML or JSON) and the archives that it names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit, urlunsplit

import msgspec

from cnrmirror.model import oci, typed
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Attachment
from cnrmirror.model.errors import (
    AccessDenied,
    CnrMirrorError,
    IncompleteError,
    InvalidDocument,
    InvalidName,
    NetworkError,
    Tampered,
)
from cnrmirror.model.names import PackageName, Vendor, manifest_type
from cnrmirror.objects.base import WebReader, read
from cnrmirror.sources.base import Ask, Hole, Listing, More, Offer, Source
from cnrmirror.sources.helmindex import MAX_INDEX, Duplicates, Reading, Version, entries_of
from cnrmirror.sources.helmoci import Address, ChartsInRegistries, address_of
from cnrmirror.sources.kind import Problem, SourceRoom, Web, bad_namespace, bad_url

_SIGNED = b"-----BEGIN PGP SIGNED MESSAGE-----"


class HelmSource:
    """A chart repository behind HTTP.

    Args:
        name: what mirror.yaml calls it.
        http: reads below the repository's address.
        namespace: where its charts go.
        vendor: whose media types the manifests get.
        max_archive: bytes that an archive may have.
        duplicates: which of two entries for one release is taken.
        provenance: whether ``ARCHIVE.prov`` is asked for beside each archive that is fetched.
    """

    def __init__(
        self,
        name: str,
        http: WebReader,
        namespace: str,
        vendor: Vendor = "appr",
        max_archive: int = 100_000_000,
        duplicates: Duplicates = "refuse",
        provenance: bool = True,
    ) -> None:
        self.name = name
        self._http = http
        self._namespace = namespace
        self._vendor = vendor
        self._max_archive = max_archive
        self._duplicates = duplicates
        self._provenance = provenance
        self._registries = ChartsInRegistries(http)
        self._versions: dict[tuple[str, str], Version] = {}
        self._used: dict[tuple[str, str], str] = {}

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
        self._versions[package, version.release] = version
        digest, *others = version.digests or [""]
        return Offer(
            package, version.release, "helm", version.created,
            manifest_type("helm", self._vendor), "", 0, version.urls[0], blob_digest=digest,
            other_digests=others, named=True,
        )  # fmt: skip

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``Source``; where the first address has nothing, the next one is asked."""
        version = self._versions[offer.upstream, offer.release]
        for url in version.urls:
            begun = False
            try:
                for piece in self._pieces(url, version):
                    begun = True
                    yield piece
                self._used[offer.upstream, offer.release] = url
                return
            except (AccessDenied, IncompleteError, InvalidDocument, NetworkError, Tampered):
                if begun or url == version.urls[-1]:
                    raise

    def _pieces(self, url: str, version: Version) -> Iterator[bytes]:
        if url.startswith("oci:"):
            return self._registries.open(_address(url, version), self._max_archive)
        return self._http.get(url, self._max_archive, as_sent=True)

    def told(self, offers: Sequence[Offer]) -> msgspec.Raw:
        """See ``Divisible``: the versions."""
        names = {(offer.upstream, offer.release) for offer in offers}
        return msgspec.Raw(msgspec.json.encode([(n, self._versions[n, r]) for n, r in names]))

    def hear(self, told: msgspec.Raw) -> None:
        """See ``Divisible``."""
        for name, version in typed.decode(told, list[tuple[str, Version]]):
            self._versions[name, version.release] = version

    def attached(self, offer: Offer) -> More:
        """See ``Attaching``: the provenance that lies beside the archive, wherever that was.

        None is no error; what is there and cannot be had, or is none, is a note.
        """
        version = self._versions[offer.upstream, offer.release]
        url = self._used.get((offer.upstream, offer.release), version.urls[0])
        if url.startswith("oci:"):
            return self._registries.attached(_address(url, version), self._provenance)
        if not self._provenance:
            return More()
        beside = _beside(url)
        try:
            data = read(self._http.get(beside, oci.MAX_PROVENANCE, as_sent=True))
        except IncompleteError:
            return More()
        except CnrMirrorError as error:
            # Static hosts answer so for what is not there.
            forbidden = error.details.get("status") == 403
            return More() if forbidden else More(notes=[f"no provenance: {error.message}"[:1000]])
        if not data.lstrip().startswith(_SIGNED):
            return More(notes=[f"no provenance: {beside} is no such file"[:1000]])
        blob = Descriptor.of(data)
        attachment = Attachment(oci.HELM_PROVENANCE, blob.digest, blob.size)
        return More([attachment], {blob.digest: data})


def _beside(url: str) -> str:
    """Where the provenance of an archive is, as Helm looks for it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path}.prov"))


def _address(url: str, version: Version) -> Address:
    found = address_of(url, version.written)
    if found is None:
        raise InvalidDocument(f"{url[:300]}: not oci://HOST/REPOSITORY:TAG")
    return found


# -- its kind -------------------------------------------------------------------------------------


class Helm(Web, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="helm"):
    """A Helm repository, whose charts go into ``namespace``.

    ``duplicates``: which of two entries that its index has for one release is taken, if they differ
    and are at other addresses; ``plain`` is the one without a "v". ``provenance``: ask for
    ``ARCHIVE.prov`` beside each archive that is fetched.
    """

    url: str
    namespace: str
    duplicates: Duplicates = "refuse"
    provenance: bool = True


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
            name, http, settings.namespace, room.vendor, room.limits.packed, settings.duplicates,
            settings.provenance,
        )  # fmt: skip


KIND = _Kind()
