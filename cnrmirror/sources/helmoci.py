"""Charts that the index of a Helm repository names by ``oci://HOST/REPOSITORY:TAG``."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

from cnrmirror.model import oci
from cnrmirror.model.errors import InvalidDocument, TooLarge
from cnrmirror.objects.base import WebReader, read
from cnrmirror.objects.origin import origin
from cnrmirror.sources.base import More
from cnrmirror.sources.ociattached import MAX_ATTACHED, belongings
from cnrmirror.sources.ociclient import Client, is_repository
from cnrmirror.sources.ocimanifests import Content, Manifest, content_of
from cnrmirror.sources.ocirepository import tag_of

_ADDRESS = re.compile(
    r"oci://(?P<host>[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?)"
    r"/(?P<repository>[^:@]{1,255})(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_MAX_HOSTS = 64


class Address(msgspec.Struct, frozen=True):
    """Where a chart lies in a registry; ``reference`` is a tag or ``sha256:HEX``."""

    host: str
    repository: str
    reference: str


def address_of(url: str, version: str = "") -> Address | None:
    """What an ``oci://`` address names; None if it is none.

    Args:
        url: the address.
        version: as it stands in the index; the tag, where the address has none.
    """
    match = _ADDRESS.fullmatch(url)
    if match is None or not is_repository(match["repository"]):
        return None
    reference = match["digest"] or match["tag"] or tag_of(version)
    return Address(match["host"], match["repository"], reference)


class ChartsInRegistries:
    """Reads charts out of whatever registries an index names.

    Args:
        http: asks, for the index, too; its credentials go to its own host alone.
    """

    def __init__(self, http: WebReader) -> None:
        self._http = http
        self._clients: dict[str, Client] = {}
        self._lock = threading.Lock()

    def open(self, address: Address, max_bytes: int) -> Iterator[bytes]:
        """The archive of a chart. Raises as ``Source.open`` does."""
        client = self._client(address.host)
        _, content = self._chart(client, address)
        yield from client.blob(address.repository, content.archive.hex, max_bytes)

    def attached(self, address: Address, provenance: bool) -> More:
        """The manifest of a chart, what it names, and its provenance if that is wanted."""
        client = self._client(address.host)
        manifest, content = self._chart(client, address)
        found = belongings(client, address.repository, manifest, content, None).attachments
        found = [a for a in found if provenance or a.media_type != oci.HELM_PROVENANCE]
        data = {manifest.digest: manifest.data}
        for attachment in found:
            if attachment.size > MAX_ATTACHED:
                raise TooLarge(f"{address.repository}: {attachment.digest} is too large")
            if attachment.digest not in data:
                pieces = client.blob(address.repository, attachment.digest, attachment.size)
                data[attachment.digest] = read(pieces)
        return More(found, data)

    def _chart(self, client: Client, address: Address) -> tuple[Manifest, Content]:
        manifest = client.manifest(address.repository, address.reference)
        content = content_of(manifest)
        if not isinstance(content, Content) or content.media_type != "helm":
            what = f"oci://{address.host}/{address.repository}:{address.reference}"
            raise InvalidDocument(f"{what}: no chart, though the index says so")
        return manifest, content

    def _client(self, host: str) -> Client:
        """The registry of a host; without TLS only beside an index that came without it."""
        own = urlsplit(self._http.name)
        beside = own.scheme == "http" and urlsplit(f"oci://{host}").hostname == own.hostname
        base = f"{'http' if beside else 'https'}://{host}"
        with self._lock:
            if host not in self._clients:
                while len(self._clients) >= _MAX_HOSTS:
                    del self._clients[next(iter(self._clients))]
                ours = origin(base) == origin(self._http.name)
                self._clients[host] = Client(self._http, base, ours)
            return self._clients[host]
