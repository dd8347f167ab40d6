"""What an answer of S3's API means, in the program's own errors.

A service tells a code (``NoSuchKey``) and an HTTP status; some tell only one of them.
"""

from __future__ import annotations

import re

from botocore.exceptions import ClientError

from cnrmirror.model.errors import (
    AccessDenied,
    CnrMirrorError,
    InputError,
    NetworkError,
    NotFoundError,
    Outdated,
)
from cnrmirror.objects.limiter import Trouble

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_DENIED = {
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


class Unsupported(CnrMirrorError):
    """The endpoint does not know conditional writes."""


class S3Errors:
    """The errors of one bucket; ``name`` is its address, ``bucket`` its name."""

    def __init__(self, name: str, bucket: str) -> None:
        self._name = name
        self._bucket = bucket

    def of_boto(self, error: ClientError, where: str) -> Exception:
        """What boto3's error is."""
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
        message = error.response.get("Error", {}).get("Message") or code
        return self._of(code, status, message, where)

    def of_obstore(self, error: Exception, where: str) -> Exception:
        """What obstore's error is; it tells code and status in words only."""
        text = " ".join(str(error).split())
        status = _STATUS.search(text)
        if status is None:
            if "redirect" in text:
                return InputError(f"{where}: the bucket is in another region: set it (region)")
            return Trouble(text[:300])
        code, message = _CODE.search(text), _MESSAGE.search(text)
        return self._of(
            code[1] if code else status[1], status[1], message[1] if message else text[:300], where
        )

    def _of(self, code: str, status: str, message: str, where: str) -> Exception:
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
                f"{where}: refused ({code}: {message}); check the credentials and their rights"
            )
        if code in _TROUBLE or status[:1] == "5" or status == "429":
            return Trouble(f"{code}: {message}")
        return NetworkError(f"{where}: {code}: {message}")
