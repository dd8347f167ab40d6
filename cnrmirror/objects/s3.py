"""A bucket as a destination: Amazon's S3, or what speaks its API.

boto3 finds credentials and settings, and does what is done once: conditional writes, copies, lists,
deletes. The many small objects go through obstore (Rust's object_store), which takes a twelfth of
the processor time for each; both sign every request, and send a sha256 that the service checks.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import obstore
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from obstore import exceptions as obs

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import blob_path
from cnrmirror.model.errors import (
    AccessDenied,
    InputError,
    NotFoundError,
    Outdated,
    Tampered,
)
from cnrmirror.model.progress import Progress
from cnrmirror.model.resource import CACHE_CONTROL, JSON_TYPE, Cache, Resource
from cnrmirror.objects import s3_digest
from cnrmirror.objects.base import STATE_FOLDER, Listed, Objects, kept_note, named_by_digest
from cnrmirror.objects.bodies import (
    MULTIPART_FROM,
    PARALLEL,
    Crew,
    attributes_of,
    body_size,
    digests,
    open_body,
)
from cnrmirror.objects.bucket import BucketReader, S3Connection
from cnrmirror.objects.limiter import Limiter, Trouble
from cnrmirror.objects.s3_bulk import SmallReads, bulk_store
from cnrmirror.objects.s3_delete import AT_ONCE, Deleter
from cnrmirror.objects.s3_errors import OtherRegion, S3Errors, Unsupported, bucket_region
from cnrmirror.objects.s3_settings import S3Settings, parse_address
from cnrmirror.objects.s3_words import Said
from cnrmirror.objects.store import Store

# Below this, sending the bytes again is cheaper than asking for a copy.
_COPY_FROM = 1 << 20


class BucketObjects(Objects):
    """``s3://bucket/prefix``.

    Args:
        address: the bucket and the prefix below which the site goes.
        settings: endpoint, region and the rest.
        store: the mirror's blobs.
        conditions: whether the endpoint is known to respect conditional writes; None if not.
    """

    def __init__(
        self, address: str, settings: S3Settings, store: Store, conditions: bool | None = None
    ) -> None:
        self.name = address.rstrip("/")
        self.requests = 0
        self.notes: list[str] = []
        self.conditions = conditions
        self._store = store
        self._moving = threading.Lock()
        self._bucket, self._prefix = parse_address(address)
        self._errors = S3Errors(self.name, self._bucket)
        self._reader: BucketReader | None = None
        self._small = SmallReads()
        self._lock = threading.Lock()
        self._crew = Crew()
        self.limiter = Limiter(PARALLEL)
        self._deleter = Deleter(
            lambda: self._client, self._bucket, self._once, settings.checksums, settings.extra
        )
        self._connect(settings)
        self.endpoint = str(self._client.meta.endpoint_url)

    def _connect(self, settings: S3Settings) -> None:
        try:
            connection = S3Connection(settings, attempts=1)  # the limiter tries again
        except ValueError as error:
            raise InputError(f"{self.name}: {error}") from error
        except BotoCoreError as error:
            raise AccessDenied(f"{self.name}: {error}") from error
        self._settings = settings
        self._client = connection.client
        self._client.meta.events.register("before-call.s3.DeleteObjects", self._deleter.with_md5)
        self._bulk = bulk_store(connection, self._bucket) if connection.signed else None
        self._connection = connection  # with it goes a file of certificates

    def _followed(self, asked: str, found: Exception) -> Exception:
        """The error, or one after which the same is asked again, at another place."""
        return Trouble(str(found)) if self._moved(asked, found) else found

    def _moved(self, asked: str, found: Exception) -> bool:
        """Whether the bucket is in another region than that which was asked; it is gone to."""
        if not isinstance(found, OtherRegion):
            return False
        with self._moving:
            if self._connection.region != asked:
                return True
            region = found.details["region"] or bucket_region(self._client, self._bucket)
            if region in ("", asked):
                return False
            self._connect(msgspec.structs.replace(self._settings, region=region))
            self.notes.append(f"{self.name}: the bucket is in the region {region}: set region")
            return True

    def close(self) -> None:
        """See ``base.Objects``."""
        if self._reader is not None:
            self._reader.close()
        self._client.close()

    def learned(self) -> dict[str, str]:
        """See ``base.Objects``. Only a good answer is worth it: an endpoint may learn."""
        return {"endpoint": self.endpoint, "conditions": "yes"} if self.conditions else {}

    def recall(self, learned: Mapping[str, str]) -> None:
        """See ``base.Objects``."""
        if learned.get("endpoint") == self.endpoint and learned.get("conditions") == "yes":
            self.conditions = True

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """See ``base.Reader``."""
        if data := self._small(self._bulk, self._prefix, path, max_bytes):
            yield data
            return
        with self._lock:  # to make one costs more than hundreds of requests
            self._reader = self._reader or BucketReader(self.name, self._settings)
        yield from self._reader.fetch(path, max_bytes)

    # -- one at a time --

    def read(self, key: str, max_bytes: int) -> tuple[bytes, str] | None:
        """See ``base.Objects``."""
        where = f"{self.name}/{key}"

        def get() -> tuple[bytes, str]:
            answer = self._client.get_object(**self._named(key))
            with contextlib.closing(answer["Body"]) as body:
                return s3_digest.read_body(body, max_bytes + 1), answer["ETag"]

        try:
            data, tag = self._once(get, where)
        except NotFoundError as error:
            if error.details.get("what") == "key":
                return None
            raise
        if len(data) > max_bytes:
            raise Tampered(f"{where}: longer than {max_bytes} bytes")
        return data, tag

    def size(self, key: str) -> int | None:
        """See ``base.Objects``."""
        return int(head["ContentLength"]) if (head := self._head(key)) else None

    def has(self, key: str, blob: Descriptor) -> bool:
        """See ``base.Objects``."""
        return s3_digest.has_digest(self._head(key) or {}, blob) is not False

    def has_whole(self, blob: Descriptor) -> bool:
        """See ``base.Objects``."""
        whole = s3_digest.is_whole(self._head(blob_path(blob.digest)) or {}, blob)
        return super().has_whole(blob) if whole is None else whole

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + key, **self._settings.extra}

    def _head(self, key: str) -> dict[str, Any] | None:
        asked = {**self._named(key), **s3_digest.asked_for_digest(self._settings.checksums)}
        try:
            head: dict[str, Any] = self._once(
                lambda: self._client.head_object(**asked), f"{self.name}/{key}"
            )
        except NotFoundError as error:
            if error.details.get("what") == "key":
                return None
            raise
        return head

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """See ``base.Objects``."""
        if not self._conditional():
            self._say_unconditional()
            found = self.read(key, 64 << 20)
            if (found[1] if found else None) != expected:
                raise Outdated(f"{self.name}/{key}: somebody else published meanwhile")
            return self._write(key, data, {})
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        try:
            return self._write(key, data, condition)
        except Outdated:
            # An answer may have been lost after the service had written.
            found = self.read(key, 64 << 20)
            if found and found[0] == data:
                return found[1]
            raise

    def _write(
        self, key: str, data: bytes, more: dict[str, str], media_type: str = JSON_TYPE,
        cache: Cache = "no-cache",
    ) -> str:  # fmt: skip
        where = f"{self.name}/{key}"
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        sha256 = {"ChecksumSHA256": digest} if self._settings.checksums else {}

        def put() -> str:
            answer = self._client.put_object(
                Bucket=self._bucket, Key=self._prefix + key, Body=data,
                ContentType=media_type, CacheControl=CACHE_CONTROL[cache],
                **more, **self._settings.of_writes, **sha256,
            )  # fmt: skip
            return str(answer["ETag"])

        return str(self._once(put, where))

    def _conditional(self) -> bool:
        if self.conditions is None:
            self.conditions = self._probe()
        return self.conditions

    def _probe(self) -> bool:
        """Whether conditional writes are respected here: tried on a key of its own."""
        key = f"{STATE_FOLDER}/probe-{uuid.uuid4().hex}"
        try:
            self._write(key, b"1", {"IfNoneMatch": "*"})
            for condition in ({"IfNoneMatch": "*"}, {"IfMatch": '"0"'}):
                try:
                    self._write(key, b"2", condition)
                except Outdated:
                    continue
                return False
            return True
        except Unsupported:
            return False
        finally:
            with contextlib.suppress(AccessDenied):
                self.delete([key])

    def _say_unconditional(self) -> None:
        note = (
            f"{self.name}: this endpoint ignores conditional writes: make sure that only one "
            "publish runs at a time"
        )
        if note not in self.notes:
            self.notes.append(note)

    def _once(self, request: Any, where: str) -> Any:
        """A request of boto3, repeated while the service is in trouble; errors as ours."""

        def attempt() -> Any:
            with self._lock:
                self.requests += 1
            asked = self._connection.region
            try:
                return request()
            except (ClientError, BotoCoreError, HTTPClientError, OSError) as error:
                raise self._followed(asked, self._errors.of_boto(error, where)) from error

        return self.limiter.run(attempt, where)

    # -- many at a time --

    def create(self, resources: Sequence[Resource], progress: Progress) -> list[str]:
        """See ``base.Objects``; what is named by its digest is never among what is there."""
        known: list[str] = []
        conditional = self._conditional()

        def create(resource: Resource) -> None:
            digested = named_by_digest(resource.path)
            if not conditional and not digested:
                self._say_unconditional()
                if self.read(resource.path, 64 << 20) is not None:
                    known.append(resource.path)
                    return
            try:
                self._put(resource, only_new=conditional)
            except Outdated:
                if not digested:
                    known.append(resource.path)

        self._each(create, resources, progress)
        return known

    def put(self, resources: Sequence[Resource], progress: Progress) -> None:
        """See ``base.Objects``."""
        self._each(lambda resource: self._put(resource, only_new=False), resources, progress)

    def _each(
        self, write: Callable[[Resource], None], resources: Sequence[Resource], progress: Progress
    ) -> None:
        """Write all of them."""
        if self._bulk is None:
            raise AccessDenied(f"{self.name}: no credentials were found: see docs/publish.md")
        self._crew.each(write, resources, progress)

    def _put(self, resource: Resource, only_new: bool) -> None:
        body, path = resource.body, resource.path
        where = f"{self.name}/{path}"
        if resource.redirect and isinstance(body, bytes):
            location = {"WebsiteRedirectLocation": resource.redirect}
            self._write(path, body, location, resource.media_type, resource.cache)
        elif path.endswith("/") and isinstance(body, bytes):
            self._write(path, body, {})  # obstore would take the slash away
        elif isinstance(body, Descriptor) and body.size >= _COPY_FROM and not named_by_digest(path):
            self._copy(resource, body)
        else:
            with self._crew.room_for(resource):
                self.limiter.run(lambda: self._send(resource, where, only_new), where)

    def _send(self, resource: Resource, where: str, only_new: bool) -> None:
        attributes = attributes_of(resource, self._settings.storage_class)
        asked, bulk = self._connection.region, self._bulk
        assert bulk is not None
        large = body_size(resource) >= MULTIPART_FROM
        # Parts cannot be written conditionally; only blobs are so large.
        create = only_new and not large
        with self._lock:
            self.requests += 1 if not large else 2 + body_size(resource) // (8 << 20)
        try:
            with open_body(resource, self._store) as body:
                obstore.put(
                    bulk, self._prefix + resource.path, body,
                    attributes=attributes, use_multipart=large, chunk_size=8 << 20,
                    max_concurrency=4, mode="create" if create else "overwrite",
                )  # fmt: skip
        except obs.BaseError as error:
            if isinstance(error, obs.AlreadyExistsError) and " 409 " not in str(error):
                raise Outdated(f"{where}: there already") from error
            raise self._followed(asked, self._errors.of_obstore(error, where)) from error

    def _copy(self, resource: Resource, blob: Descriptor) -> None:
        more = {"ContentDisposition": resource.filename} if resource.filename else {}

        def copy() -> None:
            self._client.copy_object(
                Bucket=self._bucket, Key=self._prefix + resource.path,
                CopySource={"Bucket": self._bucket, "Key": self._prefix + blob_path(blob.digest)},
                MetadataDirective="REPLACE", ContentType=resource.media_type,
                CacheControl=CACHE_CONTROL[resource.cache], **more, **self._settings.of_writes,
            )  # fmt: skip

        self._once(copy, f"{self.name}/{resource.path}")

    def delete(self, keys: Sequence[str]) -> list[str]:
        """See ``base.Objects``."""
        refused: dict[str, Said] = {}
        for start in range(0, len(keys), AT_ONCE):
            batch = [self._prefix + key for key in keys[start : start + AT_ONCE]]
            refused |= self._deleter.delete(batch, self.name)
        for key, said in list(refused.items())[:1]:
            self.notes.append(kept_note(self.name, len(refused), f"{key}: {said.words}"))
        return [key.removeprefix(self._prefix) for key in refused]

    def listing(self) -> Iterator[Listed]:
        """See ``base.Objects``."""
        token: dict[str, str] = {}
        while True:

            def page(token: dict[str, str] = token) -> Any:
                return self._client.list_objects_v2(
                    Bucket=self._bucket, Prefix=self._prefix, **token, **self._settings.extra
                )

            answer = self._once(page, self.name)
            for found in answer.get("Contents", []):
                key = found["Key"][len(self._prefix) :]
                if not key.startswith(f"{STATE_FOLDER}/"):
                    yield Listed(key, found["Size"], found.get("ETag", ""))
            if not answer.get("IsTruncated"):
                return
            token = {"ContinuationToken": answer["NextContinuationToken"]}

    def holds(self, listed: Listed, resource: Resource) -> bool:
        """See ``base.Objects``.

        An ETag that is the MD5 of the bytes says yes; one that is not says nothing (encryption,
        parts), so then the checksum is asked for, and if there is none, the bytes are read.
        """
        if listed.size != body_size(resource):
            return False
        md5, sha256 = digests(resource, self._store)
        if listed.tag.strip('"') == md5:
            return True
        where = f"{self.name}/{listed.key}"
        asked = self._client, self._named(listed.key), self._settings.checksums
        return s3_digest.digest_there(*asked, lambda r: self._once(r, where)) == sha256
