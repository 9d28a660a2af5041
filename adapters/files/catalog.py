"""The catalog: an SQLite database that is the truth about a store.

Anyone can read it with `sqlite3`: `head` holds what a summary shows and `body` content and metadata, both as JSON.
Rows of `versions` are added and never changed; their numbers have no gaps and follow the order of commits.
"""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

from recollect.adapters.errors import (
    InvalidRequestError,
    ProfileMismatchError,
    StorageError,
    StoreBusyError,
    StoreDamagedError,
    StoreFullError,
    StoreUnavailableError,
)
from recollect.adapters.files import durable
from recollect.adapters.folders import MARKS
from recollect.adapters.port import StoreProfile

NAME = MARKS["file"]
FORMAT_VERSION = 2
BUSY_TIMEOUT_S = 10.0
PAGE_BYTES = 4096
TIDIED = "tidied"
DIMENSION_MAX = 65_536
READER_CACHE_KIB = 8_192
WRITER_CACHE_KIB = 16_384
MAPPED_BYTES_MAX = 2**40
"""Readers map the catalog: a row that is read once, as in a long stream, then costs half of what a copied page does."""

_VERSIONS = (
    # memory: the row of the memory's first version. replaces: the row of the version before on the same branch.
    # content: the CRC-32 of namespace and content hash, 0 for none. fresh: 1 when the key, 2 when the content is not
    # that of the row replaced, so that the indexes hold each key and content of a memory once.
    # first_slot, slots: where its vectors lie in the vector packs. pack, start, length: its line of provenance.
    "CREATE TABLE versions (row INTEGER PRIMARY KEY, position INTEGER NOT NULL, memory_id BLOB NOT NULL,"
    " branch TEXT NOT NULL, number INTEGER NOT NULL, memory INTEGER NOT NULL, replaces INTEGER,"
    " namespace TEXT NOT NULL, key TEXT, content INTEGER NOT NULL, fresh INTEGER NOT NULL,"
    " first_slot INTEGER NOT NULL, slots INTEGER NOT NULL,"
    " pack INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL,"
    " head_crc INTEGER NOT NULL, body_crc INTEGER NOT NULL, head TEXT NOT NULL, body TEXT NOT NULL)"
)
_PARTS = (
    # What is read on demand. dense: float32 rows one after the other. sparse: uint32 terms, then float32 weights.
    # Little-endian. line: the line of provenance, which ends with its own checksum.
    "CREATE TABLE parts (row INTEGER PRIMARY KEY, dense BLOB, dense_crc INTEGER NOT NULL,"
    " sparse BLOB, sparse_crc INTEGER NOT NULL, line TEXT)"
)
SCHEMA = (
    # What the store is, and `tidied`: the row up to which packs are durable and branches noted. `crc` is the CRC-32
    # of "name=value".
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID",
    _VERSIONS,
    "CREATE UNIQUE INDEX versions_by_memory ON versions (memory_id, branch, position, number)",
    "CREATE INDEX versions_by_key ON versions (namespace, key) WHERE key IS NOT NULL AND fresh & 1",
    "CREATE INDEX versions_by_content ON versions (content) WHERE content != 0 AND fresh & 2",
    _PARTS,
    # The newest commit of each branch among the rows up to `tidied`.
    "CREATE TABLE branches (name TEXT PRIMARY KEY, head INTEGER NOT NULL) WITHOUT ROWID",
)


def connect(path: Path, *, cache_kib: int = READER_CACHE_KIB, mapped: bool = False) -> sqlite3.Connection:
    """Connect to a catalog; text comes as bytes, transactions are opened by hand.

    Never open and close the catalog by other means while it is in use: closing any handle to it drops
    the POSIX locks of all connections of the process.
    """
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    connection.text_factory = bytes
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    connection.execute(f"PRAGMA mmap_size = {MAPPED_BYTES_MAX if mapped else 0}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def create(path: Path, profile: StoreProfile) -> bool:
    """Create an empty catalog all at once; False when there is one already."""

    def fill(temporary: Path) -> None:
        connection = connect(temporary)
        try:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA:
                connection.execute(statement)
            write_meta(connection, "format", str(FORMAT_VERSION))
            write_meta(connection, "model_id", profile.model_id)
            write_meta(connection, "dimension", str(profile.dimension))
            write_meta(connection, TIDIED, "0")
            connection.execute("COMMIT")
        finally:
            connection.close()

    return durable.publish(path, fill)


def write_meta(connection: sqlite3.Connection, name: str, value: str) -> None:
    """Set a fact about the store."""
    crc = crc32(f"{name}={value}".encode())
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (name, value, crc))


