"""Forms of a file that only some hosts need: pages that say what JSON says, gzipped JSON."""

from __future__ import annotations

from collections.abc import Iterator

from cnrmirror.archive.pack import gzip_bytes
from cnrmirror.model.resource import JSON_TYPE, Alias, Resource

# Smaller documents fit into one packet anyway.
_PRECOMPRESS_FROM = 1400


def without_markup(document: bytes) -> bytes:
    """The same JSON, in which no browser sees a tag, whatever a package says of itself.

    Hosts that only know index.html send it as text/html. Outside of strings, JSON has none of the
    characters that are escaped.

    Example:
        >>> without_markup(b'{"a": "<b>"}').decode()
        '{"a": "\\\\u003cb\\\\u003e"}'
    """
    for character in b"<>&":
        document = document.replace(bytes([character]), b"\\u%04x" % character)
    return document


def page_of(resource: Resource) -> Resource:
    """The index.html that says what an index.json says."""
    path = f"{resource.path.removesuffix('.json')}.html"
    body = resource.body
    if isinstance(body, bytes) and (safe := without_markup(body)) != body:
        return Resource(path, safe, cache=resource.cache)
    return Resource(path, Alias("index.json", single=True))


def precompressed(resource: Resource, named: bool) -> Iterator[Resource]:
    """Its gzipped form, if it is worth one; ``named``: without its bytes."""
    body = resource.body
    if (
        isinstance(body, bytes)
        and resource.media_type == JSON_TYPE
        and len(body) >= _PRECOMPRESS_FROM
    ):
        packed = b"" if named else gzip_bytes(body)
        yield Resource(f"{resource.path}.gz", packed, cache=resource.cache)
