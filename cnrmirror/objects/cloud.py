"""Objects of Google Cloud Storage and of Azure Blob Storage, both through obstore.

Credentials come from where obstore finds them: environment, files of the clouds' own tools, the
machine. Without any, reads are anonymous. Both services know conditional writes: a swap is by
generation at Google's, by ETag at Microsoft's, so a tag here is both.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import obstore
from obstore import exceptions as obs

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import (
    AccessDenied,
    IncompleteError,
    InputError,
    NotFoundError,
    Outdated,
    Tampered,
)
from cnrmirror.model.progress import Progress
from cnrmirror.model.resource import Resource
from cnrmirror.objects.base import (
    STATE_FOLDER,
    Listed,
    Objects,
    Reader,
    archive,
    bounded,
    check_path,
    kept_note,
)
from cnrmirror.objects.bodies import (
    MULTIPART_FROM,
    PARALLEL,
    Crew,
    attributes_of,
    body_size,
    digests,
    open_body,
)
from cnrmirror.objects.cloud_settings import CloudAddress, CloudSettings
from cnrmirror.objects.cloud_store import cloud_store, has_credentials
from cnrmirror.objects.limiter import Limiter, Trouble, together
from cnrmirror.objects.s3_errors import S3Errors
from cnrmirror.objects.s3_words import Said
from cnrmirror.objects.store import Store

_PART = 8 << 20
_NO_TOKEN = ("Error performing token request", "Error fetching token", "metadata.google.internal")
_NO_CONTAINER = ("ContainerNotFound", "NoSuchBucket")
# What says that a condition of ours was not met; other codes of 409 and 412 are refusals.
_UNMET = ("", "BlobAlreadyExists", "ConditionNotMet", "UpdateConditionNotMet",
          "TargetConditionNotMet", "PreconditionFailed")  # fmt: skip
# Azure removes by a request for many: the answer to each is in the body of one that is good.
_ONE_OF_MANY = re.compile(r"Bulk delete request failed .*?: ?(\w+)[^(]*\(code: (\d{3})\)", re.S)
T = TypeVar("T")


class CloudReader(Reader):
    """``gs://bucket/prefix`` or ``az://account/container/prefix``, read.

    Args:
        signed: with credentials; None: if there are any.
    """

    def __init__(
        self, address: str, settings: CloudSettings = CloudSettings(), signed: bool | None = None
    ) -> None:
        self.name = address.rstrip("/")
        self.requests = 0
        self._address = CloudAddress.parse(address)
        self.prefix = self._address.prefix
        self._named = has_credentials(self._address.kind)
        signed = self._named if signed is None else signed
        self._store = cloud_store(self._address, settings, signed)
        self._errors = S3Errors(self.name, self._address.container)
        self._limiter = Limiter(PARALLEL)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Nothing is held open that does not end by itself."""

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """See ``base.Reader``; a large object comes in parts of one version of it."""
        where = f"{self.name}/{path}"
        check_path(path.removesuffix("/"))
        if path.endswith("/"):
            raise IncompleteError(f"{where}: missing", path=path)
        try:
            size, tag, piece = self._start(path, max_bytes)
            yield piece
            for start in range(len(piece), size, _PART):
                yield self._part(path, start, min(start + _PART, size), tag)
        except NotFoundError as error:
            if error.details.get("what") != "key":
                raise
            raise IncompleteError(f"{where}: missing", path=path) from error
        except Outdated as error:
            raise Tampered(f"{where}: changed while it was read") from error

    def _start(self, key: str, max_bytes: int) -> tuple[int, str, bytes]:
        """An object's size and tag, and its first bytes: all, if they are few."""
        where = f"{self.name}/{key}"

        def get() -> tuple[int, str, bytes]:
            found = obstore.get(self._store, self.prefix + key)
            size, tag = found.meta["size"], _tag(found.meta)
            if size > max_bytes:
                raise Tampered(f"{where}: longer than the {max_bytes} bytes that it may have")
            return size, tag, _whole(found, size, where) if size <= _PART else b""

        return self._once(get, where)

    def _part(self, key: str, start: int, end: int, tag: str) -> bytes:
        where = f"{self.name}/{key}"
        etag = tag.partition(" ")[0]

        def get() -> bytes:
            options: Any = {"range": (start, end), "if_match": etag}
            found = obstore.get(self._store, self.prefix + key, options=options)
            return _whole(found, end - start, where)

        return self._once(get, where)

    def _once(self, request: Callable[[], T], where: str) -> T:
        """A request, repeated while the service is in trouble; errors as ours."""

        def attempt() -> T:
            with self._lock:
                self.requests += 1
            try:
                return request()
            except (obs.BaseError, FileNotFoundError, ValueError) as error:
                raise self._ours(error, where) from error

        return self._limiter.run(attempt, where)

    def _ours(self, error: Exception, where: str) -> Exception:
        text = str(error)
        if not self._named and any(word in text for word in _NO_TOKEN):
            return AccessDenied(f"{where}: no credentials were found: see docs/publish.md")
        if any(word in text for word in _NO_CONTAINER):
            return NotFoundError(
                f"{self.name}: there is no container {self._address.container!r}: make it first"
            )
        if found := _ONE_OF_MANY.search(text):
            return self._refused(found[1], int(found[2]), where)
        if isinstance(error, FileNotFoundError | obs.NotFoundError):
            if not self._named and "ResourceNotFound" in text:
                return AccessDenied(f"{where}: not public, and no credentials were found")
            return NotFoundError(f"{where}: not there", what="key")
        if isinstance(error, obs.InvalidPathError | ValueError):
            return InputError(f"{where}: a key that obstore cannot ask for: {text[:200]}")
        if isinstance(error, obs.AlreadyExistsError | obs.PreconditionError):
            said = Said.parse(text)
            if said.code in _UNMET:
                return Outdated(f"{where}: somebody else published meanwhile")
            return self._refused(said.words, 409, where)
        if isinstance(error, obs.PermissionDeniedError | obs.UnauthenticatedError):
            reason = self._errors.of_obstore(error, where)
            return reason if isinstance(reason, AccessDenied) else AccessDenied(str(reason))
        return self._errors.of_obstore(error, where)

    def _refused(self, words: str, status: int, where: str) -> Exception:
        if status == 404:
            return NotFoundError(f"{where}: not there", what="key")
        if status >= 500 or status in (408, 429) or "BeingDeleted" in words:
            return Trouble(words)
        return AccessDenied(
            f"{where}: refused ({words}); check the credentials and their rights (docs/publish.md "
            "says where they are looked for)"
        )


