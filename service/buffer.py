"""Gathers writes so that many share one flush; every caller is acknowledged after its write is safe.

It wraps the storage port and is itself a store, so the use cases do not know of it.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from time import perf_counter

from recollect.adapters.filters import Filter
from recollect.adapters.port import (
    SUMMARY,
    CheckReport,
    Commit,
    CommitReceipt,
    EncodedSearch,
    Match,
    Projection,
    ProvenanceStorageAdapter,
    ReadPoint,
    Scan,
    Selector,
    SimilarityQuery,
    StoreProfile,
    StoreStatus,
)
from recollect.adapters.versions import Version
from recollect.service.pace import Pace
from recollect.service.provenance.derivations import with_derivations

_Waiting = tuple[Commit, asyncio.Future[CommitReceipt]]


class BufferedStore(ProvenanceStorageAdapter):
    """A store whose commits wait for company, up to a number or a time, and are then flushed together.

    Number and time follow the load: see `pace`. A commit that comes alone is not held back.

    Args:
        store: What is wrapped.
        operations_max: A flush begins when so many commits wait, at the latest; 1 passes each on at once.
        interval_ms: A flush begins when the first commit has waited so long, at the latest.
        clock: Seconds that only rise.
    """

    def __init__(
        self,
        store: ProvenanceStorageAdapter,
        operations_max: int,
        interval_ms: float,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._store = store
        self._passes_on = operations_max == 1
        self._pace = Pace(operations_max, interval_ms / 1000)
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._waiting_since_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._flushes: set[asyncio.Task[None]] = set()
        self._operations = 0
        self._batches = 0
        self._flush_s = 0.0

    @property
    def encoded(self) -> EncodedSearch | None:
        """The store behind, if it can give matches as JSON."""
        return self._store if isinstance(self._store, EncodedSearch) else None

    def metrics(self) -> dict[str, float]:
        """Return how many operations were buffered, batches flushed, the mean time of a flush, and the present pace."""
        return {
            "operations_waiting": len(self._waiting),
            "operations_buffered": self._operations,
            "batches_flushed": self._batches,
            "flush_ms_mean": round(1000 * self._flush_s / self._batches, 3) if self._batches else 0.0,
            "flush_operations_now": self._pace.operations,
            "flush_interval_ms_now": 0.0 if self._passes_on else round(1000 * self._pace.interval_s, 3),
        }

    async def commit(self, commit: Commit) -> CommitReceipt:
        """Write a commit together with others; see the port. Cancelled before its flush, it is not written.

        What leads from the versions that others were made of down to those is committed with them.
        """
        commit = with_derivations(commit)
        if self._passes_on:
            started = self._clock()
            receipt = await self._store.commit(commit)
            self._count(1, started)
            return receipt
        future: asyncio.Future[CommitReceipt] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            self._waiting_since_s = self._clock()
        self._waiting.append((commit, future))
        self._flush_or_wait()
        return await future

    def _flush_or_wait(self) -> None:
        """Begin a flush where waiting on gains nothing, else see to it that one begins in time."""
        self._cancel_timer()
        is_alone = not self._flushes and not self._pace.expects_company
        left_s = self._waiting_since_s + self._pace.interval_s - self._clock()
        if is_alone or left_s <= 0 or len(self._waiting) >= self._pace.operations:
            self._begin_flush()
        else:
            self._timer = asyncio.get_running_loop().call_later(left_s, self._begin_flush)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin_flush(self) -> None:
        self._cancel_timer()
        waiting, self._waiting = self._waiting, []
        live = [(commit, future) for commit, future in waiting if not future.done()]
        if live:
            self._pace.began(len(live), self._clock())
            flush = asyncio.create_task(self._flush_waiting(live))
            self._flushes.add(flush)
            flush.add_done_callback(self._flush_ended)

    def _flush_ended(self, flush: asyncio.Task[None]) -> None:
        self._flushes.discard(flush)
        if self._waiting:
            self._flush_or_wait()

    async def _flush_waiting(self, waiting: Sequence[_Waiting]) -> None:
        started = self._clock()
        results = await asyncio.gather(*(self._store.commit(commit) for commit, _ in waiting), return_exceptions=True)
        self._count(len(waiting), started)
        for (_, future), result in zip(waiting, results, strict=True):
            if future.done():
                continue  # its caller has gone; the commit stands
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _count(self, operations: int, started: float) -> None:
        self._operations += operations
        self._batches += 1
        flush_s = self._clock() - started
        self._flush_s += flush_s
        self._pace.ended(flush_s)

    async def _drain(self) -> None:
        self._begin_flush()
        while self._flushes:
            await asyncio.gather(*self._flushes)

    async def open(self, profile: StoreProfile | None = None) -> StoreProfile:
        """Open the store behind; see the port."""
        return await self._store.open(profile)

    async def close(self) -> None:
        """Write what waits, then close the store behind."""
        await self._drain()
        await self._store.close()

    async def flush(self) -> None:
        """Write what waits, and make everything acknowledged durable."""
        await self._drain()
        await self._store.flush()

    async def compact(self) -> None:
        """See the port."""
        await self._drain()
        await self._store.compact()

    async def get(
        self, selectors: Sequence[Selector], read_point: ReadPoint, projection: Projection = SUMMARY
    ) -> list[Version | None]:
        """See the port."""
        return await self._store.get(selectors, read_point, projection)

    def history(
        self, memory_id: str, read_point: ReadPoint | None, projection: Projection = SUMMARY
    ) -> AsyncGenerator[Sequence[Version], None]:
        """See the port."""
        return self._store.history(memory_id, read_point, projection)

    def scan(self, scan: Scan) -> AsyncGenerator[Sequence[Version], None]:
        """See the port."""
        return self._store.scan(scan)

    async def count(
        self, read_point: ReadPoint, namespaces: Sequence[str] | None = None, matching: Filter | None = None
    ) -> int:
        """See the port."""
        return await self._store.count(read_point, namespaces, matching)

    def find_similar(self, query: SimilarityQuery) -> AsyncGenerator[Sequence[Match], None]:
        """See the port."""
        return self._store.find_similar(query)

    async def check(self) -> CheckReport:
        """See the port."""
        return await self._store.check()

    async def status(self) -> StoreStatus:
        """See the port."""
        return await self._store.status()
