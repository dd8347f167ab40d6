"""Resource: one file of the site to be."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import BinaryIO, Literal

import msgspec
import pybase64

from cnrmirror.model.digest import CHUNK, Descriptor

Cache = Literal["short", "immutable", "no-cache"]

CACHE_CONTROL: dict[Cache, str] = {
    "short": "public, max-age=60",
    "immutable": "public, max-age=31536000, immutable",
    "no-cache": "no-cache",
}

HTML_TYPE = "text/html; charset=utf-8"
SCRIPT_TYPE = "text/javascript; charset=utf-8"
JSON_TYPE = "application/json"
GZIP_TYPE = "application/x-gzip"


class Base64Json(msgspec.Struct, frozen=True):
    """A JSON document with a whole blob in base64 between ``head`` and ``tail``.

    Kept apart from ``bytes`` so that nobody holds a large blob in memory.
    """

    head: bytes
    blob: Descriptor
    tail: bytes

    @property
    def size(self) -> int:
        """Length of the document in bytes."""
        return len(self.head) + (self.blob.size + 2) // 3 * 4 + len(self.tail)

    def chunks(self, blob: BinaryIO) -> Iterator[bytes]:
        """The document, piece by piece; ``blob`` is open at its beginning."""
        # A multiple of three, so that the pieces of base64 join without padding between them. No
        # more than there is: memory is taken for what is asked for.
        piece = blob.read(min(CHUNK // 3 * 3, self.blob.size))
        if len(piece) == self.blob.size:
            yield b"".join((self.head, pybase64.b64encode(piece), self.tail))
            return
        yield self.head
        while piece:
            yield pybase64.b64encode(piece)
            piece = blob.read(CHUNK // 3 * 3)
        yield self.tail


class Alias(msgspec.Struct, frozen=True):
    """The same files under a second path.

    ``target`` is a folder, or a single file, relative to the alias's own folder.
    """

    target: str
    single: bool = False

    def seen_from(self, path: str) -> str:
        """The path, from the site on, for which an alias at ``path`` stands."""
        return posixpath.normpath(posixpath.join(posixpath.dirname(path), self.target))


Body = bytes | Descriptor | Base64Json | Alias


class Resource(msgspec.Struct, frozen=True):
    """A path below ``site/``, what is there, and how a host should serve it.

    A body that is a Descriptor is a link to the blob of that digest. ``by_rule``: a server with
    rules finds that blob by the path alone, and needs no file. ``form``: what only some clients ask
    for, and a place may lack: the base64 form of an archive, ``-`` for the only media type; or what
    some places cannot have: a key that ends with a slash.
    ``redirect``: where who asks a bucket's website endpoint is sent; the body says it, too, so that
    a listing tells one redirect from another.
    """

    path: str
    body: Body
    media_type: str = JSON_TYPE
    cache: Cache = "short"
    filename: str | None = None
    by_rule: bool = False
    form: Literal["", "base64", "dash", "slash"] = ""
    redirect: str = ""

    @property
    def size(self) -> int:
        """How many bytes the file has; 0 for a link."""
        body = self.body
        if isinstance(body, bytes):
            return len(body)
        return 0 if isinstance(body, Alias) else body.size