class CloudObjects(CloudReader, Objects):
    """The same, to be written.

    Args:
        store: the mirror's blobs.
    """

    def __init__(self, address: str, settings: CloudSettings, store: Store) -> None:
        super().__init__(address, settings, signed=True)
        self.notes: list[str] = []
        self._settings = settings
        self._blobs = store
        self._crew = Crew()

    def read(self, key: str, max_bytes: int) -> tuple[bytes, str] | None:
        """See ``base.Objects``."""
        try:
            size, tag, data = self._start(key, max_bytes)
        except NotFoundError as error:
            if error.details.get("what") == "key":
                return None
            raise
        parts = [
            self._part(key, n, min(n + _PART, size), tag) for n in range(len(data), size, _PART)
        ]
        return b"".join([data, *parts]), tag

    def size(self, key: str) -> int | None:
        """See ``base.Objects``."""

        def head() -> int:
            return int(obstore.head(self._store, self.prefix + key)["size"])

        try:
            return self._once(head, f"{self.name}/{key}")
        except NotFoundError as error:
            if error.details.get("what") == "key":
                return None
            raise

    def has_whole(self, blob: Descriptor) -> bool:
        """See ``base.Objects``. Neither service tells a SHA-256."""
        wanted = archive(blob)

        def headers() -> dict[str, str]:
            found = obstore.get(self._store, self.prefix + wanted.path, options={"head": True})
            return {str(name): str(value) for name, value in found.attributes.items()}

        try:
            told = self._once(headers, f"{self.name}/{wanted.path}")
        except NotFoundError as error:
            if error.details.get("what") == "key":
                return False
            raise
        told.pop("Storage-Class", None)
        return told == attributes_of(wanted, "") and super().has_whole(blob)

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """See ``base.Objects``."""
        resource = Resource(key, data, cache="no-cache")
        mode: Any = "create" if expected is None else _version(expected)
        try:
            return self._put(resource, mode)
        except Outdated:
            # An answer may have been lost after the service had written.
            found = self.read(key, 64 << 20)
            if found and found[0] == data:
                return found[1]
            raise

    def create(self, resources: Sequence[Resource], progress: Progress) -> list[str]:
        """See ``base.Objects``."""
        known: list[str] = []

        def create(resource: Resource) -> None:
            try:
                self._put(resource, "create")
            except Outdated:
                known.append(resource.path)

        self._crew.each(create, resources, progress)
        return known

    def put(self, resources: Sequence[Resource], progress: Progress) -> None:
        """See ``base.Objects``."""
        self._crew.each(lambda resource: self._put(resource, "overwrite"), resources, progress)

    def _put(self, resource: Resource, mode: Any) -> str:
        """Write an object; its new tag."""
        # Parts cannot be written conditionally; only blobs are so large.
        large = body_size(resource) >= MULTIPART_FROM
        attributes = attributes_of(resource, self._settings.storage_class)

        def put() -> str:
            with self._crew.room_for(resource), open_body(resource, self._blobs) as body:
                done = obstore.put(
                    self._store, self.prefix + resource.path, body, attributes=attributes,
                    use_multipart=large, chunk_size=_PART, max_concurrency=4,
                    mode="overwrite" if large else mode,
                )  # fmt: skip
                return _tag(done)

        return self._once(put, f"{self.name}/{resource.path}")

    def delete(self, keys: Sequence[str]) -> list[str]:
        """See ``base.Objects``. One by one, so that it is known of each whether it went."""
        kept: list[str] = []
        reasons: list[str] = []

        def remove(key: str) -> None:
            where = f"{self.name}/{key}"
            try:
                self._once(lambda: obstore.delete(self._store, self.prefix + key), where)
            except NotFoundError as error:
                if error.details.get("what") != "key":
                    raise
            except AccessDenied as error:
                kept.append(key)
                reasons.append(error.message)

        together(remove, keys, PARALLEL)
        if kept:
            self.notes.append(kept_note(self.name, len(kept), reasons[0]))
        return kept

    def listing(self) -> Iterator[Listed]:
        """See ``base.Objects``."""
        last: str | None = None
        pages: Iterator[Any] | None = None

        def page() -> Any:
            nonlocal pages
            try:
                if pages is None:
                    folder = self.prefix.removesuffix("/") or None
                    pages = iter(obstore.list(self._store, folder, offset=last))
                return next(pages, None)
            except BaseException:
                pages = None  # it would say that this was all: it is asked anew from here on
                raise

        while some := self._once(page, self.name):
            last = some[-1]["path"]
            for found in some:
                key = found["path"][len(self.prefix) :]
                if not key.startswith(f"{STATE_FOLDER}/"):
                    yield Listed(key, found["size"], found.get("e_tag") or "")

    def holds(self, listed: Listed, resource: Resource) -> bool:
        """See ``base.Objects``. Google's ETag is the MD5 of most; others are read."""
        if listed.size != body_size(resource):
            return False
        md5, sha256 = digests(resource, self._blobs)
        if listed.tag.strip('"') == md5:
            return True
        there = hashlib.sha256()
        with contextlib.suppress(IncompleteError, Tampered):
            for piece in self.fetch(listed.key, listed.size):
                there.update(piece)
        return there.digest() == sha256


def _whole(found: Any, size: int, where: str) -> bytes:
    """The bytes of an answer that must have so many. Raises Tampered, Trouble."""
    pieces = b"".join(bounded(map(bytes, found.stream()), size, where))
    if len(pieces) != size:
        raise Trouble(f"{len(pieces)} bytes came of {size}")
    return pieces


def _tag(meta: Any) -> str:
    return f"{meta.get('e_tag') or ''} {meta.get('version') or ''}"


def _version(tag: str) -> dict[str, str]:
    etag, _, version = tag.partition(" ")
    return {name: value for name, value in (("e_tag", etag), ("version", version)) if value}
