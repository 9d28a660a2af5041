"""Provenance packs: append-only JSON Lines, one line a version, that `jq` reads.

A line holds the version's name and position, the record, and the CRC-32 of all before `,"crc32":`. The catalog
says where each line lies, so that a record is read only when it is asked for. The writer appends inside its
transaction, which also keeps each line in the table `parts`: so a commit needs one sync, not two, and a pack that is
lost, or that a power cut took the end of, is written again at opening.
"""

import os
import re
import sqlite3
from pathlib import Path
from threading import Lock
from zlib import crc32

import msgspec

from recollect.adapters.errors import StoreDamagedError
from recollect.adapters.files import durable
from recollect.adapters.versions import VersionRef

ROTATE_BYTES = 64 * 2**20
_NAME = re.compile(r"provenance-(\d{6,})\.prov")
_END = re.compile(rb',"crc32":(\d{1,10})\}\n\Z')
_RECORD = b',"provenance":'


def pack_name(pack: int) -> str:
    """Return the file name of a pack."""
    return f"provenance-{pack:06}.prov"


def pack_number(name: str) -> int | None:
    """Return the number of a pack's file name; None for other files."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def line_start(ref: VersionRef) -> bytes:
    """Return a line's beginning, up to its position."""
    memory_id, branch = msgspec.json.encode(ref.memory_id), msgspec.json.encode(ref.branch)
    return b'{"memory_id":%s,"branch":%s,"version":%d,"position":' % (memory_id, branch, ref.number)


def make_line(start: bytes, position: int, record: bytes) -> bytes:
    """Return a line from its start, the position and the record, all JSON."""
    body = b"%s%d%s%s" % (start, position, _RECORD, record)
    return b'%s,"crc32":%d}\n' % (body, crc32(body))


def erased_line(ref: VersionRef, position: int, length: int) -> bytes:
    """Return the line that takes the place of an erased version's, as long as that was."""
    body = b'%s%d,"erased":true' % (line_start(ref), position)
    line = b'%s,"crc32":%d}' % (body, crc32(body))
    return line.ljust(length - 1) + b"\n"


def first_row_of(connection: sqlite3.Connection, pack: int) -> int:
    """Return the first row of a pack or a later one, by bisection; the row after the last if there is none."""
    low, high = 1, int(connection.execute("SELECT max(row) FROM versions").fetchone()[0]) + 1
    while low < high:
        middle = (low + high) // 2
        (found,) = connection.execute("SELECT pack FROM versions WHERE row = ?", (middle,)).fetchone()
        low, high = (low, middle) if found >= pack else (middle + 1, high)
    return low


