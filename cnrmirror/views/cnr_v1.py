"""The CNR v1 view: every GET path of the registry's API as files.

Paths are below ``cnr/``; ``…/index.json`` is the document of its folder's URL. What each answer
must look like is taken from recorded answers of cnr-server 0.2.7 and appr 0.7.4. Where the servers
list in hash order, releases here go newest first and packages by name.

::

    version/index.json
    api/v1/packages/index.json                       packages
    api/v1/packages/search/index.json                every name (a static host cannot search)
    api/v1/packages-by/NS|_/TYPE|_.json              packages?namespace=&media_type=
    api/v1/packages/NS/NAME/index.json               manifests of all releases
    …/type-TYPE.json                                 …?media_type=
    …/R/index.json, …/R/TYPE/index.json              manifests of one release; one manifest
    …/R/TYPE/pull, pull.json                         the archive, and in base64 in JSON
    …/R/-                                            alias of the only media type there is
    …/default/TYPE, default/-                        alias of the default release's
    …/channels/index.json, channels/C/index.json
    …/blobs/sha256/D, D.json                         by CNR digest; D.json is alias of a pull.json
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, Channel, PackageDocument, Release
from cnrmirror.model.names import Vendor, release_key
from cnrmirror.model.resource import GZIP_TYPE, Alias, Base64Json, Resource
from cnrmirror.views.base import Changes, Entries, Package, Settings, in_order, touched
from cnrmirror.views.cnr_paths import ANY, PACKAGES, PACKAGES_BY, PREFIX, package_in, rank, url_of

VERSIONS = {"appr": {"appr-api": "0.7.4"}, "cnr": {"cnr-api": "0.2.7"}}

_encoder = msgspec.json.Encoder(order="sorted")


class ListEntry(msgspec.Struct, frozen=True, gc=False):
    """What the lists need to know of a package; ``types`` has the releases of each media type."""

    name: str
    created_at: str
    releases: list[str]
    types: dict[str, list[str]]
    manifests: list[str]


def to_json(value: Any) -> bytes:
    """JSON as all documents of this view have it: sorted, compact, a newline at the end."""
    return _encoder.encode(value) + b"\n"


def _manifest(package: str, release: Release) -> dict[str, Any]:
    return {
        "package": package,
        "release": release.release,
        "created_at": release.created_at,
        "mediaType": release.manifest_type,
        "content": release.content,
        "metadata": release.metadata,
    }


def _channel(channel: Channel) -> dict[str, Any]:
    return {"name": channel.name, "current": channel.current, "releases": channel.releases}


def _base64(package: str, blob: Descriptor, fields: dict[str, str]) -> Base64Json:
    # Sorted keys put "blob" before all others, so the rest of the document is its tail.
    rest = _encoder.encode({**fields, "package": package})
    return Base64Json(b'{"blob":"', blob, b'",' + rest[1:] + b"\n")


def _file_name(package: str, release: str) -> str:
    return f"{package.replace('/', '_')}_{release}.tar.gz"


def package_resources(document: PackageDocument) -> Iterator[Resource]:
    """Every file of one package, leaves first: nothing refers to what comes after it.

    A package without releases (tombstones only) has none.
    """
    if not document.releases:
        return
    base = f"{PACKAGES}/{document.package}"
    manifests = {r.key: _manifest(document.package, r) for r in document.releases}
    yield from _archives(base, document)
    for release in document.versions():
        formats = document.of_release(release)
        for item in formats:
            named = [c.name for c in document.channels if c.current == release]
            path = f"{base}/{release}/{item.media_type}/index.json"
            yield Resource(path, to_json({**manifests[item.key], "channels": named}))
        if len(formats) == 1:
            yield Resource(f"{base}/{release}/-", Alias(formats[0].media_type), form="dash")
        yield Resource(f"{base}/{release}/index.json", to_json([manifests[r.key] for r in formats]))
    yield from _default(base, document)
    for channel in document.channels:
        yield Resource(f"{base}/channels/{channel.name}/index.json", to_json(_channel(channel)))
    channels = [_channel(channel) for channel in document.channels]
    yield Resource(f"{base}/channels/index.json", to_json(channels))
    types = sorted({r.media_type for r in document.releases})
    if len(types) > 1:
        for media_type in types:
            chosen = [manifests[r.key] for r in document.releases if r.media_type == media_type]
            yield Resource(f"{base}/type-{media_type}.json", to_json(chosen))
    yield Resource(f"{base}/index.json", to_json(list(manifests.values())))
    if len(types) == 1:
        yield Resource(f"{base}/type-{types[0]}.json", Alias("index.json", single=True))


def _default(base: str, document: PackageDocument) -> Iterator[Resource]:
    default = document.default()
    formats = document.of_release(default) if default else []
    for item in formats:
        yield Resource(
            f"{base}/default/{item.media_type}", Alias(f"../{default}/{item.media_type}")
        )
    if len(formats) == 1:
        target = Alias(f"../{default}/{formats[0].media_type}")
        yield Resource(f"{base}/default/-", target, form="dash")


def _archives(base: str, document: PackageDocument) -> Iterator[Resource]:
    """The archives and their base64 forms: by release, and by CNR digest.

    The form by digest is that of a release: it is three quarters of what a mirror holds, and all
    clients look at in it is the archive and a file name.
    """
    for item in document.releases:
        path = f"{base}/{item.release}/{item.media_type}"
        name = _file_name(document.package, item.release)
        yield Resource(f"{path}/pull", item.blob, GZIP_TYPE, filename=name)
        fields = {"filename": name, "media_type": item.media_type, "release": item.release}
        form = _base64(document.package, item.blob, fields)
        yield Resource(f"{path}/pull.json", form, form="base64")
    for digest, item in releases_by_digest(document).items():
        name = _file_name(document.package, digest[:8])
        path = f"{base}/blobs/sha256/{digest}"
        yield Resource(path, item.blob, GZIP_TYPE, "immutable", name)
        target = Alias(f"../../{item.release}/{item.media_type}/pull.json", single=True)
        yield Resource(f"{path}.json", target, form="base64")


def releases_by_digest(document: PackageDocument) -> dict[str, Release]:
    """CNR digest → release. Of several archives of one tar, the highest release's is served."""
    found: dict[str, Release] = {}
    for item in sorted(document.releases, key=lambda r: release_key(r.release)):
        found[item.content.digest] = item
    return dict(sorted(found.items()))


