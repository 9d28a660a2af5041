"""An open store: its connections, packs, writer and upkeep, put together and taken apart."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock, local
from typing import TypeVar

from recollect.adapters.errors import StoreDamagedError, StoreUnavailableError
from recollect.adapters.files import catalog, durable, erasing, provenance, vectors
from recollect.adapters.files.acknowledged import AcknowledgedMark
from recollect.adapters.files.gathering import GatheredReads
from recollect.adapters.files.lookups import RowReader
from recollect.adapters.files.maintenance import Maintenance
from recollect.adapters.files.provenance import ProvenancePacks
from recollect.adapters.files.search import Searcher
from recollect.adapters.files.similarity import HELPERS
from recollect.adapters.files.transaction import StoreState, read_state, slot_after
from recollect.adapters.files.vectors import VectorPacks
from recollect.adapters.files.writer import Writer
from recollect.adapters.folders import refuse_other_kind
from recollect.adapters.port import StoreProfile

LOOKUP_THREADS = 4
SEARCH_THREADS = 3
_T = TypeVar("_T")


def locate(folder: Path, profile: StoreProfile | None) -> Path:
    """Return the catalog's path, after creating the store if it does not exist and a profile is given.

    Raises:
        StoreUnavailableError: There is none and no profile was given, or a link or a store of another kind is in its
            place.
        StoreDamagedError: Packs are there, but no catalog.
    """
    path = folder / catalog.NAME
    if path.is_symlink():
        raise StoreUnavailableError(f"{path} is a link; a store's files lie in its own folder, so name that one")
    if path.exists():
        return path
    refuse_other_kind(folder, "file")
    if folder.is_dir():
        packs = [entry.name for entry in folder.iterdir() if _is_pack(entry.name)]
        if packs:
            raise StoreDamagedError(
                f"{path} is missing beside {len(packs)} packs; restore it from a backup", place=catalog.NAME
            )
    if profile is None:
        raise StoreUnavailableError(f"there is no store at {folder}; give a profile to create one")
    durable.create_folder(folder)
    catalog.create(path, profile)
    return path


def _is_pack(name: str) -> bool:
    return provenance.pack_number(name) is not None or vectors.pack_number(name) is not None


class OpenStore:
    """Everything that an open store holds. Building one opens it; `close` gives all of it back.

    Attributes:
        notes: What was repaired at opening, as sentences.
    """

    def __init__(self, folder: Path, wanted: StoreProfile | None) -> None:
        path = locate(folder, wanted)
        self.folder = folder
        self.notes: list[str] = []
        self._path = path
        self._connections: list[sqlite3.Connection] = []
        self._lock = Lock()
        self._readers = local()
        self._closers: list[Callable[[], None]] = [self._close_connections]
        try:
            self._open(path, wanted)
        except (TypeError, LookupError) as error:
            # What is written is checked, so a value of a wrong type, or none where one must be, comes of damage.
            self._take_apart()
            raise StoreDamagedError(
                f"{catalog.NAME} holds what no store writes ({error}); restore it from a backup", place=catalog.NAME
            ) from error
        except BaseException:
            self._take_apart()
            raise

    def _open(self, path: Path, wanted: StoreProfile | None) -> None:
        connection = self._connect(catalog.WRITER_CACHE_KIB)
        self.profile = catalog.read_profile(connection, wanted)
        self.vectors = VectorPacks(self.folder, self.profile.dimension)
        self._closers.append(self.vectors.close)
        self.provenance = ProvenancePacks(self.folder)
        self._closers.append(self.provenance.close)
        self.mark = AcknowledgedMark(self.folder)
        self._closers.append(self.mark.close)
        self._recover(connection)
        helpers = ThreadPoolExecutor(HELPERS, thread_name_prefix="recollect-helper")
        self._closers.append(helpers.shutdown)
        self.searcher = Searcher(self.folder, self.vectors, self.profile.dimension, helpers)
        self._closers.append(self.searcher.close)
        reader = RowReader(connection, self.provenance, self.profile.dimension)
        self.writer = Writer(self.folder, connection, reader, self.vectors, self.provenance, self.mark)
        self._closers.append(self.writer.stop)
        self.maintenance = Maintenance(
            self.writer, self._connect(catalog.READER_CACHE_KIB), path, self.vectors, self.provenance
        )
        self._closers.append(self.maintenance.stop)
        self.lookups = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="recollect-lookup")
        self.searches = ThreadPoolExecutor(SEARCH_THREADS, thread_name_prefix="recollect-search")
        self.gets = GatheredReads(self.lookups, self.reading)
        self._closers.append(self.lookups.shutdown)
        self._closers.append(self.searches.shutdown)

    def _recover(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            state = read_state(connection)
            self.mark.verify(state.position)
            tidied = int(catalog.read_meta(connection, catalog.TIDIED))
            self.notes += self.provenance.recover(connection, tidied)
            self.notes += self.vectors.recover(connection, slot_after(connection, tidied), state.slot)
            _, rows = erasing.not_compacted(connection)
            erasing.scrub(connection, rows, self.vectors, self.provenance)
        finally:
            connection.execute("ROLLBACK")

    def _connect(self, cache_kib: int, *, mapped: bool = False) -> sqlite3.Connection:
        connection = catalog.connect(self._path, cache_kib=cache_kib, mapped=mapped)
        with self._lock:
            self._connections.append(connection)
        return connection

    def reader(self) -> RowReader:
        """Return the reader of the thread that asks."""
        found: RowReader | None = getattr(self._readers, "reader", None)
        if found is None:
            connection = self._connect(catalog.READER_CACHE_KIB, mapped=True)
            found = self._readers.reader = RowReader(connection, self.provenance, self.profile.dimension)
        return found

    def reading(self, work: Callable[[RowReader], _T]) -> _T:
        """Run work in one read transaction of the calling thread, so that all it reads is one state."""
        with catalog.translated("reading the store"):
            reader = self.reader()
            reader.connection.execute("BEGIN")
            try:
                return work(reader)
            finally:
                reader.connection.execute("COMMIT")

    def state(self) -> StoreState:
        """Return where the store stands."""
        return self.reading(lambda reader: read_state(reader.connection))

    def compact(self, connection: sqlite3.Connection) -> None:
        """Leave nothing of erased versions in any file; for the writer, between two groups."""
        erasing.compact(connection, self._path, self.vectors, self.provenance)

    def close(self) -> None:
        """Make everything durable and give everything back."""
        try:
            self.maintenance.finish()
        finally:
            self._take_apart()

    def _take_apart(self) -> None:
        while self._closers:
            self._closers.pop()()

    def _close_connections(self) -> None:
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
