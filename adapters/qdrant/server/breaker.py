"""A circuit breaker: after several failures in a row calls are refused at once, until it is time to try again."""

import random
import time
from collections.abc import Callable

from recollect.adapters.errors import StoreUnavailableError

FAILURES_MAX = 3
PAUSE_MIN_S = 0.5
PAUSE_MAX_S = 30.0


class Breaker:
    """Counts failures in a row. It is closed, and lets calls pass; open, and refuses them; or lets one try.

    The pauses grow from failure to failure, with a random part, so that many clients do not all try at one moment.
    """

    def __init__(self, place: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin closed.

        Args:
            place: Who does not answer, for the message.
            clock: Seconds that only rise.
        """
        self._place = place
        self._clock = clock
        self._failures = 0
        self._closed_until = 0.0
        self._reason = ""

    @property
    def note(self) -> str | None:
        """What to say in a status while the other side is in trouble; None otherwise."""
        if self._failures < FAILURES_MAX:
            return None
        return f"{self._place} failed {self._failures} times in a row, at last with: {self._reason}"

    def pass_or_refuse(self) -> None:
        """Let a call pass, or refuse it.

        Raises:
            StoreUnavailableError: It is open; the message says why, and when it tries again.
        """
        if self._failures < FAILURES_MAX:
            return
        wait_s = self._closed_until - self._clock()
        if wait_s > 0:
            raise StoreUnavailableError(
                f"{self.note}; it is tried again in {wait_s:.1f} s, and calls are refused until then"
            )
        # This call is the one that tries; the others go on being refused meanwhile.
        self._closed_until = self._clock() + PAUSE_MIN_S

    def succeeded(self) -> None:
        """Close again."""
        self._failures = 0

    def failed(self, reason: str) -> None:
        """Count a failure, and open when there were too many."""
        self._failures += 1
        self._reason = reason
        doublings = max(0, min(self._failures - FAILURES_MAX, 16))
        pause_s = min(PAUSE_MAX_S, PAUSE_MIN_S * 2**doublings)
        self._closed_until = self._clock() + pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
