"""Read a mirror out of an S3 bucket, or of anything that speaks S3's API.

Credentials, region and endpoint come from where boto3 finds them (environment, profile, instance);
without any, reads are anonymous. ``AWS_ENDPOINT_URL`` names another endpoint than Amazon's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
import botocore.client
import botocore.session
import msgspec
from botocore import handlers
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.utils import get_environ_proxies

from cnrmirror.model.errors import AccessDenied, IncompleteError, InputError, NetworkError
from cnrmirror.objects.access import Access
from cnrmirror.objects.address import proxies_of
from cnrmirror.objects.base import Reader, check_path
from cnrmirror.objects.certificates import Tls
from cnrmirror.objects.http import HttpReader
from cnrmirror.objects.s3_errors import REFUSED
from cnrmirror.objects.s3_settings import S3Settings, parse_address


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
        self.settings = settings
        self.region = settings.region or self.session.region_name or "us-east-1"
        self.client = self._client(settings, attempts, None, None)
        endpoint = str(self.client.meta.endpoint_url)
        self.proxies = proxies_of(endpoint)
        # Only an endpoint that somebody named has the bucket in its path.
        self.named = "amazonaws.com" not in self.client.meta.endpoint_url
        self.path_style = self.named and settings.path_style
        if self.named or self.proxies != get_environ_proxies(endpoint):
            style = "path" if self.path_style else "virtual"
            self.client.close()
            addressing = {"addressing_style": style} if self.named else None
            self.client = self._client(settings, attempts, addressing, self.proxies)
        # It costs a round trip for each object, and what is sent by this client is small.
        self.client.meta.events.unregister("before-call.s3", handlers.add_expect_header)
        self.client.meta.events.register("before-call.s3", _no_redirect)

    def _client(
        self, settings: S3Settings, attempts: int, style: dict[str, str] | None,
        proxies: dict[str, str] | None,
    ) -> Any:  # fmt: skip
        checksums = "when_supported" if settings.checksums else "when_required"
        # Left to itself, boto3 signs addresses of the oldest regions as SigV4's predecessor did.
        config = botocore.client.Config(
            signature_version="s3v4" if self.signed else botocore.UNSIGNED,
            proxies=proxies,
            request_checksum_calculation=checksums, response_checksum_validation=checksums,
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=10, read_timeout=30, max_pool_connections=32, s3=style,
        )  # fmt: skip
        return self.session.client(
            "s3", region_name=self.region, config=config, endpoint_url=settings.endpoint or None,
            verify=self._verify,
        )  # fmt: skip

    def base(self, bucket: str) -> str:
        """The address of a bucket's objects, to which a key is added."""
        endpoint, virtual = self.endpoint(bucket)
        return f"{endpoint}/" if virtual else f"{endpoint}/{bucket}/"

    def endpoint(self, bucket: str) -> tuple[str, bool]:
        """Where a bucket is asked for, and whether its name is in the host's."""
        endpoint = str(self.client.meta.endpoint_url).rstrip("/")
        # No certificate fits a host name that begins with a bucket's name with dots.
        virtual = not self.path_style and "." not in bucket
        return endpoint.replace("://", f"://{bucket}.", 1) if virtual else endpoint, virtual

    def sign(self, url: str) -> dict[str, str]:
        """The headers of a GET, signed (SigV4) as boto3's own requests are."""
        payer = {"x-amz-request-payer": "requester"} if self.settings.payer else {}
        request = AWSRequest("GET", url, payer)
        credentials = self.session.get_credentials()
        if self.signed and credentials is not None:
            S3SigV4Auth(credentials.get_frozen_credentials(), "s3", self.region).add_auth(request)
        return dict(request.headers.items())


def _no_redirect(params: dict[str, Any], **others: Any) -> None:
    """Who asks goes to another region for all that follows; boto3 asks for it without an end."""
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


class BucketReader(Reader):
    """A site in a bucket, ``s3://bucket/prefix``.

    Its objects are read as those of any other host, with the same bounds, and signed requests.
    """

    def __init__(self, address: str, settings: S3Settings = S3Settings()) -> None:
        self.name = address.rstrip("/")
        self._bucket, self.prefix = parse_address(address)
        self._lock = threading.Lock()
        try:
            self._connect(settings)
        except (BotoCoreError, ValueError) as error:
            raise InputError(f"{address}: {error}") from error

    def _connect(self, settings: S3Settings) -> None:
        connection = S3Connection(settings)
        access = Access(advice="check the bucket's credentials and rights", tls=connection.tls)
        self._base = connection.base(self._bucket)
        host = urlsplit(self._base)
        self._http = HttpReader(
            f"{host.scheme}://{host.netloc}", access=access, sign=connection.sign
        )
        self._connection = connection  # with it goes a file of certificates

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()
        self._connection.client.close()

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """See ``base.Reader``. Follows a bucket to its region."""
        where = f"{self.name}/{path}"
        check_path(path.removesuffix("/"))  # a key may end with a slash
        key = quote(f"{self.prefix}{path}", safe="/~")
        asked = self._connection.region
        try:
            yield from self._got(key, max_bytes, where)
        except (IncompleteError, NetworkError) as error:
            if not self._move(asked, error.details.get("region", "")):
                raise
            yield from self._got(key, max_bytes, where)

    def _got(self, key: str, max_bytes: int, where: str) -> Iterator[bytes]:
        try:
            yield from self._http.get(self._base + key, max_bytes, where)
        except BotoCoreError as error:  # credentials that cannot be had
            raise AccessDenied(f"{where}: {error}") from error
        except (IncompleteError, NetworkError) as error:
            if error.details.get("code") in REFUSED:
                reason = "check the credentials, and this machine's clock"
                raise AccessDenied(f"{error.message}; {reason}") from error
            raise

    def _move(self, asked: str, region: str) -> bool:
        """Whether the bucket is in another region than that which was asked; it is gone to."""
        with self._lock:
            if region in ("", asked):
                return False
            if region != self._connection.region:
                self._connect(msgspec.structs.replace(self._connection.settings, region=region))
        return True
