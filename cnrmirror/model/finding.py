"""What a check found wrong with one file: the one report of all checks and audits."""

from __future__ import annotations

from typing import Literal

import msgspec

from cnrmirror.model.errors import CnrMirrorError, IncompleteError, NetworkError

Problem = Literal["missing", "tampered", "extra", "stale", "network"]


class Finding(msgspec.Struct, frozen=True, order=True):
    """One file that is not as it must be."""

    path: str
    problem: Problem
    reason: str = ""


def problem_of(error: CnrMirrorError) -> Problem:
    """How an error of a fetch is reported."""
    if isinstance(error, IncompleteError):
        return "missing"
    return "network" if isinstance(error, NetworkError) else "tampered"
