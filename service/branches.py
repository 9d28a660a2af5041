"""From a branch's name and a moment to the point from where a read looks."""

from datetime import datetime

from recollect.adapters.clock import POSITION_MAX, now_ms, position_at, position_ms
from recollect.adapters.port import BranchSpan, ReadPoint
from recollect.adapters.versions import MAIN
from recollect.service.errors import BranchNotFoundError


def read_point(branch: str, as_of: datetime | int | None = None) -> ReadPoint:
    """Return from where to look.

    Args:
        branch: The branch's name.
        as_of: A time, or a commit position; now if not given. Expiry is judged at that moment too.

    Raises:
        BranchNotFoundError: No branch has this name.
        InvalidRequestError: The time is outside of what a store can hold.
    """
    if branch != MAIN:
        raise BranchNotFoundError(f"there is no branch {branch!r}; the branches are: {MAIN}")
    if as_of is None:
        return ReadPoint((BranchSpan(MAIN, POSITION_MAX),), now_ms())
    up_to = as_of if isinstance(as_of, int) else position_at(as_of)
    return ReadPoint((BranchSpan(MAIN, up_to),), position_ms(up_to))
