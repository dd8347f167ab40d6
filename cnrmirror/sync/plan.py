"""What a sync has to do about each release: pure decisions, no reading and no writing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from cnrmirror.model.collector import without_cycles
from cnrmirror.model.documents import PackageDocument, Release, Tombstone
from cnrmirror.model.names import is_release
from cnrmirror.sources.base import Hole, Listing, Offer
from cnrmirror.sources.filters import Filter, as_release
from cnrmirror.sources.listing import select
from cnrmirror.sync.why import Why, is_gone_upstream

Kind = Literal["fetch", "replace", "same", "frozen", "kept", "drop", "shadowed"]
Key = tuple[str, str, str]
PUSHED = "push"


class Rules(msgspec.Struct, frozen=True):
    """How one source is treated.

    ``deletes``: ``keep`` what is gone upstream, or ``follow`` and drop it. ``changes``: when a
    release has another digest than before, ``freeze`` (keep ours, say so), ``accept`` it, or
    ``fail``. ``max_shrink``: if a larger part than this is gone, nothing is dropped. ``parallel``:
    how many requests are made at a time.
    """

    deletes: Literal["keep", "follow"] = "keep"
    changes: Literal["freeze", "accept", "fail"] = "freeze"
    max_shrink: float = 0.3
    filter: Filter = Filter()
    names: dict[str, str] = {}
    parallel: int = 4


class Action(msgspec.Struct, frozen=True, order=True):
    """What is to be done about one release; ``reason`` is the text of ``why``."""

    package: str
    release: str
    media_type: str
    kind: Kind
    reason: str = ""
    size: int = 0
    why: Why = Why.NOTHING_TO_SAY

    @property
    def key(self) -> Key:
        return self.package, self.release, self.media_type


class Rest(msgspec.Struct, frozen=True):
    """What was not looked at again, in numbers: all that is wanted of it is here as it is offered.

    ``offered`` releases the source has in it, ``wanted`` of them the filter takes, and ``ours``
    are in the mirror from this source.
    """

    offered: int = 0
    wanted: int = 0
    ours: int = 0


class Situation(msgspec.Struct, frozen=True):
    """All that a plan depends on.

    Args:
        source: the name of the source.
        rules: how it is treated.
        listing: what it has, under the names that its packages have here.
        documents: the mirror's, of every package that is offered or was taken from here.
        ours: the releases that the mirror has from this source.
        taken: those that an earlier source has given in this run.
        same_filter: whether the last run had the same filter: then what it leaves out now that it
            did not then is the upstream's doing.
        keep: what the filter leaves out stays.
        rest: what ``listing`` and ``ours`` leave out, for neither side changed it.
    """

    source: str
    rules: Rules
    listing: Listing
    documents: Mapping[str, PackageDocument]
    ours: Collection[Key]
    taken: Collection[Key]
    same_filter: bool
    keep: bool
    rest: Rest = Rest()


class Plan(msgspec.Struct, frozen=True):
    """What one source comes to.

    ``shrunk``: so much is gone that nothing was dropped. ``ours``: how many releases are from here.
    ``rest`` was not looked at; ``ours`` counts it.
    """

    source: str
    wanted: dict[Key, Offer]
    actions: list[Action]
    holes: list[Hole]
    shrunk: bool
    ours: int = 0
    rest: Rest = Rest()

    def of_kind(self, *kinds: Kind) -> list[Action]:
        return [action for action in self.actions if action.kind in kinds]

    def keeping(self, packages: Collection[str]) -> Plan:
        """The same, but nothing of these packages is dropped: what replaces it is not here yet."""

        def kept(action: Action) -> Action:
            if action.kind != "drop" or action.package not in packages:
                return action
            return msgspec.structs.replace(action, kind="kept")

        return msgspec.structs.replace(self, actions=sorted(map(kept, self.actions)))


@without_cycles()
def plan(situation: Situation) -> Plan:
    """What to do about each release that is wanted, and each that came from here before."""
    selected, doubtful = _once_each(select(situation.rules.filter, situation.listing))
    holes = [*situation.listing.holes, *doubtful]
    wanted: dict[Key, Offer] = {}
    actions: list[Action] = []
    for offer in selected:
        if offer.key in situation.taken:
            actions.append(_action(offer.key, "shadowed", Why.SHADOWED))
        else:
            wanted[offer.key] = offer
            actions.append(_about(situation, offer))
    left = _left(situation, wanted, holes)
    fate = _fate(situation, left, actions)
    actions += [_action(key, fate.of(why), why) for key, why in left.items()]
    found = Plan(
        situation.source, wanted, sorted(actions), sorted(set(holes)), fate.refused,
        len(situation.ours) + situation.rest.ours, situation.rest,
    )  # fmt: skip
    return found.keeping({hole.package for hole in (*doubtful, *_pending(situation, wanted))})


def _pending(situation: Situation, wanted: Mapping[Key, Offer]) -> Iterator[Hole]:
    """Holes that may be what a filter chooses of a package: what they push out stays for now."""
    rules = situation.rules.filter
    if not (rules.newest or rules.channels):
        return
    chosen: dict[str, set[str]] = {}
    for package, release, _ in wanted:
        chosen.setdefault(package, set()).add(release)
    for hole in situation.listing.holes:
        if not rules.names(hole.package):
            continue
        if not hole.release:
            yield hole
        elif is_release(hole.release):
            others = chosen.get(hole.package, set())
            if rules.channels or hole.release in rules.kept({*others, hole.release}, ()):
                yield hole


def _action(key: Key, kind: Kind, why: Why, *facts: str, size: int = 0) -> Action:
    return Action(*key, kind, why.text(*facts), size, why)


# -- what is offered no more, or not wanted -------------------------------------------------------


def _left(situation: Situation, wanted: Collection[Key], holes: Iterable[Hole]) -> dict[Key, Why]:
    """What came from here before and is not wanted now, and why it is not."""
    offered = {offer.key for offer in situation.listing.offers}
    # What went bad may have been the release that it looks like.
    unread = {(hole.package, as_release(hole.release) or hole.release) for hole in holes}
    certain = situation.listing.certain and ("", "") not in unread
    rules = situation.rules.filter

    def why(key: Key) -> Why:
        package, release, media_type = key
        if not (rules.names(package) and rules.takes_type(media_type)
                and rules.takes_release(release)):  # fmt: skip
            return Why.FILTERED
        if not certain or unread & {(package, ""), (package, release)}:
            return Why.UNREAD
        return Why.FILTERED if key in offered else Why.GONE_UPSTREAM

    others = (k for k in situation.ours if k not in wanted and k not in situation.taken)
    return {key: why(key) for key in others}


class _Fate(msgspec.Struct, frozen=True):
    """Which reasons drop a release; ``shrunk``: too much is gone for any to be dropped."""

    dropping: frozenset[Why]
    shrunk: bool
    refused: bool

    def of(self, why: Why) -> Literal["drop", "kept"]:
        return "drop" if why in self.dropping and not self.shrunk else "kept"


def _fate(situation: Situation, left: Mapping[Key, Why], actions: Iterable[Action]) -> _Fate:
    rules = situation.rules
    reasons = set()
    if rules.deletes == "follow":
        reasons.add(Why.GONE_UPSTREAM)
    if not situation.keep:
        reasons.add(Why.FILTERED)
    filtered = [key for key, why in left.items() if why is Why.FILTERED]
    lost = list(left.values()).count(Why.GONE_UPSTREAM)
    if situation.same_filter:
        lost += _unreplaced(filtered, actions)
    offered = len(situation.listing.offers) + situation.rest.offered
    nothing = not offered and any(why is not Why.FILTERED for why in left.values())
    ours = len(situation.ours) + situation.rest.ours
    shrunk = ours > 0 and (nothing or lost > rules.max_shrink * ours)
    would_drop = any(why in reasons for why in left.values())
    return _Fate(frozenset(reasons), shrunk, shrunk and (would_drop or nothing))


def _unreplaced(filtered: Iterable[Key], actions: Iterable[Action]) -> int:
    """How many of these go without a new release of their package in their place.

    With ``newest: 1``, or a channel that moves on, each new release pushes an old one out.
    """
    new = Counter(action.package for action in actions if action.kind == "fetch")
    old = Counter(key[0] for key in filtered)
    return (old - new).total()


# -- what is offered ------------------------------------------------------------------------------


def _once_each(offers: Iterable[Offer]) -> tuple[list[Offer], list[Hole]]:
    """One offer of each release; where a source says two things of one, it is a hole."""
    by_key: dict[Key, list[Offer]] = {}
    for offer in offers:
        by_key.setdefault(offer.key, []).append(offer)
    chosen, holes = [], []
    for key, found in by_key.items():
        contents = {(o.digest, o.blob_digest) for o in found}
        if len(contents) == 1:
            chosen.append(found[0])
            continue
        names = ", ".join(
            sorted({f"{o.upstream} {(o.digest or o.blob_digest)[:12]}" for o in found})
        )
        reason = f"offered {len(found)} times, with other content: {names}"
        holes.append(Hole.of_release(key[0], key[1], reason))
    return chosen, holes


def _about(situation: Situation, offer: Offer) -> Action:
    """The decision about one release that is offered."""
    document = situation.documents.get(offer.package)
    old = document.find(offer.release, offer.media_type) if document else None
    if old is None:
        return _about_new(situation.rules, offer, _stone(document, offer))
    if _same(offer, old):
        more = [a for a in offer.attachments if a not in old.attachments]
        if more and old.origin == situation.source:
            return _action(offer.key, "fetch", Why.ATTACHED, size=offer.size)
        return _action(offer.key, "same", Why.NOTHING_TO_SAY)
    return _about_changed(situation, offer, old)


def _about_changed(situation: Situation, offer: Offer, old: Release) -> Action:
    other, had = offer.digest or offer.blob_digest, old.content.digest
    foreign, policy = old.origin != situation.source, situation.rules.changes
    if old.origin == PUSHED:
        return _action(offer.key, "frozen", Why.PUSHED_HERE, other)
    if situation.rules.changes == "accept":
        why = Why.HAD_FROM_OTHER if foreign else Why.HAD
        return _action(offer.key, "replace", why, had, old.origin, size=offer.size)
    if foreign:
        return _action(offer.key, "frozen", Why.CHANGED_BY_OTHER, old.origin, had, policy)
    return _action(offer.key, "frozen", Why.CHANGED, other, policy)


def _same(offer: Offer, old: Release) -> bool:
    if offer.digest:
        return offer.digest == old.content.digest
    return not offer.blob_digest or old.blob.digest in offer.blob_digests


def _stone(document: PackageDocument | None, offer: Offer) -> Tombstone | None:
    stones = document.tombstones if document else []
    found = [t for t in stones if (t.release, t.media_type) == (offer.release, offer.media_type)]
    return found[0] if found else None


def _about_new(rules: Rules, offer: Offer, stone: Tombstone | None) -> Action:
    if stone is None:
        return _action(offer.key, "fetch", Why.NOTHING_TO_SAY, size=offer.size)
    if not is_gone_upstream(stone):
        return _action(offer.key, "kept", Why.REMOVED_HERE, stone.removed_at, stone.reason)
    if offer.digest and stone.digest != offer.digest and rules.changes != "accept":
        return _action(offer.key, "frozen", Why.BACK_CHANGED, offer.digest, rules.changes)
    return _action(offer.key, "fetch", Why.BACK, size=offer.size)
