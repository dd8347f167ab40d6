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

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from cnrmirror.model import typed
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, Channel, PackageDocument, Release
from cnrmirror.model.names import Vendor, release_key
from cnrmirror.model.resource import GZIP_TYPE, Alias, Base64Json, Resource
from cnrmirror.views.base import ByNamespace, Package, Settings, touched
from cnrmirror.views.cnr_paths import ANY, PACKAGES, PACKAGES_BY, PREFIX, package_in, rank, url_of
from cnrmirror.views.groups import Changes, Groups, Rows, in_order

VERSIONS = {"appr": {"appr-api": "0.7.4"}, "cnr": {"cnr-api": "0.2.7"}}

_encoder = msgspec.json.Encoder(order="sorted")


NOTHING = b"[]\n"
"""A list without elements."""


class ListEntry(msgspec.Struct, frozen=True, gc=False):
    """A package in short; ``types`` has the releases of each media type."""

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
    """A package in short; None if it has no release."""
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
        dict(sorted(types.items())),
        sorted(r.media_type for r in document.of_release(releases[0])),
    )


class _Listed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What stands in lists: JSON, of which longer ones are joined as it is.

    ``whole``: in lists of all media types. ``types``: in those of one, where that is not the same.
    """

    media_types: list[str]
    whole: msgspec.Raw
    types: dict[str, msgspec.Raw] = {}

    def of_type(self, media_type: str | None) -> msgspec.Raw | None:
        """In the lists of a media type; None if there is nothing of it."""
        if media_type is None:
            return self.whole
        if media_type not in self.media_types:
            return None
        return self.types.get(media_type, self.whole)


class Row(_Listed, frozen=True, kw_only=True, gc=False):
    """A package in the lists."""

    name: str

    @classmethod
    def of(cls, entry: ListEntry) -> Row:
        """A package in the lists."""
        several = entry.types if len(entry.types) > 1 else {}
        return cls(
            name=entry.name,
            media_types=list(entry.types),
            whole=_element(entry, entry.releases, entry.manifests),
            types={kind: _element(entry, releases, [kind]) for kind, releases in several.items()},
        )

    def entry(self) -> ListEntry:
        """The same package in short."""
        whole = typed.decode(self.whole, _Element)
        types = {kind: typed.decode(raw, _Element).releases for kind, raw in self.types.items()}
        every = types or dict.fromkeys(self.media_types, whole.releases)
        return ListEntry(self.name, whole.created_at, whole.releases, every, whole.manifests)


class Block(_Listed, frozen=True, kw_only=True, gc=False):
    """The packages of a namespace in the lists; ``names``: a list of their names."""

    names: msgspec.Raw

    @classmethod
    def of(cls, rows: Collection[Row]) -> Block:
        """These packages, in their order."""
        whole = _list([row.whole for row in rows])
        kinds = sorted({media_type for row in rows for media_type in row.media_types})
        lists = {kind: _list([row.of_type(kind) for row in rows]) for kind in kinds}
        return cls(
            media_types=kinds,
            whole=msgspec.Raw(whole),
            types={kind: msgspec.Raw(found) for kind, found in lists.items() if found != whole},
            names=msgspec.Raw(_encoder.encode([row.name for row in rows])),
        )


def _list(elements: Iterable[msgspec.Raw | None]) -> bytes:
    return b"[" + b",".join(element for element in elements if element is not None) + b"]"


def _joined(lists: Iterable[msgspec.Raw]) -> bytes:
    """The answer that has the elements of all these lists, of which none is empty."""
    return b"[" + b",".join(memoryview(found)[1:-1] for found in lists) + b"]\n"


class _Element(msgspec.Struct, frozen=True):
    """What the registry's API says of a package in a list."""

    name: str
    created_at: str
    default: str
    manifests: list[str]
    releases: list[str]
    visibility: str = "public"


def _element(entry: ListEntry, releases: list[str], manifests: list[str]) -> msgspec.Raw:
    element = _Element(entry.name, entry.created_at, releases[0], manifests, releases)
    return msgspec.Raw(_encoder.encode(element))


def listing(rows: Iterable[Row], media_type: str | None = None) -> bytes:
    """The answer of ``packages``: as it is for these rows, of one media type if one is given."""
    return _list(row.of_type(media_type) for row in rows) + b"\n"


def list_resources(
    blocks: Mapping[str, Block], touched: Iterable[Row] | None
) -> Iterator[Resource]:
    """The lists that a change touches.

    Args:
        blocks: all there are, by namespace.
        touched: the rows, before and after, of the packages that changed: their namespaces and
            media types tell which of the filtered lists have to be written again. None: all.
    """
    ordered = [blocks[namespace] for namespace in in_order(blocks)]
    yield Resource(f"{PACKAGES}/index.json", _joined(block.whole for block in ordered))
    yield Resource(f"{PACKAGES}/search/index.json", _joined(block.names for block in ordered))
    types = _touched_types(blocks, touched)
    for media_type in sorted({media_type for each in types.values() for media_type in each}):
        found = [block.of_type(media_type) for block in ordered]
        # An empty list needs no file of its own: hosts fall back to empty.json.
        if some := [each for each in found if each is not None]:
            yield Resource(f"{PACKAGES_BY}/{ANY}/{media_type}.json", _joined(some))
    for namespace in sorted(types.keys() & blocks.keys()):
        base, block = f"{PACKAGES_BY}/{namespace}", blocks[namespace]
        yield Resource(f"{base}/{ANY}.json", _joined([block.whole]))
        for media_type in sorted(types[namespace]):
            if (one := block.of_type(media_type)) is not None:
                yield Resource(f"{base}/{media_type}.json", _joined([one]))


def _touched_types(
    blocks: Mapping[str, Block], touched: Iterable[Row] | None
) -> dict[str, set[str]]:
    """The media types whose lists change, by namespace."""
    found: dict[str, set[str]] = {}
    if touched is None:
        return {namespace: set(block.media_types) for namespace, block in blocks.items()}
    for row in touched:
        found.setdefault(row.name.partition("/")[0], set()).update(row.media_types)
    return found


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
    yield Resource(f"{PACKAGES_BY}/empty.json", NOTHING)
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


class CnrV1(ByNamespace):
    """The CNR v1 API as a view (``base.View``)."""

    name = "cnr-v1"
    version = 3
    tops = (PREFIX, "api", "version", ".well-known/app-registry-uri.json")
    uses_facts = False
    row_type, summary_type = Row, Block

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def package(self, package: Package) -> Iterator[Resource]:
        """See ``base.View``."""
        return package_resources(package.document)

    def entry(self, package: Package) -> Row | None:
        """See ``base.View``."""
        entry = list_entry(package.document)
        return Row.of(entry) if entry else None

    def summary(self, name: str, rows: Rows) -> Block:
        """See ``base.View``."""
        return Block.of(rows.values())

    def lists(
        self, groups: Groups, changes: Changes | None, root: CatalogRoot
    ) -> Iterator[Resource]:
        """See ``base.View``."""
        rows = None if changes is None else touched(changes)
        return list_resources(groups.summaries(), rows)

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
