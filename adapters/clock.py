"""Positions: one number that orders commits and compares with wall-clock time.

A position is a hybrid logical clock value (Kulkarni et al., "Logical Physical Clocks", 2014): the
milliseconds since the Unix epoch times 1024, plus a counter. It never decreases, also when the wall
clock does, and stays below 2**53 until the year 2248, so JSON readers keep every digit.
"""

import time
from datetime import UTC, datetime, timedelta

from recollect.adapters.errors import InvalidRequestError

TICKS_PER_MS = 1024
POSITION_MAX = 2**53 - 1
"""The upper bound of a read that wants the newest state."""


def now_ms() -> int:
    """Return the wall clock in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def next_position(last: int, wall_ms: int | None = None) -> int:
    """Return a position after `last`, and at the wall clock if that is ahead.

    Args:
        last: The newest position that the store has given, 0 for an empty store.
        wall_ms: Milliseconds since the epoch; the wall clock if not given.
    """
    wall = (now_ms() if wall_ms is None else wall_ms) * TICKS_PER_MS
    return max(last + 1, wall)


def position_at(moment: datetime) -> int:
    """Return the last position that belongs to the moment's millisecond: the bound for a read as of then.

    Raises:
        InvalidRequestError: The moment has no time zone, or lies outside of 1970 to 2248.
    """
    if moment.tzinfo is None:
        raise InvalidRequestError(f"the time {moment.isoformat()} has no zone; add one, such as 'Z' for UTC")
    milliseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    position = (milliseconds + 1) * TICKS_PER_MS - 1
    if not 0 <= position <= POSITION_MAX:
        raise InvalidRequestError(f"the time {moment.isoformat()} is outside of what a store can hold (1970 to 2248)")
    return position


def position_ms(position: int) -> int:
    """Return the milliseconds since the Unix epoch at which a position was given."""
    return position // TICKS_PER_MS
