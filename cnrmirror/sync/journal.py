"""What a run has fetched so far, so that the next one, if it is killed, goes on from there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cnrmirror.model import typed
from cnrmirror.sources.base import Offer
from cnrmirror.sync.fetch import Fetched
from cnrmirror.sync.plan import Key


class _Line(msgspec.Struct, frozen=True):
    key: Key
    digest: str
    place: str
    fetched: Fetched


class Journal:
    """What a run has fetched so far, so that the next one, if it is killed, goes on from there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._before = {(line.key, line.digest, line.place): line.fetched for line in self._lines()}

    def _lines(self) -> Iterator[_Line]:
        try:
            with self._path.open("rb") as stream:
                for text in stream:
                    try:
                        yield typed.decode(text, _Line)
                    except msgspec.DecodeError:
                        continue  # cut off when a run was killed
        except FileNotFoundError:
            return

    def find(self, offer: Offer) -> Fetched | None:
        """What was fetched of an offer, if it is still the same offer."""
        return self._before.get((offer.key, offer.digest or offer.blob_digest, offer.place))

    def add(self, offer: Offer, fetched: Fetched) -> None:
        """Note that an archive is in the store."""
        line = _Line(offer.key, offer.digest or offer.blob_digest, offer.place, fetched)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self._path.open("ab") as stream:
            stream.write(b"\n" + msgspec.json.encode(line) + b"\n")

    def remove(self) -> None:
        """The run is over."""
        self._path.unlink(missing_ok=True)
