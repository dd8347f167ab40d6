"""What another thread gives, if it gives it in time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar, cast

from cnrmirror.model.errors import NetworkError

T = TypeVar("T")
Outcome = tuple[object, BaseException | None]
Wait = Callable[["queue.SimpleQueue[Outcome]", float], Outcome]


def within(seconds: float, action: Callable[[], T], url: str, wait: Wait) -> T:
    """What ``action`` gives, if it gives it in time.

    A socket's timeout begins anew with each byte: a host that drips header lines is only given up
    by somebody who waits beside. Raises NetworkError.
    """
    helper: _Helper | None = getattr(_helpers, "mine", None)
    if helper is None:
        helper = _helpers.mine = _Helper()
    helper.give(action)
    try:
        result, failure = helper.take(seconds, wait)
    except queue.Empty:
        _helpers.mine = None  # it is stuck; it ends by itself, some time
        raise NetworkError(f"{url}: no answer within {seconds:g} seconds") from None
    if failure is not None:
        raise failure
    return cast(T, result)


class _Helper:
    """A thread that does one thing at a time for another one, which waits only so long."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        threading.Thread(target=_help, args=(self._work, self._done), daemon=True).start()

    def give(self, action: Callable[[], object]) -> None:
        self._work.put(action)

    def take(self, seconds: float, wait: Wait) -> Outcome:
        """What came of it. Raises queue.Empty if it takes longer."""
        return wait(self._done, seconds)

    def __del__(self) -> None:
        self._work.put(_end)


def _end() -> None:
    raise SystemExit


def _help(
    work: queue.SimpleQueue[Callable[[], object]],
    done: queue.SimpleQueue[Outcome],
) -> None:
    while (action := work.get()) is not _end:
        try:
            done.put((action(), None))
        except BaseException as error:
            done.put((None, error))
        del action  # else what it holds lives until the next one


_helpers = threading.local()
