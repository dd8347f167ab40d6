"""What a sync has to do about each release: pure decisions, no reading and no writing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import msgspec

from cnrmirror.model.documents import PackageDocument, Release, Tombstone
from cnrmirror.sources.base import Hole, Listing, Offer
from cnrmirror.sources.filters import Filter

Kind = Literal["fetch", "replace", "same", "frozen", "kept", "drop", "shadowed"]
Key = tuple[str, str, str]
UPSTREAM_GONE = "gone upstream"
PUSHED = "push"


class Rules(msgspec.Struct, frozen=True):
    """How one source is treated.

    ``deletes``: ``keep`` what is gone upstream, or ``follow`` and drop it. ``changes``: when a
    release has another digest than before, ``freeze`` (keep ours, say so), ``accept`` it, or
    ``fail``. ``max_shrink``: if a larger part than this is gone, nothing is dropped.
    """

    deletes: Literal["keep", "follow"] = "keep"
    changes: Literal["freeze", "accept", "fail"] = "freeze"
    max_shrink: float = 0.3
    filter: Filter = Filter()
    names: dict[str, str] = {}


class Action(msgspec.Struct, frozen=True, order=True):
    """What is to be done about one release."""

    package: str
    release: str
    media_type: str
    kind: Kind
    reason: str = ""
    size: int = 0

    @property
    def key(self) -> Key:
        return self.package, self.release, self.media_type


class Plan(msgspec.Struct, frozen=True):
    """What one source comes to; ``shrunk``: so much is gone that nothing was dropped."""

    source: str
    wanted: dict[Key, Offer]
    actions: list[Action]
    holes: list[Hole]
    shrunk: bool

    def of_kind(self, *kinds: Kind) -> list[Action]:
        return [action for action in self.actions if action.kind in kinds]

    def keeping(self, packages: Collection[str]) -> Plan:
        """The same, but nothing of these packages is dropped: what replaces it is not here yet."""

        def kept(action: Action) -> Action:
            if action.kind != "drop" or action.package not in packages:
                return action
            return msgspec.structs.replace(action, kind="kept")

        return msgspec.structs.replace(self, actions=sorted(map(kept, self.actions)))


def plan(
    source: str,
    rules: Rules,
    listing: Listing,
    documents: Mapping[str, PackageDocument],
    ours: Collection[Key],
    taken: Collection[Key],
    same_filter: bool,
    keep: bool,
) -> Plan:
    """What to do about each release that is wanted, and each that came from here before.

    Args:
        documents: the mirror's, of every package that is offered or was taken from here.
        ours: the releases that the mirror has from this source.
        taken: those that an earlier source has given in this run.
        same_filter: whether the last run had the same filter: then what it leaves out now that it
            did not then is the upstream's doing.
        keep: what the filter leaves out stays.
    """
    selected, doubtful = _once_each(rules.filter.select(listing))
    holes = [*listing.holes, *doubtful]
    wanted: dict[Key, Offer] = {}
    actions: list[Action] = []
    for offer in selected:
        if offer.key in taken:
            actions.append(Action(*offer.key, "shadowed", "an earlier source has it"))
            continue
        wanted[offer.key] = offer
        actions.append(_about(source, rules, offer, documents.get(offer.package)))
    offered = {offer.key for offer in listing.offers}
    unread = {hole.package for hole in holes}
    left = [key for key in ours if key not in wanted and key not in taken]
    certain = listing.complete and "" not in unread
    gone = {k for k in left if certain and k[0] not in unread and k not in offered}
    filtered = {k for k in left if certain and k[0] not in unread and k in offered}
    lost = len(gone) + (_unreplaced(filtered, actions) if same_filter else 0)
    shrunk = bool(ours) and (not listing.offers or lost > rules.max_shrink * len(ours))
    to_drop = (gone if rules.deletes == "follow" else set()) | (set() if keep else filtered)
    for key in left:
        reason = "what is upstream could not be read"
        if key in filtered:
            reason = "left out by the filter"
        elif key in gone:
            reason = UPSTREAM_GONE
        drop = key in to_drop and not shrunk
        actions.append(Action(*key, "drop" if drop else "kept", reason))
    refused = shrunk and bool(to_drop or not listing.offers)
    return Plan(source, wanted, sorted(actions), sorted(set(holes)), refused)


def _unreplaced(filtered: Collection[Key], actions: Iterable[Action]) -> int:
    """How many of these go without a new release of their package in their place.

    With ``newest: 1``, or a channel that moves on, each new release pushes an old one out.
    """
    new = Counter(action.package for action in actions if action.kind == "fetch")
    old = Counter(key[0] for key in filtered)
    return (old - new).total()


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
        what = f"{key[0]}@{key[1]}"
        holes.append(Hole(what, f"offered {len(found)} times, with other content: {names}", key[0]))
    return chosen, holes


def _about(source: str, rules: Rules, offer: Offer, document: PackageDocument | None) -> Action:
    """The decision about one release that is offered."""
    size = offer.size
    old = document.find(offer.release, offer.media_type) if document else None
    if old is None:
        return _about_new(rules, offer, _stone(document, offer))
    if _same(offer, old):
        return Action(*offer.key, "same")
    other = offer.digest or offer.blob_digest
    if old.origin == PUSHED:
        return Action(*offer.key, "frozen", f"it was pushed here; upstream has {other}")
    if rules.changes == "accept":
        reason = f"it had {old.content.digest}"
        if old.origin != source:
            reason += f" from {old.origin}"
        return Action(*offer.key, "replace", reason, size)
    if old.origin != source:
        return Action(*offer.key, "frozen", f"{old.origin} gave {old.content.digest}")
    return Action(*offer.key, "frozen", f"upstream has {other} now")


def _same(offer: Offer, old: Release) -> bool:
    if offer.digest:
        return offer.digest == old.content.digest
    return not offer.blob_digest or offer.blob_digest == old.blob.digest


def _stone(document: PackageDocument | None, offer: Offer) -> Tombstone | None:
    stones = document.tombstones if document else []
    found = [t for t in stones if (t.release, t.media_type) == (offer.release, offer.media_type)]
    return found[0] if found else None


def _about_new(rules: Rules, offer: Offer, stone: Tombstone | None) -> Action:
    if stone is None:
        return Action(*offer.key, "fetch", "", offer.size)
    if stone.reason != UPSTREAM_GONE:
        return Action(*offer.key, "kept", f"removed here on {stone.removed_at}: {stone.reason}")
    if offer.digest and stone.digest != offer.digest and rules.changes != "accept":
        return Action(*offer.key, "frozen", f"it is back with digest {offer.digest}")
    return Action(*offer.key, "fetch", "it is back", offer.size)
