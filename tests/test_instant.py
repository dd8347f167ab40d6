"""Instants: one form, read and written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnrmirror.model.errors import InputError
from cnrmirror.model.instant import Instant

MOMENTS = st.datetimes(timezones=st.just(UTC))


@given(MOMENTS)
def test_what_is_written_is_read_as_the_same_instant(moment: datetime) -> None:
    assert Instant.parse(str(Instant.of(moment))) == Instant.of(moment)


@pytest.mark.parametrize(
    "text",
    ["", "2026-01-02", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05+01:00", "2026-01-02 03:04:05",
     "2026-13-02T03:04:05", "2026-01-02T03:04:05.1234567", "20260102T030405", "٢026-01-02T03:04:05",
     "2026-01-02T03:04:05\n"],
)  # fmt: skip
def test_any_other_form_of_a_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not a time in UTC"):
        Instant.parse(text)


def test_an_offset_is_turned_into_utc_and_signed_files_know_no_fractions() -> None:
    zone = timezone(timedelta(hours=2))
    found = Instant.of(datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=zone))
    assert str(found) == "2026-01-02T01:04:05.000600"
    assert found.to_tuf() == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)


def test_an_instant_has_an_age_and_moves() -> None:
    begun = Instant.parse("2026-01-02T03:04:05")
    assert begun.age(begun.plus(timedelta(days=7))) == timedelta(days=7)
    assert begun < begun.plus(timedelta(microseconds=1))
