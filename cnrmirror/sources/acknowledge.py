"""Holes that somebody knows of: what mirror.yaml and acknowledged.yaml say of them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

import msgspec

from cnrmirror.sources.base import Hole

_DAY = r"^(\d{4}-\d\d-\d\d)?$(?!\n)"


class Acknowledgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A hole that is known, and does not turn the exit code.

    ``package`` and ``release`` are those that the report names, or globs (``old/*``). Without
    ``release`` it speaks of what lacks as a whole, by the report's name: a package, ``ns/x:old``.
    Without ``source``, of every source. ``reason`` is for people; ``until`` the last day on which
    it holds.
    """

    package: str
    reason: str
    release: str = ""
    source: str = ""
    until: Annotated[str, msgspec.Meta(pattern=_DAY)] = ""

    def speaks_of(self, source: str, hole: Hole) -> bool:
        """Whether it is about this hole, whatever the day."""
        return (
            self.source in ("", source)
            and any(fnmatchcase(name, self.package) for name in names_of(hole))
            and fnmatchcase(hole.release, self.release)
        )

    @property
    def is_plain(self) -> bool:
        """Whether it has no pattern: then it speaks of a hole with exactly these names."""
        return not any(mark in self.package + self.release for mark in "*?[")

    def holds(self, now: str) -> bool:
        """Whether it still counts at a time (ISO 8601, UTC)."""
        return not self.until or now[:10] <= self.until


def names_of(hole: Hole) -> list[str]:
    """What an acknowledgement may call a hole: as the report does; a package also as it is here.

    What lacks as a whole has the report's name alone: a channel is not its package.
    """
    if not hole.release:
        return [hole.what]
    return list(dict.fromkeys((hole.what.rpartition("@")[0], hole.package)))
