"""Python's search for garbage, put off."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_cycles() -> Iterator[None]:
    """Nobody looks for cycles of garbage meanwhile.

    For work that makes very many values and no cycle: the search would look at all values again
    and again, which is up to half of the time. What is needed no more is freed all the same.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
