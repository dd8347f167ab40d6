"""Holes that somebody knows of: what mirror.yaml and acknowledged.yaml say of them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

import msgspec

from cnrmirror.sources.base import Hole

_DAY = r"^(\d{4}-\d\d-\d\d)?$"


class Acknowledgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A hole that is known, and does not turn the exit code.

    ``package`` and ``release`` are those that the report names, or globs (``old/*``). Without
    ``release`` it speaks of what lacks as a whole: a package, a list of channels; ``"*"`` of all.
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
            and fnmatchcase(hole.package or hole.what, self.package)
            and fnmatchcase(hole.release, self.release)
        )

    def holds(self, now: str) -> bool:
        """Whether it still counts at a time (ISO 8601, UTC)."""
        return not self.until or now[:10] <= self.until
