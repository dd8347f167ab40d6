"""What a sync decides about each release, without a source and without a mirror."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Channel, Content, PackageDocument, Release, Tombstone
from cnrmirror.sources.base import Hole, Listing, Offer
from cnrmirror.sources.filters import Filter, Wanted
from cnrmirror.sources.listing import mapped
from cnrmirror.sync.plan import Action, Plan, Rest, Rules, Situation, plan
from cnrmirror.sync.why import UPSTREAM_GONE, Why
from tests.conftest import NOW

MANIFEST = "application/vnd.appr.package-manifest.helm.v0.json"
FOLLOW = Rules(deletes="follow")


def digest(text: str) -> str:
    return Descriptor.of(text.encode()).digest


def offer(package: str, release: str = "1.0.0", text: str = "", **changes: Any) -> Offer:
    fields: dict[str, Any] = {"digest": digest(f"{package} {release} {text}"), "size": 9, **changes}
    return Offer(package, release, "helm", NOW, MANIFEST, place="", **fields)


def listed(*offers: Offer, **fields: Any) -> Listing:
    return Listing(list(offers), fields.pop("channels", {}), fields.pop("holes", []), [], **fields)


def held(*offers: Offer, origin: str = "up") -> dict[str, PackageDocument]:
    """The mirror's documents, with these releases."""
    found: dict[str, PackageDocument] = {}
    for o in offers:
        blob = Descriptor(o.blob_digest or o.digest, 9)
        release = Release(o.release, "helm", NOW, MANIFEST, Content(o.digest, "x", 9), blob,
                          origin=origin)  # fmt: skip
        before = found[o.package].releases if o.package in found else []
        found[o.package] = PackageDocument(o.package, [*before, release])
    return found


def planned(rules: Rules, listing: Listing, *had: Offer, **options: Any) -> Plan:
    documents = options.pop("documents", None) or held(*had)
    return plan(Situation(
        "up", rules, listing, documents, [o.key for o in had], options.get("taken", ()),
        options.get("same_filter", True), options.get("keep", False), options.get("rest", Rest()),
    ))  # fmt: skip


def kinds(found: Plan) -> dict[str, str]:
    return {f"{a.package}@{a.release}": a.kind for a in found.actions}


TEN = [offer(f"ns/p{n}") for n in range(10)]


def test_what_is_new_is_fetched_and_what_is_there_stays() -> None:
    found = planned(Rules(), listed(*TEN), *TEN[:9])
    assert [a.package for a in found.of_kind("fetch")] == ["ns/p9"]
    assert len(found.of_kind("same")) == 9 and not found.shrunk


def test_what_is_gone_is_kept_or_dropped_as_the_rules_say() -> None:
    assert kinds(planned(Rules(), listed(*TEN[1:]), *TEN))["ns/p0@1.0.0"] == "kept"
    (action,) = planned(FOLLOW, listed(*TEN[1:]), *TEN).of_kind("drop")
    assert (action.package, action.reason) == ("ns/p0", UPSTREAM_GONE)


@pytest.mark.parametrize("max_shrink", [0.0, 0.3, 1.0])
def test_an_empty_listing_drops_nothing_whatever_the_limit(max_shrink: float) -> None:
    rules = Rules(deletes="follow", max_shrink=max_shrink)
    found = planned(rules, listed(), *TEN)
    assert found.of_kind("drop") == [] and found.shrunk


@pytest.mark.parametrize(("left", "dropped"), [(7, 3), (6, 0)])
def test_more_than_the_limit_is_not_dropped(left: int, dropped: int) -> None:
    found = planned(FOLLOW, listed(*TEN[:left]), *TEN)
    assert len(found.of_kind("drop")) == dropped and found.shrunk == (dropped == 0)


TIGHT = Rules(deletes="follow", filter=Filter(exclude=["ns/p1"]), max_shrink=1)


