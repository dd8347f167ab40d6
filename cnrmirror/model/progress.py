"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import msgspec


class Total(msgspec.Struct, frozen=True):
    """How much a stage is: steps, and bytes that are moved; ``about``: both are estimates."""

    steps: int
    size: int
    about: bool = False


class Progress(Protocol):
    """Where long work tells how far it is."""

    @property
    def shown(self) -> bool:
        """Whether anybody looks: then a total is worth some work."""

    def start(self, label: str, total: int | Total | None) -> None:
        """A new stage of ``total`` steps begins; None if nobody knows."""

    def advance(self, steps: int = 1, size: int = 0) -> None:
        """So many steps more are done, and so many bytes were moved."""

    def finish(self) -> None:
        """The stage is over."""


class NoProgress:
    """Says nothing."""

    shown = False

    def start(self, label: str, total: int | Total | None) -> None:
        pass

    def advance(self, steps: int = 1, size: int = 0) -> None:
        pass

    def finish(self) -> None:
        pass


@contextmanager
def stage(progress: Progress, label: str, total: int | Total | None) -> Iterator[Progress]:
    """One stage of work, finished even when it fails."""
    progress.start(label, total)
    try:
        yield progress
    finally:
        progress.finish()
