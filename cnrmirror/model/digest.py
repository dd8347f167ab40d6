"""Digests and descriptors: names for bytes that can be checked.

``Digest`` is the sha256 of bytes as they are served, in 64 hex digits. ``DiffID`` is the sha256 of
the *gunzipped* tar: CNR calls that one "digest" and puts it into manifests and blob URLs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Annotated, BinaryIO

import msgspec

from cnrmirror.model.errors import DigestMismatch, InvalidName, Tampered

CHUNK = 1 << 20

HEX64 = re.compile(r"[0-9a-f]{64}")

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
DiffID = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Size = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class Descriptor(msgspec.Struct, frozen=True, order=True):
    """The digest and the length in bytes of a blob or node.

    Example:
        >>> Descriptor.of(b"").digest[:8]
        'e3b0c442'
    """

    digest: Digest
    size: Size

    @classmethod
    def of(cls, data: bytes) -> Descriptor:
        """The descriptor of these bytes."""
        return cls(hashlib.sha256(data).hexdigest(), len(data))

    def check(self, data: bytes, where: str) -> bytes:
        """The same bytes, once they are known to fit.

        Raises:
            DigestMismatch: other length or other digest; ``where`` names the file.
        """
        if len(data) != self.size:
            raise DigestMismatch(where, f"{self.size} bytes", f"{len(data)} bytes", of_size=True)
        actual = hashlib.sha256(data).hexdigest()
        if actual != self.digest:
            raise DigestMismatch(where, f"sha256 {self.digest}", actual)
        return data


def parse_digest(text: str) -> str:
    """The 64 hex digits of ``text``, with or without ``sha256:`` before them.

    Raises:
        InvalidName: anything else.
    """
    digest = text.removeprefix("sha256:")
    if not HEX64.fullmatch(digest):
        raise InvalidName(f"{text!r} is not a sha256 digest: 64 hex digits in lower case")
    return digest


def verified(stream: BinaryIO, expected: Descriptor, where: str) -> Iterator[bytes]:
    """The chunks of ``stream``, bounded by ``expected.size``, checked at the end.

    The last chunk is yielded only after length and digest are known to be right, so a consumer
    that renames when the iteration ends never adopts wrong bytes.

    Raises:
        DigestMismatch: the stream is shorter, longer or other than expected.
    """
    hasher = hashlib.sha256()
    seen = 0
    last = b""
    while chunk := stream.read(CHUNK):
        seen += len(chunk)
        if seen > expected.size:
            raise DigestMismatch(where, f"{expected.size} bytes", "more", of_size=True)
        hasher.update(chunk)
        if last:
            yield last
        last = chunk
    if seen != expected.size:
        raise DigestMismatch(where, f"{expected.size} bytes", f"{seen} bytes", of_size=True)
    if hasher.hexdigest() != expected.digest:
        raise DigestMismatch(where, f"sha256 {expected.digest}", hasher.hexdigest())
    if last:
        yield last


def checked(expected: Descriptor, data: bytes, where: str) -> bytes:
    """``data``, if it has this length and digest. Raises Tampered."""
    if len(data) != expected.size:
        raise Tampered(f"{where}: {len(data)} bytes, signed were {expected.size}")
    if hashlib.sha256(data).hexdigest() != expected.digest:
        raise Tampered(f"{where}: not the bytes that were signed")
    return data
