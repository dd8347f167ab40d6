"""The next versions of signed files, and how long they are good."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import Timestamp

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import RetentionFloor
from cnrmirror.model.freshness import Expiry
from cnrmirror.model.instant import Instant
from cnrmirror.model.signed import FileInfo, SignedHead
from cnrmirror.trust.roles import Versions, half_over, higher, next_versions

NOW = "2026-01-02T03:04:05.678"
NUMBERS = st.integers(0, 1 << 31)
FLOORS = st.builds(RetentionFloor, NUMBERS, NUMBERS, NUMBERS, NUMBERS)


@given(
    st.builds(Versions, NUMBERS, NUMBERS, NUMBERS), st.builds(Versions, NUMBERS, NUMBERS, NUMBERS)
)
def test_the_next_versions_are_above_our_own_and_above_what_is_published_elsewhere(
    old: Versions, there: Versions
) -> None:
    above = SignedHead(
        b"", Descriptor("0" * 64, 1), 1, there.timestamp, FileInfo(there.snapshot), FileInfo(1),
        FileInfo(there.catalog), RetentionFloor(),
    )  # fmt: skip
    for role in ("catalog", "snapshot", "timestamp"):
        mine, theirs = getattr(old, role), getattr(there, role)
        assert getattr(next_versions(old), role) == mine + 1
        assert getattr(next_versions(old, above), role) == max(mine, theirs) + 1


@given(FLOORS, FLOORS)
def test_what_both_retain_begins_at_the_higher_floor(
    one: RetentionFloor, two: RetentionFloor
) -> None:
    both = higher(one, two)
    assert both == higher(two, one) == higher(both, one) == higher(both, two)
    assert both.catalog == max(one.catalog, two.catalog)


@pytest.mark.parametrize(
    ("days", "soon", "half"),
    [(6.9, False, False), (3.4, False, True), (0.9, True, True), (-1, True, True)],
)
def test_a_timestamp_expires_soon_within_a_day(days: float, soon: bool, half: bool) -> None:
    signed = Timestamp(1, expires=Instant.parse(NOW).to_tuf() + timedelta(days=days))
    expiry = Expiry(Instant.of(signed.expires), "timestamp")
    assert expiry.is_soon(Instant.parse(NOW)) == soon
    assert half_over("timestamp", signed, NOW) == half
