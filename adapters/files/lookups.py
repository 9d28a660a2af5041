"""Reads by index: one memory, one key, one content, one line of versions.

They run on any connection: readers use them for `get` and `history`, the writer for preconditions, where they
see what earlier commits of the same transaction wrote.
"""

import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar
from zlib import crc32

from msgspec import structs

from recollect.adapters.files.provenance import ProvenancePacks
from recollect.adapters.files.records import (
    content_number,
    damaged,
    memory_key,
    read_provenance,
    read_sparse,
    read_versions,
    whole,
)
from recollect.adapters.files.vectors import read_dense
from recollect.adapters.port import (
    SUMMARY,
    ByContent,
    ById,
    ByKey,
    ByRef,
    Projection,
    ReadPoint,
    Selector,
)
from recollect.adapters.versions import Provenance, Version, stub_of

_NEWEST = "SELECT row FROM versions WHERE memory_id = ? AND branch = ? AND position <= ? ORDER BY position DESC LIMIT 1"
_BY_REF = "SELECT row FROM versions WHERE memory_id = ? AND branch = ? AND number = ?"
_BY_KEY = "SELECT DISTINCT memory_id FROM versions WHERE namespace = ? AND key = ? AND key IS NOT NULL AND fresh & 1"
_BY_CONTENT = "SELECT DISTINCT memory_id FROM versions WHERE content = ? AND content != 0 AND fresh & 2"
ROWS_A_STATEMENT = 1_024
_T = TypeVar("_T")


