"""Positions: ordered, and comparable with the time of day."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.adapters.clock import POSITION_MAX, TICKS_PER_MS, next_position, now_ms, position_at, position_ms
from recollect.adapters.errors import InvalidRequestError

POSITIONS = st.integers(0, POSITION_MAX - 1)
MILLISECONDS = st.integers(0, POSITION_MAX // TICKS_PER_MS - 1)


@given(POSITIONS, MILLISECONDS)
def test_the_next_position_is_later_and_not_behind_the_clock(last: int, wall_ms: int) -> None:
    position = next_position(last, wall_ms)
    assert position > last
    assert position >= wall_ms * TICKS_PER_MS


@given(MILLISECONDS, st.integers(0, 10**9))
def test_positions_rise_also_when_the_clock_goes_back(wall_ms: int, back_ms: int) -> None:
    first = next_position(0, wall_ms)
    second = next_position(first, max(0, wall_ms - back_ms))
    assert second == first + 1


def test_the_first_position_of_a_millisecond_is_the_millisecond() -> None:
    assert next_position(0, 5) == 5 * TICKS_PER_MS
    assert [position_ms(5 * TICKS_PER_MS + tick) for tick in (0, 1, TICKS_PER_MS - 1, TICKS_PER_MS)] == [5, 5, 5, 6]


def test_a_position_is_given_by_the_wall_clock() -> None:
    before_ms = now_ms()
    assert before_ms <= position_ms(next_position(0)) <= now_ms()


@given(MILLISECONDS)
def test_a_moment_bounds_the_positions_of_its_millisecond(milliseconds: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    bound = position_at(moment)
    assert position_ms(bound) == milliseconds
    assert position_ms(bound + 1) == milliseconds + 1


def test_a_moment_is_the_same_in_every_zone() -> None:
    moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert position_at(moment.astimezone(timezone(timedelta(hours=-7)))) == position_at(moment)


def test_positions_stay_exact_in_json_until_2248() -> None:
    assert position_at(datetime(2248, 1, 1, tzinfo=UTC)) < POSITION_MAX == int(float(POSITION_MAX))


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        (datetime(2026, 1, 1), "has no zone; add one"),  # noqa: DTZ001 - the case under test
        (datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC), "outside of what a store can hold"),
        (datetime(2300, 1, 1, tzinfo=UTC), "outside of what a store can hold"),
    ],
)
def test_a_moment_that_no_store_holds_is_refused(moment: datetime, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        position_at(moment)
