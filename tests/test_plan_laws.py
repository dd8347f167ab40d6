"""syncplan.py: what holds of every plan, and each decision with all that it says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnrmirror.model.documents import Attachment, PackageDocument, Tombstone
from cnrmirror.sources.base import Hole, Listing, Offer
from cnrmirror.sources.filters import Filter
from cnrmirror.sources.listing import select
from cnrmirror.sync.plan import Action, Plan, Rules, Situation, plan
from cnrmirror.sync.why import UPSTREAM_GONE, Why
from tests.conftest import NOW
from tests.test_syncplan import digest, held, kinds, listed, offer, planned

LAW = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
FOLLOW = Rules(deletes="follow")
PACKAGES = [f"ns/p{n}" for n in range(4)]
RELEASES = ["1.0.0", "2.0.0"]


class Case(msgspec.Struct, frozen=True):
    """All that a plan depends on; ``had`` is what the mirror has from this source."""

    rules: Rules
    listing: Listing
    had: list[Offer]
    taken: list[tuple[str, str, str]]
    same_filter: bool
    keep: bool

    def plan(self, **changes: Any) -> Plan:
        case = msgspec.structs.replace(self, **changes)
        return plan(
            Situation(
                "up",
                case.rules,
                case.listing,
                held(*case.had),
                [o.key for o in case.had],
                case.taken,
                case.same_filter,
                case.keep,
            )
        )


OFFERS = st.builds(
    offer, st.sampled_from(PACKAGES), st.sampled_from(RELEASES), st.sampled_from(["", "", "new"])
)
HAD = st.lists(
    st.builds(offer, st.sampled_from(PACKAGES), st.sampled_from(RELEASES)),
    unique_by=lambda o: o.key,
    max_size=8,
)
HOLES = st.builds(Hole, st.just("what"), st.just("500"), st.sampled_from([*PACKAGES, ""]))
FILTERS = st.builds(
    Filter,
    newest=st.sampled_from([0, 0, 1]),
    exclude=st.lists(st.sampled_from(PACKAGES), max_size=2),
)
RULES = st.builds(
    Rules,
    deletes=st.sampled_from(["keep", "follow"]),
    changes=st.sampled_from(["freeze", "accept", "fail"]),
    max_shrink=st.sampled_from([0.0, 0.3, 1.0]),
    filter=FILTERS,
)
LISTINGS = st.builds(
    Listing,
    offers=st.lists(OFFERS, max_size=10),
    channels=st.just({}),
    holes=st.lists(HOLES, max_size=2),
    notes=st.just([]),
    certain=st.sampled_from([True, True, True, False]),
)
CASES = st.builds(
    Case, RULES, LISTINGS, HAD,
    st.lists(OFFERS.map(lambda o: o.key), max_size=2), st.booleans(), st.booleans(),
)  # fmt: skip


@LAW
@given(CASES)
def test_there_is_one_decision_about_each_release_that_is_wanted_or_ours(case: Case) -> None:
    found = case.plan()
    keys = [action.key for action in found.actions]
    assert len(keys) == len(set(keys)) and found.actions == sorted(found.actions)
    ours = {o.key for o in case.had}
    chosen = {o.key for o in select(case.rules.filter, case.listing)}
    doubtful = {k for k in chosen if len({o.digest for o in case.listing.offers if o.key == k}) > 1}
    assert set(keys) == (chosen - doubtful) | (ours - set(case.taken))
    assert set(found.wanted) == chosen - doubtful - set(case.taken)
    assert found.source == "up" and all(k == o.key for k, o in found.wanted.items())
    assert {a.key for a in found.of_kind("shadowed")} == (chosen - doubtful) & set(case.taken)


@LAW
@given(CASES)
def test_only_what_is_ours_and_surely_gone_or_filtered_is_dropped(case: Case) -> None:
    found = case.plan()
    unsure = {hole.package for hole in found.holes}
    offered = {o.key for o in case.listing.offers}
    dropped = {a.key for a in found.of_kind("drop")}
    assert dropped <= {o.key for o in case.had} - set(found.wanted) - set(case.taken)
    excluded = {key for key in dropped if not case.rules.filter.names(key[0])}
    if "" in unsure or not case.listing.certain:
        assert dropped <= excluded
    if found.shrunk:
        assert dropped == set()
    assert not {package for package, _, _ in dropped - excluded} & unsure
    if case.rules.deletes == "keep":
        assert dropped <= offered | excluded
    if case.keep:
        assert not dropped & offered and not excluded


@pytest.mark.parametrize("package", ["", "ns/p0"])
@LAW
@given(case=CASES)
def test_one_more_hole_drops_less_and_only_of_its_package(package: str, case: Case) -> None:
    hole = Hole("else", "500", package)
    # No limit, so that each drop stands for itself.
    case = msgspec.structs.replace(case, rules=msgspec.structs.replace(case.rules, max_shrink=1.0))
    more = msgspec.structs.replace(case.listing, holes=[*case.listing.holes, hole])
    before, after = case.plan(), case.plan(listing=more)
    assert hole in after.holes
    if before.shrunk or after.shrunk:
        return
    touched = PACKAGES if package == "" else [package]
    excluded = [p for p in PACKAGES if not case.rules.filter.names(p)]
    assert after.of_kind("drop") == [
        a for a in before.of_kind("drop") if a.package not in touched or a.package in excluded
    ]
    assert [a for a in after.actions if a.package not in touched] == [
        a for a in before.actions if a.package not in touched
    ]


@LAW
@given(CASES)
def test_the_stricter_limit_drops_all_of_it_or_nothing(case: Case) -> None:
    loose, strict = (
        case.plan(rules=msgspec.structs.replace(case.rules, max_shrink=limit))
        for limit in (1.0, 0.0)
    )
    assert strict.of_kind("drop") in ([], loose.of_kind("drop"))
    assert strict.shrunk or strict.actions == loose.actions


@LAW
@given(CASES, st.sets(st.sampled_from(PACKAGES)))
def test_keeping_packages_drops_nothing_of_them_and_changes_nothing_else(
    case: Case, packages: set[str]
) -> None:
    found = case.plan(rules=msgspec.structs.replace(case.rules, max_shrink=1.0))
    kept = found.keeping(packages)
    assert kept.actions == sorted(
        msgspec.structs.replace(a, kind="kept") if a.kind == "drop" and a.package in packages else a
        for a in found.actions
    )
    assert msgspec.structs.replace(kept, actions=found.actions) == found
    assert found.keeping([]) == found


def only(found: Plan) -> Action:
    (action,) = found.actions
    return said(action)


def said(action: Action) -> Action:
    """The action by its words, which follow from its reason."""
    return msgspec.structs.replace(action, why=Why.NOTHING_TO_SAY)


OLD = offer("ns/x")
NEW = offer("ns/x", text="new", size=7)


def test_a_new_release_is_fetched_with_the_size_that_it_has() -> None:
    assert only(planned(Rules(), listed(NEW))) == Action(*NEW.key, "fetch", "", 7)
    other = {"ns/x": held(offer("ns/x", "2.0.0"))["ns/x"]}
    assert only(planned(Rules(), listed(NEW), documents=other)).kind == "fetch"


def test_a_release_that_is_here_already_is_the_same_and_has_nothing_to_say() -> None:
    assert only(planned(Rules(), listed(OLD), OLD)) == Action(*OLD.key, "same")
    nothing_said = msgspec.structs.replace(OLD, digest="", blob_digest="")
    assert only(planned(Rules(), listed(nothing_said), OLD)) == Action(*OLD.key, "same")


def decided(rules: Rules, new: Offer, origin: str) -> Action:
    return only(planned(rules, listed(new), documents=held(OLD, origin=origin)))


def test_a_release_that_was_pushed_is_frozen_whatever_the_rules_say() -> None:
    for rules in (Rules(), Rules(changes="accept")):
        words = f"it was pushed here; upstream has {NEW.digest}"
        assert decided(rules, NEW, "push") == Action(*OLD.key, "frozen", words)


def test_a_changed_release_says_what_it_was_or_what_it_would_be() -> None:
    accept = Rules(changes="accept")
    had = f"it had {OLD.digest}"
    assert decided(accept, NEW, "up") == Action(*OLD.key, "replace", had, 7)
    assert decided(accept, NEW, "b") == Action(*OLD.key, "replace", f"{had} from b", 7)
    words = f"upstream has {NEW.digest} now; ours is kept (changes: freeze)"
    assert decided(Rules(), NEW, "up") == Action(*OLD.key, "frozen", words)
    assert decided(Rules(), NEW, "b") == Action(
        *OLD.key, "frozen", f"b had {OLD.digest}, which is kept (changes: freeze)"
    )


def test_a_source_that_knows_only_the_archive_is_compared_by_the_archive() -> None:
    new = msgspec.structs.replace(NEW, digest="", blob_digest=digest("archive"))
    words = f"upstream has {digest('archive')} now; ours is kept (changes: freeze)"
    assert decided(Rules(), new, "up") == Action(*OLD.key, "frozen", words)
    # The CNR digest decides where both are known.
    same = msgspec.structs.replace(OLD, blob_digest=digest("archive"))
    assert decided(Rules(), same, "up") == Action(*OLD.key, "same")


def buried(stone_of: Offer, reason: str) -> dict[str, PackageDocument]:
    stones = [
        Tombstone(release, media_type, stone_of.digest, NOW, reason)
        for release, media_type in (
            ("0.9.0", "helm"), (stone_of.release, "kpm"),
            (stone_of.release, stone_of.media_type), ("9.0.0", "helm"),
        )
    ]  # fmt: skip
    return {stone_of.package: PackageDocument(stone_of.package, [], [], stones)}


def after_removal(rules: Rules, new: Offer, reason: str) -> Action:
    return only(planned(rules, listed(new), documents=buried(OLD, reason)))


def test_what_was_removed_here_stays_away_and_says_when_and_why() -> None:
    words = f"removed here on {NOW}: bad"
    for rules in (Rules(), Rules(changes="accept")):
        assert after_removal(rules, OLD, "bad") == Action(*OLD.key, "kept", words)


def test_what_the_upstream_had_taken_away_comes_back_if_it_is_the_same() -> None:
    again = Action(*OLD.key, "fetch", "it is back upstream", 9)
    assert after_removal(Rules(), OLD, UPSTREAM_GONE) == again
    words = (
        f"it is back upstream with digest {NEW.digest}, and stays removed here (changes: freeze)"
    )
    assert after_removal(Rules(), NEW, UPSTREAM_GONE) == Action(*OLD.key, "frozen", words)
    accepted = after_removal(Rules(changes="accept"), NEW, UPSTREAM_GONE)
    assert accepted == Action(*OLD.key, "fetch", "it is back upstream", 7)
    untold = msgspec.structs.replace(OLD, digest="", blob_digest=digest("archive"))
    assert after_removal(Rules(), untold, UPSTREAM_GONE) == again


def test_a_tombstone_of_another_release_or_type_is_no_reason() -> None:
    documents = buried(OLD, "bad")
    stones = [t for t in documents["ns/x"].tombstones if (t.release, t.media_type) != OLD.key[1:]]
    others = {"ns/x": PackageDocument("ns/x", [], [], stones)}
    assert only(planned(Rules(), listed(OLD), documents=others)).kind == "fetch"


def test_what_an_earlier_source_gave_is_shadowed_and_not_wanted() -> None:
    found = planned(Rules(), listed(OLD), OLD, taken=[OLD.key])
    assert only(found) == Action(*OLD.key, "shadowed", "an earlier source has it")
    assert found.wanted == {} and not found.shrunk
    # What is left over after it is still decided.
    two = planned(Rules(), listed(OLD, offer("ns/y")), taken=[OLD.key])
    assert kinds(two) == {"ns/x@1.0.0": "shadowed", "ns/y@1.0.0": "fetch"}


@pytest.mark.parametrize(
    ("rules", "listing", "kind", "reason"),
    [
        (FOLLOW, listed(offer("ns/y")), "drop", UPSTREAM_GONE),
        (Rules(), listed(offer("ns/y")), "kept", UPSTREAM_GONE),
        (Rules(filter=Filter(exclude=["ns/x"])), listed(OLD), "drop", "left out by the filter"),
        (FOLLOW, listed(holes=[Hole("ns/x", "500", "ns/x")]), "kept",
         "upstream's release could not be read"),
        (FOLLOW, listed(offer("ns/y"), certain=False), "kept",
         "upstream's release could not be read"),
    ],
)  # fmt: skip
def test_what_is_not_offered_any_more_says_why_it_stays_or_goes(
    rules: Rules, listing: Listing, kind: Any, reason: str
) -> None:
    no_limit = msgspec.structs.replace(rules, max_shrink=1.0)
    found = planned(no_limit, listing, OLD, same_filter=False)
    assert [said(a) for a in found.actions if a.package == "ns/x"] == [
        Action(*OLD.key, kind, reason)
    ]


TEN = [offer(f"ns/p{n}") for n in range(10)]


@pytest.mark.parametrize(
    ("rules", "offers", "keep", "shrunk"),
    [(FOLLOW, TEN[:7], False, False), (FOLLOW, TEN[:6], False, True),
     (Rules(), TEN[:6], False, False), (Rules(), [], False, True), (FOLLOW, [], False, True),
     (Rules(filter=Filter(packages=["ns/p0"])), TEN, False, True),
     (Rules(filter=Filter(packages=["ns/p0"])), TEN, True, False)],
)  # fmt: skip
def test_a_plan_has_shrunk_only_where_something_would_have_been_dropped(
    rules: Rules, offers: list[Offer], keep: bool, shrunk: bool
) -> None:
    found = planned(rules, listed(*offers), *TEN, keep=keep)
    assert found.shrunk is shrunk
    assert not (found.shrunk and found.of_kind("drop"))


def test_a_mirror_that_had_nothing_cannot_shrink() -> None:
    assert planned(FOLLOW, listed()) == Plan("up", {}, [], [], False)


def test_what_goes_and_what_is_filtered_count_together() -> None:
    rules = Rules(deletes="follow", filter=Filter(exclude=["ns/p0", "ns/p1"]))
    assert not planned(rules, listed(*TEN[:9]), *TEN).shrunk  # two filtered, one gone
    assert planned(rules, listed(*TEN[:8]), *TEN).shrunk  # two and two
    assert not planned(rules, listed(*TEN[:8]), *TEN, same_filter=False).shrunk


def test_new_releases_replace_as_many_old_ones_of_their_own_package_only() -> None:
    rules = Rules(filter=Filter(newest=1), max_shrink=0.0)
    had = [offer("ns/x", "1.0.0"), offer("ns/x", "1.1.0"), offer("ns/y")]
    one_for_two = planned(rules, listed(*had, offer("ns/x", "2.0.0")), *had)
    assert one_for_two.shrunk
    one_for_one = planned(rules, listed(*had, offer("ns/x", "2.0.0")), had[1], had[2])
    assert not one_for_one.shrunk and len(one_for_one.of_kind("drop")) == 1
    other = Rules(filter=Filter(exclude=["ns/y"]), max_shrink=0.0)
    assert planned(other, listed(*had, offer("ns/x", "2.0.0")), *had).shrunk
    # The same release again is no new one.
    assert planned(rules, listed(*had), had[0], had[1]).shrunk


def test_one_release_with_two_contents_is_a_hole_that_names_both() -> None:
    twice = [
        offer("ns/x", renamed_from="b/x"),
        offer("ns/x", text="a", renamed_from="a/x"),
        offer("ns/x", text="a", renamed_from="a/x"),
    ]
    found = planned(Rules(), listed(*twice, offer("ns/y")))
    names = f"a/x {twice[1].digest[:12]}, b/x {twice[0].digest[:12]}"
    words = f"offered 3 times, with other content: {names}"
    assert found.holes == [Hole.of_release("ns/x", "1.0.0", words)]
    assert kinds(found) == {"ns/y@1.0.0": "fetch"}


def test_two_archives_of_one_digest_are_two_contents_too() -> None:
    by_archive = [
        offer("ns/x", digest="", blob_digest=digest(text), renamed_from=text) for text in "ab"
    ]
    found = planned(Rules(), listed(*by_archive))
    names = ", ".join(f"{text} {digest(text)[:12]}" for text in "ab")
    words = f"offered 2 times, with other content: {names}"
    assert found.holes == [Hole.of_release("ns/x", "1.0.0", words)]
    same_tar = [offer("ns/x", blob_digest=digest(text)) for text in "ab"]
    (hole,) = planned(Rules(), listed(*same_tar)).holes
    assert f"ns/x {same_tar[0].digest[:12]}" in hole.reason


def test_holes_of_the_listing_are_told_once_and_in_order() -> None:
    holes = [Hole("b", "500"), Hole("a", "404", "ns/x"), Hole("b", "500")]
    found = planned(Rules(), listed(OLD, holes=holes), OLD)
    assert found.holes == [holes[1], holes[0]]


def test_the_first_of_several_equal_offers_is_taken() -> None:
    first, second = (msgspec.structs.replace(OLD, place=place) for place in ("1", "2"))
    found = planned(Rules(), listed(first, second))
    assert found.wanted == {OLD.key: first}
    assert only(found).kind == "fetch"


def test_actions_are_found_by_their_kind() -> None:
    found = planned(FOLLOW, listed(*TEN[1:], offer("ns/x")), *TEN)
    assert len(found.of_kind("drop", "fetch")) == 2 and found.of_kind() == []
    kept = found.keeping({"ns/p0"})
    assert kept.of_kind("drop") == []
    assert kept.of_kind("kept") == [
        Action(*TEN[0].key, "kept", UPSTREAM_GONE, why=Why.GONE_UPSTREAM)
    ]
    assert [a.package for a in found.keeping({"ns/p1"}).of_kind("drop")] == ["ns/p0"]


def test_a_release_that_got_an_attachment_is_fetched_for_it_if_it_is_of_this_source() -> None:
    one = Attachment("text/plain", digest("an attachment"), 3)
    more = offer("ns/a", attachments=[one])
    fetch = Action(*more.key, "fetch", "", 9, Why.ATTACHED)
    [found] = planned(Rules(), listed(more), offer("ns/a")).actions
    assert found == msgspec.structs.replace(fetch, reason=found.reason)
    other = planned(Rules(), listed(more), offer("ns/a"), documents=held(more, origin="other"))
    assert [a.kind for a in other.actions] == ["same"]
    has = held(more)["ns/a"]
    has.releases[0] = msgspec.structs.replace(has.releases[0], attachments=[one])
    again = planned(Rules(), listed(more), more, documents={"ns/a": has})
    assert [a.kind for a in again.actions] == ["same"]


def test_a_source_that_had_one_release_and_offers_none_has_shrunk() -> None:
    assert planned(FOLLOW, listed(offer("ns/other")), offer("ns/a")).shrunk
