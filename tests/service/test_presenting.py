from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.service.presenting import milliseconds_of, moment

YEAR_1 = milliseconds_of(datetime(1, 1, 1, tzinfo=UTC))
YEAR_9999 = milliseconds_of(datetime(9999, 12, 31, tzinfo=UTC))


@given(st.integers(min_value=YEAR_1, max_value=YEAR_9999))
def test_a_time_keeps_every_millisecond(milliseconds: int) -> None:
    assert milliseconds_of(moment(milliseconds)) == milliseconds


@pytest.mark.parametrize("edge", [0, -1, 1000 * 2**33 - 1, 1000 * 2**33])
def test_the_edges_of_what_is_computed_fast_are_exact(edge: int) -> None:
    assert milliseconds_of(moment(edge)) == edge
