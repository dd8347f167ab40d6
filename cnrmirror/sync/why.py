"""Why a sync decides what it decides: values for the logic, texts for people."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from cnrmirror.model.documents import Release, Tombstone

UPSTREAM_GONE = "gone upstream"


class Why(StrEnum):
    """The reason of a decision about one release."""

    NOTHING_TO_SAY = ""
    SHADOWED = "shadowed"
    GONE_UPSTREAM = "gone-upstream"
    FILTERED = "filtered"
    UNREAD = "unread"
    REMOVED_HERE = "removed-here"
    BACK = "back"
    BACK_CHANGED = "back-changed"
    PUSHED_HERE = "pushed-here"
    CHANGED = "changed"
    CHANGED_BY_OTHER = "changed-by-other"
    ATTACHED = "attached"
    HAD = "had"
    HAD_FROM_OTHER = "had-from-other"

    def text(self, *facts: str) -> str:
        """The reason as people read it; ``facts`` fill the places of its text."""
        return _TEXTS[self].format(*facts)


_TEXTS = {
    Why.NOTHING_TO_SAY: "",
    Why.SHADOWED: "an earlier source has it",
    Why.GONE_UPSTREAM: UPSTREAM_GONE,
    Why.FILTERED: "left out by the filter",
    Why.UNREAD: "upstream's release could not be read",
    Why.REMOVED_HERE: "removed here on {}: {}",
    Why.BACK: "it is back upstream",
    Why.BACK_CHANGED: "it is back upstream with digest {}, and stays removed here (changes: {})",
    Why.PUSHED_HERE: "it was pushed here; upstream has {}",
    Why.CHANGED: "upstream has {} now; ours is kept (changes: {})",
    Why.CHANGED_BY_OTHER: "{} had {}, which is kept (changes: {})",
    Why.ATTACHED: "upstream has more attachments now",
    Why.HAD: "it had {}",
    Why.HAD_FROM_OTHER: "it had {} from {}",
}


def gone_stones(releases: Iterable[Release], now: str) -> list[Tombstone]:
    """The tombstones of releases that their upstream has not any more."""
    return [Tombstone(*r.key, r.content.digest, now, UPSTREAM_GONE) for r in releases]


def is_gone_upstream(stone: Tombstone) -> bool:
    """Whether a release left because its upstream had it no more: nobody here decided it."""
    return stone.reason == UPSTREAM_GONE
