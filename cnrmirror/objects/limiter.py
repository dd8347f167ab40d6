"""How many requests at a time a host takes: found out, not assumed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from cnrmirror.model.errors import NetworkError

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
        self._calm = True  # no trouble yet, or none left: nothing has to be counted
        self._changed = threading.Condition()

    def run(self, request: Callable[[], T], what: str) -> T:
        """What the request gives, in the end.

        Raises:
            NetworkError: it failed ``attempts`` times.
        """
        for attempt in range(1, self._attempts + 1):
            counted = not self._calm
            if counted:
                self._enter()
            try:
                result = request()
            except Trouble as trouble:
                self._leave(counted, self._room / 2)
                self.retries += 1
                if attempt == self._attempts:
                    raise NetworkError(
                        f"{what}: {trouble}; run the command again: it goes on from here"
                    ) from trouble
                self._sleep(random.uniform(0.05, 0.1) * 2 ** min(attempt, 7))
                continue
            except BaseException:
                self._leave(counted, self._room)
                raise
            if not self._calm:
                self._leave(counted, self._room + 1 / self._room)
            return result
        raise AssertionError("the last attempt returns or raises")

    def _enter(self) -> None:
        with self._changed:
            while self._running >= self._room:
                self._changed.wait()
            self._running += 1

    def _leave(self, counted: bool, room: float) -> None:
        with self._changed:
            self._running -= counted
            self._room = min(float(self.most), max(1.0, room))
            self._calm = self._room >= self.most and self._running == 0
            self._changed.notify_all()


def together(work: Callable[[T], object], items: Sequence[T], threads: int) -> None:
    """Does the work on every item, in several threads; after an error, begins no more.

    A pool of futures takes several times as long for each item as sending a small object does.

    Raises:
        The first error of any of them, when all have stopped.
    """
    left = iter(items)
    lock = threading.Lock()
    errors: list[BaseException] = []

    def worker() -> None:
        while not errors:
            with lock:
                item = next(left, None)
            if item is None:
                return
            try:
                work(item)
            except BaseException as error:
                errors.append(error)

    crew = [threading.Thread(target=worker) for _ in range(min(threads, len(items)))]
    try:
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
    except BaseException as error:  # the user has had enough
        errors.append(error)
        for thread in crew:
            if thread.ident is not None:
                thread.join()
        raise
    if errors:
        raise errors[0]
