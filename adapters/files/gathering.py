"""Small reads by name, gathered: what waits when a thread comes free is read together, in one transaction.

Alone, such a read costs 20 microseconds and the way to a thread and back a few times as much. Many at a time share
both: under load that leaves the processor to those who compute.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from threading import Lock

from msgspec import Struct

from recollect.adapters.files import catalog
from recollect.adapters.files.answering import answer
from recollect.adapters.files.lookups import RowReader
from recollect.adapters.port import Projection, ReadPoint, Selector
from recollect.adapters.versions import Version

SELECTORS_MAX = 8
"""Larger reads go to a thread of their own."""

TOGETHER_MAX = 64
Found = list[Version | None]
Reading = Callable[[Callable[[RowReader], list[Found | Exception]]], list[Found | Exception]]
"""Runs work in one read transaction of the calling thread."""


class Waiting(Struct, eq=False):
    """A read in the queue, and where to answer."""

    selectors: Sequence[Selector]
    read_point: ReadPoint
    projection: Projection
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Found]"


class GatheredReads:
    """The queue of one open store. One thread at a time empties it; another helps when much is waiting."""

    def __init__(self, pool: Executor, reading: Reading) -> None:
        self._pool = pool
        self._reading = reading
        self._waiting: deque[Waiting] = deque()
        self._emptying = 0
        self._lock = Lock()

    def submit(self, item: Waiting) -> None:
        """Queue a read; its future is answered on its loop. What was committed before this call is seen by it."""
        with self._lock:
            self._waiting.append(item)
            if self._emptying and len(self._waiting) < TOGETHER_MAX * self._emptying:
                return
            self._emptying += 1
        self._pool.submit(self._empty)

    def _empty(self) -> None:
        while True:
            with self._lock:
                group = [self._waiting.popleft() for _ in range(min(TOGETHER_MAX, len(self._waiting)))]
                if not group:
                    self._emptying -= 1
                    return
            group = [item for item in group if not item.future.cancelled()]
            if group:
                answer(group, self._read(group))

    def _read(self, group: Sequence[Waiting]) -> list[Found | Exception]:
        def read(reader: RowReader) -> list[Found | Exception]:
            return [_outcome(reader, item) for item in group]

        try:
            return self._reading(read)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits; the next ones must still be read
            if len(group) == 1:
                return [error]
        # Each on its own, so that nobody is given an error that is another's.
        return [outcome for item in group for outcome in self._read([item])]


def _outcome(reader: RowReader, item: Waiting) -> Found | Exception:
    try:
        with catalog.translated("reading the store"):
            return reader.select(item.selectors, item.read_point, item.projection)
    except Exception as error:  # noqa: BLE001 - it is this caller's alone
        return error
