"""The many small objects of a bucket: obstore with boto3's credentials."""

from __future__ import annotations

from typing import Any
from urllib.request import getproxies

import obstore
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from cnrmirror.objects.address import host_of
from cnrmirror.objects.base import check_path
from cnrmirror.objects.bucket import S3Connection
from cnrmirror.objects.obstores import options_of

_SMALL = 1 << 20


def bulk_store(connection: S3Connection, bucket: str) -> S3Store:
    """An obstore for a bucket."""
    settings = connection.settings
    endpoint, virtual = connection.endpoint(bucket)
    options: dict[str, Any] = {
        "region": connection.region,
        "endpoint": endpoint,
        "virtual_hosted_style_request": virtual,
        "request_payer": settings.payer,
    }
    if settings.checksums:
        options["checksum_algorithm"] = "SHA256"
    if settings.encryption:
        options["server_side_encryption"] = settings.encryption
    if settings.kms_key:
        options["sse_kms_key_id"] = settings.kms_key
    options |= options_of(connection.tls, _proxy(connection))
    return S3Store(
        bucket,
        credential_provider=Boto3CredentialProvider(connection.session),
        **options,
    )


class SmallReads:
    """Reads small objects in a fraction of the time that any other way takes.

    Where there is any trouble, the other way asks again, and says it; after trouble that is not one
    object's own, it does all that follows.
    """

    def __init__(self) -> None:
        self._works = True

    def __call__(self, bulk: S3Store | None, prefix: str, path: str, most: int) -> bytes | None:
        """An object's bytes; None: ask the other way. Raises InputError for a bad path."""
        check_path(path.removesuffix("/"))
        if bulk is None or most > _SMALL or path.endswith("/") or not self._works:
            return None
        try:
            found = obstore.get(bulk, prefix + path)
            size = found.meta["size"]
            data = bytes(found.bytes()) if size <= most else b""
        except (FileNotFoundError, NotFoundError):
            return None
        except (BaseError, OSError, ValueError):
            self._works = False
            return None
        return data if len(data) == size else None


def _proxy(connection: S3Connection) -> dict[str, str]:
    """The proxy that the others use; none where they use none, whatever the environment names."""
    for proxy in connection.proxies.values():
        return {"proxy_url": proxy}
    host = host_of(str(connection.client.meta.endpoint_url))
    return {"proxy_url": "http://127.0.0.1:9", "proxy_excludes": host} if getproxies() else {}
