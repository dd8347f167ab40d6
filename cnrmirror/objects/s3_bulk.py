"""The many small objects of a bucket: obstore with boto3's credentials, and what it is given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, BinaryIO
from urllib.request import getproxies

from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

from cnrmirror.model.digest import CHUNK
from cnrmirror.model.resource import CACHE_CONTROL, Alias, Base64Json, Resource
from cnrmirror.objects.address import host_of
from cnrmirror.objects.bucket import S3Connection
from cnrmirror.objects.store import Store

MULTIPART_FROM = 16 << 20


def bulk_store(connection: S3Connection, bucket: str) -> S3Store:
    """An obstore for a bucket; it tries nothing again, which is the limiter's work."""
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
    client: dict[str, Any] = {"timeout": timedelta(seconds=120), "allow_http": True}
    client["connect_timeout"] = timedelta(seconds=10)
    authorities = connection.tls.authorities
    if authorities.named:  # the system's are known to it
        client["root_certificate"] = authorities.text()
    client |= _proxy(connection)
    options |= {"client_options": client, "retry_config": {"max_retries": 0}}
    return S3Store(
        bucket,
        credential_provider=Boto3CredentialProvider(connection.session),
        **options,
    )


def _proxy(connection: S3Connection) -> dict[str, str]:
    """The proxy that the others use; none where they use none, whatever the environment names."""
    for proxy in connection.proxies.values():
        return {"proxy_url": proxy}
    host = host_of(str(connection.client.meta.endpoint_url))
    return {"proxy_url": "http://127.0.0.1:9", "proxy_excludes": host} if getproxies() else {}


def attributes_of(resource: Resource, storage_class: str) -> dict[str, str]:
    """The headers that an object is stored with."""
    found = {
        "Content-Type": resource.media_type,
        "Cache-Control": CACHE_CONTROL[resource.cache],
        "Content-Disposition": resource.filename,
        "Storage-Class": storage_class,
    }
    return {name: value for name, value in found.items() if value}


def body_size(resource: Resource) -> int:
    """How many bytes a resource has."""
    body = resource.body
    assert not isinstance(body, Alias)
    return len(body) if isinstance(body, bytes) else body.size


@contextlib.contextmanager
def open_body(resource: Resource, store: Store) -> Iterator[Any]:
    """The bytes of a small body; a stream of pieces of a large one."""
    body = resource.body
    if isinstance(body, bytes):
        yield body
        return
    assert not isinstance(body, Alias)
    blob = body.blob if isinstance(body, Base64Json) else body
    with store.open_blob(blob) as stream:
        pieces = body.chunks(stream) if isinstance(body, Base64Json) else _pieces(stream)
        yield b"".join(pieces) if body_size(resource) < MULTIPART_FROM else pieces


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: stream.read(CHUNK), b"")
