"""One transaction of the writer: several commits, each with its own position, checked and written in turn."""

import sqlite3
from uuid import UUID
from zlib import crc32

from msgspec import Struct

from recollect.adapters.clock import next_position
from recollect.adapters.errors import ConflictError
from recollect.adapters.files.catalog import TIDIED, read_meta
from recollect.adapters.files.erasing import erase, rows_of
from recollect.adapters.files.lookups import RowReader
from recollect.adapters.files.provenance import ROTATE_BYTES, ProvenancePacks, make_line
from recollect.adapters.files.records import PreparedCommit, PreparedPut, join_head, memory_key
from recollect.adapters.files.vectors import VectorPacks
from recollect.adapters.port import (
    ContentIsNew,
    HeadIs,
    KeyIs,
    Precondition,
    ReadPoint,
    VersionIs,
)
from recollect.adapters.versions import VersionRef

_STATE = "SELECT row, position, first_slot + slots, pack, start + length FROM versions ORDER BY row DESC LIMIT 1"
_ANY = "SELECT memory FROM versions WHERE memory_id = ? LIMIT 1"
_BEFORE = (
    "SELECT row, namespace, key, content FROM versions WHERE memory_id = ? AND branch = ?"
    " ORDER BY position DESC LIMIT 1"
)
_TAKEN = "SELECT 1 FROM versions WHERE memory_id = ? AND branch = ? AND number = ?"
_ADD_VERSION = (
    "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
    " CAST(? AS TEXT), CAST(? AS TEXT))"
)
_ADD_PARTS = "INSERT INTO parts VALUES (?, ?, ?, ?, ?, CAST(? AS TEXT))"
_HEAD = (
    "SELECT max(head) FROM (SELECT head FROM branches WHERE name = ?1 UNION ALL"
    " SELECT max(position) FROM versions WHERE row > ?2 AND branch = ?1)"
)


class StoreState(Struct):
    """Where the next row, position, slot and line go: all of it follows from the last row."""

    row: int
    position: int
    slot: int
    pack: int
    end: int


def read_state(connection: sqlite3.Connection) -> StoreState:
    """Return the state after the last commit."""
    found = connection.execute(_STATE).fetchone()
    return StoreState(*found) if found else StoreState(0, 0, 0, 1, 0)


def slot_after(connection: sqlite3.Connection, row: int) -> int:
    """Return the slot after those of a row."""
    found = connection.execute("SELECT first_slot + slots FROM versions WHERE row = ?", (row,)).fetchone()
    return int(found[0]) if found else 0


