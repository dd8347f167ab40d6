"""What the rooms agree on without knowing each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from cnrmirror.documents import Head


class Pointer(Protocol):
    """The one mutable file: which catalog root is current.

    Signing a revision means another implementation of this; nothing else changes.
    """

    def read(self) -> Head | None:
        """The current head; None only if there has never been one.

        Raises:
            DamageError: there is one and it cannot be believed.
        """

    def write(self, head: Head) -> None:
        """Make ``head`` current, atomically and durably."""


class Progress(Protocol):
    """Where long work tells how far it is."""

    def start(self, label: str, total: int | None) -> None:
        """A new stage of ``total`` steps begins; None if nobody knows."""

    def advance(self, steps: int = 1) -> None:
        """So many steps more are done."""

    def finish(self) -> None:
        """The stage is over."""


class NoProgress:
    """Says nothing."""

    def start(self, label: str, total: int | None) -> None:
        pass

    def advance(self, steps: int = 1) -> None:
        pass

    def finish(self) -> None:
        pass


@contextmanager
def stage(progress: Progress, label: str, total: int | None) -> Iterator[Progress]:
    """One stage of work, finished even when it fails."""
    progress.start(label, total)
    try:
        yield progress
    finally:
        progress.finish()
