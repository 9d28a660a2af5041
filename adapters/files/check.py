"""The check: reads everything once, compares it with its checksums and with each other, and names what is damaged."""

import sqlite3
from uuid import UUID
from zlib import crc32

import msgspec
from msgspec import Struct

from recollect.adapters.errors import StorageError, StoreDamagedError
from recollect.adapters.files import acknowledged, catalog, provenance, vectors
from recollect.adapters.files.erasing import erased_since
from recollect.adapters.files.lookups import RowReader
from recollect.adapters.files.provenance import erased_line
from recollect.adapters.files.records import content_number
from recollect.adapters.files.store import OpenStore
from recollect.adapters.port import CheckReport, Finding
from recollect.adapters.versions import Provenance, Vector, Version, VersionRef

FINDINGS_MAX = 1_000
RESTORE = "restore the store from a backup"
REOPEN = "close the store, delete this file and open the store again: it is rebuilt from the catalog"
_COLUMNS = (
    "SELECT row, position, memory_id, branch, number, namespace, key, content, first_slot, slots,"
    " pack, start, length, head_crc, body_crc, head, body FROM versions ORDER BY row"
)
# Links between rows, each as a query for those that are wrong.
_LINKS = {
    "memory": "SELECT row FROM (SELECT row, memory, min(row) OVER (PARTITION BY memory_id) AS first FROM versions)"
    " WHERE memory IS NOT first",
    "replaces": "SELECT row FROM (SELECT row, replaces, lag(row) OVER (PARTITION BY memory_id, branch ORDER BY row)"
    " AS before FROM versions) WHERE replaces IS NOT before",
    "fresh": "SELECT new.row FROM versions AS new LEFT JOIN versions AS old ON old.row = new.replaces"
    " WHERE new.fresh IS NOT CASE WHEN old.row IS NULL THEN 3 WHEN new.namespace IS NOT old.namespace THEN 3"
    " ELSE (new.key IS NOT old.key) + 2 * (new.content IS NOT old.content) END",
    "parts": "SELECT row FROM versions LEFT JOIN parts USING (row)"
    " WHERE (slots > 0 AND dense IS NULL) OR (length > 0 AND line IS NULL)",
}
_HEADS = (
    "SELECT name, head, newest FROM"
    " (SELECT branch, max(position) AS newest FROM versions WHERE row <= ?1 GROUP BY branch)"
    " JOIN branches ON name = branch WHERE head IS NOT newest"
    " UNION ALL SELECT DISTINCT branch, NULL, 0 FROM versions"
    " WHERE row <= ?1 AND branch NOT IN (SELECT name FROM branches)"
    " UNION ALL SELECT name, head, NULL FROM branches"
    " WHERE name NOT IN (SELECT branch FROM versions WHERE row <= ?1)"
)


class Row(Struct, array_like=True):
    """A row of `versions`, but for its links."""

    row: int
    position: int
    memory_id: bytes
    branch: bytes
    number: int
    namespace: bytes
    key: bytes | None
    content: int
    first_slot: int
    slots: int
    pack: int
    start: int
    length: int
    head_crc: int
    body_crc: int
    head: bytes
    body: bytes


