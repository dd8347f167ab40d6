"""Many things of one kind, done in as many processes as there are cores where that is worth it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from cnrmirror.crew.processes import processes
from cnrmirror.model.progress import Progress

T = TypeVar("T")
R = TypeVar("R")


def in_chunks(
    items: Sequence[T], one: Callable[[T], R], some: Callable[[Sequence[T]], list[R]],
    progress: Progress, worth: int, size: int,
) -> Iterator[R]:  # fmt: skip
    """What comes of each item, in their order.

    Args:
        one: does one, here.
        some: does several, in another process.
        progress: is told of each.
        worth: fewer than this are done here.
        size: how many are given to a process at once.
    """
    if len(items) < worth:
        for item in items:
            yield one(item)
            progress.advance()
        return
    chunks = [items[i : i + size] for i in range(0, len(items), size)]
    with processes() as pool:
        jobs = [pool.submit(some, chunk) for chunk in chunks]
        try:
            for job, chunk in zip(jobs, chunks, strict=True):
                yield from job.result()
                progress.advance(len(chunk))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