def read_meta(connection: sqlite3.Connection, name: str) -> str:
    """Return a fact about the store.

    Raises:
        StoreDamagedError: It is missing or differs from its checksum.
    """
    place = f"{NAME}, table meta, {name}"
    found = connection.execute("SELECT value, crc FROM meta WHERE name = ?", (name,)).fetchone()
    if found is None:
        raise StoreDamagedError(f"{place} is missing; restore the store from a backup", place=place)
    value, crc = found
    if not isinstance(value, bytes) or crc32(f"{name}=".encode() + value) != crc:
        raise StoreDamagedError(f"{place} differs from its checksum; restore the store from a backup", place=place)
    return value.decode()


def read_profile(connection: sqlite3.Connection, wanted: StoreProfile | None) -> StoreProfile:
    """Check the catalog's format and tables, and return whose vectors it holds.

    Raises:
        StoreUnavailableError: It has the format of a newer or an older program.
        StoreDamagedError: Its tables are not those of a store.
        ProfileMismatchError: It holds vectors of another model or dimension than wanted.
    """
    found = {row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if (b"meta",) in connection.execute("SELECT name FROM sqlite_master").fetchall():
        written = int(read_meta(connection, "format"))
        if written != FORMAT_VERSION:
            remedy = (
                "install a newer version"
                if written > FORMAT_VERSION
                else "export it with the program that wrote it, and import that into a new store"
            )
            raise StoreUnavailableError(
                f"the store has format {written}, this program reads format {FORMAT_VERSION}; {remedy}"
            )
    if found != {statement.encode() for statement in SCHEMA}:
        raise StoreDamagedError(
            f"the tables of {NAME} are not those of a store; restore it from a backup", place=f"{NAME}, schema"
        )
    profile = StoreProfile(read_meta(connection, "model_id"), int(read_meta(connection, "dimension")))
    if wanted is not None and wanted != profile:
        raise ProfileMismatchError(
            f"the store holds vectors of {profile.model_id} with {profile.dimension} numbers, not of "
            f"{wanted.model_id} with {wanted.dimension}; open it with that model, or migrate it to the other"
        )
    return profile


def translate(error: Exception, doing: str) -> StorageError:
    """Return the store's error for one of SQLite or the system, to be raised from it."""
    match error:
        case StorageError():
            return error
        case OSError(errno=errno.ENOSPC | errno.EDQUOT) | sqlite3.Error(sqlite_errorname="SQLITE_FULL"):
            return StoreFullError(f"{doing}: no space left; free some and try again")
        case UnicodeEncodeError():
            return InvalidRequestError(f"{doing}: a text holds half of a surrogate pair, which is no UTF-8")
        case sqlite3.Error() if _code(error) in _BUSY:
            return StoreBusyError(f"{doing}: another process kept the store locked; try again")
        case sqlite3.Error() if _code(error) in _DAMAGED:
            return StoreDamagedError(f"{doing}: {NAME} is damaged ({error}); restore it from a backup", place=NAME)
        case UnicodeDecodeError():
            # SQLite's message quotes the damaged bytes, which are no text.
            return StoreDamagedError(f"{doing}: {NAME} is damaged; restore it from a backup", place=NAME)
        case _:
            return StoreUnavailableError(f"{doing}: {error}; check the folder, its device and your rights to it")


_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH}


def _code(error: Exception) -> int | None:
    """Return SQLite's primary result code; None for other errors."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise the store's own errors in place of those of SQLite and the system."""
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeError) as error:
        raise translate(error, doing) from error
