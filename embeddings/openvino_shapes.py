"""Graphs of one fixed shape, for windows that come alone.

A graph that takes any shape makes a plan for each shape that differs from the one before, which is a third of what one
short text costs. A graph compiled for one shape has its plan. Each keeps weights of its own, 28 to 35 MB, so there are
few, for the lengths that come most, and each is compiled beside the work once its length has come a few times.
"""

import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

LENGTHS = (16, 32, 48, 64, 96, 128, 160, 192, 256)
"""A window is padded to the next of these, in tokens."""
KEPT_MAX = 4
USES_BEFORE = 4
"""So many windows of a length come before a graph is compiled for it: a length that is rare is not worth one."""
TIMES_THE_LEAST = 2
"""A graph gives way to one whose length comes so many times as often: compiling takes as long as fifty windows."""
USES_REMEMBERED = 512
"""After so many windows all counts are halved, so that they tell of what comes now."""
STAND_IN_MAX = 1.5
"""While a length has no graph, one that is up to so many times as long serves it, which is faster than to plan anew."""

logger = logging.getLogger(__name__)


Compile = Callable[[int], Any]
"""Returns an inference request for batches of one window of so many tokens."""


class FixedShapes:
    """The graphs of fixed shape that one runtime has; used by the thread that computes."""

    def __init__(self, compile_length: Compile) -> None:
        self._compile = compile_length
        self._uses: Counter[int] = Counter()
        self._coming: tuple[int, Future[Any]] | None = None
        self._kept: dict[int, Any] = {}
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(1, thread_name_prefix="recollect-compile")

    def request_for(self, tokens: int) -> tuple[Any, int] | None:
        """Return the inference request for a window, and the length to pad it to; None while there is none."""
        self._collect()
        length = next((length for length in LENGTHS if length >= tokens), None)
        if length is None:
            return None
        self._count(length)
        if self._coming is None and self._pool is not None and self._is_worth_a_graph(length):
            self._coming = length, self._pool.submit(self._compile, length)
        near = [kept for kept in self._kept if length <= kept <= STAND_IN_MAX * length]
        return (self._kept[min(near)], min(near)) if near else None

    def _count(self, length: int) -> None:
        self._uses[length] += 1
        if self._uses.total() >= USES_REMEMBERED:
            self._uses = Counter({known: uses // 2 for known, uses in self._uses.items()})

    def _is_worth_a_graph(self, length: int) -> bool:
        if length in self._kept or self._uses[length] < USES_BEFORE:
            return False
        return len(self._kept) < KEPT_MAX or self._uses[length] > TIMES_THE_LEAST * self._uses[self._least_used()]

    def _least_used(self) -> int:
        return min(self._kept, key=self._uses.__getitem__)

    def _collect(self) -> None:
        """Take in what has been compiled, in place of what is used least."""
        if self._coming is None or not self._coming[1].done():
            return
        (length, compiled), self._coming = self._coming, None
        try:
            request = compiled.result()
        except RuntimeError:
            logger.exception("no graph for windows of %d tokens; the one for all lengths serves them", length)
            self.close()  # what failed once would fail for ever, and cost its time again and again
            return
        if len(self._kept) >= KEPT_MAX:
            del self._kept[self._least_used()]
        self._kept[length] = request

    def close(self) -> None:
        """Give up what is being compiled, and free the rest."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._kept.clear()
