"""Many things at a time, their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

A = TypeVar("A")
T = TypeVar("T")
AHEAD = 64
"""Results that may wait for whoever takes them; each may be as large as a document."""


def in_parallel(
    action: Callable[[A], T], items: Iterable[A], executor: Executor, ahead: int = AHEAD
) -> Iterator[T]:
    """The results in the order of the items.

    Whoever stops asking does not wait: what has not begun by then is never done.

    Args:
        action: what is done with each item.
        items: taken one by one, as results are taken.
        executor: runs the actions; its size says how many at a time.
        ahead: how many items are begun, or done, before the first result is taken.
    """
    waiting: deque[Future[T]] = deque()
    try:
        for item in items:
            waiting.append(executor.submit(action, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@contextmanager
def threads(count: int) -> Iterator[Executor]:
    """An executor of so many threads; they are gone when it is left, but not after an error.

    After an error nobody waits for what still runs.
    """
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown(cancel_futures=True)


class _AtOnce(Executor):
    """Does each thing when it is submitted, in the caller's own thread."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


AT_ONCE: Executor = _AtOnce()
"""One thing after the other: for callers with few items, and for tests."""
