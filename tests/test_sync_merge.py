"""merge.py: what holds of every package that one source's part was merged into."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Channel, Content, PackageDocument, Release, Tombstone
from cnrmirror.model.names import newest_first
from cnrmirror.sources.base import Hole, Listing
from cnrmirror.sources.filters import Filter
from cnrmirror.sync.merge import Merged, Part, merged, parts
from cnrmirror.sync.plan import Action, Plan, Rules
from cnrmirror.sync.why import UPSTREAM_GONE, Why
from tests.conftest import NOW
from tests.test_syncplan import offer

LAW = settings(max_examples=150, deadline=None)
NAME = "ns/chat"
LATER = "2026-03-04T05:06:07"
KEYS = [("1.0.0", "helm"), ("1.0.0", "kpm"), ("2.0.0", "helm"), ("3.0.0-rc.1", "helm")]
VERSIONS = sorted({release for release, _ in KEYS})


def release(key: tuple[str, str] = KEYS[0], origin: str = "up", text: str = "") -> Release:
    digest = Descriptor.of(f"{key} {text}".encode()).digest
    return Release(*key, NOW, "m", Content(digest, "x", 9), Descriptor(digest, 9), origin=origin)


def stone(key: tuple[str, str] = KEYS[0], reason: str = "bad") -> Tombstone:
    return Tombstone(*key, Descriptor.of(str(key).encode()).digest, NOW, reason)


def channel(name: str, *releases: str) -> Channel:
    return Channel(name, releases[0], newest_first(releases))


CHANNELS = st.builds(
    lambda name, releases: channel(name, *releases),
    st.sampled_from(["stable", "edge", "ours"]),
    st.lists(st.sampled_from([*VERSIONS, "9.9.9"]), min_size=1, max_size=3, unique=True),
)
CHANNEL_LISTS = st.lists(CHANNELS, max_size=3, unique_by=lambda c: c.name)
NAMES = st.lists(st.sampled_from(["stable", "edge", "ours"]), max_size=2, unique=True)


@st.composite
def documents(draw: st.DrawFn) -> PackageDocument:
    """A package as a mirror can hold it."""
    states = {key: draw(st.sampled_from(["", "up", "push", "other", "stone"])) for key in KEYS}
    releases = [release(k, origin) for k, origin in states.items() if origin not in ("", "stone")]
    known = {r.release for r in releases}
    channels = [c for c in draw(CHANNEL_LISTS) if set(c.releases) <= known]
    stones = [stone(key) for key, state in states.items() if state == "stone"]
    return PackageDocument(NAME, releases, channels, stones).sorted()


@st.composite
def some_parts(draw: st.DrawFn) -> Part:
    dropped = draw(st.lists(st.sampled_from(KEYS), max_size=3, unique=True))
    whys = st.sampled_from([Why.GONE_UPSTREAM, Why.FILTERED])
    arrived = draw(st.lists(st.sampled_from([k for k in KEYS if k not in dropped]), unique=True))
    return Part(
        {key: draw(whys) for key in dropped},
        [release(key, "up", "new") for key in arrived],
        [
            stone(k, "theirs")
            for k in draw(st.lists(st.sampled_from(KEYS), max_size=2, unique=True))
        ],
        draw(CHANNEL_LISTS),
        draw(NAMES),
        draw(st.booleans()),
    )


DOCUMENTS = documents()
PARTS = some_parts()
TAKEN = NAMES.map(frozenset)


def keys(document: PackageDocument) -> set[tuple[str, str]]:
    return {r.key for r in document.releases}


def buried(document: PackageDocument) -> set[tuple[str, str]]:
    return {(t.release, t.media_type) for t in document.tombstones}


@LAW
@given(DOCUMENTS, PARTS, TAKEN)
def test_what_neither_came_nor_went_stays_as_it_is(
    old: PackageDocument, part: Part, taken: frozenset[str]
) -> None:
    new = merged(old, part, taken, LATER).document
    arrived = {r.key: r for r in part.arrived}
    expected = {r.key: r for r in old.releases if r.key not in part.drops} | arrived
    assert {r.key: r for r in new.releases} == expected
    assert new == new.sorted() and new.package == old.package


@LAW
@given(DOCUMENTS, PARTS, TAKEN)
def test_a_release_is_here_or_buried_once_and_never_both(
    old: PackageDocument, part: Part, taken: frozenset[str]
) -> None:
    new = merged(old, part, taken, LATER).document
    assert not keys(new) & buried(new)
    assert len(buried(new)) == len(new.tombstones)
    assert buried(old) - keys(new) <= buried(new)
    assert {(t.release, t.media_type) for t in part.stones} <= keys(new) | buried(new)


@LAW
@given(DOCUMENTS, PARTS, TAKEN)
def test_a_tombstone_is_made_only_of_what_was_here_and_is_gone_upstream(
    old: PackageDocument, part: Part, taken: frozenset[str]
) -> None:
    new = merged(old, part, taken, LATER).document
    told = {(t.release, t.media_type) for t in part.stones}
    gone = {key for key, why in part.drops.items() if why is Why.GONE_UPSTREAM}
    made = [t for t in new.tombstones if t.reason == UPSTREAM_GONE]
    assert {(t.release, t.media_type) for t in made} == (gone & keys(old)) - told
    had = {r.key: r.content.digest for r in old.releases}
    for tombstone in made:
        assert tombstone.removed_at == LATER
        assert tombstone.digest == had[tombstone.release, tombstone.media_type]
    # What the upstream says of its own stands here word for word.
    known = [t for t in new.tombstones if t not in made]
    assert all(t in old.tombstones or t in part.stones for t in known)


@LAW
@given(DOCUMENTS, PARTS, TAKEN)
def test_channels_name_only_what_is_here(
    old: PackageDocument, part: Part, taken: frozenset[str]
) -> None:
    result = merged(old, part, taken, LATER)
    versions = {r.release for r in result.document.releases}
    names = [c.name for c in result.document.channels]
    assert len(names) == len(set(names))
    for one in result.document.channels:
        assert one.current in one.releases and set(one.releases) <= versions
    assert set(result.given) <= set(result.owned) <= set(names)
    assert not set(result.given) & taken


@LAW
@given(DOCUMENTS, PARTS, TAKEN)
def test_channels_of_others_stay_as_far_as_what_they_name_is_here(
    old: PackageDocument, part: Part, taken: frozenset[str]
) -> None:
    result = merged(old, part, taken, LATER)
    versions = {r.release for r in result.document.releases}
    found = {c.name: c for c in result.document.channels}
    for one in old.channels:
        if one.name in result.given or not set(one.releases) & versions:
            continue
        if one.name not in part.had or one.name in taken:
            assert one.name in found
            if set(one.releases) <= versions:
                assert found[one.name] == one


@LAW
@given(DOCUMENTS, PARTS)
def test_the_same_part_again_changes_nothing(old: PackageDocument, part: Part) -> None:
    first = merged(old, part, (), LATER)
    again = msgspec.structs.replace(part, drops={}, had=first.owned)
    second = merged(first.document, again, (), "2026-09-09T09:09:09")
    assert second.document == first.document
    assert set(second.owned) <= set(first.owned) | set(second.given)


def test_a_channel_set_here_is_the_sources_once_nothing_is_left_that_was_pushed_here() -> None:
    first, second = channel("ours", "1.0.0"), channel("ours", "2.0.0")
    old = PackageDocument(NAME, [release(KEYS[0], "push"), release(KEYS[2])], [first])
    arrives = Part(arrived=[release(KEYS[0], "up", "new")], channels=[second])
    assert merged(old, arrives, (), LATER).document.channels == [second]
    assert merged(old, Part(channels=[second]), (), LATER).document.channels == [first]


@LAW
@given(DOCUMENTS)
def test_a_part_of_nothing_changes_nothing(old: PackageDocument) -> None:
    assert merged(old, Part(), (), LATER) == Merged(old, [], [])


def test_a_channel_that_an_earlier_source_gave_stays_though_a_later_one_had_it() -> None:
    stable = channel("stable", "1.0.0")
    old = PackageDocument(NAME, [release(), release(KEYS[2], "second")], [stable])
    part = Part(had=["stable"], follow=True)
    assert merged(old, part, {"stable"}, NOW).document.channels == [stable]
    assert merged(old, part, (), NOW).document.channels == []


def test_a_channel_that_was_set_here_stays_where_packages_were_pushed() -> None:
    ours = channel("stable", "1.0.0")
    theirs = channel("stable", "2.0.0")
    for origin, expected in (("push", ours), ("other", theirs)):
        old = PackageDocument(NAME, [release(KEYS[0], origin), release(KEYS[2])], [ours])
        result = merged(old, Part(channels=[theirs]), (), NOW)
        assert result.document.channels == [expected]
        assert result.given == (["stable"] if expected is theirs else [])


def test_a_channel_whose_release_went_points_at_the_newest_that_is_left() -> None:
    old = PackageDocument(
        NAME, [release(KEYS[0]), release(KEYS[2])], [channel("stable", "2.0.0", "1.0.0")]
    )
    part = Part(drops={KEYS[2]: Why.FILTERED})
    new = merged(old, part, (), NOW).document
    assert new.channels == [channel("stable", "1.0.0")] and new.tombstones == []


# -- parts ----------------------------------------------------------------------------------------


def told(plan: Plan, listing: Listing, rules: Rules = Rules(), **had: Any) -> dict[str, Part]:
    return parts(plan, listing, rules, [], {name.replace("_", "/"): c for name, c in had.items()})


def test_only_packages_that_the_filter_names_learn_of_tombstones() -> None:
    listing = Listing([], {}, [], [], tombstones={"ns/a": [stone()], "xx/b": [stone()]})
    found = told(Plan("up", {}, [], [], False), listing, Rules(filter=Filter(packages=["ns/*"])))
    assert found == {"ns/a": Part(stones=[stone()])}


def test_channels_are_followed_only_where_all_of_the_package_could_be_read() -> None:
    offers = [offer("ns/a"), offer("ns/b")]
    plan = Plan("up", {o.key: o for o in offers}, [], [Hole("ns/b", "500", "ns/b")], False)
    listing = Listing(offers, {o.package: [channel("stable", "1.0.0")] for o in offers}, [], [])
    found = told(plan, listing, Rules(deletes="follow"), ns_c=["stable"])
    assert {name: part.follow for name, part in found.items()} == {
        "ns/a": True, "ns/b": False, "ns/c": False,
    }  # fmt: skip
    assert found["ns/a"].channels and found["ns/b"].channels and not found["ns/c"].channels
    assert found["ns/c"].had == ["stable"]
    assert not any(part.follow for part in told(plan, listing, Rules()).values())


def test_what_is_dropped_keeps_its_reason() -> None:
    drop = Action("ns/a", "1.0.0", "helm", "drop", UPSTREAM_GONE, 0, Why.GONE_UPSTREAM)
    stays = Action("ns/a", "2.0.0", "helm", "kept", "", 0, Why.FILTERED)
    found = told(Plan("up", {}, [drop, stays], [], False), Listing([], {}, [], []))
    assert found == {"ns/a": Part(drops={("1.0.0", "helm"): Why.GONE_UPSTREAM})}