class Check:
    """One check of one store, over a connection with an open read transaction."""

    def __init__(self, connection: sqlite3.Connection, store: OpenStore) -> None:
        self._connection = connection
        self._profile = store.profile
        self._vectors = store.vectors
        self._provenance = store.provenance
        self._mark = store.mark
        self.findings: list[Finding] = []
        self.rows = 0
        self.bytes = 0

    def run(self) -> CheckReport:
        """Check everything that can be read."""
        for step in (
            self._structure,
            self._facts,
            self._versions,
            self._links,
            self._branches,
            self._parts,
            self._acknowledged,
        ):
            try:
                step()
            except StorageError as error:
                self._find(getattr(error, "place", catalog.NAME), str(error), RESTORE)
            except (sqlite3.Error, OSError, msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
                self._find(catalog.NAME, f"cannot be read: {error}", RESTORE)
        return CheckReport(self.rows, self.bytes, tuple(self.findings))

    def _find(self, place: str, problem: str, remedy: str, ref: VersionRef | None = None) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(place, problem, remedy, ref))

    def _structure(self) -> None:
        for (line,) in self._connection.execute("PRAGMA integrity_check(100)"):
            if line != b"ok":
                self._find(catalog.NAME, line.decode("utf-8", "replace"), RESTORE)

    def _facts(self) -> None:
        catalog.read_profile(self._connection, self._profile)
        tidied = int(catalog.read_meta(self._connection, catalog.TIDIED))
        last = self._connection.execute("SELECT max(row) FROM versions").fetchone()[0] or 0
        if tidied > last:
            self._find(f"{catalog.NAME}, table meta", f"row {tidied} is tidied, but {last} is the last", RESTORE)

    # --- Versions and their provenance -----------------------------------------------------------------

    def _versions(self) -> None:
        before = Row(0, 0, b"", b"", 0, b"", None, 0, 0, 0, 1, 0, 0, 0, 0, b"", b"")
        for values in self._connection.execute(_COLUMNS):
            place = f"{catalog.NAME}, row {values[0]}"
            try:
                row = msgspec.convert(values, Row)
            except msgspec.ValidationError as error:
                self._find(place, f"a column has the wrong type: {error}", RESTORE)
                continue
            self.rows += 1
            self.bytes += len(row.head) + len(row.body)
            self._order(row, before, place)
            self._row(row, place)
            before = row

    def _order(self, row: Row, before: Row, place: str) -> None:
        if row.row != before.row + 1:
            self._find(place, f"rows {before.row + 1} to {row.row - 1} are missing", RESTORE)
            return
        if row.position < before.position:
            self._find(place, "its position is before that of the row before", RESTORE)
        if row.first_slot != before.first_slot + before.slots:
            self._find(place, "its vectors do not lie behind those of the row before", RESTORE)
        follows = row.pack == before.pack and row.start == before.start + before.length
        if not follows and not (row.pack == before.pack + 1 and row.start == 0):
            self._find(place, "its provenance does not lie behind that of the row before", RESTORE)

    def _row(self, row: Row, place: str) -> None:
        ref = _ref(row)
        if crc32(row.body) != row.body_crc:
            self._find(f"{place}, body", "content or metadata differ from their checksum", RESTORE, ref)
        if crc32(row.head) != row.head_crc:
            self._find(f"{place}, head", "the summary differs from its checksum", RESTORE, ref)
            return
        version = msgspec.json.decode(row.head, type=Version)
        said = (
            row.position,
            str(UUID(bytes=row.memory_id)),
            row.branch.decode(),
            row.number,
            row.namespace.decode(),
            None if row.key is None else row.key.decode(),
            row.content,
        )
        held = (
            version.position,
            version.memory_id,
            version.branch,
            version.number,
            version.namespace,
            version.key,
            content_number(version.namespace, version.content_hash),
        )
        if said != held:
            self._find(place, "its indexed columns differ from its head", RESTORE, version.ref)
        if row.length and version.erased:
            self._erased_line(row, version.ref)
        elif row.length:
            self._line(row, version.ref)

    def _line(self, row: Row, ref: VersionRef) -> None:
        name = provenance.pack_name(row.pack)
        self.bytes += row.length
        try:
            record = self._provenance.read(row.pack, row.start, row.length, ref, row.position)
            msgspec.json.decode(record, type=Provenance)
        except StoreDamagedError as error:
            self._find(error.place, str(error), REOPEN, ref)
        except (OSError, msgspec.MsgspecError) as error:
            self._find(f"{name}, byte {row.start}", f"cannot be read: {error}", REOPEN, ref)

    def _erased_line(self, row: Row, ref: VersionRef) -> None:
        self.bytes += row.length
        try:
            if self._provenance.raw(row.pack, row.start, row.length) == erased_line(ref, row.position, row.length):
                return
            problem = "holds something in the place of an erased version's provenance"
        except StorageError as error:
            problem = str(error)
        self._find(f"{provenance.pack_name(row.pack)}, byte {row.start}", problem, REOPEN, ref)

    def _links(self) -> None:
        for column, statement in _LINKS.items():
            for (row,) in self._connection.execute(statement).fetchmany(FINDINGS_MAX):
                self._find(f"{catalog.NAME}, row {row}, {column}", "does not lead to where it should", RESTORE)

    def _branches(self) -> None:
        tidied = int(catalog.read_meta(self._connection, catalog.TIDIED))
        for name, head, newest in self._connection.execute(_HEADS, (tidied,)):
            self._find(
                f"{catalog.NAME}, branch {name.decode('utf-8', 'replace')}",
                f"its head is {head}, its newest commit {newest}",
                RESTORE,
            )

    # --- Vectors ----------------------------------------------------------------------------------------

    def _parts(self) -> None:
        statement = (
            "SELECT parts.row, memory_id, branch, number, first_slot, slots, dense, dense_crc, sparse, sparse_crc"
            " FROM parts LEFT JOIN versions USING (row) ORDER BY parts.row"
        )
        end = self._connection.execute("SELECT max(first_slot + slots) FROM versions").fetchone()[0] or 0
        segments: dict[int, Vector] = {}
        try:
            segments = dict(self._vectors.segments(end))
        except StoreDamagedError as error:
            self._find(error.place, str(error), REOPEN)
        for (
            row,
            memory_id,
            branch,
            number,
            slot,
            slots,
            dense,
            dense_crc,
            sparse,
            sparse_crc,
        ) in self._connection.execute(statement):
            place = f"{catalog.NAME}, parts of row {row}"
            if memory_id is None:
                self._find(place, "belong to no version", RESTORE)
                continue
            ref = VersionRef(str(UUID(bytes=memory_id)), branch.decode(), number)
            self.bytes += len(dense or b"") + len(sparse or b"")
            if crc32(dense or b"") != dense_crc or crc32(sparse or b"") != sparse_crc:
                self._find(place, "differ from their checksum", RESTORE, ref)
            elif len(dense or b"") != slots * 4 * self._profile.dimension:
                self._find(place, "are of another number than the version says", RESTORE, ref)
            elif dense and segments:
                self._packed(dense, slot, segments, ref)

    def _packed(self, dense: bytes, slot: int, segments: dict[int, Vector], ref: VersionRef) -> None:
        for at, row in enumerate(vectors.read_dense(dense, self._profile.dimension), slot):
            pack, offset = divmod(at, self._vectors.pack_rows)
            held = segments[pack * self._vectors.pack_rows][offset]
            self.bytes += held.nbytes
            if held.tobytes() != row.tobytes():
                self._find(f"{vectors.pack_name(pack)}, row {offset}", "differs from the catalog", REOPEN, ref)

    # --- The rest ---------------------------------------------------------------------------------------

    def _acknowledged(self) -> None:
        if self._mark.position() is None:
            self._find(
                acknowledged.NAME,
                "differs from its checksum, so a damaged log could go unnoticed",
                "close the store and delete this file; it is made anew at the next opening",
            )
            return
        last = self._connection.execute("SELECT max(position) FROM versions").fetchone()[0] or 0
        try:
            self._mark.verify(last)
        except StoreDamagedError as error:
            self._find(error.place, str(error), RESTORE)


def _ref(row: Row) -> VersionRef | None:
    try:
        return VersionRef(str(UUID(bytes=row.memory_id)), row.branch.decode(), row.number)
    except ValueError:
        return None


def check_store(store: OpenStore) -> CheckReport:
    """Check an open store as it is now; its writers go on."""
    while True:
        before = store.reading(_last_erasure)
        report = store.reading(lambda reader: Check(reader.connection, store).run())
        # What is erased meanwhile is gone from the packs, but not from the state that was looked at.
        if not report.findings or store.reading(_last_erasure) == before:
            return report


def _last_erasure(reader: RowReader) -> str:
    return erased_since(reader.connection, "")[0]
