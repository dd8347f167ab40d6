"""Processes that do chunks of a sync: on this machine, or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait

import msgspec

from cnrmirror.mirror.build import processes
from cnrmirror.model.errors import CnrMirrorError, InvalidDocument, NetworkError, StorageError
from cnrmirror.sync.chunk import Chunk, do
from cnrmirror.sync.fetch import Fetched

_ATTEMPTS = 3
_LOOK_SECONDS = 10


class CrewLost(NetworkError):
    """The processes are gone, and no others come."""


class Crew:
    """Processes that do chunks.

    Args:
        size: how many chunks they can do at the same time.
        make: an executor that does them; it is made anew if it breaks.
        afar: whether they are on other machines, with other disks.
        require: raises CrewLost if they are gone.
    """

    def __init__(
        self, size: int, make: Callable[[], Executor], afar: bool = False,
        require: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.size = size
        self.afar = afar
        self.require = require
        self._make = make
        self._executor: Executor | None = None

    def submit(self, data: bytes) -> Future[bytes]:
        """Have a chunk done."""
        if self._executor is None:
            self._executor = self._make()
        try:
            return self._executor.submit(do, data)
        except BrokenExecutor as error:
            broken: Future[bytes] = Future()
            broken.set_exception(error)
            return broken

    def close(self) -> None:
        """What has not begun never is; what is submitted later begins with another executor."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)


def local(count: int) -> Crew:
    """So many processes of this machine."""
    return Crew(count, lambda: processes(count))


class Report(msgspec.Struct, frozen=True):
    """What came of one chunk: of each of its offers, in their order.

    ``requests``: how many the source was sent; ``trouble``: why it was not done the first time.
    """

    chunk: Chunk
    results: list[Fetched | CnrMirrorError]
    requests: int = 0
    trouble: str = ""


class _Try(msgspec.Struct, frozen=True):
    chunk: Chunk
    number: int = 1
    trouble: str = ""

    def again(self, trouble: str) -> _Try:
        return _Try(self.chunk, self.number + 1, trouble)

    def read(self, data: bytes, require: Callable[[list[Fetched]], None]) -> Report:
        """Raises InvalidDocument if it is no good answer, StorageError if it is none."""
        results, requests, failed = self.chunk.results(data)
        if failed:
            raise StorageError(failed)
        require([result for result in results if isinstance(result, Fetched)])
        return Report(self.chunk, results, requests, self.trouble)


def carried_out(
    crew: Crew, chunks: Iterable[Chunk], window: int, require: Callable[[list[Fetched]], None]
) -> Iterator[Report]:
    """What came of each chunk, in the order in which they are done.

    A chunk that a worker could not do, or about which it lied, is given to a worker again, and done
    here at last.

    Args:
        window: how many are under way at the same time: their answers may be in memory.
        require: raises InvalidDocument if archives of which a worker told are not in the store.

    Raises:
        StorageError: the store refuses here, too.
        CrewLost: the crew is gone.
    """
    left = map(_Try, chunks)
    again: list[_Try] = []
    running: dict[Future[bytes], _Try] = {}
    try:
        while True:
            while len(running) < window:
                attempt = again.pop() if again else next(left, None)
                if attempt is None:
                    break
                data = msgspec.json.encode(attempt.chunk)
                if attempt.number > _ATTEMPTS:
                    yield attempt.read(do(data), require)
                else:
                    running[crew.submit(data)] = attempt
            if not running:
                return
            for future in wait(running, _LOOK_SECONDS, FIRST_COMPLETED).done:
                attempt = running.pop(future)
                try:
                    yield attempt.read(future.result(), require)
                except BrokenExecutor:
                    # Nobody can say which of them it was.
                    lost = [attempt, *running.values()]
                    again += [each.again("it was lost with its process") for each in lost]
                    running.clear()
                    crew.close()
                    break
                except (InvalidDocument, StorageError) as error:
                    again.append(attempt.again(error.message))
                except Exception as error:  # whatever an engine says of a task that it lost
                    again.append(attempt.again(f"{type(error).__name__}: {error}"))
            crew.require()
    finally:
        for future in running:
            future.cancel()
