"""Provenance packs: append-only JSON Lines, one line a version, that `jq` reads.

A line holds the version's name and position, the record, and the CRC-32 of all before `,"crc32":`. The catalog
says where each line lies, so that a record is read only when it is asked for. The writer appends inside its
transaction and keeps a copy of the lines in the catalog until they are synced; opening a store writes those again.
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
                "checksum; restore the pack from a backup",
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
            raise StoreDamagedError(f"{name} is missing; restore it from a backup", place=name) from error
        self.bytes_read += len(found)
        return found

    def append(self, pack: int, start: int, lines: bytes) -> None:
        """Write lines at the end that the catalog gives, cutting what a dead writer left behind it.

        The caller holds the catalog's write lock.
        """
        handle = self._handle(pack)
        if os.fstat(handle).st_size > start:
            os.ftruncate(handle, start)
        durable.write_at(handle, lines, start)

    def create(self, pack: int) -> None:
        """Create the file of a pack if it is missing."""
        durable.create_file(self._folder / pack_name(pack))

    def sync(self, pack: int) -> None:
        """Make a pack durable."""
        os.fdatasync(self._handle(pack))

    def recover(self, connection: sqlite3.Connection) -> None:
        """Write again what a power cut may have taken; the caller holds the catalog's write lock.

        What stands behind the end that the catalog knows was never acknowledged and is cut.
        """
        touched: set[int] = set()
        for pack, start, lines in connection.execute("SELECT pack, start, lines FROM provenance_tail ORDER BY row"):
            self.create(pack)
            handle = self._handle(pack)
            if durable.read_at(handle, len(lines), start) != lines:
                durable.write_at(handle, lines, start)
            touched.add(pack)
        last = connection.execute("SELECT pack, start + length FROM versions ORDER BY row DESC LIMIT 1").fetchone()
        if last is not None and last[1] and (self._folder / pack_name(last[0])).exists():
            handle = self._handle(last[0])
            if os.fstat(handle).st_size > last[1]:
                os.ftruncate(handle, last[1])
                touched.add(last[0])
        for pack in touched:
            self.sync(pack)

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
