"""The adapter: the port's methods over an open store. Disk and processor work runs in threads, never on the loop."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence, Sized
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Generic, TypeVar

from recollect.adapters.errors import InvalidRequestError, StorageError, StoreUnavailableError
from recollect.adapters.files import catalog, durable
from recollect.adapters.files.answering import call_soon
from recollect.adapters.files.check import check_store
from recollect.adapters.files.gathering import SELECTORS_MAX
from recollect.adapters.files.gathering import Waiting as WaitingRead
from recollect.adapters.files.lookups import RowReader
from recollect.adapters.files.records import PreparedCommit, prepare
from recollect.adapters.files.search import AbandonedError, split
from recollect.adapters.files.store import OpenStore
from recollect.adapters.files.writer import WAIT_COMMITS_MAX, Task, Waiting, closed_error
from recollect.adapters.filters import Filter
from recollect.adapters.port import (
    SUMMARY,
    CheckReport,
    Commit,
    CommitReceipt,
    EncodedMatches,
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

SCHEME = "file:"
INLINE_PUTS_MAX = 8
"""Larger commits are prepared in a thread, so that the loop is not held up."""

HISTORY_BATCH = 256
_T = TypeVar("_T")
_Batch = TypeVar("_Batch", bound=Sized)


def from_url(url: str) -> "FileAdapter":
    """Return a closed adapter for `file:PATH`; all after the colon is the path, taken as it stands.

    Raises:
        InvalidRequestError: There is no path, or it cannot name a folder.
    """
    path = url.removeprefix(SCHEME)
    if not url.startswith(SCHEME) or not path or "\0" in path:
        raise InvalidRequestError(f"{url!r:.120} names no folder; write file:PATH, such as file:/var/lib/recollect")
    return FileAdapter(Path(path))


def _settle(future: "asyncio.Future[None]", error: StorageError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


class Relay(Generic[_Batch]):
    """An iterator of groups of batches that worker threads advance in turn, until the consumer has gone.

    Attributes:
        gone: Set when the consumer has gone.
        finished: Whether it is known that no group follows.
    """

    def __init__(self, make: Callable[[Event], Iterator[list[_Batch]]], batch_size: int, limit: int | None) -> None:
        self.gone = Event()
        self.finished = False
        self._make = make
        self._iterator: Iterator[list[_Batch]] | None = None
        self._batch_size = batch_size
        self._left = limit

    def turn(self) -> list[_Batch]:
        """Return the next group; empty at the end."""
        if self._iterator is None:
            self._iterator = self._make(self.gone)
        try:
            group = next(self._iterator, [])
        except AbandonedError:
            group = []
        if self._left is not None:
            self._left -= sum(map(len, group))
        self.finished = not group or len(group[-1]) < self._batch_size or self._left == 0
        return group


class FileAdapter(ProvenanceStorageAdapter):
    """Memories in a folder: an SQLite catalog, packs of vectors, packs of provenance.

    Several processes may have the same folder open; each sees what the others have committed. `supersedes` of
    a put is not needed here: what a version replaces follows from the order of commits on its branch.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._store: OpenStore | None = None
        self._queue = asyncio.Semaphore(WAIT_COMMITS_MAX)

    @property
    def provenance_bytes_read(self) -> int:
        """How many bytes of provenance this open store has read."""
        return self._opened().provenance.bytes_read

    def _opened(self) -> OpenStore:
        if self._store is None:
            raise closed_error()
        return self._store

    async def open(self, profile: StoreProfile | None = None) -> StoreProfile:
        """Open the store; see the port."""
        if self._store is not None:
            raise StoreUnavailableError("the store is open already; close it first")

        def work() -> OpenStore:
            with catalog.translated(f"opening the store at {self._folder}"):
                return OpenStore(self._folder, profile)

        self._store = await asyncio.to_thread(work)
        return self._store.profile

    async def close(self) -> None:
        """Make everything durable and release the store; see the port."""
        store, self._store = self._store, None
        if store is not None:

            def work() -> None:
                with catalog.translated("closing the store"):
                    store.close()

            await asyncio.to_thread(work)

    # --- Writing ----------------------------------------------------------------------------------------

    async def commit(self, commit: Commit) -> CommitReceipt:
        """Write all of a commit or nothing of it; see the port."""
        store = self._opened()
        async with self._queue:
            prepared = await self._prepare(store, commit)
            if self._store is not store:
                raise closed_error()
            loop = asyncio.get_running_loop()
            future: asyncio.Future[CommitReceipt] = loop.create_future()
            store.writer.submit(Waiting(prepared, loop, future))
            return await future

    async def _prepare(self, store: OpenStore, commit: Commit) -> PreparedCommit:
        if len(commit.puts) <= INLINE_PUTS_MAX:
            return prepare(commit, store.profile.dimension)
        return await self._run(store, store.lookups, lambda: prepare(commit, store.profile.dimension))

    async def flush(self) -> None:
        """Make every acknowledged commit durable; see the port."""
        store = self._opened()
        await self._run(store, store.lookups, store.maintenance.sync_log)

    async def compact(self) -> None:
        """Leave nothing of erased versions in any file; see the port."""
        store = self._opened()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def done(error: StorageError | None) -> None:
            call_soon(loop, _settle, future, error)

        store.writer.submit(Task(store.compact, done))
        await future

    # --- Reading ----------------------------------------------------------------------------------------

    async def _run(self, store: OpenStore, pool: Executor, work: Callable[[], _T]) -> _T:
        if self._store is not store:
            raise closed_error()

        def translated() -> _T:
            with catalog.translated(f"working on the store at {self._folder}"):
                return work()

        return await asyncio.get_running_loop().run_in_executor(pool, translated)

    async def get(
        self, selectors: Sequence[Selector], read_point: ReadPoint, projection: Projection = SUMMARY
    ) -> list[Version | None]:
        """Return what each selector names; see the port."""
        store = self._opened()
        if len(selectors) <= SELECTORS_MAX:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[list[Version | None]] = loop.create_future()
            store.gets.submit(WaitingRead(selectors, read_point, projection, loop, future))
            return await future

        def work(reader: RowReader) -> list[Version | None]:
            return reader.select(selectors, read_point, projection)

        return await self._run(store, store.lookups, lambda: store.reading(work))

    def history(
        self, memory_id: str, read_point: ReadPoint | None, projection: Projection = SUMMARY
    ) -> AsyncGenerator[Sequence[Version], None]:
        """Stream a memory's versions, newest first; see the port."""

        def read(store: OpenStore, gone: Event) -> Iterator[list[list[Version]]]:
            for rows in split(store.reader().line(memory_id, read_point), HISTORY_BATCH):
                if gone.is_set():
                    raise AbandonedError
                yield [store.reader().versions(rows, projection)]

        return self._stream(lambda store: (store.lookups, Relay(partial(read, store), HISTORY_BATCH, None)))

    def scan(self, scan: Scan) -> AsyncGenerator[Sequence[Version], None]:
        """Stream versions in order; see the port."""

        def start(store: OpenStore) -> tuple[Executor, Relay[list[Version]]]:
            work = partial(store.searcher.scan, store.reader, scan)
            return store.searches, Relay(work, scan.batch_size, scan.limit)

        return self._stream(start)

    def find_similar(self, query: SimilarityQuery) -> AsyncGenerator[Sequence[Match], None]:
        """Stream matches, best first; see the port."""

        def start(store: OpenStore) -> tuple[Executor, Relay[list[Match]]]:
            work = partial(store.searcher.find_similar, store.reader, query)
            return store.searches, Relay(work, query.batch_size, query.limit)

        return self._stream(start)

    def find_similar_encoded(self, query: SimilarityQuery) -> AsyncGenerator[EncodedMatches, None]:
        """Stream matches as JSON; see `recollect.adapters.port.EncodedSearch`."""

        def start(store: OpenStore) -> tuple[Executor, Relay[EncodedMatches]]:
            work = partial(store.searcher.find_similar_encoded, store.reader, query)
            return store.searches, Relay(work, query.batch_size, query.limit)

        return self._stream(start)

    async def count(
        self, read_point: ReadPoint, namespaces: Sequence[str] | None = None, matching: Filter | None = None
    ) -> int:
        """Count visible versions; see the port."""
        store = self._opened()
        return await self._run(
            store, store.searches, lambda: store.searcher.count(store.reader, read_point, namespaces, matching)
        )

    async def _stream(
        self, start: Callable[[OpenStore], tuple[Executor, Relay[_Batch]]]
    ) -> AsyncGenerator[_Batch, None]:
        """Advance a relay in worker threads, one group ahead of the consumer and no further."""
        store = self._opened()
        pool, relay = start(store)
        ahead: asyncio.Future[list[_Batch]] | None = None
        try:
            group = await self._run(store, pool, relay.turn)
            while group:
                if not relay.finished:
                    ahead = asyncio.ensure_future(self._run(store, pool, relay.turn))
                for batch in group:
                    yield batch
                group = [] if ahead is None else await ahead
                ahead = None
        finally:
            relay.gone.set()
            if ahead is not None:
                # The worker looks at `gone` between blocks; wait, so that nothing of this stream goes on behind it.
                await asyncio.wait([ahead])
                if not ahead.cancelled():
                    ahead.exception()

    # --- The store --------------------------------------------------------------------------------------

    async def check(self) -> CheckReport:
        """Read everything and name what is damaged; see the port."""
        store = self._opened()
        return await self._run(store, store.lookups, lambda: check_store(store))

    async def status(self) -> StoreStatus:
        """Return facts about the open store; see the port."""
        store = self._opened()

        def work() -> StoreStatus:
            state = store.state()
            return StoreStatus(
                backend="file",
                location=str(self._folder),
                profile=store.profile,
                versions=state.row,
                last_position=state.position,
                bytes_on_disk=durable.size_on_disk(self._folder),
                notes=(*store.notes, *store.maintenance.problems, *store.searcher.notes),
            )

        return await self._run(store, store.lookups, work)
