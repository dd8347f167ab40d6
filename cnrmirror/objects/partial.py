"""A store whose bytes are in an object store: here are those that are new, and a bounded cache."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from cnrmirror.model.canonical import MAX_NODE_BYTES
from cnrmirror.model.digest import Descriptor, checked
from cnrmirror.model.documents import CatalogRoot, blob_path, node_path
from cnrmirror.model.errors import (
    AccessDenied,
    DamageError,
    IncompleteError,
    NetworkError,
    NotFoundError,
    StorageError,
    Tampered,
    TooLarge,
)
from cnrmirror.model.progress import NoProgress
from cnrmirror.objects.base import Objects, archive, blob_pieces, named_by_digest, read
from cnrmirror.objects.files import storage_errors, write_new
from cnrmirror.objects.parallel import in_parallel, threads
from cnrmirror.objects.store import Named, Store

# They are small: their number burdens a disk before their bytes do.
_MOST_NODES = 100_000
_LEFT_BEHIND_SECONDS = 86400
_READERS = 16
_READ_UP_TO = 1 << 20
_SAY_EVERY_SECONDS = 600.0
N = TypeVar("N", bound=Named)


class PartialStore(Store):
    """As ``Store``; what is not here is read from the place, checked, and stays here for a while.

    Many new blobs are sent to the place before they fill the disk, also before a revision needs
    them there; ``sent`` has their keys. ``before_sending`` is called before that, at times.

    Args:
        root, scratch: see ``Store``.
        place: makes the objects that hold all, once they are needed; from this store they take
            what they are to write.
        limit: how many bytes of blobs may stay here.
    """

    def __init__(
        self, root: Path, scratch: Path, place: Callable[[Store], Objects], limit: int
    ) -> None:
        super().__init__(root, scratch)
        self._arguments = root, scratch, place, limit
        self._make_place = place
        self.sent: set[str] = set()
        self.before_sending: Callable[[], None] = lambda: None
        self._limit = limit
        self._waiting: dict[str, Descriptor] = {}
        self._waiting_bytes = 0
        self._read_bytes = 0
        self._said = -_SAY_EVERY_SECONDS
        self._lock = threading.Lock()
        self._turns = [threading.Lock() for _ in range(256)]
        self._arriving = f"{scratch}-cache"

    def __reduce__(self) -> tuple[type[PartialStore], tuple[Any, ...]]:
        """In another process it asks the place for itself."""
        return PartialStore, self._arguments

    @functools.cached_property
    def place(self) -> Objects:
        """The objects that hold all. Raises AccessDenied, InputError."""
        return self._make_place(self)

    def has_root(self, root: Descriptor) -> bool:
        """See ``Store``."""
        if super().has_root(root):
            return True
        with self._errors():
            return self.place.size(node_path(root.digest, CatalogRoot)) is not None

    def has_blob(self, blob: Descriptor) -> bool:
        """See ``Store``."""
        there = blob_path(blob.digest)
        if super().has_blob(blob) or there in self.sent:
            return True
        with self._errors():
            return self.place.has(there, blob)

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """See ``Store``. It is brought here first, if it must be."""
        with contextlib.suppress(DamageError):
            return super().open_blob(blob)
        # Several files of a site have the bytes of one blob, and are written at the same time.
        with self._turns[int(blob.digest[:2], 16)]:
            if not super().has_blob(blob):
                self._bring(blob)
        return super().open_blob(blob)

    def _bring(self, blob: Descriptor) -> None:
        where = f"{self.place.name}/{blob_path(blob.digest)}"
        with self._errors(), storage_errors(str(self.root)):
            self._keep(self.blob_path(blob.digest), blob_pieces(self.place, blob, where))

    def open_file(self, path: str) -> BinaryIO:
        """A file of the catalog. Raises FileNotFoundError, Tampered, StorageError."""
        here = self.root.parent / path
        if here.exists():
            return open(here, "rb")
        with self._errors():
            size = self.place.size(path)
            if size is None:
                raise FileNotFoundError(path)
            if path.startswith("catalog/blobs/"):
                return self.open_blob(Descriptor(path.rpartition("/")[2], size))
            if size > MAX_NODE_BYTES:
                raise TooLarge(f"{self.place.name}/{path}: a document of {size} bytes")
            data = read(self.place.fetch(path, size))
        if named_by_digest(path) and Descriptor.of(data).digest not in path:
            raise Tampered(f"{self.place.name}/{path}: not the bytes that its name says")
        return io.BytesIO(data)

    def data(self, digest: str, size: int, kind: object) -> bytes:
        """See ``Store``."""
        with contextlib.suppress(DamageError):
            return super().data(digest, size, kind)
        path = node_path(digest, kind)
        if size > MAX_NODE_BYTES:
            raise TooLarge(f"{self.place.name}/{path}: a document of {size} bytes")
        with self._errors():
            found = read(self.place.fetch(path, size))
        data = checked(Descriptor(digest, size), found, f"{self.place.name}/{path}")
        with contextlib.suppress(OSError):  # a full disk is no reason not to read
            self._keep(self._path(kind, digest), [data])
        return data

    def ahead(self, nodes: Iterable[N]) -> Iterator[N]:
        """See ``Store``: several are fetched at a time."""
        with threads(_READERS) as executor:
            yield from in_parallel(self._fetched, nodes, executor, ahead=2 * _READERS)

    def _fetched(self, node: N) -> N:
        if not os.path.exists(self.node_path(node.digest)):
            self.data(node.digest, node.size, None)
        return node

    def _keep(self, path: str, chunks: Iterable[bytes]) -> None:
        """Put what was read at the place into the cache.

        Whoever reads has no lock: these files in the making lie where nobody clears up, and the
        cache may be removed meanwhile.
        """
        os.makedirs(self._arriving, exist_ok=True)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{self._arriving}/{uuid.uuid4().hex}"
        try:
            write_new(temporary, chunks)
            os.rename(temporary, path)
        except BaseException:
            _remove(temporary)
            raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """What the place refuses is said as a disk's refusals are: it is no fault of a source."""
        try:
            yield
        except IncompleteError as error:
            raise DamageError(f"{error.message}; restore it from a copy") from error
        except (NetworkError, AccessDenied, NotFoundError) as error:
            raise StorageError(f"the mirror's store: {error.message}") from error

    def add_blob(self, blob: Descriptor, chunks: Iterable[bytes]) -> None:
        """See ``Store``."""
        super().add_blob(blob, chunks)
        self._wait(blob)

    def adopt_blob(self, blob: Descriptor, path: str) -> None:
        """See ``Store``."""
        super().adopt_blob(blob, path)
        self._wait(blob)

    def arrived(self, blob: Descriptor) -> None:
        """See ``Store``."""
        self._wait(blob)

    def _wait(self, blob: Descriptor) -> None:
        """Send what waits once it is much."""
        there = blob_path(blob.digest)
        with self._lock:
            if there not in self._waiting and there not in self.sent:
                self._waiting[there] = blob
                self._waiting_bytes += blob.size
            if self._waiting_bytes < self._limit // 2:
                return
        self.send()

    def holds(self, blobs: Iterable[Descriptor]) -> bool:
        """See ``Store``. They are known as sent, so that they are not sent again."""
        self.announce()
        for blob in blobs:
            there = blob_path(blob.digest)
            if there not in self.sent and not super().has_blob(blob):
                if not self._is_there(blob):
                    return False
                self.sent.add(there)
        return True

    def _is_there(self, blob: Descriptor) -> bool:
        """Whether the place has a blob. As long as there is room, small ones are read.

        The views are about to need their bytes, and then nobody has to be believed.
        """
        with self._lock:
            is_read = blob.size <= _READ_UP_TO and self._read_bytes + blob.size <= self._limit // 2
            self._read_bytes += blob.size * is_read
        if not is_read:
            return self.has_blob(blob)
        try:
            self.open_blob(blob).close()
        except Tampered:
            return False
        except (DamageError, StorageError):
            # Some services refuse to read what is not there, and the disk here may be full: whoever
            # asks for it is told which.
            return self.has_blob(blob)
        return True

    def announce(self) -> None:
        """See ``Store``: said anew after a while."""
        with self._lock:
            due = time.monotonic() - self._said > _SAY_EVERY_SECONDS
            if due:
                self._said = time.monotonic()
        if due:
            with self._errors():
                self.before_sending()

    def send(self) -> None:
        """Have all new blobs at the place. Raises StorageError."""
        with self._lock:
            waiting, self._waiting, self._waiting_bytes = self._waiting, {}, 0
        if not waiting:
            return
        new = [archive(each) for each in waiting.values()]
        self.announce()
        with self._errors():
            self.place.create(new, NoProgress())
        self.sent.update(waiting)
        for each in waiting.values():
            _remove(self.blob_path(each.digest))

    def settle(self) -> None:
        """All that is here is at the place, too: keep what fits, the newest first."""
        self._waiting, self._waiting_bytes, self._read_bytes = {}, 0, 0
        self.sent.clear()
        left = self._limit
        for path, _, status in self._newest("blobs"):
            left -= status.st_size
            if left < 0:
                _remove(path)
        for what in ("nodes", "targets"):
            for path, _, _ in self._newest(what)[_MOST_NODES:]:
                _remove(path)
        self._clear_up()

    def _clear_up(self) -> None:
        """Remove what killed readers left in the making."""
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self._arriving):
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat().st_mtime < time.time() - _LEFT_BEHIND_SECONDS:
                        os.unlink(entry.path)

    def _newest(self, what: str) -> list[tuple[str, str, os.stat_result]]:
        return sorted(self.walk(what), key=lambda found: -found[2].st_mtime)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
