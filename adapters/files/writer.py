"""The writer: one thread that makes everything that waits durable with one sync (group commit)."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

from msgspec import Struct

from recollect.adapters.errors import StorageError, StoreClosedError, StoreFullError
from recollect.adapters.files import catalog, erasing
from recollect.adapters.files.acknowledged import AcknowledgedMark
from recollect.adapters.files.answering import answer
from recollect.adapters.files.lookups import RowReader
from recollect.adapters.files.provenance import ProvenancePacks
from recollect.adapters.files.records import PreparedCommit
from recollect.adapters.files.transaction import Transaction
from recollect.adapters.files.vectors import VectorPacks
from recollect.adapters.port import CommitReceipt

GROUP_COMMITS_MAX = 1_024
GROUP_BYTES_MAX = 32 * 2**20
WAIT_COMMITS_MAX = 4_096
LOG_BYTES = 4 * 2**20
"""From about this length on the write-ahead log is copied into the catalog; SQLite's own default."""

GROUP_LOG_BYTES = 6 * catalog.PAGE_BYTES
"""What a small commit adds to the log."""

RESERVE_BYTES = 2**19
"""A commit is refused when less than this would be left, so that what is there can still be opened and read."""


class Waiting(Struct, eq=False):
    """A commit in the queue, and where to answer."""

    prepared: PreparedCommit
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[CommitReceipt]"


class Task(Struct, eq=False):
    """Something else that must run on the writer's connection, between groups."""

    work: Callable[[sqlite3.Connection], None]
    done: Callable[[StorageError | None], None]


Outcome = CommitReceipt | StorageError


class Counters(Struct):
    """What the writer has done since it started."""

    commits: int = 0
    syncs: int = 0


class Writer:
    """Owns the only connection of its process that writes versions.

    Attributes:
        counters: Facts for tests and telemetry.
        unsynced: Whether a relaxed commit may not be safe from power loss yet.
        log_bytes: About how much has been written since the log was last copied.
        log_is_long: Set when it is time to copy it.
    """

    def __init__(
        self,
        folder: Path,
        connection: sqlite3.Connection,
        reader: RowReader,
        vectors: VectorPacks,
        provenance: ProvenancePacks,
        mark: AcknowledgedMark,
    ) -> None:
        self._folder = folder
        self._connection = connection
        self._reader = reader
        self._vectors = vectors
        self._provenance = provenance
        self._mark = mark
        self._queue: SimpleQueue[Waiting | Task | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="recollect-writer", daemon=True)
        self._full_sync = True
        self.counters = Counters()
        self.unsynced = False
        self.log_bytes = 0
        self.log_is_long = Event()
        self._thread.start()

    def submit(self, item: Waiting | Task) -> None:
        """Queue a commit or a task; its future is answered on its loop."""
        self._queue.put(item)

    def stop(self) -> None:
        """Finish what is queued and end the thread; blocks until then."""
        self._queue.put(None)
        self._thread.join()

    # --- The thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        stopping = False
        while not stopping:
            group: list[Waiting] = []
            task: Task | None = None
            size = 0
            item = self._queue.get()
            while True:
                if item is None:
                    stopping = True
                elif isinstance(item, Task):
                    task = item
                elif not item.future.cancelled():
                    group.append(item)
                    size += item.prepared.size_bytes
                full = len(group) >= GROUP_COMMITS_MAX or size >= GROUP_BYTES_MAX
                if stopping or task or full or self._queue.empty():
                    break
                item = self._queue.get()
            if group:
                answer(group, self._write(group, size))
            if task:
                self._do(task)

    def _do(self, task: Task) -> None:
        error: StorageError | None = None
        try:
            task.work(self._connection)
        except Exception as failure:  # noqa: BLE001 - the thread must live: whatever failed is told to who waits
            self._roll_back()
            error = catalog.translate(failure, "maintaining the store")
            error.__cause__ = failure
        task.done(error)

    def _write(self, group: list[Waiting], size: int) -> list[Outcome]:
        try:
            return self._write_together(group, size)
        except Exception as failure:  # noqa: BLE001 - as above
            self._roll_back()
            if len(group) == 1:
                error = catalog.translate(failure, "writing a commit")
                error.__cause__ = failure if failure is not error else None
                return [error]
        # One commit that cannot be written must not take its neighbours down: each on its own.
        return [outcome for one in group for outcome in self._write([one], one.prepared.size_bytes)]

    def _write_together(self, group: list[Waiting], size: int) -> list[Outcome]:
        durable = any(one.prepared.commit.durability == "durable" for one in group)
        self._check_space(size)
        self._set_sync(full=durable)
        self._connection.execute("BEGIN IMMEDIATE")
        transaction = Transaction(self._connection, self._reader, self._vectors, self._provenance)
        outcomes: list[Outcome] = []
        for one in group:
            try:
                outcomes.append(CommitReceipt(transaction.add(one.prepared), durable))
            except StorageError as refused:
                outcomes.append(refused)
        transaction.finish()
        self._connection.execute("COMMIT")
        self.counters.commits += len(group)
        self.counters.syncs += durable
        self.log_bytes += GROUP_LOG_BYTES + 2 * size
        if self.log_bytes >= LOG_BYTES:
            self.log_is_long.set()
        if durable:
            self._mark.advance(transaction.stored_position)
        self.unsynced = (self.unsynced or not durable) and not durable
        if transaction.erased:
            self._scrub(transaction.erased)
        return outcomes

    def _scrub(self, rows: list[int]) -> None:
        # The commit stands, and nobody reads a stub's place in a pack: what fails here is done by the next opening, or
        # by compaction, which tells.
        with suppress(OSError, sqlite3.Error):
            erasing.scrub(self._connection, rows, self._vectors, self._provenance)

    def _set_sync(self, *, full: bool) -> None:
        if full != self._full_sync:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
            self._full_sync = full

    def _check_space(self, size: int) -> None:
        device = os.statvfs(self._folder)
        # Vectors and provenance are written twice, and each write reaches the log and later the catalog.
        if device.f_bavail * device.f_frsize < RESERVE_BYTES + 3 * size:
            raise StoreFullError("writing a commit: no space left; free some and try again. Nothing was written")

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def closed_error() -> StoreClosedError:
    """Return the error for a store that is not open."""
    return StoreClosedError("the store is not open; call open() first")
