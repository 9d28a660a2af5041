"""Times of operations: counted, summed up, and logged with their parts when slow. Never what was said."""

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import structlog

logger = structlog.get_logger("recollect")

WINDOW = 1024
"""Percentiles are those of this many newest operations of a kind."""


class Operation:
    """One run of an operation, with the time of each of its parts."""

    __slots__ = ("_last", "name", "parts_ms", "started")

    def __init__(self, name: str) -> None:
        self.name = name
        self.started = self._last = perf_counter()
        self.parts_ms: dict[str, float] = {}

    def part(self, name: str) -> None:
        """End a part: the time since the part before goes to its account."""
        now = perf_counter()
        self.parts_ms[name] = self.parts_ms.get(name, 0.0) + (now - self._last) * 1000
        self._last = now

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the operation began."""
        return (perf_counter() - self.started) * 1000


class _Account:
    __slots__ = ("count", "errors", "newest_ms", "total_ms")

    def __init__(self) -> None:
        self.count = 0
        self.errors = 0
        self.total_ms = 0.0
        self.newest_ms: deque[float] = deque(maxlen=WINDOW)

    def summary(self) -> dict[str, float]:
        ordered = sorted(self.newest_ms)

        def percentile(fraction: float) -> float:
            return round(ordered[min(len(ordered) - 1, math.ceil(fraction * len(ordered)) - 1)], 3)

        return {
            "count": self.count,
            "errors": self.errors,
            "mean_ms": round(self.total_ms / self.count, 3),
            "p50_ms": percentile(0.50),
            "p95_ms": percentile(0.95),
            "p99_ms": percentile(0.99),
        }


class Telemetry:
    """Counts operations and their times.

    Args:
        slow_operation_ms: From which time on an operation is logged with its parts.
    """

    def __init__(self, slow_operation_ms: float) -> None:
        self._slow_operation_ms = slow_operation_ms
        self._accounts: dict[str, _Account] = {}

    @contextmanager
    def operation(self, name: str) -> Iterator[Operation]:
        """Time what runs inside; an exception counts as an error and passes on."""
        operation = Operation(name)
        account = self._accounts.setdefault(name, _Account())
        failed = True
        try:
            yield operation
            failed = False
        finally:
            elapsed_ms = operation.elapsed_ms
            account.count += 1
            account.errors += failed
            account.total_ms += elapsed_ms
            account.newest_ms.append(elapsed_ms)
            if elapsed_ms >= self._slow_operation_ms:
                parts = {part: round(value, 1) for part, value in operation.parts_ms.items()}
                logger.warning("slow operation", operation=name, elapsed_ms=round(elapsed_ms, 1), parts_ms=parts)

    def summary(self) -> dict[str, dict[str, float]]:
        """Return count, errors, mean and percentiles of each operation that has run."""
        return {name: account.summary() for name, account in sorted(self._accounts.items()) if account.count}
