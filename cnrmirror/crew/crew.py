"""Processes that do units of work: on this machine, or elsewhere.

A unit of work, and what comes of it, are bytes; whoever does one may be killed, or lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from typing import Annotated, Generic, NamedTuple, TypeVar

import msgspec

from cnrmirror.crew.processes import processes
from cnrmirror.model import typed
from cnrmirror.model.errors import CnrMirrorError, InvalidDocument, NetworkError, StorageError

U = TypeVar("U")
R = TypeVar("R")
T = TypeVar("T")
Work = Callable[[bytes], bytes]
_ATTEMPTS = 3
_LOOK_SECONDS = 10
_MAX_ANSWER_EACH = 1 << 20
_MAX_WORDS = 10_000

Words = Annotated[str, msgspec.Meta(max_length=_MAX_WORDS)]
"""Why a worker could not do something, as an answer says it."""


class CrewLost(NetworkError):
    """The processes are gone, and no others come."""


class Crew:
    """Processes that do units of work.

    Args:
        size: how many units they can do at the same time.
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

    def submit(self, work: Work, data: bytes) -> Future[bytes]:
        """Have a unit of work done.

        Args:
            work: a function of a module, which the processes have, too.
            data: what it is given.
        """
        if self._executor is None:
            self._executor = self._make()
        try:
            return self._executor.submit(work, data)
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


def answer(work: Callable[[], T], failed: Callable[[str], T]) -> bytes:
    """What a worker answers, as JSON; never an error.

    Args:
        work: does the unit.
        failed: what is answered if that is an error; it is given the reason.
    """
    try:
        found = work()
    except CnrMirrorError as error:
        found = failed(error.message[:_MAX_WORDS])
    except Exception as error:
        found = failed(f"{type(error).__name__}: {error}"[:_MAX_WORDS])
    return msgspec.json.encode(found)


def answer_of(data: bytes, kind: type[T], parts: int) -> T:
    """What a worker's answer says, as JSON.

    Args:
        kind: its type.
        parts: how many things the unit of work had: an answer has a MiB for each, and one more.

    Raises:
        InvalidDocument: it is longer, or of another type.
    """
    if len(data) > (parts + 1) * _MAX_ANSWER_EACH:
        raise InvalidDocument(f"an answer of {len(data)} bytes")
    try:
        return typed.decode(data, kind)
    except msgspec.DecodeError as error:
        raise InvalidDocument(f"not an answer: {error}") from error


class Job(NamedTuple, Generic[U, R]):
    """What is to be done with each unit.

    Args:
        work: does one.
        encode: a unit, as ``work`` takes it.
        read: what came of a unit, out of the answer to it. Raises InvalidDocument if it is none,
            StorageError if whoever did it could not.
        here: does one at last that no worker could do; ``work``, if nothing is said.
    """

    work: Work
    encode: Callable[[U], bytes]
    read: Callable[[U, bytes], R]
    here: Work | None = None


class Report(NamedTuple, Generic[U, R]):
    """What came of one unit.

    ``trouble``: why it was not done the first time. ``here``: no worker did it at all.
    """

    unit: U
    result: R
    trouble: str = ""
    here: bool = False


class _Try(NamedTuple, Generic[U]):
    unit: U
    number: int = 1
    trouble: str = ""

    def again(self, trouble: str) -> _Try[U]:
        return _Try(self.unit, self.number + 1, trouble)


def carried_out(
    crew: Crew, job: Job[U, R], units: Iterable[U], window: int, attempts: int = _ATTEMPTS,
    meanwhile: Callable[[], None] = lambda: None,
) -> Iterator[Report[U, R]]:  # fmt: skip
    """What came of each unit, in the order in which they are done.

    A unit that a worker could not do, or about which it lied, is given to a worker again, and done
    here at last.

    Args:
        units: taken one by one, as others are done.
        window: how many are under way at the same time: their answers may be in memory.
        attempts: how often a unit is given to a worker.
        meanwhile: called every few seconds while workers work; what it raises ends all.

    Raises:
        InvalidDocument, StorageError: a unit cannot be done here, either.
        CrewLost: the crew is gone.
    """
    left = (_Try(unit) for unit in units)
    again: list[_Try[U]] = []
    running: dict[Future[bytes], _Try[U]] = {}
    try:
        while True:
            while len(running) < window:
                attempt = again.pop() if again else next(left, None)
                if attempt is None:
                    break
                unit, data = attempt.unit, job.encode(attempt.unit)
                if attempt.number > attempts:
                    found = job.read(unit, (job.here or job.work)(data))
                    yield Report(unit, found, attempt.trouble, True)
                else:
                    running[crew.submit(job.work, data)] = attempt
            if not running:
                return
            for future in wait(running, _LOOK_SECONDS, FIRST_COMPLETED).done:
                attempt = running.pop(future)
                try:
                    result = job.read(attempt.unit, future.result())
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
                else:
                    yield Report(attempt.unit, result, attempt.trouble)
            crew.require()
            meanwhile()
    finally:
        for future in running:
            future.cancel()


def helped(
    crew: Crew, job: Job[U, R], units: Iterable[U], what: str, count: Callable[[U], int],
    tell: Callable[[str], object],
) -> Iterator[tuple[U, R]]:  # fmt: skip
    """What workers made of each unit, for whoever can do all of it without them; never an error.

    Args:
        job: ``here`` leaves a unit as it is: whoever asked does it.
        what: what the units have, in the plural: packages.
        count: how many a unit has.
        tell: is told what was left, and why.
    """
    here, why = 0, ""
    try:
        for report in carried_out(crew, job, units, 2 * crew.size):
            if report.here:
                here, why = here + count(report.unit), report.trouble
            yield report.unit, report.result
    except CnrMirrorError as error:
        tell(f"the rest was read without workers: {error.message}")
    if here:  # in the words of whoever failed last: few of them
        tell(f"{here} {what} were read without workers: {why:.200}")
