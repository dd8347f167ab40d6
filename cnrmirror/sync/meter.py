"""What a run asks of each source, and for how long."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from cnrmirror.objects.base import Reader


class Meter:
    """Counts the requests of each source, and the seconds that it takes.

    Args:
        clock: tells seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._readers: dict[str, list[Reader]] = {}
        self._seconds: dict[str, float] = {}
        self._elsewhere: dict[str, int] = {}

    def watch(self, source: str, reader: Reader) -> None:
        """Count what a reader asks as a source's."""
        self._readers.setdefault(source, []).append(reader)

    def requests(self, source: str) -> int:
        """How many HTTP requests were sent for a source; repeated and redirected ones, too."""
        here = sum(getattr(reader, "requests", 0) for reader in self._readers.get(source, []))
        return here + self._elsewhere.get(source, 0)

    def add(self, source: str, requests: int) -> None:
        """Count requests that other processes sent."""
        self._elsewhere[source] = self._elsewhere.get(source, 0) + requests

    @contextlib.contextmanager
    def timing(self, source: str) -> Iterator[None]:
        """The block is the source's time, and so are others before it."""
        began = self._clock()
        try:
            yield
        finally:
            spent = self._seconds.get(source, 0.0) + self._clock() - began
            self._seconds[source] = round(spent, 3)

    def seconds(self, source: str) -> float:
        """How long the source took; 0 before its block has ended."""
        return self._seconds.get(source, 0.0)
