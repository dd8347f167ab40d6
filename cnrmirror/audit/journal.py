"""Which packages an audit found good: noted on disk, so that one that was interrupted goes on."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from cnrmirror.model import typed
from cnrmirror.model.digest import Descriptor

_SECONDS = 6 * 3600  # an audit that was interrupted longer ago begins anew


class Noted(msgspec.Struct, frozen=True):
    """A package that was found good.

    ``forms``: which forms that a place need not have were there; ``lacking``: which were not, each
    with its paths. ``notes``: what is no fault.
    """

    key: str
    forms: list[str] = []
    lacking: dict[str, list[str]] = {}
    notes: list[str] = []


class Journal:
    """The notes of one audit of one mirror.

    ``known`` packages were found good by an audit that was interrupted at ``known_at``.

    Args:
        path: the file with the notes; None: nothing is noted.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._done: dict[str, Noted] = {}
        self.known = 0
        self.known_at = datetime.fromtimestamp(0, UTC)

    def resume(self, at: Descriptor) -> list[str]:
        """Take up the notes of an audit of this catalog root, if they are young; else begin anew.

        Returns:
            What is to be said about it.
        """
        if self._path is None:
            return []
        try:
            moment = self._path.stat().st_mtime
            lines = self._path.read_text().splitlines()
        except FileNotFoundError:
            moment, lines = 0.0, []
        if lines[:1] != [at.digest] or time.time() - moment >= _SECONDS:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(f"{at.digest}\n")
            return []
        for line in lines[1:]:
            with contextlib.suppress(msgspec.DecodeError):  # the last one may be cut off
                noted = typed.decode(line, Noted)
                self._done[noted.key] = noted
        self.known = len(self._done)
        self.known_at = datetime.fromtimestamp(int(moment), UTC)
        when = self.known_at.isoformat()
        said = (
            f"{len(self._done)} packages were read by an audit that was interrupted at {when}, "
            "and not again"
        )
        return [said] if self._done else []

    def find(self, key: str) -> Noted | None:
        """What was noted of it; None if it was not found good before."""
        return self._done.get(key)

    def add(self, noted: Noted) -> None:
        """Note that this was found good."""
        if self._path is not None and noted.key not in self._done:
            with self._path.open("ab") as journal:
                journal.write(msgspec.json.encode(noted) + b"\n")

    def learn(self, noted: Noted) -> None:
        """Note that another process found this good, and know it."""
        self.add(noted)
        self._done[noted.key] = noted

    def close(self) -> None:
        """The audit is done: the next one begins anew."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