def list_entry(document: PackageDocument) -> ListEntry | None:
    """What the lists need of a package; None if it has no release."""
    if not document.releases:
        return None
    types: dict[str, list[str]] = {}
    for item in document.releases:
        types.setdefault(item.media_type, []).append(item.release)
    releases = document.versions()
    return ListEntry(
        document.package,
        min(item.created_at for item in document.releases),
        releases,
        types,
        sorted(r.media_type for r in document.of_release(releases[0])),
    )


def listing(rows: Iterable[ListEntry], media_type: str | None = None) -> list[dict[str, Any]]:
    """The answer of ``packages``: as it is for these rows, of one media type if one is given."""
    result = []
    for item in rows:
        releases = item.releases if media_type is None else item.types.get(media_type)
        if releases:
            result.append(
                {
                    "name": item.name,
                    "created_at": item.created_at,
                    "default": releases[0],
                    "manifests": item.manifests if media_type is None else [media_type],
                    "releases": releases,
                    "visibility": "public",
                }
            )
    return result


def list_resources(rows: list[ListEntry], touched: list[ListEntry]) -> Iterator[Resource]:
    """The lists that a change touches; ``rows`` are all entries, sorted by name.

    ``touched`` holds the entries, before and after, of the packages that changed: their namespaces
    and media types tell which of the filtered lists have to be written again.
    """
    yield Resource(f"{PACKAGES}/index.json", to_json(listing(rows)))
    yield Resource(f"{PACKAGES}/search/index.json", to_json([item.name for item in rows]))
    types = sorted({media_type for item in touched for media_type in item.types})
    for media_type in types:
        path = f"{PACKAGES_BY}/{ANY}/{media_type}.json"
        yield from _if_any(path, listing(rows, media_type))
    by_namespace: dict[str, list[ListEntry]] = {_namespace(item): [] for item in touched}
    for item in rows:
        if _namespace(item) in by_namespace:
            by_namespace[_namespace(item)].append(item)
    touched_types: dict[str, set[str]] = {}
    for item in touched:
        touched_types.setdefault(_namespace(item), set()).update(item.types)
    for namespace, members in sorted(by_namespace.items()):
        base = f"{PACKAGES_BY}/{namespace}"
        yield from _if_any(f"{base}/{ANY}.json", listing(members))
        for media_type in sorted(touched_types[namespace]):
            yield from _if_any(f"{base}/{media_type}.json", listing(members, media_type))


