"""parallel.py: in order, bounded, and never waited for by whoever lost interest."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Executor

import pytest

from cnrmirror.objects.parallel import AT_ONCE, in_parallel, threads


@pytest.fixture(params=["at once", "threads"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "at once":
        yield AT_ONCE
    else:
        with threads(4) as pool:
            yield pool


def test_results_come_in_the_order_of_the_items(executor: Executor) -> None:
    assert list(in_parallel(lambda n: n * n, range(300), executor)) == [n * n for n in range(300)]
    assert list(in_parallel(str, [], executor)) == []


def test_no_more_items_are_taken_than_may_wait(executor: Executor) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = in_parallel(str, items(), executor, ahead=5)
    assert taken == []
    assert next(results) == "0" and len(taken) == 5
    assert next(results) == "1" and len(taken) == 6


def test_an_error_comes_in_the_place_of_its_result(executor: Executor) -> None:
    results = in_parallel(lambda n: 1 // (n - 2), range(9), executor)
    assert [next(results), next(results)] == [-1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_whoever_leaves_with_an_error_does_not_wait() -> None:
    go_on, begun = threading.Event(), threading.Semaphore(0)
    done: list[int] = []

    def work(number: int) -> int:
        if number:
            begun.release()
            go_on.wait(60)
        done.append(number)
        return number

    try:
        with pytest.raises(KeyError), threads(2) as pool:
            results = in_parallel(work, range(50), pool, ahead=10)
            assert next(results) == 0
            assert begun.acquire(timeout=60) and begun.acquire(timeout=60)
            results.close()  # type: ignore[attr-defined]
            raise KeyError
        assert done == [0]  # two still run, and nobody waits for them
    finally:
        go_on.set()


def test_what_was_not_begun_when_somebody_left_is_never_done() -> None:
    go_on = threading.Event()
    done: list[int] = []

    def work(number: int) -> None:
        done.append(number)
        if number == 1:
            go_on.wait(60)

    with threads(1) as pool:
        results = in_parallel(work, range(9), pool)
        next(results)
        results.close()  # type: ignore[attr-defined]
        go_on.set()
        pool.submit(work, 99).result(60)
    assert done in ([0, 1, 99], [0, 99])


def test_an_executor_goes_on_after_one_call_has_ended(executor: Executor) -> None:
    for _ in range(3):
        assert next(in_parallel(str, range(100), executor)) == "0"
    assert list(in_parallel(str, range(2), executor)) == ["0", "1"]
