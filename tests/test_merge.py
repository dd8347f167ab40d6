"""merge.py: one package of three is what both sides made of it, or a conflict."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import (
    Attachment,
    Channel,
    Content,
    PackageDocument,
    Release,
    Tombstone,
    all_attachments,
)
from cnrmirror.model.errors import ConflictError
from cnrmirror.model.names import newest_first
from cnrmirror.publish.merge import merged

NAME = "ns/chat"
KEYS = [("1.0.0", "helm"), ("1.0.0", "kpm"), ("2.0.0", "helm"), ("3.0.0-rc.1", "helm")]
EARLY, LATE = "2026-01-02T03:04:05", "2026-02-03T04:05:06"
LAW = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
Key = tuple[str, str]
Document = PackageDocument | None


def release(
    key: Key = KEYS[0], text: str = "", at: str = EARLY, origin: str = "push", **changes: Any
) -> Release:
    digest = Descriptor.of(f"{key} {text}".encode()).digest
    content = Content(digest, "application/x", 9)
    return Release(*key, at, "m", content, Descriptor(digest, 9), origin=origin, **changes)


def stone(key: Key = KEYS[0], at: str = EARLY, reason: str = "bad") -> Tombstone:
    return Tombstone(*key, Descriptor.of(str(key).encode()).digest, at, reason)


def package(*parts: Release | Channel | Tombstone) -> PackageDocument:
    return PackageDocument(
        NAME,
        [part for part in parts if isinstance(part, Release)],
        [part for part in parts if isinstance(part, Channel)],
        [part for part in parts if isinstance(part, Tombstone)],
    ).sorted()


def stable(current: str, *ever: str) -> Channel:
    return Channel("stable", current, list(ever or (current,)))


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """A package as a mirror can hold it; times and origins are always the same."""
    state = st.sampled_from(["", "", "one", "one", "two", "stone"])
    states = {key: draw(state) for key in KEYS}
    parts: list[Release | Channel | Tombstone] = [
        stone(key) if text == "stone" else release(key, text)
        for key, text in states.items()
        if text
    ]
    known = newest_first({part.release for part in parts if isinstance(part, Release)})
    for name in ("stable", "beta"):
        current = draw(st.sampled_from([*known, ""]))
        if current:
            ever = [r for r in known if r == current or draw(st.booleans())]
            parts.append(Channel(name, current, ever))
    return package(*parts) if parts else draw(st.sampled_from([None, package()]))


def merge_of(base: Document, ours: Document, theirs: Document) -> PackageDocument | None:
    """What the three come to; None for a conflict."""
    try:
        return merged(NAME, base, ours, theirs)
    except ConflictError:
        return None


def parts(document: Document) -> dict[Any, Any]:
    """Everything a package consists of, by what it is called."""
    if document is None:
        return {}
    return (
        {("release", *r.key): r for r in document.releases}
        | {("channel", c.name): c for c in document.channels}
        | {("stone", t.release, t.media_type): t for t in document.tombstones}
    )


@LAW
@given(documents(), documents())
def test_what_one_side_changed_is_as_that_side_has_it(base: Document, changed: Document) -> None:
    expected = changed or package()
    assert merged(NAME, base, changed, base) == expected
    assert merged(NAME, base, base, changed) == expected
    assert merged(NAME, base, changed, changed) == expected


@LAW
@given(documents(), documents(), documents())
def test_it_does_not_matter_which_side_is_ours(
    base: Document, ours: Document, theirs: Document
) -> None:
    assert merge_of(base, ours, theirs) == merge_of(base, theirs, ours)


@LAW
@given(documents(), documents(), documents())
def test_each_part_is_as_the_side_that_changed_it_has_it_and_nothing_is_invented(
    base: Document, ours: Document, theirs: Document
) -> None:
    result = merge_of(base, ours, theirs)
    before, mine, other = parts(base), parts(ours), parts(theirs)
    keys = before.keys() | mine.keys() | other.keys()
    torn = {
        key
        for key in keys
        if len({msgspec.json.encode(p.get(key)) for p in (before, mine, other)}) == 3
    }
    if any(key[0] != "stone" for key in torn):
        assert result is None
    assume(result is not None)
    assert result == cast(PackageDocument, result).sorted()
    found = parts(result)
    assert found.keys() <= keys
    for key in keys - torn:
        chosen = other.get(key) if mine.get(key) == before.get(key) else mine.get(key)
        if key[0] == "release":
            assert found.get(key) == chosen
        elif key in found:
            assert found[key] == chosen


@LAW
@given(documents(), documents(), documents())
def test_a_merge_is_a_package_that_a_mirror_can_hold(
    base: Document, ours: Document, theirs: Document
) -> None:
    result = merge_of(base, ours, theirs)
    assume(result is not None)
    document = cast(PackageDocument, result)
    here = {r.key for r in document.releases}
    assert not here & {(t.release, t.media_type) for t in document.tombstones}
    assert all(c.current in {key[0] for key in here} for c in document.channels)
    every = [*document.releases, *document.channels, *document.tombstones]
    assert len(parts(document)) == len(every)


def test_a_package_that_nobody_has_any_more_is_empty() -> None:
    assert merged(NAME, package(release()), None, None) == PackageDocument(NAME, [])
    assert merged(NAME, None, None, None) == PackageDocument(NAME, [])


def test_releases_of_both_sides_stand_side_by_side_in_their_order() -> None:
    one, two, three = release(KEYS[2]), release(KEYS[0]), release(KEYS[1])
    found = merged(NAME, None, package(one, stable("2.0.0")), package(two, three))
    assert found == PackageDocument(NAME, [one, two, three], [stable("2.0.0")])


def conflict(base: Document, ours: Document, theirs: Document) -> str:
    """The message; the same whichever side is ours."""
    with pytest.raises(ConflictError) as caught:
        merged(NAME, base, ours, theirs)
    with pytest.raises(ConflictError) as again:
        merged(NAME, base, theirs, ours)
    assert str(caught.value).startswith(f"{NAME}: ")
    assert str(caught.value) == str(again.value)
    return str(caught.value)


BOTH = (
    "ns/chat: both mirrors changed {}: decide in one of them, for example "
    "with 'cnrmirror remove' or 'channel set', and publish again"
)
GONE = (
    "ns/chat: one mirror set channel stable to {}, the other "
    "removed that release: decide in one of them, and publish again"
)


@pytest.mark.parametrize("base", [None, package(), package(release(text="old"))])
def test_a_release_with_two_contents_is_a_conflict(base: Document) -> None:
    ours, theirs = package(release(text="a")), package(release(text="b"))
    assert conflict(base, ours, theirs) == BOTH.format("release 1.0.0 (helm)")


def test_a_release_that_one_changed_and_the_other_removed_is_a_conflict() -> None:
    base, changed = package(release()), package(release(text="new"))
    assert conflict(base, changed, package(stone())) == BOTH.format("release 1.0.0 (helm)")
    assert conflict(base, changed, None) == BOTH.format("release 1.0.0 (helm)")


@pytest.mark.parametrize("base", [[], [stable("3.0.0-rc.1")]])
def test_a_channel_that_both_set_to_something_else_is_a_conflict(base: list[Channel]) -> None:
    here = [release(key) for key in KEYS]
    ours, theirs = package(*here, stable("1.0.0")), package(*here, stable("2.0.0"))
    assert conflict(package(*here, *base), ours, theirs) == BOTH.format("channel stable")


def test_a_channel_set_to_a_release_that_the_other_removed_is_a_conflict() -> None:
    one, two = release(KEYS[0]), release(KEYS[2])
    base = package(one, two)
    ours, theirs = package(one, two, stable("2.0.0")), package(one, stone(KEYS[2]))
    assert conflict(base, ours, theirs) == GONE.format("2.0.0")
    moved = package(one, two, stable("1.0.0"))
    assert conflict(moved, ours, package(one, stable("1.0.0"))) == GONE.format("2.0.0")


def test_a_channel_that_nobody_moved_goes_with_the_release_that_one_removed() -> None:
    one, two = release(KEYS[0]), release(KEYS[2])
    base = package(one, two, stable("2.0.0"))
    without = package(one, stone(KEYS[2]))
    still = msgspec.structs.replace(without, channels=[stable("2.0.0")])
    assert merged(NAME, base, base, still) == without
    more = package(one, two, release(KEYS[3]), stable("2.0.0"))
    assert merged(NAME, base, more, without) == package(one, release(KEYS[3]), stone(KEYS[2]))


def test_one_release_pushed_to_both_is_no_conflict_whatever_the_time_and_origin() -> None:
    ours = release(at=EARLY, origin="push")
    theirs = release(at=LATE, origin="upstream")
    assert merged(NAME, None, package(ours), package(theirs)) == package(theirs)
    for changed in (release(flags=["x"]), release(metadata=msgspec.Raw(b"1"))):
        conflict(None, package(ours), package(changed))


def test_a_release_removed_by_both_is_no_conflict_whatever_the_reason() -> None:
    base = package(release())
    ours, theirs = package(stone(at=EARLY)), package(stone(at=LATE, reason="worse"))
    assert merged(NAME, base, ours, theirs) == theirs
    assert merged(NAME, base, theirs, ours) == ours


def test_a_release_that_one_side_brought_back_has_no_tombstone() -> None:
    base = package(stone())
    for ours, theirs in ((package(release()), base), (base, package(release()))):
        assert merged(NAME, base, ours, theirs) == package(release())
    # One removed it again, at another time; the other brought it back.
    assert merge_of(base, package(stone(at=LATE)), package(release())) is None


@pytest.mark.parametrize(
    ("base", "ours"),
    [(package(stone(at=EARLY)), package(stone(at=LATE))),
     (package(release(at=EARLY)), package(release(at=LATE, origin="upstream")))],
)  # fmt: skip
def test_a_time_that_one_side_changed_is_as_that_side_has_it(
    base: PackageDocument, ours: PackageDocument
) -> None:
    assert merged(NAME, base, base, ours) == ours
    assert merged(NAME, base, ours, base) == ours


def test_what_each_side_attached_to_a_release_is_attached() -> None:
    one, two, three = (Attachment("text/x", Descriptor.of(t).digest, 1) for t in (b"1", b"2", b"3"))
    base = package(release(attachments=[three]))
    ours, theirs = package(release(attachments=[one, three])), package(release(attachments=[two]))
    found = merge_of(base, ours, theirs)
    assert found is not None
    assert found.releases[0].attachments == all_attachments([one], [two], [three])


def test_an_attachment_that_one_side_took_away_is_gone() -> None:
    one = Attachment("text/x", Descriptor.of(b"1").digest, 1)
    base, ours = package(release(attachments=[one])), package(release())
    assert merge_of(base, ours, base) == ours == merge_of(base, base, ours)


def test_a_release_that_one_side_removed_and_the_other_replaced_is_a_conflict() -> None:
    base = package(release(text="a"))
    with pytest.raises(ConflictError):
        merged(NAME, base, package(stone()), package(release(text="b")))
