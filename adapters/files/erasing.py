"""Erasure: rows become stubs within the transaction of their commit, and what the packs hold of them is overwritten.

A stub keeps its row, its slots and its bytes in the pack of provenance, filled with zeros and a line that says no more
than its name: so nothing moves, and readers of other processes need not be told where things lie. They are told which
rows are stubs, by a log in the catalog, so that their columns follow. What SQLite keeps in free pages and in its own
log goes with `compact`.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID
from zlib import crc32

from recollect.adapters.errors import ConflictError, StoreBusyError, StoreFullError
from recollect.adapters.files import catalog
from recollect.adapters.files.provenance import ProvenancePacks, erased_line
from recollect.adapters.files.records import damaged, encode_head, memory_key, read_versions
from recollect.adapters.files.vectors import VectorPacks
from recollect.adapters.versions import VersionRef, stub_of

LOG = "erased."
"""An entry of the log is a fact of the catalog: `erased.000001`, then numbers of rows."""
LOG_END = "erased/"
COMPACTED = "compacted"
"""The last entry of the log of which nothing is left in any file."""
RESERVE_BYTES = 2**20
ROWS_A_STATEMENT = 512

_FIND = "SELECT row FROM versions WHERE memory_id = ? AND branch = ? AND number = ?"
_READ = (
    "SELECT memory_id, branch, number, position, head, head_crc, length, length(dense)"
    " FROM versions LEFT JOIN parts USING (row) WHERE row = ?"
)
_ERASE_VERSION = (
    "UPDATE versions SET key = NULL, content = 0, head = CAST(? AS TEXT), head_crc = ?, body = '{}', body_crc = ?"
    " WHERE row = ?"
)
_ERASE_PARTS = (
    "UPDATE parts SET dense = ?, dense_crc = ?, sparse = NULL, sparse_crc = 0, line = CAST(? AS TEXT) WHERE row = ?"
)
_NEXT = "SELECT min(row) FROM versions WHERE memory_id = ? AND branch = ? AND position > ?"
# A key or content that an erased row held for the index must now be held by the row that replaced it.
_REFRESH = (
    "UPDATE versions AS new SET fresh = coalesce((SELECT CASE WHEN old.namespace IS NOT new.namespace THEN 3"
    " ELSE (old.key IS NOT new.key) + 2 * (old.content IS NOT new.content) END"
    " FROM versions AS old WHERE old.row = new.replaces), 3) WHERE row = ?"
)
_PLACES = (
    "SELECT memory_id, branch, number, position, first_slot, slots, pack, start, length FROM versions WHERE row IN (%s)"
)


def rows_of(connection: sqlite3.Connection, refs: Iterable[VersionRef]) -> list[int]:
    """Return the rows of versions, each once, in order.

    Raises:
        ConflictError: One is not there.
    """
    rows: set[int] = set()
    for ref in refs:
        key = memory_key(ref.memory_id)
        found = key and connection.execute(_FIND, (key, ref.branch, ref.number)).fetchone()
        if not found:
            raise ConflictError(
                f"version {ref.number} of {ref.memory_id} on {ref.branch} is not there, so it cannot be erased; "
                "nothing was written",
                precondition=None,
            )
        rows.add(found[0])
    return sorted(rows)


def erase(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Make stubs of rows and note them in the log; the caller has begun the transaction and commits it."""
    for row in rows:
        _erase(connection, row)
    (last,) = connection.execute("SELECT max(name) FROM meta WHERE name > ? AND name < ?", (LOG, LOG_END)).fetchone()
    number = 1 + int(last[len(LOG) :] if last else 0)
    catalog.write_meta(connection, f"{LOG}{number:06}", ",".join(map(str, rows)))


def _erase(connection: sqlite3.Connection, row: int) -> None:
    found = connection.execute(_READ, (row,)).fetchone()
    memory_id, branch, number, position, head, head_crc, length, dense_bytes = found
    if crc32(head) != head_crc:
        raise damaged(row, "head", memory_id)
    (version,) = read_versions([head])
    stub = encode_head(stub_of(version), position)
    connection.execute(_ERASE_VERSION, (stub, crc32(stub), crc32(b"{}"), row))
    dense = None if dense_bytes is None else bytes(dense_bytes)
    line = erased_line(_ref(memory_id, branch, number), position, length) if length else None
    connection.execute(_ERASE_PARTS, (dense, crc32(dense or b""), line, row))
    (following,) = connection.execute(_NEXT, (memory_id, branch.decode(), position)).fetchone()
    for changed in (row, following):
        connection.execute(_REFRESH, (changed,))


