"""Instants: the one type of time, and the one way in which it is written."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import msgspec

from cnrmirror.model.errors import InputError

CLOCK_SKEW = timedelta(minutes=10)
"""By how much two clocks may differ before anything is said of it."""
_TEXT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?", re.ASCII)


class Instant(msgspec.Struct, frozen=True, order=True):
    """A moment in UTC, exact to the microsecond.

    The registry writes it as ISO 8601 without an offset; so does every document of this program.

    Example:
        >>> str(Instant.parse("2026-01-02T03:04:05").plus(timedelta(days=7)))
        '2026-01-09T03:04:05'
    """

    at: datetime

    @classmethod
    def of(cls, moment: datetime) -> Instant:
        """The instant of a datetime, which must have an offset."""
        return cls(moment.astimezone(UTC))

    @classmethod
    def parse(cls, text: str) -> Instant:
        """The instant that a text names. Raises InputError for any other form."""
        try:
            if not _TEXT.fullmatch(text):
                raise ValueError("it is written as 2026-01-31T12:00:00")
            return cls(datetime.fromisoformat(text).replace(tzinfo=UTC))
        except ValueError as error:
            raise InputError(f"{text!r:.60} is not a time in UTC: {error}") from error

    def __str__(self) -> str:
        return self.at.replace(tzinfo=None).isoformat()

    def to_tuf(self) -> datetime:
        """The datetime of a TUF file, in whole seconds (The Update Framework 1.0, §4.2)."""
        return self.at.replace(microsecond=0)

    def plus(self, duration: timedelta) -> Instant:
        """The instant that is later by a duration."""
        return Instant(self.at + duration)

    def age(self, now: Instant) -> timedelta:
        """How long ago it is at ``now``."""
        return now.at - self.at