class ProvenancePacks:
    """The packs of one open store. Handles stay open until `close`; threads may read at the same time.

    Attributes:
        bytes_read: How many bytes have been read; it stays 0 as long as nobody asks for provenance.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handles: dict[int, int] = {}
        self._lock = Lock()
        self.bytes_read = 0

    def read(self, pack: int, start: int, length: int, ref: VersionRef, position: int) -> bytes:
        """Return the record of a version's line as JSON.

        Raises:
            StoreDamagedError: The line differs from its checksum, is another version's, or the pack is missing.
        """
        line = self.raw(pack, start, length)
        end = _END.search(line)
        name = b"%s%d%s" % (line_start(ref), position, _RECORD)
        if end is None or not line.startswith(name) or crc32(line[: end.start()]) != int(end[1]):
            place = f"{pack_name(pack)}, bytes {start} to {start + length}"
            raise StoreDamagedError(
                f"{place}: the provenance of version {ref.number} of {ref.memory_id} on {ref.branch} differs from its "
                "checksum; close the store, delete the file and open it again: it is rebuilt from the catalog",
                place=place,
            )
        return line[len(name) : end.start()]

    def raw(self, pack: int, start: int, length: int) -> bytes:
        """Return bytes of a pack, fewer where it ends.

        Raises:
            StoreDamagedError: The pack is missing.
        """
        try:
            found = durable.read_at(self._handle(pack), length, start)
        except FileNotFoundError as error:
            name = pack_name(pack)
            raise StoreDamagedError(
                f"{name} is missing; close the store and open it again, which rebuilds it", place=name
            ) from error
        self.bytes_read += len(found)
        return found

    def append(self, pack: int, start: int, lines: bytes) -> None:
        """Write lines at the end that the catalog gives, cutting what a dead writer left behind it.

        The caller holds the catalog's write lock.
        """
        if start == 0:
            durable.create_file(self._folder / pack_name(pack))
        handle = self._handle(pack)
        if os.fstat(handle).st_size > start:
            os.ftruncate(handle, start)
        durable.write_at(handle, lines, start)

    def overwrite(self, pack: int, start: int, line: bytes) -> None:
        """Put the line of an erased version in the place of the one that is there."""
        durable.write_at(self._handle(pack), line, start)

    def sync_all(self) -> None:
        """Make every pack that this process has written or read durable."""
        for handle in list(self._handles.values()):
            os.fdatasync(handle)

    def sync(self, first: int, last: int) -> None:
        """Make the packs from `first` to `last` durable; those that hold nothing yet are not there."""
        for pack in range(first, last + 1):
            if pack in self._handles or (self._folder / pack_name(pack)).exists():
                os.fdatasync(self._handle(pack))

    def recover(self, connection: sqlite3.Connection, tidied: int) -> list[str]:
        """Write again what a power cut may have taken, and packs that are missing, too short or wrong.

        What stands behind the end that the catalog knows was never acknowledged and is cut.

        Args:
            connection: To the catalog, whose write lock the caller holds.
            tidied: The row up to which lines are durable.

        Returns:
            What was rebuilt or could not be, as sentences.
        """
        notes: list[str] = []
        last = connection.execute("SELECT row, pack, start + length FROM versions ORDER BY row DESC LIMIT 1").fetchone()
        for pack in range(1, last[1] + 1 if last else 1):
            rows = (first_row_of(connection, pack), first_row_of(connection, pack + 1) - 1)
            if not self._looks_whole(connection, pack, min(rows[1], tidied)):
                notes.append(f"{pack_name(pack)} was missing or wrong and has been rebuilt from the catalog")
            elif rows[1] > tidied or rows[1] == last[0]:
                rows = (max(rows[0], tidied + 1), rows[1])
            else:
                continue
            notes.extend(self._rewrite(connection, pack, rows))
        return notes

    def _looks_whole(self, connection: sqlite3.Connection, pack: int, last: int) -> bool:
        statement = (
            "SELECT start, length, line FROM versions LEFT JOIN parts USING (row)"
            " WHERE row <= ? AND pack = ? AND length > 0 ORDER BY row DESC LIMIT 1"
        )
        found = connection.execute(statement, (last, pack)).fetchone()
        try:
            return found is None or durable.read_at(self._handle(pack), found[1], found[0]) == found[2]
        except OSError:
            return False

    def _rewrite(self, connection: sqlite3.Connection, pack: int, rows: tuple[int, int]) -> list[str]:
        """Write the lines of these rows; return a sentence for each whose copy is damaged too."""
        notes: list[str] = []
        statement = (
            "SELECT row, start, length, line FROM versions LEFT JOIN parts USING (row)"
            " WHERE row BETWEEN ? AND ? AND length > 0 ORDER BY row"
        )
        end = connection.execute("SELECT max(start + length) FROM versions WHERE row = ?", (rows[1],)).fetchone()[0]
        handle: int | None = None
        for row, start, length, line in connection.execute(statement, rows):
            if handle is None:
                durable.create_file(self._folder / pack_name(pack))
                handle = self._handle(pack)
            if line is None or len(line) != length:
                notes.append(f"catalog.sqlite3, row {row}: its line of provenance is damaged; restore a backup")
            else:
                durable.write_at(handle, line, start)
        if (self._folder / pack_name(pack)).exists():
            handle = self._handle(pack)
            if os.fstat(handle).st_size > end:
                os.ftruncate(handle, end)
            os.fdatasync(handle)
        return notes

    def _handle(self, pack: int) -> int:
        handle = self._handles.get(pack)
        if handle is None:
            with self._lock:
                handle = self._handles.get(pack)
                if handle is None:
                    handle = durable.open_file(self._folder / pack_name(pack), writable=True)
                    self._handles[pack] = handle
        return handle

    def close(self) -> None:
        """Close all handles."""
        with self._lock:
            for handle in self._handles.values():
                os.close(handle)
            self._handles.clear()