@pytest.mark.parametrize(
    "unsure", [{"certain": False}, {"holes": [Hole("entry 7", "unreadable")]}]
)  # fmt: skip
def test_where_more_may_be_there_only_what_is_excluded_is_dropped(unsure: dict[str, Any]) -> None:
    found = planned(TIGHT, listed(*TEN[2:], **unsure), *TEN, same_filter=False)
    assert [a.package for a in found.of_kind("drop")] == ["ns/p1"] and not found.shrunk


def test_what_is_excluded_is_not_gone_though_nobody_asked_for_it() -> None:
    found = planned(TIGHT, listed(*TEN[2:]), *TEN, same_filter=False)
    whys = {a.package: a.why for a in found.of_kind("drop")}
    assert whys == {"ns/p0": Why.GONE_UPSTREAM, "ns/p1": Why.FILTERED}


def test_a_release_that_cannot_be_read_saves_itself_and_no_other() -> None:
    three = [offer("ns/a", f"1.{minor}.0") for minor in range(3)]
    holes = [Hole.of_release("ns/a", "0.4", "no version"),
             Hole.of_release("ns/a", "1.1.0", "500")]  # fmt: skip
    rules = Rules(deletes="follow", max_shrink=1)
    found = planned(rules, listed(three[2], holes=holes), *three)
    assert kinds(found) == {"ns/a@1.0.0": "drop", "ns/a@1.1.0": "kept", "ns/a@1.2.0": "same"}


def test_a_hole_of_a_package_saves_that_package_only() -> None:
    listing = listed(*TEN[2:], holes=[Hole("ns/p0", "500", "ns/p0")])
    found = planned(FOLLOW, listing, *TEN)
    assert [a.package for a in found.of_kind("drop")] == ["ns/p1"]


def test_a_channel_filter_drops_nothing_where_channels_could_not_be_read() -> None:
    rules = Rules(filter=Filter(channels=["stable"]), max_shrink=1)
    stable = {o.package: [Channel("stable", "1.0.0", ["1.0.0"])] for o in TEN[1:]}
    unread = Hole("ns/p0 (channels)", "500", "ns/p0")
    found = planned(rules, listed(*TEN, channels=stable, holes=[unread]), *TEN)
    assert found.of_kind("drop") == [] and kinds(found)["ns/p0@1.0.0"] == "kept"
    certain = planned(rules, listed(*TEN, channels=stable), *TEN)
    assert [a.package for a in certain.of_kind("drop")] == ["ns/p0"]


def test_what_a_filter_leaves_out_is_shrinkage_unless_the_filter_changed() -> None:
    rules = Rules(filter=Filter(packages=["ns/p0"]))
    listing = listed(*TEN)
    as_before = planned(rules, listing, *TEN, same_filter=True)
    assert as_before.shrunk and as_before.of_kind("drop") == []
    changed = planned(rules, listing, *TEN, same_filter=False)
    assert not changed.shrunk and len(changed.of_kind("drop")) == 9


def test_what_a_filter_leaves_out_can_be_kept() -> None:
    rules = Rules(filter=Filter(packages=["ns/p0"]), deletes="follow")
    found = planned(rules, listed(*TEN[:9]), *TEN, same_filter=False, keep=True)
    assert found.of_kind("drop") == []
    by_newest = Rules(filter=Filter(newest=1), deletes="follow")
    found = planned(by_newest, listed(*TEN[:9]), *TEN, same_filter=False, keep=True)
    assert [a.package for a in found.of_kind("drop")] == ["ns/p9"]  # gone, and not filtered


def test_newer_releases_in_the_place_of_older_ones_are_no_shrinkage() -> None:
    rules = Rules(filter=Filter(newest=1))
    newer = [offer(o.package, "2.0.0") for o in TEN]
    found = planned(rules, listed(*TEN, *newer), *TEN)
    assert not found.shrunk
    assert (len(found.of_kind("fetch")), len(found.of_kind("drop"))) == (10, 10)


