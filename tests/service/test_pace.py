"""How much is gathered before a flush follows what comes and how long flushes take, and stays within its bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.service.pace import PAUSE_INTERVALS, Pace

pytestmark = pytest.mark.requirement("B13")

OPERATIONS_MAX = 50
INTERVAL_S_MAX = 0.1
SETTLED = 20
"""After so many flushes alike, nothing is left of what was before."""


def pace_under(writes_per_s: float, flush_s: float, pace: Pace | None = None) -> Pace:
    """Return a pace that has settled under a load: all that comes while a flush takes is in the next one."""
    pace = pace or Pace(OPERATIONS_MAX, INTERVAL_S_MAX)
    began_s = pace._began_s or 0.0
    gathered = max(1, round(writes_per_s * flush_s))
    for _ in range(SETTLED):
        began_s += gathered / writes_per_s
        pace.began(gathered, began_s)
        pace.ended(flush_s)
    return pace


def test_before_the_first_flush_has_ended_the_bounds_hold() -> None:
    pace = Pace(OPERATIONS_MAX, INTERVAL_S_MAX)
    pace.began(1, 5.0)
    assert (pace.operations, pace.interval_s) == (OPERATIONS_MAX, INTERVAL_S_MAX)
    assert not pace.expects_company


@pytest.mark.parametrize("flush_s", [0.0001, 0.01, 10.0])
@pytest.mark.parametrize("writes_per_s", [0.01, 1.0, 4.0])
def test_writes_that_come_seldom_do_not_wait_however_long_a_flush_takes(writes_per_s: float, flush_s: float) -> None:
    pace = Pace(OPERATIONS_MAX, INTERVAL_S_MAX)
    for number in range(SETTLED):
        pace.began(1, number / writes_per_s)
        pace.ended(flush_s)
    assert (pace.operations, pace.interval_s, pace.expects_company) == (1, 0.0, False)


@pytest.mark.parametrize(("writes_per_s", "flush_s"), [(1_000, 0.02), (1_000, 0.005), (200, 0.05), (6_000, 0.004)])
def test_as_many_are_gathered_as_come_while_a_flush_takes(writes_per_s: int, flush_s: float) -> None:
    pace = pace_under(writes_per_s, flush_s)
    assert pace.operations == round(writes_per_s * flush_s)
    assert pace.interval_s == pytest.approx(flush_s, rel=1e-3)


def test_more_are_gathered_when_more_come_and_when_flushes_take_longer() -> None:
    calm = pace_under(500, 0.01)
    assert calm.operations < pace_under(2_000, 0.01).operations
    assert calm.operations < pace_under(500, 0.04).operations
    assert calm.interval_s < pace_under(500, 0.04).interval_s


def test_a_heavy_load_is_gathered_up_to_the_bounds() -> None:
    pace = pace_under(100_000, 3.0)
    assert (pace.operations, pace.interval_s) == (OPERATIONS_MAX, INTERVAL_S_MAX)


def test_a_load_that_comes_and_goes_is_followed_within_a_few_flushes() -> None:
    pace = pace_under(1, 0.01)
    assert pace.operations == 1
    began_s = pace._began_s or 0.0
    for _ in range(8):
        began_s += 0.01
        pace.began(20, began_s)
        pace.ended(0.01)
    assert pace.operations > 10
    for _ in range(8):
        began_s += PAUSE_INTERVALS * INTERVAL_S_MAX
        pace.began(1, began_s)
        pace.ended(0.01)
    assert (pace.operations, pace.interval_s) == (1, 0.0)


@given(
    operations_max=st.integers(1, 1_000),
    interval_s_max=st.floats(1e-6, 10),
    flushes=st.lists(st.tuples(st.integers(1, 10_000), st.floats(0, 1e6), st.floats(0, 1e6))),
)
def test_whatever_happens_the_bounds_hold(
    operations_max: int, interval_s_max: float, flushes: list[tuple[int, float, float]]
) -> None:
    pace, now_s = Pace(operations_max, interval_s_max), 0.0
    for operations, passed_s, flush_s in flushes:
        now_s += passed_s
        pace.began(operations, now_s)
        pace.ended(flush_s)
        assert 1 <= pace.operations <= operations_max
        assert 0 <= pace.interval_s <= interval_s_max
        assert math.isfinite(pace.interval_s)
