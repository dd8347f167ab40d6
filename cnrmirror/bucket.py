"""Read a mirror out of an S3 bucket, or of anything that speaks S3's API.

Credentials, region and endpoint come from where boto3 finds them (environment, profile, instance);
without any, reads are anonymous. ``AWS_ENDPOINT_URL`` names another endpoint than Amazon's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import boto3
import botocore
import botocore.client
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from cnrmirror.errors import IncompleteError, InputError, NetworkError, Tampered
from cnrmirror.fetcher import PIECE, bounded, check_path

_ADDRESS = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>.*))?")
_MISSING = {"NoSuchKey", "404", "AccessDenied", "403"}


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


def s3_client(attempts: int = 5) -> Any:
    """A client with the usual credential chain; anonymous if that finds nothing."""
    session = boto3.Session()
    signature = None if session.get_credentials() else botocore.UNSIGNED
    config = botocore.client.Config(
        signature_version=signature,
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=10, read_timeout=30, max_pool_connections=32,
    )  # fmt: skip
    region = session.region_name or "us-east-1"
    return session.client("s3", region_name=region, config=config)


class BucketFetcher:
    """A site in a bucket, ``s3://bucket/prefix``."""

    def __init__(self, address: str, client: Any = None) -> None:
        self.name = address.rstrip("/")
        self._bucket, self._prefix = parse_address(address)
        self._client = client or s3_client()

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """See ``interfaces.Fetcher``."""
        where = f"{self.name}/{path}"
        try:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=f"{self._prefix}{check_path(path)}"
            )
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            # A missing key is 403 to those who may not list.
            if code in _MISSING:
                raise IncompleteError(f"{where}: missing, or not readable ({code})") from error
            raise NetworkError(f"{where}: {error}") from error
        except BotoCoreError as error:
            raise NetworkError(f"{where}: {error}") from error
        if answer.get("ContentEncoding"):
            raise Tampered(f"{where}: encoded, though it must be as it is")
        body = answer["Body"]
        try:
            yield from bounded(body.iter_chunks(PIECE), max_bytes, where)
        except (BotoCoreError, HTTPClientError, OSError) as error:
            raise NetworkError(f"{where}: {error}") from error
        finally:
            body.close()
