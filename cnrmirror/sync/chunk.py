"""The unit of work of a sync on several processes: a chunk of offers, fetched into the store.

Whoever does it needs no project and no keys: all it must know is in the chunk. A chunk and what
comes of it are JSON; a chunk that is done twice does no harm, because archives are kept by their
digests. What came of it is checked as a stranger's (``Chunk.results``).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import util
from pathlib import Path
from typing import Annotated

import msgspec

from cnrmirror.archive.scan import Limits
from cnrmirror.bundle.places import reader_for
from cnrmirror.crew.crew import Words, answer, answer_of
from cnrmirror.mirror.layout import Layout
from cnrmirror.mirror.places import partial_store
from cnrmirror.mirror.settings import StoreAt, any_source
from cnrmirror.model import typed
from cnrmirror.model.documents import MAX_ATTACHMENTS, name_digest
from cnrmirror.model.errors import (
    AccessDenied,
    CnrMirrorError,
    InputError,
    InvalidDocument,
    NetworkError,
    Tampered,
)
from cnrmirror.model.flags import FLAGS
from cnrmirror.model.names import Vendor
from cnrmirror.objects.files import storage_errors
from cnrmirror.objects.parallel import in_parallel, threads
from cnrmirror.objects.partial import PartialStore
from cnrmirror.objects.store import Store
from cnrmirror.sources.base import Divisible, Offer
from cnrmirror.sources.kind import SourceRules
from cnrmirror.sources.kinds import kind_of
from cnrmirror.sync.fetch import Fetched, Fetcher
from cnrmirror.sync.meter import Meter
from cnrmirror.sync.room import Around, Room

SIZE = 100
"""How many archives a chunk has, if there are so many."""
_SEND_FROM_MIB = 64
# A run ends with these codes if its source gave up; others are internal.
_GAVE_UP = {kind.code: kind for kind in (NetworkError, AccessDenied)}


class Missed(msgspec.Struct, frozen=True, tag=True):
    """Why an archive could not be had; ``gave_up``: nothing more is asked of the source."""

    reason: Words
    code: str = ""
    gave_up: bool = False

    def error(self) -> CnrMirrorError:
        """The same, as the one who asks for a single archive gets it."""
        kind = _GAVE_UP.get(self.code, CnrMirrorError)
        return kind(self.reason, gave_up=self.gave_up)


class _Taken(msgspec.Struct, frozen=True, tag=True):
    """An archive that is in the store."""

    fetched: Fetched


class Done(msgspec.Struct, frozen=True):
    """What came of a chunk.

    Args:
        results: of each offer, in their order.
        requests: how many were sent to the source.
        failed: why the worker itself could not do it; then there are no results.
    """

    results: list[_Taken | Missed] = []
    requests: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)] = 0
    failed: Words = ""


class Chunk(msgspec.Struct, frozen=True):
    """Archives of one source that are to be fetched, and all that must be known to do so.

    Args:
        source: what mirror.yaml calls it.
        settings: what mirror.yaml says of it.
        told: what it found by looking (``sources.base.Divisible``).
        folder: what paths in the settings are seen from.
        limits, vendor: as in mirror.yaml.
        catalog, making: the folders of a store on this machine.
        store: the store, if it is elsewhere.
        learned: what is known of its service (``Objects.learned``).
        parallel: how many are fetched at a time.
        offers: the archives.
    """

    source: str
    settings: msgspec.Raw
    told: msgspec.Raw
    folder: str
    limits: Limits
    vendor: Vendor
    catalog: str
    making: str
    store: StoreAt | None
    learned: dict[str, str]
    parallel: int
    offers: list[Offer]

    def results(self, data: bytes) -> tuple[list[Fetched | CnrMirrorError], int, str]:
        """What came of it, in the order of the offers; the requests; why the worker failed.

        Whoever did it may lie: each archive must be what was offered, and say no more of itself
        than one can. Whether it is in the store is to be asked there.

        Raises:
            InvalidDocument: it is no answer to this chunk.
        """
        done = answer_of(data, Done, len(self.offers))
        if not done.failed and len(done.results) != len(self.offers):
            raise InvalidDocument(f"{len(done.results)} results for {len(self.offers)} archives")
        found: list[Fetched | CnrMirrorError] = []
        for offer, result in zip(self.offers, done.results, strict=False):
            if isinstance(result, Missed):
                found.append(result.error())
                continue
            refuse_lies(offer, result.fetched)
            found.append(result.fetched)
        return found, done.requests, done.failed


def refuse_lies(offer: Offer, fetched: Fetched) -> None:
    """Raises InvalidDocument if an archive is not what was offered, or cannot be at all."""
    try:
        fetched.check(offer)
    except Tampered as error:
        raise InvalidDocument(error.message) from error
    what = f"{offer.upstream}@{offer.release}"
    if lacking := [a for a in offer.attachments if a not in fetched.attachments]:
        raise InvalidDocument(f"{what}: without its attachment {lacking[0].digest}")
    if len(fetched.attachments) > MAX_ATTACHMENTS or not FLAGS.issuperset(fetched.flags):
        raise InvalidDocument(f"{what}: too many attachments, or unknown flags")


def chunks(offers: Sequence[Offer], size: int = SIZE) -> Iterator[list[Offer]]:
    """The offers in parts of at least so many, but for the last one.

    By the digits of sha256(package), as the catalog has them; a package is never in two parts.
    """
    found: list[Offer] = []
    for offer in sorted(offers, key=lambda o: name_digest(o.package)):
        if len(found) >= size and offer.package != found[-1].package:
            yield found
            found = []
        found.append(offer)
    if found:
        yield found


def do(data: bytes) -> bytes:
    """Fetch a chunk: JSON in, JSON out; never an error. Secrets are in this process's variables."""

    def fetch() -> Done:
        chunk = typed.decode(data, Chunk)
        with _store(chunk) as store:
            return _fetched(chunk, store)

    return answer(fetch, lambda why: Done(failed=why))


