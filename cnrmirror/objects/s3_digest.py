"""An object's bytes as boto3 gives them, and whether they are those that it must have."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from cnrmirror.model.digest import CHUNK, Descriptor
from cnrmirror.objects.base import archive
from cnrmirror.objects.bodies import attributes_of

Once = Callable[[Callable[[], Any]], Any]


def read_body(body: Any, most: int) -> bytes:
    """The bytes of an answer of boto3's, or so many of them.

    Raises:
        botocore's IncompleteReadError: they are fewer than was announced.
    """
    data: bytes = body.read(most)
    if len(data) < most:
        body.read(1)  # only who asks for more is told so
    return data


def asked_for_digest(checksums: bool) -> dict[str, str]:
    """What a HEAD must say to be told the sha256; nothing for services that refuse that."""
    return {"ChecksumMode": "ENABLED"} if checksums else {}


def told_digest(head: Mapping[str, Any]) -> bytes:
    """The sha256 that a service tells; b"" if it tells none of the whole object."""
    told: str = head.get("ChecksumSHA256", "")
    return base64.b64decode(told) if told and "-" not in told else b""


_HEADERS = {
    "ContentType": "Content-Type", "CacheControl": "Cache-Control",
    "ContentDisposition": "Content-Disposition", "ContentEncoding": "Content-Encoding",
    "ContentLanguage": "Content-Language", "ExpiresString": "Expires",
    "WebsiteRedirectLocation": "x-amz-website-redirect-location",
}  # fmt: skip


def has_digest(head: Mapping[str, Any], blob: Descriptor) -> bool | None:
    """Whether an object is a blob; None if it has its size, and nobody tells its digest."""
    if head.get("ContentLength") != blob.size:
        return False
    told = told_digest(head)
    return told == bytes.fromhex(blob.digest) if told else None


def is_whole(head: Mapping[str, Any], blob: Descriptor) -> bool | None:
    """As ``has_digest``; False also if readers are told other headers than an archive's."""
    told = {name: str(head[key]) for key, name in _HEADERS.items() if head.get(key)}
    if told | head.get("Metadata", {}) != attributes_of(archive(blob), ""):
        return False
    return has_digest(head, blob)


def digest_there(client: Any, named: dict[str, str], checksums: bool, once: Once) -> bytes:
    """The sha256 of an object: the service's word, else of the bytes.

    Args:
        client: boto3's.
        named: what names the object in a request.
        checksums: whether the service is asked for one.
        once: makes a request, again while the service is in trouble.
    """
    asked = asked_for_digest(checksums)
    if told := told_digest(once(lambda: client.head_object(**named, **asked))):
        return told

    def read() -> bytes:
        hasher = hashlib.sha256()
        with contextlib.closing(client.get_object(**named)["Body"]) as stream:
            for piece in stream.iter_chunks(CHUNK):
                hasher.update(piece)
        return hasher.digest()

    digest: bytes = once(read)
    return digest
