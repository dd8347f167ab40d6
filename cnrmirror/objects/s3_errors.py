"""What an answer of S3's API means, in the program's own errors.

A service tells a code (``NoSuchKey``) and an HTTP status; some tell only one of them.
"""

from __future__ import annotations

import re
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from cnrmirror.model.errors import (
    AccessDenied,
    CnrMirrorError,
    InputError,
    NetworkError,
    NotFoundError,
    Outdated,
)
from cnrmirror.objects.certificates import CERTIFICATE_ADVICE, not_vouched_for
from cnrmirror.objects.limiter import Trouble
from cnrmirror.objects.s3_words import Said

_UNTRUSTED = re.compile(r"InvalidCertificate\(\s*(\w+)|invalid peer certificate: (\w+)")
_CAUSE = re.compile(r'message: "([^"]{1,200})"')
_STATUS = re.compile(r"status code: (\d{3})")
_DENIED = {
    "AuthorizationHeaderMalformed",
    "AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken",
    "InvalidToken", "AllAccessDisabled", "AccountProblem",
}  # fmt: skip
_SKEWED = {"RequestTimeTooSkewed", "RequestExpired"}
_CONFLICT = {"ConditionalRequestConflict", "409", "OperationAborted"}
_UNSUPPORTED = {"NotImplemented", "501"}
_TROUBLE = {
    "InternalError", "500", "502", "503", "504", "SlowDown", "ServiceUnavailable", "RequestTimeout",
    "Throttling", "ThrottlingException", "RequestLimitExceeded", "429", "408",
}  # fmt: skip


_ELSEWHERE = {"PermanentRedirect", "301", "IllegalLocationConstraintException"}
REFUSED = (_DENIED - {"AccessDenied", "403"}) | _SKEWED
"""Codes that never mean that something is only missing."""


class OtherRegion(InputError):
    """The bucket is in another region than that which was asked; ``region`` in the details."""


class Unsupported(CnrMirrorError):
    """The endpoint does not know conditional writes."""


class S3Errors:
    """The errors of one bucket; ``name`` is its address, ``bucket`` its name."""

    def __init__(self, name: str, bucket: str) -> None:
        self._name = name
        self._bucket = bucket

    def of_boto(self, error: Exception, where: str) -> Exception:
        """What an error of boto3's, or of what is below it, is."""
        if isinstance(error, NoCredentialsError):
            return AccessDenied(f"{where}: no credentials were found")
        if not isinstance(error, ClientError):
            reason = not_vouched_for(error)
            return NetworkError(f"{where}: {reason}") if reason else Trouble(str(error))
        status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
        return self.of(self.said(error), status, where)

    @staticmethod
    def said(error: ClientError) -> Said:
        """What the service says."""
        found: dict[str, Any] = dict(error.response.get("Error", {}))
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = found.get("Region") or headers.get("x-amz-bucket-region", "")
        code = str(found.get("Code", ""))
        return Said(code, found.get("Message") or code, region)

    def of_obstore(self, error: Exception, where: str) -> Exception:
        """What obstore's error is; it tells code and status in words only."""
        text = " ".join(str(error).split())
        status = _STATUS.search(text)
        if status is None:
            if "redirect" in text:
                return self.of(Said("301"), "301", where)
            if untrusted := _UNTRUSTED.search(text):
                return NetworkError(f"{where}: {untrusted[1] or untrusted[2]}{CERTIFICATE_ADVICE}")
            what, _, debug = text.partition(" Debug source:")
            cause = _CAUSE.findall(debug)[-1:]
            return Trouble(": ".join([what[:300], *cause]))
        said = Said.parse(text)
        code, message = said.code or status[1], said.message or text[:300]
        return self.of(Said(code, message, said.region), status[1], where)

    def of(self, said: Said, status: str, where: str) -> Exception:
        """What an answer is that says this."""
        code, message = said.code, said.message
        if code in _ELSEWHERE or (code == "AuthorizationHeaderMalformed" and said.region):
            return _elsewhere(said.region, where)
        if code == "NoSuchBucket":
            return NotFoundError(
                f"{self._name}: there is no bucket {self._bucket!r}: make it first"
            )
        if code in ("NoSuchKey", "404") or status == "404":
            return NotFoundError(f"{where}: not there", what="key")
        if code in _SKEWED:
            return AccessDenied(f"{where}: this machine's clock is off ({message}): set it")
        if code in ("PreconditionFailed", "412") or status == "412":
            return Outdated(f"{where}: somebody else published meanwhile")
        if code in _CONFLICT or status == "409":
            return Trouble(message)
        if code in _UNSUPPORTED or status == "501":
            return Unsupported(f"{where}: {message}")
        if code in _DENIED or status in ("401", "403"):
            return AccessDenied(
                f"{where}: refused ({code}: {message}); check the credentials "
                "and their rights (AWS_ACCESS_KEY_ID, or the profile of ~/.aws; docs/publish.md)"
            )
        if code in _TROUBLE or status[:1] == "5" or status == "429":
            return Trouble(f"{code}: {message}")
        return NetworkError(f"{where}: {code}: {message}")


def _elsewhere(region: str, where: str) -> OtherRegion:
    if region:
        text = f"{where}: the bucket is in the region {region}: set region: {region}"
        return OtherRegion(text, region=region)
    return OtherRegion(f"{where}: the bucket is in another region: set it (region)", region="")


def bucket_region(client: Any, bucket: str) -> str:
    """Where a bucket is, as the service says; "" if it does not."""
    try:
        answer = client.head_bucket(Bucket=bucket)
    except ClientError as error:
        answer = error.response
    except BotoCoreError:
        return ""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(answer.get("BucketRegion") or headers.get("x-amz-bucket-region", ""))
