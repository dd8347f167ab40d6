"""How many requests at a time a host takes: found out, not assumed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from cnrmirror.errors import NetworkError

T = TypeVar("T")


class Trouble(Exception):
    """A request that may succeed when it is made again: 500, 503, a reset, a timeout."""


class Limiter:
    """Lets many threads make requests, fewer when the host is in trouble (AIMD, as TCP does).

    Args:
        most: requests at a time at the most.
        attempts: how often one is made before it is given up.
        sleep: for tests.
    """

    def __init__(
        self, most: int, attempts: int = 12, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.most = most
        self.retries = 0
        self._attempts = attempts
        self._sleep = sleep
        self._room = float(most)
        self._running = 0
        self._changed = threading.Condition()

    def run(self, request: Callable[[], T], what: str) -> T:
        """What the request gives, in the end.

        Raises:
            NetworkError: it failed ``attempts`` times.
        """
        for attempt in range(1, self._attempts + 1):
            with self._changed:
                while self._running >= self._room:
                    self._changed.wait()
                self._running += 1
            try:
                result = request()
            except Trouble as trouble:
                self._leave(self._room / 2)
                self.retries += 1
                if attempt == self._attempts:
                    raise NetworkError(f"{what}: {trouble}; run it again: it goes on") from trouble
                self._sleep(random.uniform(0.05, 0.1) * 2 ** min(attempt, 7))
                continue
            except BaseException:
                self._leave(self._room)
                raise
            self._leave(self._room + 1 / self._room)
            return result
        raise AssertionError("the last attempt returns or raises")

    def _leave(self, room: float) -> None:
        with self._changed:
            self._running -= 1
            self._room = min(float(self.most), max(1.0, room))
            self._changed.notify_all()
