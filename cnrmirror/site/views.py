"""All views together, in the form that one kind of host needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from cnrmirror.archive import gzip_bytes
from cnrmirror.documents import PackageDocument, encode
from cnrmirror.names import Vendor
from cnrmirror.resource import JSON_TYPE, Alias, Resource
from cnrmirror.site import html, v1

# Raise it when a renderer's output changes: every mirror is then rebuilt by its next command.
VERSION = 3
# Smaller documents fit into one packet anyway.
_PRECOMPRESS_FROM = 1400


class ViewSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``views`` of mirror.yaml.

    ``dialect``: whose words new manifests and the version document use. ``profile``: ``full`` for
    servers that take a generated configuration, ``plain`` for those that only know index.html.
    ``plain_pull``: what ``pull`` is in the plain profile, the archive or its JSON twin (which
    ``appr pull`` asks for). ``precompress``: write ``.gz`` beside larger JSON documents. ``keep``:
    globs of files in the site that are somebody else's (``CNAME``, ``robots.txt``).
    """

    dialect: Vendor = "appr"
    profile: Literal["full", "plain"] = "full"
    plain_pull: Literal["archive", "json"] = "archive"
    precompress: bool = True
    keep: list[str] = []


class Views:
    """Renders packages, lists and fixed files.

    Args:
        settings: which form.
        url: the public address of the mirror without a slash at the end, or "".
    """

    def __init__(self, settings: ViewSettings, url: str) -> None:
        self._settings = settings
        self._url = url

    @property
    def fingerprint(self) -> str:
        """Differs whenever the same catalog would give other files."""
        return f"{VERSION} {self._url} {encode(self._settings).decode()}"

    def keeps(self, path: str) -> bool:
        """Whether a file of the site is somebody else's, to be left alone."""
        return any(fnmatchcase(path, pattern) for pattern in self._settings.keep)

    def package(self, document: PackageDocument | None) -> list[Resource]:
        """Every file of one package, leaves first; none for None."""
        if document is None:
            return []
        return list(self._adapted(v1.package_resources(document)))

    def aggregates(self, rows: list[v1.Row], changed: Iterable[v1.Row]) -> list[Resource]:
        """The lists that a change of these rows touches."""
        return list(self._adapted(v1.aggregate_resources(rows, changed)))

    def fixed(self) -> list[Resource]:
        """What does not depend on what the mirror holds."""
        resources = [*v1.fixed_resources(self._settings.dialect, self._url)]
        page = html.index_page(self._url)
        if self._settings.profile == "plain":
            # GitHub Pages leaves out what begins with "_" or "." where this is not there.
            resources.append(Resource(".nojekyll", b"", "text/plain"))
        return [*self._adapted(resources), page]

    def _adapted(self, resources: Iterable[Resource]) -> Iterator[Resource]:
        plain = self._settings.profile == "plain"
        twins = plain and self._settings.plain_pull == "json"
        for resource in resources:
            if self._settings.precompress and not plain:
                yield from _precompressed(resource)
            if twins and resource.path.endswith("/pull"):
                continue  # its twin takes the path
            yield resource
            if plain and resource.path.endswith("/index.json"):
                yield Resource(f"{resource.path[:-5]}.html", Alias("index.json"))
            if twins and resource.path.endswith("/pull.json"):
                yield Resource(resource.path[:-5], resource.body)


def _precompressed(resource: Resource) -> Iterator[Resource]:
    body = resource.body
    if (
        isinstance(body, bytes)
        and resource.media_type == JSON_TYPE
        and len(body) >= _PRECOMPRESS_FROM
    ):
        yield Resource(f"{resource.path}.gz", gzip_bytes(body), cache=resource.cache)


def changes(old: Iterable[Resource], new: Iterable[Resource]) -> tuple[list[Resource], list[str]]:
    """What to write and what to remove, to come from the one state to the other.

    Writes are in the order of ``new`` (leaves first), removals in the reverse order of ``old``
    (pointers first). The same path twice in one state is a bug of a renderer.
    """
    before = _by_path(old)
    after = _by_path(new)
    puts = [r for path, r in after.items() if before.get(path) != r]
    return puts, [path for path in reversed(before) if path not in after]


def _by_path(resources: Iterable[Resource]) -> dict[str, Resource]:
    result: dict[str, Resource] = {}
    for resource in resources:
        if resource.path in result:
            raise AssertionError(f"two renderers want {resource.path}")
        result[resource.path] = resource
    return result
