"""Vector packs: float32 rows in files that are mapped into memory for search.

They are derived from the table `parts`, the truth, and are rebuilt from it when they are missing, too short or
wrong. A pack holds a fixed number of rows, so that a row's place follows from its slot. The writer writes a row
before the transaction that makes it known commits; a file grows by doubling, in holes that take no space.
"""

import mmap
import os
import re
import sqlite3
from pathlib import Path
from threading import Lock
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from recollect.adapters.errors import StoreDamagedError
from recollect.adapters.files import durable
from recollect.adapters.files.records import damaged
from recollect.adapters.versions import Vector

PACK_ROWS = 65_536
GROW_ROWS_MIN = 512
SPOT_CHECKS = 8
_NAME = re.compile(r"vectors-(\d{6,})\.pack")


def pack_name(pack: int) -> str:
    """Return the file name of a pack."""
    return f"vectors-{pack:06}.pack"


def pack_number(name: str) -> int | None:
    """Return the number of a pack's file name; None for other files."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def read_dense(content: bytes, dimension: int) -> Vector:
    """Return vectors, float32 of shape (windows, dimension), from their bytes."""
    return np.frombuffer(content, dtype="<f4").reshape(-1, dimension)


def row_at(connection: sqlite3.Connection, slot: int) -> int:
    """Return the row that holds a slot, by bisection: first slots grow with rows, so no index is needed."""
    low, high = 1, int(connection.execute("SELECT max(row) FROM versions").fetchone()[0])
    while low < high:
        middle = (low + high + 1) // 2
        (first,) = connection.execute("SELECT first_slot FROM versions WHERE row = ?", (middle,)).fetchone()
        low, high = (middle, high) if first <= slot else (low, middle - 1)
    return low


class VectorPacks:
    """The packs of one open store: written by its writer, mapped by its readers.

    Attributes:
        pack_rows: How many rows a pack holds.
    """

    def __init__(self, folder: Path, dimension: int) -> None:
        self._folder = folder
        self.pack_rows = PACK_ROWS
        self._row_bytes = 4 * dimension
        self._dimension = dimension
        self._handles: dict[int, int] = {}
        self._mapped: dict[int, Vector] = {}
        self._lock = Lock()

    # --- Writing; the caller holds the catalog's write lock ---------------------------------------------

    def write(self, slot: int, rows: bytes) -> None:
        """Write rows from a slot on, over as many packs as they reach."""
        view = memoryview(rows)
        while view:
            pack, row = divmod(slot, self.pack_rows)
            count = min(len(view) // self._row_bytes, self.pack_rows - row)
            size = count * self._row_bytes
            handle = self._writable(pack, row + count)
            durable.write_at(handle, view[:size], row * self._row_bytes)
            view = view[size:]
            slot += count

    def _writable(self, pack: int, rows: int) -> int:
        if not self._has_handle(pack):
            durable.create_file(self._folder / pack_name(pack))
        handle = self._handle(pack)
        size = os.fstat(handle).st_size
        if size < rows * self._row_bytes:
            # Doubling keeps the number of times that readers map the file anew small.
            grown = max(GROW_ROWS_MIN, 2 ** (rows - 1).bit_length())
            os.ftruncate(handle, min(grown, self.pack_rows) * self._row_bytes)
        return handle

    def clear(self, slot: int, count: int) -> None:
        """Write zeros over the slots of an erased version."""
        self.write(slot, bytes(count * self._row_bytes))

    def sync_all(self) -> None:
        """Make every pack that this process has written durable."""
        for handle in list(self._handles.values()):
            os.fdatasync(handle)

    def sync(self, slot: int, end: int) -> None:
        """Make the slots from `slot` to before `end` durable."""
        if slot < end:
            for pack in range(slot // self.pack_rows, (end - 1) // self.pack_rows + 1):
                os.fdatasync(self._handle(pack))

    def recover(self, connection: sqlite3.Connection, synced: int, end: int) -> list[str]:
        """Write the slots again that a power cut may have taken, and packs that are missing or wrong.

        Args:
            connection: To the catalog, whose write lock the caller holds.
            synced: The first slot that is not known to be durable.
            end: The slot after the last.

        Returns:
            What was rebuilt or could not be, as sentences.
        """
        notes: list[str] = []
        for pack in range(-(-end // self.pack_rows)):
            first, last = pack * self.pack_rows, min(end, (pack + 1) * self.pack_rows)
            if self._looks_whole(connection, pack, first, min(synced, last)):
                first = max(first, synced)
            else:
                notes.append(f"{pack_name(pack)} was missing or wrong and has been rebuilt from the catalog")
            if first < last:
                self._writable(pack, last - pack * self.pack_rows)
                notes.extend(self._rewrite(connection, first, last))
                self.sync(first, last)
        return notes

    def _looks_whole(self, connection: sqlite3.Connection, pack: int, first: int, checked: int) -> bool:
        try:
            size = os.fstat(self._handle(pack)).st_size
        except OSError:
            return False
        if checked <= first:
            return True
        if size < (checked - first) * self._row_bytes:
            return False
        spots = np.linspace(first, checked - 1, SPOT_CHECKS).astype(int).tolist()
        return all(self._same(connection, spot) for spot in set(spots))

    def _same(self, connection: sqlite3.Connection, slot: int) -> bool:
        statement = "SELECT first_slot, dense FROM versions LEFT JOIN parts USING (row) WHERE row = ?"
        first, dense = connection.execute(statement, (row_at(connection, slot),)).fetchone()
        start = (slot - first) * self._row_bytes
        pack, row = divmod(slot, self.pack_rows)
        found = durable.read_at(self._handle(pack), self._row_bytes, row * self._row_bytes)
        return dense is not None and found == dense[start : start + self._row_bytes]

    def _rewrite(self, connection: sqlite3.Connection, first: int, last: int) -> list[str]:
        """Write slots from the catalog; return a sentence for each version whose vectors are damaged there."""
        if first >= last:
            return []
        problems: list[str] = []
        rows = connection.execute(
            "SELECT row, memory_id, first_slot, dense, dense_crc FROM versions JOIN parts USING (row)"
            " WHERE slots > 0 AND row BETWEEN ? AND ?",
            (row_at(connection, first), row_at(connection, last - 1)),
        )
        for row, memory_id, slot, dense, dense_crc in rows:
            if crc32(dense or b"") == dense_crc:
                self.write(slot, dense)
            else:
                problems.append(str(damaged(row, "vectors", memory_id)))
        return problems

    # --- Reading ----------------------------------------------------------------------------------------

    def segments(self, end: int) -> list[tuple[int, Vector]]:
        """Return the first slot and the rows of each pack up to a slot, mapped, without reading them.

        Raises:
            StoreDamagedError: A pack is missing or shorter than the catalog says.
        """
        return [
            (pack * self.pack_rows, self._map(pack, min(end - pack * self.pack_rows, self.pack_rows)))
            for pack in range(-(-end // self.pack_rows))
        ]

    def _map(self, pack: int, rows: int) -> NDArray[np.float32]:
        with self._lock:
            mapped = self._mapped.get(pack)
            if mapped is None or len(mapped) < rows:
                mapped = self._map_anew(pack, rows)
                self._mapped[pack] = mapped
        return mapped[:rows]

    def _map_anew(self, pack: int, rows: int) -> NDArray[np.float32]:
        name = pack_name(pack)
        remedy = "close the store and open it again, which rebuilds it from the catalog"
        try:
            handle = durable.open_file(self._folder / name, writable=False)
        except OSError as error:
            raise StoreDamagedError(f"{name} cannot be read ({error}); {remedy}", place=name) from error
        try:
            held = os.fstat(handle).st_size // self._row_bytes
            if held < rows:
                raise StoreDamagedError(f"{name} holds {held} of {rows} rows; {remedy}", place=name)
            mapped = mmap.mmap(handle, held * self._row_bytes, mmap.MAP_SHARED, mmap.PROT_READ)
        finally:
            os.close(handle)
        return np.frombuffer(mapped, dtype="<f4").reshape(-1, self._dimension)

    # --- Handles ----------------------------------------------------------------------------------------

    def _has_handle(self, pack: int) -> bool:
        return pack in self._handles

    def _handle(self, pack: int) -> int:
        with self._lock:
            handle = self._handles.get(pack)
            if handle is None:
                handle = durable.open_file(self._folder / pack_name(pack), writable=True)
                self._handles[pack] = handle
        return handle

    def close(self) -> None:
        """Close all handles. Mapped arrays that a reader still holds stay valid."""
        with self._lock:
            for handle in self._handles.values():
                os.close(handle)
            self._handles.clear()
            self._mapped.clear()
