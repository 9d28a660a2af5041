"""Upkeep in the background, so that no commit waits for it.

Packs are synced, which the catalog notes so that opening need not look at them again, and the write-ahead log is
copied into the catalog. What must be written goes through the writer, which does it between two groups.
"""

import os
import sqlite3
from pathlib import Path
from threading import Event, Lock, Thread

from recollect.adapters.errors import StorageError
from recollect.adapters.files import catalog
from recollect.adapters.files.provenance import ProvenancePacks
from recollect.adapters.files.transaction import read_state, slot_after
from recollect.adapters.files.vectors import VectorPacks
from recollect.adapters.files.writer import Task, Writer

INTERVAL_S = 1.0
_NOTE_HEADS = (
    "INSERT INTO branches SELECT branch, max(position) FROM versions WHERE row > ? AND row <= ? GROUP BY branch"
    " ON CONFLICT (name) DO UPDATE SET head = excluded.head"
)


class Maintenance:
    """The thread that keeps an open store tidy.

    Attributes:
        problems: What failed at its last turn, as sentences; empty when all is well.
    """

    def __init__(
        self,
        writer: Writer,
        connection: sqlite3.Connection,
        path: Path,
        vectors: VectorPacks,
        provenance: ProvenancePacks,
    ) -> None:
        self._writer = writer
        self._connection = connection
        self._log = path.with_name(f"{path.name}-wal")
        self._vectors = vectors
        self._provenance = provenance
        self._lock = Lock()
        self._stopping = False
        self._commits_seen = 0
        self.problems: tuple[str, ...] = ()
        self._thread = Thread(target=self._run, name="recollect-maintenance", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._writer.log_is_long.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            self._writer.log_is_long.wait(INTERVAL_S)
            commits = self._writer.counters.commits
            if self._stopping or (commits == self._commits_seen and not self.problems):
                continue
            self._commits_seen = commits
            try:
                self.problems = ()
                self.turn()
            except (sqlite3.Error, OSError, StorageError) as failure:
                self._note(catalog.translate(failure, "maintaining the store"))

    def _note(self, failure: StorageError | None) -> None:
        # The log and the note of what is tidy stay as they are until a later turn succeeds: nothing is lost.
        if failure is not None:
            self.problems = (f"upkeep: {failure}",)

    def turn(self) -> None:
        """Sync the packs, note how far they are, and copy the log if it has grown."""
        with self._lock:
            row = self._sync_packs()
            self._writer.submit(Task(lambda connection: tidy(connection, row), self._note))
            if self._writer.log_is_long.is_set():
                self._writer.log_is_long.clear()
                self._checkpoint()

    def _sync_packs(self) -> int:
        """Make the packs durable and return the last row that they hold."""
        state = read_state(self._connection)
        tidied = int(catalog.read_meta(self._connection, catalog.TIDIED))
        if state.row > tidied:
            found = self._connection.execute("SELECT pack FROM versions WHERE row = ?", (max(tidied, 1),)).fetchone()
            self._provenance.sync(found[0], state.pack)
            self._vectors.sync(slot_after(self._connection, tidied), state.slot)
        return state.row

    def _checkpoint(self) -> None:
        """Copy the log into the catalog, and let the writer copy the little that is added meanwhile.

        Only a log of which nothing is left to copy is begun anew, which keeps it short, and its blocks in place: a
        commit that need not extend the file is synced in half the time.
        """
        self._writer.log_bytes = 0
        copy_log(self._connection)
        self._writer.submit(Task(copy_log, self._note))

    def finish(self) -> None:
        """Make everything durable, and leave as little as possible to the next opening; blocks until done.

        Raises:
            OSError: The log could not be synced.
        """
        self.stop()
        try:
            self.turn()
        except (sqlite3.Error, OSError, StorageError) as failure:
            # A full disk must not keep a store from closing: the log is durable below, upkeep waits for the next.
            self._note(catalog.translate(failure, "maintaining the store"))
        done = Event()
        self._writer.submit(Task(empty_log, lambda _: done.set()))
        done.wait()
        self.sync_log()

    def sync_log(self) -> None:
        """Make every commit in the log durable, those of other processes too."""
        try:
            # SQLite holds no locks on its log, so closing this handle drops none.
            handle = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.fdatasync(handle)
        finally:
            os.close(handle)


def tidy(connection: sqlite3.Connection, row: int) -> None:
    """Note that packs are durable up to a row, and the newest commit of each branch up to there."""
    if int(catalog.read_meta(connection, catalog.TIDIED)) >= row:
        return
    connection.execute("BEGIN IMMEDIATE")
    tidied = int(catalog.read_meta(connection, catalog.TIDIED))
    if tidied < row:
        connection.execute(_NOTE_HEADS, (tidied, row))
        catalog.write_meta(connection, catalog.TIDIED, str(row))
    connection.execute("COMMIT")


def empty_log(connection: sqlite3.Connection) -> None:
    """Copy all of the log and cut it; gives way to other processes that use it."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def copy_log(connection: sqlite3.Connection) -> None:
    """Copy what nobody reads any more of the log."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
