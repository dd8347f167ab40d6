"""Read a mirror out of an S3 bucket, or of anything that speaks S3's API.

Credentials, region and endpoint come from where boto3 finds them (environment, profile, instance);
without any, reads are anonymous. ``AWS_ENDPOINT_URL`` names another endpoint than Amazon's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.client
import botocore.session
import msgspec
from botocore import handlers
from botocore.exceptions import BotoCoreError

from cnrmirror.model.errors import InputError, NetworkError
from cnrmirror.objects.access import Access
from cnrmirror.objects.base import Reader, check_path
from cnrmirror.objects.certificates import Tls
from cnrmirror.objects.http import HttpReader

_ADDRESS = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>.*))?")


def parse_address(address: str) -> tuple[str, str]:
    """Bucket and prefix (with a slash at its end, or "") of ``s3://bucket/prefix``.

    Raises:
        InputError: not such an address.
    """
    match = _ADDRESS.fullmatch(address)
    if not match:
        raise InputError(f"{address}: write s3://BUCKET or s3://BUCKET/PREFIX")
    prefix = (match["prefix"] or "").strip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise InputError(f"{address}: not a prefix")
    return match["bucket"], f"{prefix}/" if prefix else ""


class S3Settings(msgspec.Struct, frozen=True):
    """What of a bucket is not in its address; "" for what boto3 finds by itself.

    ``path_style`` matters where an endpoint is named: the bucket in the path, not in the host.
    """

    endpoint: str = ""
    region: str = ""
    profile: str = ""
    path_style: bool = True
    storage_class: str = ""
    encryption: str = ""
    kms_key: str = ""


class S3Connection:
    """boto3 with the usual credential chain; anonymous if that finds nothing.

    Args:
        settings: endpoint, region, profile.
        attempts: how often boto3 makes a request when the service is in trouble.

    Raises:
        BotoCoreError, ValueError: no such profile, or an endpoint that is none.
        InputError: certificates that are named are not there.
    """

    def __init__(self, settings: S3Settings = S3Settings(), attempts: int = 5) -> None:
        core = botocore.session.Session(profile=settings.profile or None)
        self.session = boto3.Session(botocore_session=core)
        # AWS_CA_BUNDLE, or the profile's ca_bundle.
        self.tls = Tls(core.get_config_variable("ca_bundle") or "", "AWS_CA_BUNDLE")
        self._verify = self.tls.authorities.as_file(self)
        self.signed = self.session.get_credentials() is not None
        self.region = settings.region or self.session.region_name or "us-east-1"
        self.client = self._client(settings, attempts, None)
        # Only an endpoint that somebody named has the bucket in its path.
        self.named = "amazonaws.com" not in self.client.meta.endpoint_url
        self.path_style = self.named and settings.path_style
        if self.named:
            style = "path" if self.path_style else "virtual"
            self.client = self._client(settings, attempts, {"addressing_style": style})
        # It costs a round trip for each object, and what is sent by this client is small.
        self.client.meta.events.unregister("before-call.s3", handlers.add_expect_header)

    def _client(self, settings: S3Settings, attempts: int, style: dict[str, str] | None) -> Any:
        config = botocore.client.Config(
            signature_version=None if self.signed else botocore.UNSIGNED,
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=10, read_timeout=30, max_pool_connections=32, s3=style,
        )  # fmt: skip
        return self.session.client(
            "s3", region_name=self.region, config=config, endpoint_url=settings.endpoint or None,
            verify=self._verify,
        )  # fmt: skip


class BucketReader(Reader):
    """A site in a bucket, ``s3://bucket/prefix``.

    boto3 signs an address for each object; it is read as any other, with the same bounds.
    """

    def __init__(self, address: str, settings: S3Settings = S3Settings()) -> None:
        self.name = address.rstrip("/")
        self._bucket, self._prefix = parse_address(address)
        try:
            self._connection = S3Connection(settings)
            tls = self._connection.tls
            access = Access(advice="check the bucket's credentials and rights", tls=tls)
            host = urlsplit(self._signed("catalog"))
            self._http = HttpReader(f"{host.scheme}://{host.netloc}", access=access)
        except (BotoCoreError, ValueError) as error:
            raise InputError(f"{address}: {error}") from error

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()
        self._connection.client.close()

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """See ``base.Reader``."""
        where = f"{self.name}/{path}"
        try:
            url = self._signed(path)
        except BotoCoreError as error:
            raise NetworkError(f"{where}: {error}") from error
        yield from self._http.get(url, max_bytes, where)

    def _signed(self, path: str) -> str:
        key = f"{self._prefix}{check_path(path)}"
        url: str = self._connection.client.generate_presigned_url(
            "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=3600
        )
        return url
