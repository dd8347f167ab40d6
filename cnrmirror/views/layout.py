"""The site's files in the forms that other places need: without links, or under exact keys.

A bucket has no folders and no index documents, so what a file ``…/NAME/index.json`` answers on a
web server is there the object ``…/NAME`` itself, beside ``…/NAME/1.0.0/helm``. Neither a bucket nor
many a disk has links, so an alias becomes copies of what it stands for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Literal
from urllib.parse import quote

import msgspec

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import blob_path
from cnrmirror.model.resource import Alias, Resource
from cnrmirror.views import oci_paths
from cnrmirror.views.cnr_paths import PACKAGES, PREFIX

VERSION = 1
"""Raise it when what a place has changes: every place is then brought to it."""

_KEYS = (
    (re.compile(r"(.+)/index\.json"), r"\1"),
    (re.compile(rf"({PACKAGES}/[^/]+/[^/]+/blobs/sha256/[^/]+)\.json"), r"\1/json"),
    (re.compile(rf"({PACKAGES}/[^/]+/[^/]+/[^/]+/[^/]+/pull)\.json"), r"\1/json"),
)
_BARE = re.compile(r"cnr/(?=api/|version(?:/|$))")
Form = Literal["json", "twins", "dash", "bare"]
"""What a place may have beside what all clients ask for: ``json`` (``…/pull`` as ``appr pull``
reads it), ``twins`` (the base64 forms under their own addresses), ``dash`` (``-`` for the only
media type), ``bare`` (the API also without ``/cnr``)."""


def key_of(path: str) -> str:
    """The key under which a bucket has a file of the site.

    Example:
        >>> key_of("cnr/api/v1/packages/charts/nginx/1.2.0/helm/pull.json")
        'cnr/api/v1/packages/charts/nginx/1.2.0/helm/pull/json'
    """
    if path.startswith(f"{oci_paths.TOP}/"):
        return oci_paths.url_of(path)
    for pattern, replacement in _KEYS:
        match = pattern.fullmatch(path)
        if match:
            return match.expand(replacement)
    return path


def expanded(resources: Iterable[Resource]) -> Iterator[Resource]:
    """The same files with copies in the place of aliases; an alias of what is not here has none."""
    known: dict[str, Resource] = {}
    beside: dict[str, list[Resource]] = {}

    def seen(resource: Resource) -> Resource:
        known[resource.path] = resource
        beside.setdefault(resource.path.rpartition("/")[0], []).append(resource)
        return resource

    for resource in resources:
        if not isinstance(resource.body, Alias):
            yield seen(resource)
            continue
        base = resource.body.seen_from(resource.path)
        there = [known[base]] if base in known else beside.get(base, [])
        for other in there.copy():
            # What a tag leads to never changes; where it leads does.
            cache = resource.cache if resource.body.single else other.cache
            path = resource.path + other.path[len(base) :]
            yield seen(msgspec.structs.replace(other, path=path, cache=cache))


def as_objects(
    resources: Iterable[Resource], forms: Collection[Form], slashes: bool = True
) -> Iterator[Resource]:
    """The files of the site as a bucket has them.

    Args:
        forms: what it has beside the archives. A bucket cannot tell ``?format=json``, so ``json``
            makes ``…/pull`` itself what ``appr pull`` reads.
        slashes: whether a key can end with one.
    """
    for resource in expanded(_wanted(_with_prefix(resources), forms, slashes)):
        for key in _keys(resource, forms):
            yield from _also_bare(msgspec.structs.replace(resource, path=key), "bare" in forms)


def _also_bare(resource: Resource, wanted: bool) -> Iterator[Resource]:
    """A file, and, if that is wanted, the same without the prefix of the API."""
    yield resource
    if wanted and _BARE.match(resource.path):
        yield msgspec.structs.replace(resource, path=_BARE.sub("", resource.path, count=1))


def with_redirects(resources: Iterable[Resource], prefix: str) -> Iterator[Resource]:
    """The objects of a bucket of whose archives the catalog has the only copy.

    Args:
        prefix: what all keys of the place begin with: "" or "prefix/".
    """
    for resource in resources:
        body = resource.body
        if not isinstance(body, Descriptor) or not may_lead_on(resource.path):
            yield resource
            continue
        location = location_of(prefix, body)
        yield msgspec.structs.replace(
            resource, body=location.encode(), media_type="text/plain", filename=None,
            redirect=location,
        )  # fmt: skip


def location_of(prefix: str, blob: Descriptor) -> str:
    """Where a redirect leads at a website endpoint: the path of a blob there, as a URL has it."""
    return quote(f"/{prefix}{blob_path(blob.digest)}")


def may_lead_on(path: str) -> bool:
    """Whether a redirect may stand for a blob there.

    An OCI manifest is known by its media type, which the catalog does not have.
    """
    is_manifest = path.startswith(f"{oci_paths.TOP}/") and "/blobs/" not in path
    return not is_manifest and not path.startswith("catalog/")


def _keys(resource: Resource, forms: Collection[Form]) -> list[str]:
    """The keys of a file."""
    path, key = resource.path, key_of(resource.path)
    if "json" not in forms or "/blobs/" in path or not path.startswith(f"{PACKAGES}/"):
        return [key]
    if resource.form == "base64":
        return [key.removesuffix("/json"), *([key] if "twins" in forms else [])]
    return [] if isinstance(resource.body, Descriptor) else [key]


def _wanted(
    resources: Iterable[Resource], forms: Collection[Form], slashes: bool = True
) -> Iterator[Resource]:
    """Without the forms that nobody asked for."""
    for resource in resources:
        match resource.form:
            case "dash":
                wanted = "dash" in forms
            case "base64":
                by_release = resource.path.endswith("/pull.json")
                wanted = "twins" in forms or ("json" in forms and by_release)
            case "slash":
                wanted = slashes
            case _:
                wanted = True
        if wanted:
            yield resource


def as_copies(resources: Iterable[Resource], forms: Collection[Form]) -> Iterator[Resource]:
    """The files of the site for a folder without links: what they stand for is there again.

    Args:
        forms: what is there beside the archives.
    """
    for resource in expanded(_wanted(_with_prefix(resources), forms)):
        yield from _also_bare(resource, "bare" in forms)


def as_hosted(
    resources: Iterable[Resource], host: str, forms: Collection[Form]
) -> Iterator[Resource]:
    """The files of the plain site as a host of static sites needs them, which counts its files.

    Args:
        host: netlify and cloudflare-pages find a document, and what has no prefix, by rules;
            github-pages finds a folder's index.html alone.
        forms: what is there beside the archives.
    """
    rules = host != "github-pages"
    # Only Netlify tells ?format=json; elsewhere …/pull itself is the form already.
    chosen = set(forms) if host == "netlify" else set(forms) - {"json"}
    needless = "/index.html" if rules else "/index.json"
    for resource in expanded(_wanted(_with_prefix(resources), chosen)):
        path = resource.path
        if path.startswith(f"{PREFIX}/") and path.endswith(needless):
            continue  # the document is there under the other of both names
        yield from _also_bare(resource, "bare" in forms and not rules)


def left_out(host: str, forms: Collection[Form]) -> list[str]:
    """What clients cannot do at a place, and which form would let them.

    Args:
        host: bucket, s3-website, folder (without links), or a host of static sites.
        forms: what it has.
    """
    found = []
    if host == "s3-website":
        found.append("archives, for clients that follow no redirect: curl without -L")
    if "json" in forms:
        if host not in ("folder", "netlify"):
            found.append("…/pull as an archive, as curl and Go clients ask")
    elif "twins" not in forms or host not in ("bucket", "folder", "netlify"):
        found.append("'appr pull' and 'cnr pull' (forms: [json])")
    elif host != "netlify":
        found.append("'appr pull' and 'cnr pull', but where a server knows ?format=json")
    if "dash" not in forms:
        found.append("'appr pull' without -t (forms: [dash])")
    if "twins" not in forms:
        found.append("…/pull/json and …/blobs/sha256/D/json, as Go clients ask (forms: [twins])")
    if "bare" not in forms and host in ("bucket", "s3-website", "folder", "github-pages"):
        found.append("addresses without /cnr, as cnr 0.3 asks (forms: [bare])")
    return found


def _with_prefix(resources: Iterable[Resource]) -> list[Resource]:
    """Without the links that are the whole tree a second time."""
    return [r for r in resources if r.path not in ("api", "version")]
