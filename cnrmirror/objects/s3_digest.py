"""Whether an object of a bucket has the bytes that it must have."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Callable
from typing import Any

from cnrmirror.model.digest import CHUNK
from cnrmirror.model.resource import Resource
from cnrmirror.objects.s3_bulk import open_body
from cnrmirror.objects.store import Store

Once = Callable[[Callable[[], Any]], Any]


def digests(resource: Resource, store: Store) -> tuple[str, bytes]:
    """The MD5 of a resource's bytes, in hex as an ETag may have it, and their sha256."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with open_body(resource, store) as body:
        for piece in [body] if isinstance(body, bytes) else body:
            md5.update(piece)
            sha256.update(piece)
    return md5.hexdigest(), sha256.digest()


def digest_there(client: Any, named: dict[str, str], checksums: bool, once: Once) -> bytes:
    """The sha256 of an object: the service's word, else of the bytes.

    Args:
        client: boto3's.
        named: what names the object in a request.
        checksums: whether the service is asked for one.
        once: makes a request, again while the service is in trouble.
    """
    asked = {"ChecksumMode": "ENABLED"} if checksums else {}
    told: str = once(lambda: client.head_object(**named, **asked)).get("ChecksumSHA256", "")
    if told and "-" not in told:  # else it is that of parts
        return base64.b64decode(told)

    def read() -> bytes:
        hasher = hashlib.sha256()
        with contextlib.closing(client.get_object(**named)["Body"]) as stream:
            for piece in stream.iter_chunks(CHUNK):
                hasher.update(piece)
        return hasher.digest()

    digest: bytes = once(read)
    return digest
