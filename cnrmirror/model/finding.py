"""What is wrong with one file: the one report of checks, audits, publishes and bundles."""

from __future__ import annotations

from typing import Literal

import msgspec

from cnrmirror.model.errors import (
    AccessDenied,
    CnrMirrorError,
    IncompleteError,
    NetworkError,
    StaleError,
)

# missing: it must be there, and is not. wrong: it is not what it must be; the reason says how.
# extra: it does not belong there. stale: signed well, but expired.
# network: it cannot be had now. unused: good by itself, and nothing refers to it. unfinished: of a
# revision that a publish was to bring, and is not signed.
Problem = Literal["missing", "wrong", "extra", "stale", "network", "unused", "unfinished"]

OTHER_SIZE = "of another size"
OTHER_BYTES = "of other bytes"
NOT_REFERRED_TO = "nothing refers to it"


class Finding(msgspec.Struct, frozen=True, order=True):
    """One file that is not as it must be.

    ``path`` is relative to the site, or the key at a destination, or the name of a bundle's volume.
    ``reason`` is for people: no program has to read it.
    """

    path: str
    problem: Problem
    reason: str = ""

    @property
    def line(self) -> str:
        """As it is printed where people read, and in a pipe."""
        return f"{self.problem}\t{self.path}\t{self.reason}"

    @classmethod
    def of(cls, path: str, error: CnrMirrorError) -> Finding:
        """What the error of a read says of the file that was read."""
        return cls(path, problem_of(error), error.message)


def problem_of(error: CnrMirrorError) -> Problem:
    """How the error of a read is reported; what is no other problem is ``wrong``."""
    match error:
        case IncompleteError():
            return "missing"
        case NetworkError() | AccessDenied():
            return "network"
        case StaleError():
            return "stale"
        case _:
            return "wrong"
