"""What a run leaves of a source that has revisions, so that the next one looks only at changes.

A plan decides about a package by what the source and the mirror have of it, by the rules, and by
the channels that the source gave before. Where all of that is as it was when a run came to "it is
here as it is offered", and changed nothing, the next run comes to the same: such a package is
closed. All others are open: they are looked at again, whatever happened.
"""

from __future__ import annotations

import hashlib

import msgspec

from cnrmirror import __version__
from cnrmirror.model.digest import Descriptor
from cnrmirror.sync.plan import Rules

MOST = 10_000
"""So many packages are looked at one by one; where there are more, all are."""


class Settled(msgspec.Struct, frozen=True):
    """Where a run left a source and the mirror.

    Args:
        theirs: the source's catalog root that was looked at.
        ours: the mirror's at the end of the run.
        terms: the fingerprint of all else that the result depends on.
        run: what is the same in the marks of all sources of one run.
        offered: the releases that the source has in closed packages.
        wanted: those of them that the filter takes: all are here as they are offered.
        open: the packages that are looked at again.
    """

    theirs: Descriptor
    ours: Descriptor
    terms: str
    run: str
    offered: int
    wanted: int
    open: list[str]


def terms_of(rules: Rules, settings: object, keep: bool) -> str:
    """The fingerprint of what the result of a run depends on besides the two catalogs.

    Args:
        rules: how the source is treated.
        settings: what mirror.yaml says of it.
        keep: whether what a tightened filter leaves out stays.
    """
    data = msgspec.json.encode([rules, settings, keep, __version__])
    return hashlib.sha256(data).hexdigest()