def _ref(memory_id: bytes, branch: bytes, number: int) -> VersionRef:
    return VersionRef(str(UUID(bytes=memory_id)), branch.decode(), number)


def erased_since(connection: sqlite3.Connection, entry: str) -> tuple[str, list[int]]:
    """Return the last entry of the log, and the rows of all entries after a given one.

    Args:
        connection: To the catalog.
        entry: The last entry that is known; empty for none.

    Raises:
        StoreDamagedError: An entry differs from its checksum.
    """
    statement = "SELECT name FROM meta WHERE name > ? AND name < ? ORDER BY name"
    names = [name.decode() for (name,) in connection.execute(statement, (entry or LOG, LOG_END)).fetchall()]
    rows = [int(row) for name in names for row in catalog.read_meta(connection, name).split(",") if row]
    return (names[-1] if names else entry), rows


def not_compacted(connection: sqlite3.Connection) -> tuple[str, list[int]]:
    """Return the last entry of the log, and the rows of which something may be left in a file."""
    known = connection.execute("SELECT 1 FROM meta WHERE name = ?", (COMPACTED,)).fetchone()
    return erased_since(connection, catalog.read_meta(connection, COMPACTED) if known else "")


def heads_of(connection: sqlite3.Connection, rows: Iterable[int]) -> list[bytes]:
    """Return the heads of rows that are stubs."""
    statement = "SELECT head FROM versions WHERE row = ?"
    return [connection.execute(statement, (row,)).fetchone()[0] for row in rows]


def scrub(
    connection: sqlite3.Connection, rows: Sequence[int], vectors: VectorPacks, provenance: ProvenancePacks
) -> None:
    """Overwrite what the packs hold of rows that are stubs. Doing it again changes nothing.

    Raises:
        OSError: A pack is missing, or cannot be written.
    """
    for memory_id, branch, number, position, first_slot, slots, pack, start, length in _places(connection, rows):
        if slots:
            vectors.clear(first_slot, slots)
        if length:
            provenance.overwrite(pack, start, erased_line(_ref(memory_id, branch, number), position, length))


def _places(connection: sqlite3.Connection, rows: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    for at in range(0, len(rows), ROWS_A_STATEMENT):
        part = rows[at : at + ROWS_A_STATEMENT]
        yield from connection.execute(_PLACES % ",".join("?" * len(part)), part).fetchall()


def compact(connection: sqlite3.Connection, path: Path, vectors: VectorPacks, provenance: ProvenancePacks) -> None:
    """Leave nothing of erased rows in any file.

    The packs are overwritten and synced, the catalog is written anew without its free space, and the log is copied and
    cut. Only then is it noted as done, so that an interruption leaves work to the next call, never a claim.

    Args:
        connection: The writer's, outside of a transaction.
        path: The catalog's.
        vectors: The packs of vectors.
        provenance: The packs of provenance.

    Raises:
        StoreFullError: There is no space for a second catalog.
        StoreBusyError: A reader kept the log in use.
    """
    last, rows = not_compacted(connection)
    if not rows:
        return
    scrub(connection, rows, vectors, provenance)
    vectors.sync_all()
    provenance.sync_all()
    _check_space(path)
    connection.execute("VACUUM")
    (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StoreBusyError("compacting the store: a reader kept its log in use; call again when it has ended")
    catalog.write_meta(connection, COMPACTED, last)


def _check_space(path: Path) -> None:
    device = os.statvfs(path.parent)
    # VACUUM writes all of the catalog to a temporary file, which may lie here too, and then to the log.
    needed = RESERVE_BYTES + 2 * path.stat().st_size
    if device.f_bavail * device.f_frsize < needed:
        raise StoreFullError(f"compacting the store needs {needed:,} bytes of free space; free some and call again")