class _Own(threading.local):
    """A thread's store for what it sends elsewhere: its connections are worth keeping."""

    def __init__(self) -> None:
        self.known: dict[bytes, tuple[PartialStore, Path]] = {}

    def store(self, at: StoreAt) -> PartialStore:
        """Raises StorageError, AccessDenied."""
        key = msgspec.json.encode(at)
        if key not in self.known or not self.known[key][1].is_dir():
            with storage_errors(tempfile.gettempdir()):
                folder = Path(tempfile.mkdtemp(prefix="cnrmirror-"))
                layout = Layout(folder, elsewhere=True)
                layout.making.mkdir(parents=True)
            # A worker's process ends without what Python does else at the end.
            util.Finalize(None, shutil.rmtree, (folder, True), exitpriority=0)
            small = msgspec.structs.replace(at, cache_mib=_SEND_FROM_MIB)
            self.known[key] = partial_store(folder, layout, small), folder
        return self.known[key][0]


_own = _Own()


@contextlib.contextmanager
def _store(chunk: Chunk) -> Iterator[Store]:
    """Where its archives go; when it is left, they are there."""
    if chunk.store is None:
        yield Store(Path(chunk.catalog), Path(chunk.making))
        return
    store = _own.store(chunk.store)
    store.place.recall(chunk.learned)
    try:
        yield store
        store.send()
    finally:
        store.settle()


def _fetched(chunk: Chunk, store: Store) -> Done:
    meter = Meter()
    around = Around(
        Path(chunk.folder), chunk.limits, chunk.vendor, Path(chunk.making), Path(chunk.making)
    )
    room = Room(chunk.source, around, os.environ, reader_for, meter)
    settings: SourceRules = typed.decode(chunk.settings, any_source())
    source = kind_of(settings).open(chunk.source, settings, room)
    if not isinstance(source, Divisible):
        raise InputError(f"source {chunk.source}: only the mirror's own process can fetch from it")
    source.hear(chunk.told)
    fetcher = Fetcher(source, store, chunk.limits)
    with threads(chunk.parallel) as executor:
        results = list(in_parallel(fetcher.fetch, chunk.offers, executor))
    return Done([_said(result) for result in results], meter.requests(chunk.source))


def _said(result: Fetched | CnrMirrorError) -> _Taken | Missed:
    if isinstance(result, Fetched):
        return _Taken(result)
    gave_up = bool(result.details.get("gave_up"))
    return Missed(result.message[:10_000], result.code, gave_up)
