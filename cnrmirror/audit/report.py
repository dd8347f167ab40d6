"""What an audit is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from cnrmirror import __version__
from cnrmirror.model.digest import Digest, Size
from cnrmirror.model.errors import CnrMirrorError
from cnrmirror.model.evidence import Checked, SignedFile, Unchecked
from cnrmirror.model.finding import Finding
from cnrmirror.model.format import FIRST, Format
from cnrmirror.model.instant import Instant
from cnrmirror.trust.chain import read_role
from cnrmirror.trust.memory import HighWater
from cnrmirror.trust.verify import Policy

CONTRADICTION = 9
"""The exit code for two stories of one registry."""
_EXIT = {
    "wrong": 9, "extra": 9, "stale": 10, "missing": 11, "network": 12, "unused": 19,
    "unfinished": 19,
}  # fmt: skip

NoDigest = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")]
"""A sha256 in hex digits, or nothing."""
Number = Annotated[int, msgspec.Meta(ge=-1, lt=2**53)]
"""The number of a revision; -1 where there is none."""


class Order(msgspec.Struct, frozen=True):
    """What is to be audited.

    ``now`` is the time at which metadata must be good. ``sample``: only so many packages, chosen at
    random (``seed``). ``strict``: also that metadata has its one form, that all that is retained is
    whole, and (in a folder) that there is no file to which nothing refers. ``views``: compare the
    answers of the registry's API with what the catalog says. ``templates``: the mirror's own ones
    of its pages, by file name; without them such pages are not compared. ``pages``: compare them.
    """

    policy: Policy
    now: datetime
    sample: int | None = None
    strict: bool = False
    views: bool = True
    seed: int | None = None
    templates: Mapping[str, str] = {}
    pages: bool = False

    @property
    def began(self) -> str:
        """What the clock says, ISO 8601, UTC."""
        return str(Instant.of(self.now))

    @property
    def time(self) -> str:
        """The moment for which the metadata must be good."""
        return str(Instant.of(self.policy.at or self.now))


class Asked(msgspec.Struct, frozen=True):
    """An order as a report says it: ``at`` is the moment to verify for, if one was chosen."""

    strict: bool
    sample: int | None
    seed: int | None
    views: bool
    at: str | None
    allow_expired_seconds: int
    expect: str | None

    @classmethod
    def of(cls, order: Order) -> Asked:
        """What was ordered."""
        policy = order.policy
        return cls(
            order.strict, order.sample, order.seed if order.sample is not None else None,
            order.views, str(Instant.of(policy.at)) if policy.at else None,
            int(policy.allow_expired.total_seconds()), policy.expect,
        )  # fmt: skip


class Keys(msgspec.Struct, frozen=True):
    """The ids of the keys that may sign timestamps and revisions; None: not known."""

    timestamp: list[str] | None
    catalog: list[str] | None


class Contradiction(msgspec.Struct, frozen=True):
    """Two contents of what has one: a revision, or a signed file of one version.

    ``first`` and ``second`` are the digests of both: of catalog roots, else of what is signed in
    the files. ``number`` is the revision or version.
    """

    what: Literal["registry", "revision", "timestamp", "snapshot", "catalog", "targets", "root"]
    number: Number
    first: str
    second: str
    reason: str


class Comparison(msgspec.Struct, frozen=True):
    """What another mirror of the same registry tells.

    ``place`` and ``revision`` are the other's; ``agreed`` is the newest revision of both that is
    the same, -1 if none was found. ``notes`` say what could not be told.
    """

    place: str
    revision: Number = -1
    catalog: NoDigest = ""
    agreed: Number = -1
    contradictions: list[Contradiction] = []
    notes: list[str] = []
    error: str = ""
    error_code: int = 0

    @property
    def exit_code(self) -> int:
        """9 for a contradiction, else that of the error; 0 if both tell one story."""
        return CONTRADICTION if self.contradictions else self.error_code


class Against(msgspec.Struct, frozen=True):
    """What became of the mirror that a kept report speaks of.

    ``sha256`` is the digest of the kept report, ``revision`` and ``catalog`` are what it says.
    ``relation``: ``same`` (nothing was signed since, or only the time), ``later`` (the old revision
    is in the new one's history), ``untold`` (``notes`` say why), ``contradiction``.
    """

    sha256: Digest
    revision: Number
    catalog: NoDigest
    relation: Literal["same", "later", "untold", "contradiction"]
    contradictions: list[Contradiction] = []
    notes: list[str] = []

    @property
    def exit_code(self) -> int:
        """9 for a contradiction, else 0."""
        return CONTRADICTION if self.contradictions else 0


class Audit(msgspec.Struct, frozen=True, tag_field="kind", tag="cnrmirror-audit", kw_only=True):
    """What an audit saw of one mirror; what it could not know is empty, null, 0 or -1.

    Args:
        source: the mirror.
        program: the version of cnrmirror that looked.
        began: when it began, by this machine's clock; all times are ISO 8601, UTC.
        ended: when it ended.
        time: the moment for which the metadata was verified.
        order: what was asked for.
        registry: the registry's id, by the newest root.
        pinned: the root that was trusted.
        root: the newest root that the mirror shows.
        timestamp: the timestamp that the mirror gave.
        targets: the version of the targets role.
        keys: who may sign.
        revision: the number of the revision.
        catalog: the digest of its catalog root.
        made: when the revision was made.
        expires: when the first of the roles that are signed online expires.
        fresh: whether the metadata is good by the clock, with nothing allowed.
        complete: whether every package of the revision was read.
        packages, releases, blobs, views: what most scripts ask of ``checked``.
        checked: how much was looked at.
        unchecked: what was not looked at.
        findings: what is wrong.
        notes: what is no fault, but is worth to be known.
        error: why the mirror could not be verified.
        error_code: the exit code of that.
        against: what became of the mirror of a kept report.
        compared: what other mirrors tell.
    """

    source: str
    program: str
    began: str
    ended: str = ""
    time: str
    order: Asked
    registry: str = ""
    pinned: SignedFile | None = None
    root: SignedFile | None = None
    timestamp: SignedFile | None = None
    targets: Size = 0
    keys: Keys = Keys(None, None)
    revision: Number = -1
    catalog: NoDigest = ""
    made: str = ""
    expires: str = ""
    fresh: bool = False
    complete: bool = False
    packages: Size = 0
    releases: Size = 0
    blobs: Size = 0
    views: Size = 0
    checked: Checked = Checked()
    unchecked: list[Unchecked] = []
    findings: list[Finding] = []
    notes: list[str] = []
    error: str = ""
    error_code: int = 0
    against: Against | None = None
    compared: list[Comparison] = []
    format: Format = FIRST

    @property
    def exit_code(self) -> int:
        """0 if all is well, else that of the gravest finding: docs/exit-codes.md."""
        return min((_EXIT[f.problem] for f in self.findings), default=self.error_code)

    def mark(self) -> HighWater | None:
        """What a reader would remember of the mirror; None if it was not verified."""
        if not (self.root and self.timestamp and self.catalog):
            return None
        return HighWater(
            self.root.version, self.targets, self.timestamp.version, self.revision, self.made,
            self.catalog, self.keys.timestamp, self.keys.catalog,
        )  # fmt: skip


def not_begun(source: str, pinned: bytes | None, order: Order, error: CnrMirrorError) -> Audit:
    """The report of an audit that could not even begin: the mirror was not asked for anything."""
    root = read_role(pinned, source).file if pinned is not None else None
    reason = "no root is known to verify the mirror with"
    return Audit(
        source=source, program=__version__, began=order.began, time=order.time,
        order=Asked.of(order), pinned=root,
        unchecked=[Unchecked("catalog", reason)],
        error=error.message, error_code=error.exit_code,
    )  # fmt: skip
