"""Removes objects of a bucket: a thousand in a request where the service can, else singly."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

from botocore.exceptions import ClientError

from cnrmirror.objects.limiter import together
from cnrmirror.objects.s3_errors import S3Errors
from cnrmirror.objects.s3_words import Said

AT_ONCE, _THREADS = 1000, 16
Way = Literal["checksum", "md5", "single"]
# What a service says that does not know the request, or wants it with Content-MD5.
_UNKNOWN = {"NotImplemented", "MethodNotAllowed", "501", "405"}
_OTHERWISE = {
    "MissingContentMD5", "InvalidRequest", "InvalidArgument", "InvalidDigest", "BadDigest", "400",
    "MalformedXML", "BadRequest",
}  # fmt: skip
_GONE = {"NoSuchKey", "404"}


class Deleter:
    """Removes keys of one bucket, and remembers which way the service takes.

    Args:
        client: boto3's, as it is now; ``with_md5`` is to see its requests.
        bucket: its name.
        once: makes a request, again while the service is in trouble; gives errors as ours.
        checksums: whether the service is sent checksums; if not, Content-MD5.
        extra: parameters of every request.
    """

    def __init__(
        self, client: Callable[[], Any], bucket: str, once: Callable[[Callable[[], Any], str], Any],
        checksums: bool, extra: dict[str, str],
    ) -> None:  # fmt: skip
        self._client = client
        self._bucket = bucket
        self._once = once
        self._extra = extra
        self.way: Way = "checksum" if checksums else "md5"

    def delete(self, keys: Sequence[str], where: str) -> dict[str, Said]:
        """Remove these, no more than ``AT_ONCE``; what the service says of those that it keeps."""
        while self.way != "single":
            try:
                return self._together(keys, where)
            except _OtherWay as refusal:
                self.way = refusal.way
        refused: dict[str, Said] = {}
        lock = threading.Lock()

        def single(key: str) -> None:
            said = self._once(lambda: self._single(key), f"{where}/{key}")
            if said is not None:
                with lock:
                    refused[key] = said

        together(single, keys, _THREADS)
        return refused

    def _together(self, keys: Sequence[str], where: str) -> dict[str, Said]:
        way = self.way

        def request() -> Any:
            objects = [{"Key": key} for key in keys]
            try:
                return self._client().delete_objects(
                    Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}, **self._extra
                )
            except ClientError as error:
                code = str(error.response.get("Error", {}).get("Code", ""))
                status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
                if code in _UNKNOWN or status in _UNKNOWN:
                    raise _OtherWay("single") from error
                if code in _OTHERWISE:
                    raise _OtherWay("md5" if way == "checksum" else "single") from error
                raise

        answer = self._once(request, where)
        return {
            failed.get("Key", ""): Said(failed.get("Code", ""), failed.get("Message", ""))
            for failed in answer.get("Errors", [])
            if failed.get("Code") not in _GONE
        }

    def _single(self, key: str) -> Said | None:
        try:
            self._client().delete_object(Bucket=self._bucket, Key=key, **self._extra)
        except ClientError as error:
            said = S3Errors.said(error)
            if said.code in _GONE:
                return None
            if said.code in _HELD:
                return said
            raise
        return None

    def with_md5(self, params: dict[str, Any], **others: Any) -> None:
        """boto3 sends a checksum even if told not to: this request must have one of the two."""
        if self.way == "md5":
            params["context"].pop("checksum", None)
            md5 = hashlib.md5(params["body"], usedforsecurity=False).digest()
            params["headers"]["Content-MD5"] = base64.b64encode(md5).decode()


# One object that may not be removed, which a lock or a right keeps.
_HELD = {"AccessDenied", "403", "ObjectLocked", "InvalidRequest", "MethodNotAllowed", "409"}


class _OtherWay(Exception):
    def __init__(self, way: Way) -> None:
        super().__init__(way)
        self.way: Way = way
