"""How many writes are gathered before they are flushed, and how long the first of them waits: as the load asks for.

Waiting makes sense only for company, and no longer than a flush takes: so many writes as come in that time share the
next flush, which keeps the store busy and nobody waiting for more than about two flushes. Where less than one other is
to be expected, a write goes at once. Both figures stay within bounds that the settings state.
"""

WEIGHT_OF_THE_LAST = 0.5
"""How much the last flush counts beside all before it: a change of the load is followed within a few flushes."""

PAUSE_INTERVALS = 2
"""A pause counts as so many of the longest waits at most, so that one does not outweigh what comes after it."""


class Pace:
    """What was seen of arrivals and flushes, and what follows from it.

    Args:
        operations_max: How many writes a flush gathers at most.
        interval_s_max: How long a write waits for company at most.
    """

    def __init__(self, operations_max: int, interval_s_max: float) -> None:
        self._operations_max = operations_max
        self._interval_s_max = interval_s_max
        self._flush_s: float | None = None
        self._arrivals = 0.0
        self._arrivals_s = 0.0
        self._began_s: float | None = None

    @property
    def expects_company(self) -> bool:
        """Whether more than one other write is likely to come while a flush takes."""
        return self._company > 1

    @property
    def operations(self) -> int:
        """With how many waiting writes a flush begins: from 1 up to the bound, which is it until a flush has ended."""
        if self._flush_s is None:
            return self._operations_max
        return min(self._operations_max, max(2, round(self._company))) if self.expects_company else 1

    @property
    def interval_s(self) -> float:
        """How long the first waiting write waits, in seconds: from 0 up to the bound, likewise."""
        if self._flush_s is None:
            return self._interval_s_max
        return min(self._flush_s, self._interval_s_max) if self.expects_company else 0.0

    @property
    def _company(self) -> float:
        if self._flush_s is None or not self._arrivals_s:
            return 0.0
        return self._arrivals / self._arrivals_s * min(self._flush_s, self._interval_s_max)

    def began(self, operations: int, now_s: float) -> None:
        """Take note that a flush begins.

        Args:
            operations: With how many writes, all of which came since the one before began.
            now_s: The time, on a clock that only rises.
        """
        pause_s = PAUSE_INTERVALS * self._interval_s_max
        passed_s = pause_s if self._began_s is None else min(pause_s, now_s - self._began_s)
        kept = 1 - WEIGHT_OF_THE_LAST
        self._arrivals = kept * self._arrivals + operations
        self._arrivals_s = kept * self._arrivals_s + passed_s
        self._began_s = now_s

    def ended(self, flush_s: float) -> None:
        """Take note of how long a flush took, in seconds."""
        before_s = flush_s if self._flush_s is None else self._flush_s
        self._flush_s = before_s + WEIGHT_OF_THE_LAST * (flush_s - before_s)
