"""Whether an object of a bucket has the bytes that it must have."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Callable
from typing import Any

from cnrmirror.model.digest import CHUNK

Once = Callable[[Callable[[], Any]], Any]


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
