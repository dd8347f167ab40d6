"""Where a bucket is, and what of it is not in its address."""

from __future__ import annotations

import os
import re
from typing import Literal

import msgspec

from cnrmirror.model.errors import InputError

_ADDRESS = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>.*))?")


def parse_address(address: str) -> tuple[str, str]:
    """Bucket and prefix (with a slash at its end, or "") of ``s3://bucket/prefix``.

    Raises:
        InputError: not such an address.
    """
    match = _ADDRESS.fullmatch(address)
    if not match:
        raise InputError(
            f"{address}: write s3://BUCKET or s3://BUCKET/PREFIX; a bucket's name has 3 to 63 "
            "characters of a-z, 0-9, '.' and '-'"
        )
    prefix = (match["prefix"] or "").strip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise InputError(f"{address}: not a prefix")
    return match["bucket"], f"{prefix}/" if prefix else ""


class S3Settings(msgspec.Struct, frozen=True):
    """What of a bucket is not in its address; "" for what boto3 finds by itself.

    ``path_style`` matters where an endpoint is named: the bucket in the path, not in the host.
    ``checksums``: send x-amz-checksum-…, which some services refuse. ``request_payer``: say that
    who asks pays.
    """

    endpoint: str = ""
    region: str = ""
    profile: str = ""
    path_style: bool = True
    storage_class: str = ""
    encryption: str = ""
    kms_key: str = ""
    checksums: bool = True
    request_payer: Literal["", "requester"] = ""

    @property
    def payer(self) -> bool:
        """Whether whoever asks says that he pays."""
        return "requester" in (self.request_payer, os.environ.get("AWS_REQUEST_PAYER"))

    @property
    def of_writes(self) -> dict[str, str]:
        """What every object is written with, as boto3 calls it."""
        found = {
            "StorageClass": self.storage_class,
            "ServerSideEncryption": self.encryption,
            "SSEKMSKeyId": self.kms_key,
        }
        return {name: value for name, value in found.items() if value} | self.extra

    @property
    def extra(self) -> dict[str, str]:
        """What every request of boto3's says besides."""
        return {"RequestPayer": "requester"} if self.payer else {}
