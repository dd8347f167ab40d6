"""What an audit is asked, and what it answers."""

from __future__ import annotations

from datetime import datetime

import msgspec

from cnrmirror.model.errors import CnrMirrorError
from cnrmirror.model.finding import Finding
from cnrmirror.model.signed import TIMESTAMP
from cnrmirror.trust.verify import Policy

_EXIT = {
    "wrong": 9, "extra": 9, "stale": 10, "missing": 11, "network": 12, "unused": 19,
    "unfinished": 19,
}  # fmt: skip


class Order(msgspec.Struct, frozen=True):
    """What is to be audited.

    ``now`` is the time at which metadata must be good. ``sample``: only so many packages, chosen at
    random (``seed``). ``strict``: also that metadata has its one form, that all that is retained is
    whole, and (in a folder) that there is no file to which nothing refers. ``views``: compare the
    answers of the registry's API with what the catalog says.
    """

    policy: Policy
    now: datetime
    sample: int | None = None
    strict: bool = False
    views: bool = True
    seed: int | None = None


class Audit(msgspec.Struct, frozen=True):
    """What an audit saw; ``complete`` is False for a sample, or if a part could not be read."""

    source: str
    revision: int
    catalog: str
    expires: str
    fresh: bool
    complete: bool
    packages: int
    releases: int
    blobs: int
    views: int
    findings: list[Finding]
    notes: list[str]

    @property
    def exit_code(self) -> int:
        """0 if all is well, else that of the gravest finding: docs/exit-codes.md."""
        return min((_EXIT[f.problem] for f in self.findings), default=0)


def failed(source: str, error: CnrMirrorError) -> Audit:
    """The report of an audit that could not even begin."""
    finding = Finding.of(TIMESTAMP, error)
    return Audit(source, -1, "", "", False, False, 0, 0, 0, 0, [finding], [])