def test_one_release_offered_with_two_contents_is_a_hole_and_drops_nothing() -> None:
    twice = [offer("ns/p0"), offer("ns/p0", text="else")]
    found = planned(FOLLOW, listed(*TEN[1:], *twice), *TEN)
    assert [hole.package for hole in found.holes] == ["ns/p0"]
    assert kinds(found)["ns/p0@1.0.0"] == "kept"
    same = planned(FOLLOW, listed(*TEN, TEN[0]), *TEN)
    assert same.holes == [] and len(same.of_kind("same")) == 10


def test_two_names_mapped_to_one_with_other_contents_are_a_hole() -> None:
    listing = mapped(
        listed(offer("a/x"), offer("b/x")), Wanted(names={"a/*": "ns/*", "b/*": "ns/*"})
    )
    found = planned(Rules(), listing)
    assert found.wanted == {} and [hole.package for hole in found.holes] == ["ns/x"]


def test_what_an_earlier_source_gave_is_shadowed_and_never_dropped() -> None:
    found = planned(FOLLOW, listed(*TEN), *TEN, taken=[TEN[0].key])
    assert kinds(found)["ns/p0@1.0.0"] == "shadowed" and found.of_kind("drop") == []


@pytest.mark.parametrize(
    ("changes", "origin", "kind"),
    [("freeze", "up", "frozen"), ("accept", "up", "replace"), ("fail", "up", "frozen"),
     ("freeze", "other", "frozen"), ("accept", "other", "replace"),
     ("freeze", "push", "frozen"), ("accept", "push", "frozen")],
)  # fmt: skip
@pytest.mark.parametrize("by", ["digest", "blob_digest"])
def test_a_changed_release_is_treated_by_rule_and_origin(
    changes: Any, origin: str, kind: str, by: str
) -> None:
    if by == "digest":
        old, new = offer("ns/x"), offer("ns/x", text="changed")
    else:
        old = offer("ns/x", blob_digest=digest("old"))
        new = offer("ns/x", digest="", blob_digest=digest("new"))
    documents = held(old, origin=origin)
    found = planned(Rules(changes=changes), listed(new), documents=documents)
    assert kinds(found) == {"ns/x@1.0.0": kind}
    again = planned(Rules(changes=changes), listed(old), documents=documents)
    assert kinds(again) == {"ns/x@1.0.0": "same"}


@pytest.mark.parametrize(
    ("reason", "text", "changes", "kind"),
    [("bad", "", "accept", "kept"), (UPSTREAM_GONE, "", "freeze", "fetch"),
     (UPSTREAM_GONE, "else", "freeze", "frozen"), (UPSTREAM_GONE, "else", "accept", "fetch")],
)  # fmt: skip
def test_what_was_removed_comes_back_only_if_the_upstream_had_taken_it(
    reason: str, text: str, changes: Any, kind: str
) -> None:
    stone = Tombstone("1.0.0", "helm", offer("ns/x").digest, NOW, reason)
    documents = {"ns/x": PackageDocument("ns/x", [], [], [stone])}
    found = planned(Rules(changes=changes), listed(offer("ns/x", text=text)), documents=documents)
    assert kinds(found) == {"ns/x@1.0.0": kind}


def test_every_reason_has_a_text_and_a_report_carries_both() -> None:
    assert all(isinstance(why.text("a", "b", "c"), str) for why in Why)
    (action,) = planned(FOLLOW, listed(*TEN[1:]), *TEN).of_kind("drop")
    assert (action.why, action.reason) == (Why.GONE_UPSTREAM, Why.GONE_UPSTREAM.text())
    read = msgspec.json.decode(msgspec.json.encode(action), type=Action)
    assert read == action and b'"why":"gone-upstream"' in msgspec.json.encode(action)


