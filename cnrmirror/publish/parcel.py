"""The unit of work of a publish on several processes: a parcel of archives, sent to a place.

Whoever sends one needs no project and no keys: all it must know is in the parcel. A parcel and what
comes of it are JSON. One that is sent twice does no harm: what is there already stays as it is.
Whether its archives are there, nobody elsewhere is believed (``couriers``).
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec

from cnrmirror.crew.crew import Words, answer, answer_of
from cnrmirror.mirror.places import open_place
from cnrmirror.mirror.settings import PublishTo, StoreAt
from cnrmirror.model import typed
from cnrmirror.model.digest import Descriptor, Digest, verified
from cnrmirror.model.documents import blob_path
from cnrmirror.model.errors import InvalidDocument, StorageError
from cnrmirror.model.progress import NoProgress
from cnrmirror.objects.base import Objects, archive, blob_pieces, read
from cnrmirror.objects.store import Store

SIZE = 100
"""How many archives a parcel has, if they are small."""
_BYTES = 64 << 20
# How often what a worker says of its requests is believed.
_MOST_REQUESTS = 1000


class Sent(msgspec.Struct, frozen=True):
    """What came of a parcel.

    Args:
        archives: those that are there now, whoever sent them.
        requests: how many the place was sent.
        failed: why the worker could not send all.
    """

    archives: list[Digest] = []
    requests: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)] = 0
    failed: Words = ""


class Parcel(msgspec.Struct, frozen=True):
    """Archives that are to be sent, and all that must be known to do so.

    Args:
        to: the place, as mirror.yaml has it; a folder by its whole path.
        learned: what is known of its service (``Objects.learned``).
        catalog: the folder of a store on this machine.
        store: the store, if it is elsewhere.
        archives: each below the size that is sent in parts.
    """

    to: PublishTo
    learned: dict[str, str]
    catalog: str
    store: StoreAt | None
    archives: list[Descriptor]

    def sent(self, data: bytes) -> Sent:
        """What a worker says of it, if that can be.

        Raises:
            InvalidDocument: it is no answer to this parcel.
            StorageError: the worker could not send it.
        """
        sent = answer_of(data, Sent, len(self.archives))
        if sent.failed:
            raise StorageError(sent.failed)
        if not {blob.digest for blob in self.archives}.issuperset(sent.archives):
            raise InvalidDocument("archives that were not in the parcel")
        if sent.requests > _MOST_REQUESTS * (1 + len(self.archives)):
            raise InvalidDocument(f"{sent.requests} requests for {len(self.archives)} archives")
        return sent


def parts(archives: Sequence[Descriptor]) -> Iterator[list[Descriptor]]:
    """The archives in parts of ``SIZE``, or of fewer that have 64 MiB; the last may have less."""
    part: list[Descriptor] = []
    for blob in archives:
        part.append(blob)
        if is_worth_a_parcel(part):
            yield part
            part = []
    if part:
        yield part


def is_worth_a_parcel(archives: Sequence[Descriptor]) -> bool:
    """Whether to have others send these may be worth what it costs."""
    return len(archives) >= SIZE or sum(blob.size for blob in archives) >= _BYTES


def deliver(data: bytes) -> bytes:
    """Send a parcel: JSON in, JSON out; never an error. Credentials are those of this process."""

    def send() -> Sent:
        parcel = typed.decode(data, Parcel)
        place = _own.place(parcel)
        place.recall(parcel.learned)
        before = place.requests
        place.create([archive(blob) for blob in parcel.archives], NoProgress())
        return Sent([blob.digest for blob in parcel.archives], place.requests - before)

    return answer(send, lambda why: Sent(failed=why))


class _Checked(Store):
    """Archives that are read whole, and known to be right, before any of their bytes is sent.

    Args:
        catalog: the store on this machine.
        place: the store, if it is elsewhere: nothing of it is kept here.
    """

    def __init__(self, catalog: Path, place: Objects | None) -> None:
        super().__init__(catalog, catalog)
        self._place = place

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """See ``Store``. Raises DigestMismatch, Tampered."""
        if self._place is not None:
            where = f"{self._place.name}/{blob_path(blob.digest)}"
            return io.BytesIO(read(blob_pieces(self._place, blob, where)))
        with super().open_blob(blob) as stream:
            return io.BytesIO(read(verified(stream, blob, self.blob_path(blob.digest))))


class _Own(threading.local):
    """A thread's places: their connections are worth keeping."""

    def __init__(self) -> None:
        self._known: dict[bytes, Objects] = {}

    def place(self, parcel: Parcel) -> Objects:
        """Where a parcel goes. Raises AccessDenied, InputError."""
        key = msgspec.json.encode((parcel.to, parcel.catalog, parcel.store))
        if key not in self._known:
            catalog = Path(parcel.catalog)
            at = parcel.store
            store = open_place(at, Store(catalog, catalog)) if at else None
            self._known[key] = open_place(parcel.to, _Checked(catalog, store))
        return self._known[key]


_own = _Own()