class Transaction:
    """Collects commits inside an open SQLite transaction; the caller begins, commits and rolls back.

    Attributes:
        state: Where the store stands with what was added.
        stored_position: The newest position that rows hold; a commit without puts takes one that none does.
        erased: The rows of which stubs were made. The caller scrubs the packs once it has committed.
    """

    def __init__(
        self, connection: sqlite3.Connection, reader: RowReader, vectors: VectorPacks, provenance: ProvenancePacks
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._vectors = vectors
        self._provenance = provenance
        self.state = read_state(connection)
        if self.state.end >= ROTATE_BYTES:
            self.state.pack, self.state.end = self.state.pack + 1, 0
        self._lines: list[bytes] = []
        self._lines_start = self.state.end
        self._dense: list[bytes] = []
        self._dense_start = self.state.slot
        self._parts: list[tuple[object, ...]] = []
        self.stored_position = self.state.position
        self.erased: list[int] = []

    def add(self, prepared: PreparedCommit) -> int:
        """Check a commit and write its rows; return its position.

        Raises:
            ConflictError: A precondition does not hold, a version is there already or, to be erased, is not, or the
                position is taken; nothing was written.
        """
        for precondition in prepared.commit.preconditions:
            self._check(precondition, prepared.commit.read_point)
        position = self._position(prepared.commit.position)
        # All probes come before the first change, so that a conflict leaves nothing behind.
        links = self._links(prepared)
        if prepared.commit.erases:
            rows = rows_of(self._connection, prepared.commit.erases)
            erase(self._connection, rows)
            self.erased += rows
            links = self._links(prepared)  # a stub holds no key or content for the indexes
        versions = [self._row(put, position, link) for put, link in zip(prepared.puts, links, strict=True)]
        if versions:
            self._connection.executemany(_ADD_VERSION, versions)
            self._connection.executemany(_ADD_PARTS, self._parts)
            self._parts.clear()
            self.stored_position = position
        self.state.position = position
        return position

    def _position(self, wanted: int | None) -> int:
        last = self.state.position
        if wanted is not None and wanted <= last:
            raise ConflictError(
                f"position {wanted} is not after {last}, the last one; copy commits in their order, into a store that "
                "nobody else writes to",
                precondition=None,
                found=last,
            )
        return next_position(last) if wanted is None else wanted

    def _links(self, prepared: PreparedCommit) -> list[tuple[int, int | None, int]]:
        firsts: dict[bytes, int] = {}
        return [self._link(put, row, firsts) for row, put in enumerate(prepared.puts, self.state.row + 1)]

    def _link(self, put: PreparedPut, row: int, firsts: dict[bytes, int]) -> tuple[int, int | None, int]:
        """Return the first row of a put's memory, the row it replaces, and what of it is fresh for the indexes."""
        execute = self._connection.execute
        found = execute(_ANY, (put.memory_id,)).fetchone()
        if found is None:
            return firsts.setdefault(put.memory_id, row), None, 3
        if execute(_TAKEN, (put.memory_id, put.branch, put.number)).fetchone():
            ref = _ref(put)
            raise ConflictError(
                f"version {ref.number} of {ref.memory_id} on {ref.branch} is there already; read it and write the next",
                precondition=None,
                found=ref,
            )
        before = execute(_BEFORE, (put.memory_id, put.branch)).fetchone()
        if before is None:
            return found[0], None, 3
        namespace, key = put.namespace.encode(), None if put.key is None else put.key.encode()
        same_place = before[1] == namespace
        fresh = (0 if same_place and before[2] == key else 1) | (0 if same_place and before[3] == put.content else 2)
        return found[0], before[0], fresh

    def _row(self, put: PreparedPut, position: int, link: tuple[int, int | None, int]) -> tuple[object, ...]:
        state = self.state
        state.row += 1
        head = join_head(put.shown, position, put.rest)
        start, line = state.end, b""
        if put.line is not None:
            line = make_line(put.line[0], position, put.line[1])
            self._lines.append(line)
            state.end += len(line)
        first_slot = state.slot
        if put.dense:
            self._dense.append(put.dense)
            state.slot += put.slots
        if put.dense or put.sparse is not None or line:
            self._parts.append((state.row, put.dense, put.dense_crc, put.sparse, put.sparse_crc, line or None))
        memory, replaces, fresh = link
        return (
            state.row,
            position,
            put.memory_id,
            put.branch,
            put.number,
            memory,
            replaces,
            put.namespace,
            put.key,
            put.content,
            fresh,
            first_slot,
            put.slots,
            state.pack,
            start,
            len(line),
            crc32(head),
            put.body_crc,
            head,
            put.body,
        )

    def finish(self) -> None:
        """Write the packs."""
        if self._dense:
            self._vectors.write(self._dense_start, b"".join(self._dense))
        if self._lines:
            self._provenance.append(self.state.pack, self._lines_start, b"".join(self._lines))

    # --- Preconditions ----------------------------------------------------------------------------------

    def _check(self, precondition: Precondition, read_point: ReadPoint) -> None:
        match precondition:
            case VersionIs(memory_id, expected):
                key = memory_key(memory_id)
                version = None if key is None else self._reader.visible(key, read_point)
                found = None if version is None else version.ref
                if found != expected:
                    raise ConflictError(
                        f"memory {memory_id}: expected {_said(expected)}, found {_said(found)}; read it and retry",
                        precondition=precondition,
                        found=found,
                    )
            case KeyIs(namespace, key_text, holder):
                holders = list(self._reader.with_key(namespace, key_text, read_point))
                present = max(holders)[1] if holders else None
                if present != holder:
                    raise ConflictError(
                        f"key {key_text!r:.80} in {namespace!r:.80} is held by {present or 'nobody'}, "
                        f"expected {holder or 'nobody'}; choose another key or revise that memory",
                        precondition=precondition,
                        found=present,
                    )
            case ContentIsNew(namespace, content_hash):
                same = list(self._reader.with_content(namespace, content_hash, read_point))
                if same:
                    (version,) = self._reader.versions([min(same)[2]])
                    raise ConflictError(
                        f"memory {version.memory_id} in {namespace!r:.80} has this content already",
                        precondition=precondition,
                        found=version.ref,
                    )
            case HeadIs(branch, expected_position):
                self._check_head(precondition, branch, expected_position)

    def _check_head(self, precondition: HeadIs, branch: str, expected: int) -> None:
        tidied = int(read_meta(self._connection, TIDIED))
        head = self._connection.execute(_HEAD, (branch, tidied)).fetchone()[0] or 0
        if head != expected:
            raise ConflictError(
                f"branch {branch!r:.80} is at {head}, expected {expected}; read it again and retry",
                precondition=precondition,
                found=head,
            )


def _ref(put: PreparedPut) -> VersionRef:
    return VersionRef(str(UUID(bytes=put.memory_id)), put.branch, put.number)


def _said(ref: VersionRef | None) -> str:
    return "no visible version" if ref is None else f"version {ref.number} on {ref.branch}"
