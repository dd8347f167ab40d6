"""The site's files in the forms that other places need: without links, or under exact keys.

A bucket has no folders and no index documents, so what a file ``…/NAME/index.json`` answers on a
web server is there the object ``…/NAME`` itself, beside ``…/NAME/1.0.0/helm``. Neither a bucket nor
many a disk has links, so an alias becomes copies of what it stands for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from cnrmirror.model.resource import Alias, Resource
from cnrmirror.views import oci_paths

_KEYS = (
    (re.compile(r"(.+)/index\.json"), r"\1"),
    (re.compile(r"(.+/blobs/sha256/[^/]+)\.json"), r"\1/json"),
    (re.compile(r"(.+/pull)\.json"), r"\1/json"),
)
_BARE = re.compile(r"cnr/(?=api/|version(?:/|$))")


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
    known: list[Resource] = []
    for resource in resources:
        if not isinstance(resource.body, Alias):
            known.append(resource)
            yield resource
            continue
        base = resource.body.seen_from(resource.path)
        for other in known.copy():
            if other.path == base or other.path.startswith(f"{base}/"):
                # What a tag leads to never changes; where it leads does.
                cache = resource.cache if resource.body.single else other.cache
                copy = msgspec.structs.replace(
                    other, path=resource.path + other.path[len(base) :], cache=cache
                )
                known.append(copy)
                yield copy


def as_objects(resources: Iterable[Resource], bare: bool, json_pull: bool) -> Iterator[Resource]:
    """The files of the v1 view as a bucket has them.

    Args:
        bare: also without the prefix ``cnr/``, for clients that use none.
        json_pull: ``…/pull`` is what ``appr pull`` reads; the bucket cannot tell ``?format=json``.
    """
    for resource in expanded(_with_prefix(resources)):
        keys = [key_of(resource.path)]
        if json_pull and resource.path.endswith("/pull"):
            continue
        if json_pull and keys[0].endswith("/pull/json"):
            keys.append(keys[0].removesuffix("/json"))
        for key in keys:
            yield msgspec.structs.replace(resource, path=key)
            if bare and _BARE.match(key):
                yield msgspec.structs.replace(resource, path=_BARE.sub("", key, count=1))


def as_files(resources: Iterable[Resource], links: bool) -> Iterator[Resource]:
    """The files of the v1 view for a folder, with symlinks, or with copies in their place."""
    if links:
        yield from resources
        return
    for resource in expanded(_with_prefix(resources)):
        yield resource
        if _BARE.match(resource.path):
            yield msgspec.structs.replace(resource, path=_BARE.sub("", resource.path, count=1))


def _with_prefix(resources: Iterable[Resource]) -> list[Resource]:
    """Without the links that are the whole tree a second time."""
    return [r for r in resources if r.path not in ("api", "version")]
