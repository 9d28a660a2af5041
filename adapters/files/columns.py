"""Columns in memory: what filters, visibility and ranking need of every version, about 130 bytes each.

They are loaded at the first read that looks at many versions, and follow the catalog: before each such read the
rows that were committed since, by this process or another, are added. A read takes a `Snapshot`: rows up to a
number, seen as of the newest position among them, so that what is committed meanwhile does not show.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from threading import Lock
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import astuple
from numpy.typing import NDArray

from recollect.adapters.files.erasing import erased_since, heads_of
from recollect.adapters.files.growable import Growable
from recollect.adapters.files.records import damaged
from recollect.adapters.files.shown import ShownPack

NEVER = 2**63 - 1
NO_TIME = -(2**63)
NO_TAG = -1
LOAD_ROWS = 1_024
"""Few enough that what is made of them stays in the processor's cache: larger loads take longer a row."""

_NEW_ROWS = (
    "SELECT row, memory_id, memory, replaces, first_slot, slots, head_crc, head FROM versions"
    " WHERE row > ? ORDER BY row LIMIT ?"
)


class Facts(Struct, gc=False, rename={"number": "version"}):
    """What the columns keep of a head."""

    position: int
    branch: str
    number: int
    namespace: str
    kind: str
    importance: float
    confidence: float
    created_at_ms: int
    updated_at_ms: int
    actor: str
    key: str | None = None
    tags: tuple[str, ...] = ()
    expires_at_ms: int | None = None
    source: str | None = None
    forgotten: bool = False


_FACTS = msgspec.json.Decoder(list[Facts])