class RowReader:
    """Turns row numbers into versions, over one connection that one thread uses at a time.

    Attributes:
        connection: The connection, which writes nothing.
        columns_as_of: The state of the catalog, as `state_seen` gives it, that the columns were last brought up to
            over this connection.
    """

    def __init__(self, connection: sqlite3.Connection, packs: ProvenancePacks, dimension: int) -> None:
        self.connection = connection
        self.columns_as_of: int | None = None
        self._packs = packs
        self._dimension = dimension

    def state_seen(self) -> int:
        """Return a number that changes whenever another connection, of any process, has committed."""
        (number,) = self.connection.execute("PRAGMA data_version").fetchone()
        return int(number)

    def versions(self, rows: Sequence[int], projection: Projection = SUMMARY) -> list[Version]:
        """Return the versions in these rows, in the same order.

        Raises:
            StoreDamagedError: A part that is read differs from its checksum, or a row is missing.
        """
        return _in_order(rows, lambda part: self._batch(part, projection))

    def heads(self, rows: Sequence[int]) -> list[bytes]:
        """Return the heads of these rows, undecoded, in the same order.

        Raises:
            StoreDamagedError: A head differs from its checksum, or a row is missing.
        """
        return _in_order(rows, self._heads)

    def _batch(self, rows: list[int], projection: Projection) -> list[Version]:
        """Return the versions in these rows, which are in order."""
        versions = read_versions(self._bodies(rows) if projection.content else self._heads(rows))
        if projection.provenance:
            for version, record in zip(versions, self._records(rows, versions), strict=True):
                structs.force_setattr(version, "provenance", record)
        if projection.vectors:
            self._attach_vectors(rows, versions)
        return versions

    def _select(self, columns: str, table: str, rows: list[int]) -> list[Any]:
        # Padded to a power of four, so that few statements are compiled and kept.
        places = 4 ** math.ceil(math.log(len(rows), 4))
        marks = ",".join("?" * places)
        statement = f"SELECT row, {columns} FROM {table} WHERE row IN ({marks}) ORDER BY row"  # noqa: S608 - own words
        return self.connection.execute(statement, rows + rows[-1:] * (places - len(rows))).fetchall()

    def _heads(self, rows: list[int]) -> tuple[bytes, ...]:
        numbers, heads, crcs = zip(*self._select("head, head_crc", "versions", rows) or [((), (), ())], strict=True)
        self._verify("head", rows, numbers, heads, crcs)
        return heads

    def _bodies(self, rows: list[int]) -> list[bytes]:
        columns = "head, head_crc, body, body_crc"
        found = self._select(columns, "versions", rows) or [((), (), (), (), ())]
        numbers, heads, head_crcs, bodies, body_crcs = zip(*found, strict=True)
        self._verify("head", rows, numbers, heads, head_crcs)
        self._verify("body", rows, numbers, bodies, body_crcs)
        return list(map(whole, heads, bodies))

    def _verify(
        self, part: str, rows: list[int], numbers: tuple[int, ...], contents: tuple[bytes, ...], crcs: tuple[int, ...]
    ) -> None:
        if list(numbers) != rows:
            raise damaged(min(set(rows) - set(numbers)), "which is missing", None)
        if tuple(map(crc32, contents)) != crcs:
            wrong = next(at for at, content in enumerate(contents) if crc32(content) != crcs[at])
            raise damaged(rows[wrong], part, self.memory_of(rows[wrong]))

    def _records(self, rows: list[int], versions: Sequence[Version]) -> list[Provenance | None]:
        lines: list[bytes] = []
        places = self._select("pack, start, length", "versions", rows)
        for (_, pack, start, length), version in zip(places, versions, strict=True):
            there = length and not version.erased
            lines.append(self._packs.read(pack, start, length, version.ref, version.position) if there else b"null")
        records = read_provenance(lines)
        for at, version in enumerate(versions):
            if version.erased:
                records[at] = stub_of(version).provenance
        return records

    def _attach_vectors(self, rows: list[int], versions: Sequence[Version]) -> None:
        parts = {part[0]: part for part in self._select("dense, dense_crc, sparse, sparse_crc", "parts", rows)}
        for row, version in zip(rows, versions, strict=True):
            if row not in parts or version.erased:
                continue
            _, dense, dense_crc, sparse, sparse_crc = parts[row]
            if crc32(dense or b"") != dense_crc or crc32(sparse or b"") != sparse_crc:
                raise damaged(row, "vectors", self.memory_of(row))
            if dense is not None:
                structs.force_setattr(version, "vectors", read_dense(dense, self._dimension))
            if sparse is not None:
                structs.force_setattr(version, "sparse", read_sparse(sparse))

    def memory_of(self, row: int) -> bytes | None:
        """Return the id of the memory that a row belongs to, for a message."""
        found = self.connection.execute("SELECT memory_id FROM versions WHERE row = ?", (row,)).fetchone()
        return found[0] if found else None

    # --- What is visible --------------------------------------------------------------------------------

    def visible(self, memory_id: bytes, read_point: ReadPoint) -> Version | None:
        """Return the summary of a memory's visible version; None where none is."""
        row = self.visible_row(memory_id, read_point)
        return None if row is None else self._shown([row], read_point)[0]

    def visible_row(self, memory_id: bytes, read_point: ReadPoint) -> int | None:
        """Return the row that decides what is seen of a memory: it may be a tombstone or have expired."""
        for span in read_point.lineage:
            found = self.connection.execute(_NEWEST, (memory_id, span.branch, span.up_to)).fetchone()
            if found is not None:
                return int(found[0])
        return None

    def _shown(
        self, rows: Sequence[int], read_point: ReadPoint, projection: Projection = SUMMARY
    ) -> list[Version | None]:
        return [is_shown(version, read_point) for version in self.versions(rows, projection)]

    def select(
        self, selectors: Sequence[Selector], read_point: ReadPoint, projection: Projection
    ) -> list[Version | None]:
        """Return what each selector names; None where nothing visible is found."""
        rows = [self._row_of(selector, read_point) for selector in selectors]
        present = sorted({row for row in rows if row is not None})
        found = dict(zip(present, self.versions(present, projection), strict=True))
        answer: list[Version | None] = []
        for row, selector in zip(rows, selectors, strict=True):
            version = None if row is None else found[row]
            answer.append(version if isinstance(selector, ByRef) else is_shown(version, read_point))
        return answer

    def _row_of(self, selector: Selector, read_point: ReadPoint) -> int | None:
        match selector:
            case ById(memory_id):
                key = memory_key(memory_id)
                return None if key is None else self.visible_row(key, read_point)
            case ByRef(ref):
                key = memory_key(ref.memory_id)
                found = key and self.connection.execute(_BY_REF, (key, ref.branch, ref.number)).fetchone()
                return int(found[0]) if found else None
            case ByKey(namespace, key_text):
                holders = list(self.with_key(namespace, key_text, read_point))
                return max(holders)[-1] if holders else None
            case ByContent(namespace, content_hash):
                holders = list(self.with_content(namespace, content_hash, read_point))
                return min(holders)[-1] if holders else None

    def with_key(self, namespace: str, key: str, read_point: ReadPoint) -> Iterator[tuple[int, str, int]]:
        """Yield position, memory id and row of each visible version with a key."""
        memories = self.connection.execute(_BY_KEY, (namespace, key)).fetchall()
        for row, version in self._visible_of(memories, read_point):
            if version.namespace == namespace and version.key == key:
                yield version.position, version.memory_id, row

    def with_content(self, namespace: str, content_hash: str, read_point: ReadPoint) -> Iterator[tuple[int, str, int]]:
        """Yield position, memory id and row of each visible version with a content."""
        if not content_hash:
            return
        memories = self.connection.execute(_BY_CONTENT, (content_number(namespace, content_hash),)).fetchall()
        for row, version in self._visible_of(memories, read_point):
            if version.namespace == namespace and version.content_hash == content_hash:
                yield version.position, version.memory_id, row

    def _visible_of(self, memories: Iterable[tuple[bytes]], read_point: ReadPoint) -> Iterator[tuple[int, Version]]:
        deciding = [self.visible_row(memory_id, read_point) for (memory_id,) in memories]
        rows = [row for row in deciding if row is not None]
        for row, version in zip(rows, self._shown(rows, read_point), strict=True):
            if version is not None:
                yield row, version

    def line(self, memory_id: str, read_point: ReadPoint | None) -> list[int]:
        """Return the rows of a memory along a lineage, newest first; of all branches without one."""
        key = memory_key(memory_id)
        if key is None:
            return []
        statement = "SELECT position, branch, number, row FROM versions WHERE memory_id = ?"
        found = self.connection.execute(statement, (key,)).fetchall()
        if read_point is not None:
            bounds = [(span.branch.encode("utf-8", "surrogatepass"), span.up_to) for span in read_point.lineage]
            found = [
                place for place in found if any(place[1] == branch and place[0] <= up_to for branch, up_to in bounds)
            ]
        return [row for *_, row in sorted(found, reverse=True)]


def is_shown(version: Version | None, read_point: ReadPoint) -> Version | None:
    """Return the version that decides what is seen of a memory, or None if that is a tombstone or expired."""
    if version is None or version.forgotten:
        return None
    expires, now = version.expires_at_ms, read_point.at_ms
    return None if expires is not None and now is not None and expires <= now else version


def _in_order(rows: Sequence[int], read: Callable[[list[int]], Sequence[_T]]) -> list[_T]:
    """Read rows sorted, a statement at a time, and return what was read in the order asked for."""
    found: list[_T] = []
    for start in range(0, len(rows), ROWS_A_STATEMENT):
        part = rows[start : start + ROWS_A_STATEMENT]
        ordered = sorted(part)
        of_row = dict(zip(ordered, read(ordered), strict=True))
        found.extend([of_row[row] for row in part])
    return found