@pytest.mark.parametrize("text", ["{}", "{0.__class__}", "%s"])
def test_a_reason_that_somebody_gave_is_told_as_it_is(text: str) -> None:
    stone = Tombstone("1.0.0", "helm", offer("ns/x").digest, NOW, text)
    documents = {"ns/x": PackageDocument("ns/x", [], [], [stone])}
    (action,) = planned(Rules(), listed(offer("ns/x")), documents=documents).actions
    assert (action.why, action.reason) == (Why.REMOVED_HERE, f"removed here on {NOW}: {text}")


@pytest.mark.parametrize(
    ("rules", "lost", "kept"),
    [(Filter(newest=1), "3.0.0", True), (Filter(newest=1), "0.1.0", False),
     (Filter(newest=1), "0.4", False), (Filter(newest=1), "", True),
     (Filter(channels=["stable"]), "0.1.0", True), (Filter(releases=">=2.0.0"), "3.0.0", False)],
)  # fmt: skip
def test_what_a_choice_pushes_out_stays_while_what_it_may_choose_cannot_be_read(
    rules: Filter, lost: str, kept: bool
) -> None:
    old, new = offer("ns/a", "1.0.0"), offer("ns/a", "2.0.0")
    hole = Hole.of_release("ns/a", lost, "500") if lost else Hole("ns/a:x", "500", "ns/a")
    stable = {"ns/a": [Channel("stable", "2.0.0", ["2.0.0"])]}
    listing = listed(old, new, channels=stable, holes=[hole])
    found = planned(Rules(filter=rules, max_shrink=1), listing, old, new)
    assert (kinds(found)["ns/a@1.0.0"] == "kept") is kept and found.ours == 2
    elsewhere = listed(old, new, channels=stable, holes=[Hole.of_release("ns/b", "3.0.0", "500")])
    found = planned(Rules(filter=rules, max_shrink=1), elsewhere, old, new)
    assert kinds(found)["ns/a@1.0.0"] == "drop"


def test_a_hole_keeps_the_release_that_it_looks_like() -> None:
    held_here = [offer("ns/a", "0.4.0"), offer("ns/a", "0.5.0")]
    listing = listed(offer("ns/b"), holes=[Hole.of_release("ns/a", "0.4", "no version")])
    found = planned(Rules(deletes="follow", max_shrink=1), listing, *held_here)
    assert {k: v for k, v in kinds(found).items() if "ns/a" in k} == {
        "ns/a@0.4.0": "kept", "ns/a@0.5.0": "drop",
    }  # fmt: skip


# -- what was not looked at again -----------------------------------------------------------------


def test_a_part_that_offers_nothing_is_no_source_that_offers_nothing() -> None:
    rest = Rest(offered=9, wanted=9, ours=9)
    found = planned(FOLLOW, listed(), TEN[0], rest=rest)
    assert kinds(found) == {"ns/p0@1.0.0": "drop"} and not found.shrunk
    assert found.rest == rest and found.ours == 10
    assert planned(FOLLOW, listed(), TEN[0], rest=Rest(ours=9)).shrunk
    assert not planned(FOLLOW, listed(), TEN[0], rest=Rest(offered=1, ours=9)).shrunk
    rest = Rest(offered=1, wanted=1, ours=8)
    assert not planned(FOLLOW, listed(TEN[1]), *TEN[:2], rest=rest).shrunk


@pytest.mark.parametrize("others", [6, 7])
def test_what_is_gone_is_held_against_all_that_is_ours(others: int) -> None:
    rest = Rest(offered=others, wanted=others, ours=others)
    found = planned(FOLLOW, listed(), *TEN[:3], rest=rest)
    assert found.shrunk is (others == 6)
    assert len(found.of_kind("kept" if others == 6 else "drop")) == 3


def test_a_mirror_that_has_nothing_of_a_part_but_of_the_rest_can_shrink() -> None:
    rules = msgspec.structs.replace(FOLLOW, max_shrink=0.0)
    assert planned(rules, listed(), TEN[0], rest=Rest(5, 5, 5)).shrunk
    assert not planned(rules, listed(), rest=Rest(5, 5, 5)).shrunk
