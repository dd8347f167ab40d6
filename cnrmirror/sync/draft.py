"""What a run will leave of a source that has revisions, once its own revision is made."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from cnrmirror.model.digest import Descriptor
from cnrmirror.sources.base import Hole, Traced
from cnrmirror.sync.bring import Brought
from cnrmirror.sync.look import Asked, Looked, Run
from cnrmirror.sync.plan import Key, Plan, Rest, Rules
from cnrmirror.sync.settled import MOST, Settled


class Draft(msgspec.Struct, frozen=True):
    """What is known of a ``Settled`` before the run has made its revision.

    Args:
        theirs, terms: see ``Settled``.
        offered: releases by package, of what was looked at.
        wanted: those that the filter takes.
        rest: what was not looked at.
        concerned: the packages in which the source has a part.
        open: those that are open already.
    """

    theirs: Descriptor
    terms: str
    offered: Counter[str]
    wanted: Counter[str]
    rest: Rest
    concerned: frozenset[str]
    open: frozenset[str]


class Taken(msgspec.Struct, frozen=True):
    """What was done with a source.

    Args:
        decided: the plan.
        brought: the archives.
        channels: those that are its own from now on.
        owned: the releases that were from here before.
        contested: the packages of which an earlier source of the run gave something.
    """

    decided: Plan
    brought: Brought
    channels: Mapping[str, Sequence[str]]
    owned: Collection[Key]
    contested: Collection[str]

    @property
    def holes(self) -> Iterable[Hole]:
        return *self.decided.holes, *self.brought.holes


def drafted(run: Run, asked: Asked, looked: Looked, taken: Taken) -> Draft | None:
    """What is known of a source that was taken in; None: the next run must look at all of it."""
    listing = looked.listing
    theirs = asked.source.at if isinstance(asked.source, Traced) else None
    unread = {hole.package for hole in taken.holes}
    certain = listing.complete and listing.certain and "" not in unread
    if theirs is None or not certain or not _is_traceable(asked.rules):
        return None
    had, _ = looked.parted(asked.had)
    has, _ = looked.parted(taken.channels)
    offered = Counter(offer.package for offer in listing.offers)
    concerned = {*offered, *(key[0] for key in taken.owned), *had, *listing.tombstones}
    said = {action.package for action in taken.decided.actions if action.kind != "same"}
    return Draft(
        theirs,
        asked.terms(run),
        offered,
        Counter(key[0] for key in taken.decided.wanted),
        looked.rest,
        frozenset(concerned),
        frozenset(said | unread | _moved(had, has) | concerned.intersection(taken.contested)),
    )


def _is_traceable(rules: Rules) -> bool:
    """Whether it can be told by which names a source may call a package of a name here."""
    names = rules.names.items()
    return not any(up.endswith("/*") and not here.endswith("/*") for up, here in names)


def _moved(before: Mapping[str, Sequence[str]], after: Mapping[str, Sequence[str]]) -> set[str]:
    """The packages of which a source owns other channels than before."""
    names = before.keys() | after.keys()
    return {name for name in names if list(before.get(name, ())) != list(after.get(name, ()))}


def settle(
    drafts: Mapping[str, Draft], changed: Collection[str], ours: Descriptor, now: str
) -> dict[str, Settled]:
    """The marks of a run's sources, by name; none for a source that leaves too much open.

    Args:
        drafts: by the name of the source.
        changed: the packages that the run changed.
        ours: the mirror's catalog root after the run.
        now: the time of the run.
    """
    states = [(name, draft.theirs) for name, draft in sorted(drafts.items())]
    run = hashlib.sha256(msgspec.json.encode([now, ours, states])).hexdigest()
    found = {}
    for name, draft in drafts.items():
        still = draft.open | draft.concerned.intersection(changed)
        if len(still) <= MOST:
            found[name] = Settled(
                draft.theirs, ours, draft.terms, run,
                draft.rest.offered + _closed(draft.offered, still),
                draft.rest.wanted + _closed(draft.wanted, still),
                sorted(still),
            )  # fmt: skip
    return found


def _closed(counts: Counter[str], still: Collection[str]) -> int:
    return sum(number for package, number in counts.items() if package not in still)