class Codes:
    """Numbers for the few different texts of a column."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    def encode(self, texts: Sequence[str]) -> list[int]:
        """Return the number of each text; new ones get the next."""
        for text in dict.fromkeys(texts):
            self.of.setdefault(text, len(self.of))
        return list(map(self.of.__getitem__, texts))


def text_number(text: str | None) -> int:
    """Return 64 bits that stand for a text in a column of many different ones; 0 for none.

    Two texts of a million share a number with a chance of 1 in 10**7; the numbers differ between processes.
    """
    return 0 if text is None else hash(text) or 1


class Columns:
    """The columns of one open store. `refresh` is called by one thread at a time; snapshots are read by any."""

    def __init__(self, shown: ShownPack) -> None:
        self.lock = Lock()
        self.shown = shown
        self.branches, self.namespaces, self.kinds, self.actors = Codes(), Codes(), Codes(), Codes()
        self.arrays = {
            name: Growable(dtype)
            for name, dtype in (
                ("position", "i8"), ("superseded", "i8"), ("memory", "i8"), ("number", "i8"),
                ("branch", "i4"), ("namespace", "i4"), ("kind", "i4"), ("actor", "i4"),
                ("key", "i8"), ("source", "i8"), ("importance", "f8"), ("confidence", "f8"),
                ("created", "i8"), ("updated", "i8"), ("expires", "i8"),
                ("high", "u8"), ("low", "u8"), ("first_slot", "i8"), ("slots", "i4"),
                ("system", "?"), ("tagged", "?"), ("forgotten", "?"),
            )
        }  # fmt: skip
        # A pair for each tag of each version.
        self.tags = Codes()
        self.tag_row, self.tag_code = Growable("i4"), Growable("i4")
        self._erasure = ""
        self.any_expires = False
        self.any_system = False
        self.any_windows = False

    @property
    def rows(self) -> int:
        """How many rows are loaded."""
        return self.arrays["position"].length

    def refresh(self, connection: sqlite3.Connection) -> bool:
        """Load the rows that are new in the catalog, and take out what was erased; the caller holds the lock.

        Returns:
            Whether something was erased since the last time.

        Raises:
            StoreDamagedError: A head differs from its checksum.
        """
        self._erasure, erased = erased_since(connection, self._erasure)
        self._take_out(connection, erased)
        while True:
            rows = connection.execute(_NEW_ROWS, (self.rows, LOAD_ROWS)).fetchall()
            if rows:
                self._add(rows)
            if len(rows) < LOAD_ROWS:
                return bool(erased)

    def _take_out(self, connection: sqlite3.Connection, erased: Sequence[int]) -> None:
        """Keep of rows what a stub says. Those that are not loaded yet are loaded as stubs."""
        rows = np.array([row - 1 for row in erased if row <= self.rows], dtype="i8")
        if not len(rows):
            return
        self.shown.overwrite(rows.tolist(), heads_of(connection, (rows + 1).tolist()))
        stub: dict[str, Any] = {
            "superseded": 0,
            "forgotten": True,
            "key": 0,
            "source": 0,
            "importance": 0.5,
            "confidence": 1.0,
            "expires": NO_TIME,
            "tagged": False,
            "actor": self.actors.encode([""])[0],
        }
        for name, value in stub.items():
            self.arrays[name].view[rows] = value
        tag_codes = self.tag_code.view
        tag_codes[np.isin(self.tag_row.view, rows)] = NO_TAG

    def _add(self, rows: Sequence[tuple[Any, ...]]) -> None:
        numbers, ids, memories, replaces, first_slots, slots, crcs, heads = zip(*rows, strict=True)
        if list(map(crc32, heads)) != list(crcs):
            wrong = next(at for at, head in enumerate(heads) if crc32(head) != crcs[at])
            raise damaged(numbers[wrong], "head", ids[wrong])
        if numbers != tuple(range(self.rows + 1, self.rows + 1 + len(rows))):
            raise damaged(self.rows + 1, "row numbers, which have a gap", None)
        facts = _FACTS.decode(b"[" + b",".join(heads) + b"]")
        fields = dict(zip(Facts.__struct_fields__, zip(*map(astuple, facts), strict=True), strict=True))
        halves = np.frombuffer(b"".join(ids), dtype=">u8").reshape(-1, 2)
        self._add_tags(fields["tags"])
        forgotten = np.array(fields["forgotten"], dtype=bool)
        self._extend(
            # A tombstone counts as superseded from the beginning: it is never shown.
            superseded=np.where(forgotten, 0, NEVER),
            memory=np.asarray(memories, dtype="i8") - 1,
            number=fields["number"],
            branch=self.branches.encode(fields["branch"]),
            namespace=self.namespaces.encode(fields["namespace"]),
            kind=self.kinds.encode(fields["kind"]),
            actor=self.actors.encode(fields["actor"]),
            key=list(map(text_number, fields["key"])),
            source=list(map(text_number, fields["source"])),
            importance=fields["importance"],
            confidence=fields["confidence"],
            created=fields["created_at_ms"],
            updated=fields["updated_at_ms"],
            expires=[NO_TIME if time is None else time for time in fields["expires_at_ms"]],
            high=halves[:, 0],
            low=halves[:, 1],
            first_slot=first_slots,
            slots=slots,
            system=[namespace.startswith("_") for namespace in fields["namespace"]],
            forgotten=forgotten,
        )
        self.any_expires = self.any_expires or fields["expires_at_ms"].count(None) < len(facts)
        self.any_system = any(namespace.startswith("_") for namespace in self.namespaces.of)
        self.any_windows = self.any_windows or max(slots) > 1
        self._supersede(replaces, fields["position"])
        self.shown.extend(heads)
        # Last: its length is what `rows` says.
        self.arrays["position"].extend(fields["position"])

    def _add_tags(self, tags: Sequence[tuple[str, ...]]) -> None:
        counts = np.fromiter(map(len, tags), dtype=np.int64, count=len(tags))
        self.tag_row.extend(np.repeat(np.arange(self.rows, self.rows + len(tags)), counts))
        self.tag_code.extend(self.tags.encode(list(chain.from_iterable(tags))))
        self.arrays["tagged"].extend(counts > 0)

    def _extend(self, **values: Any) -> None:
        for name, column in values.items():
            self.arrays[name].extend(column)

    def _supersede(self, replaces: Sequence[int | None], positions: Sequence[int]) -> None:
        pairs = [(row - 1, at) for row, at in zip(replaces, positions, strict=True) if row is not None]
        if not pairs:
            return
        rows, at = np.asarray(pairs, dtype="i8").T
        superseded = self.arrays["superseded"].view
        # A tombstone keeps its 0.
        superseded[rows] = np.minimum(superseded[rows], at)

    def snapshot(self) -> "Snapshot":
        """Return the rows loaded so far as they are seen now; the caller holds the lock."""
        return Snapshot(self)


class Snapshot:
    """The versions up to a row, as arrays with one element a version: row number minus 1 is the index."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.rows = columns.rows
        self._arrays: dict[str, NDArray[Any]] = {name: held.view for name, held in columns.arrays.items()}
        self._tag_row, self._tag_code = columns.tag_row.view, columns.tag_code.view
        position = self._arrays["position"]
        self.last_position = int(position[-1]) if self.rows else 0
        self.slots = int(self["first_slot"][-1] + self["slots"][-1]) if self.rows else 0
        self.one_slot_each = self.slots == self.rows and not columns.any_windows
        self.any_windows = columns.any_windows
        self.shown = columns.shown.view()

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def tagged(self, tags: Iterable[str]) -> NDArray[np.int32]:
        """Return the indexes of the versions that have one of these tags."""
        of = self.columns.tags.of
        codes = [of[tag] for tag in tags if tag in of]
        return self._tag_row[np.isin(self._tag_code, codes)]