def _namespace(item: ListEntry) -> str:
    return item.name.partition("/")[0]


def _if_any(path: str, answer: list[dict[str, Any]]) -> Iterator[Resource]:
    # An empty list needs no file of its own: hosts fall back to empty.json.
    if answer:
        yield Resource(path, to_json(answer))


def not_found() -> bytes:
    """The one document that a static host answers with 404."""
    return to_json(error("package-not-found", NOT_FOUND))


def fixed_resources(vendor: Vendor, url: str) -> Iterator[Resource]:
    """The files that do not depend on what the mirror holds.

    Args:
        vendor: whose version document to answer with.
        url: the public address, without a slash at the end; "" if it is not known.
    """
    yield Resource(f"{PREFIX}/version/index.json", to_json(VERSIONS[vendor]))
    yield Resource(f"{PACKAGES_BY}/empty.json", to_json([]))
    yield Resource(f"{PREFIX}/404.json", not_found())
    yield Resource(f"{PREFIX}/405.json", to_json(error("unsupported", READ_ONLY)))
    yield Resource("api", Alias("cnr/api"))
    yield Resource("version", Alias("cnr/version"))
    uri = f"{url}/{PREFIX}/"
    document = {"version": "v1.0.0", "prefix": uri, "uri_prefix": uri}
    yield Resource(".well-known/app-registry-uri.json", to_json(document))


NOT_FOUND = "this mirror has nothing of that name"
READ_ONLY = "this is a read-only mirror: only GET and HEAD"


def error(code: str, message: str, **details: Any) -> dict[str, Any]:
    """An error document in the registry's form."""
    return {"code": code, "message": message, "details": details}


class CnrV1:
    """The CNR v1 API as a view (``base.View``)."""

    name = "cnr-v1"
    version = 3
    tops = (PREFIX, "api", "version", ".well-known/app-registry-uri.json")
    uses_facts = False
    entry_type = ListEntry

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def package(self, package: Package) -> Iterator[Resource]:
        """See ``base.View``."""
        return package_resources(package.document)

    def entry(self, package: Package) -> ListEntry | None:
        """See ``base.View``."""
        return list_entry(package.document)

    def lists(self, entries: Entries, changes: Changes, root: CatalogRoot) -> Iterator[Resource]:
        """See ``base.View``."""
        return list_resources(list(in_order(entries)), touched(changes))

    def fixed(self) -> Iterator[Resource]:
        """See ``base.View``."""
        return fixed_resources(self._settings.dialect, self._settings.url)

    def rank(self, path: str) -> int:
        """See ``base.View``."""
        return rank(path)

    def package_in(self, path: str) -> str | None:
        """See ``base.View``."""
        return package_in(path)

    def address(self, path: str) -> str | None:
        """See ``base.View``."""
        return url_of(path)

    def files_of(self, address: str) -> list[str]:
        """See ``base.View``; what has a query is the matter of ``routes``."""
        return [address]

    def left_out(self, package: Package) -> Iterator[str]:
        """See ``base.View``: its clients have everything."""
        yield from ()
