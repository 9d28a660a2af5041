"""A scrub: every version is read with all its parts, and compared with its checksums and with what filters see of it.

It also counts: the head says how many versions there are, and each version that is marked as superseded has a next one.
"""

from collections import defaultdict
from typing import Any, Final

from qdrant_client import models

from recollect.adapters.port import CheckReport, Finding
from recollect.adapters.qdrant.fields import BRANCH, MEMORY, NEVER, NUMBER, POSITION, UNTIL
from recollect.adapters.qdrant.points import faults_of, point_id
from recollect.adapters.qdrant.server import heads, selecting, stored
from recollect.adapters.qdrant.server.connection import Connection
from recollect.adapters.qdrant.server.reading import Reader
from recollect.adapters.versions import VersionRef

REMEDY: Final = "restore the collection from a snapshot, or copy the memories that are sound into a new one"
Line = list[tuple[int, int | None, VersionRef]]
"""Of one memory on one branch: each version's position, at which position it is superseded, and its name."""


class Scrub:
    """One check of one snapshot."""

    def __init__(self, connection: Connection, reader: Reader) -> None:
        """Begin with nothing found."""
        self._connection = connection
        self._reader = reader
        self._findings: list[Finding] = []
        self._lines: dict[tuple[str, str], Line] = defaultdict(list)
        self._versions = 0
        self._bytes = 0

    async def run(self) -> CheckReport:
        """Read all and return what was found."""
        head = await heads.read(self._connection)
        everything = selecting.up_to(head.applied)
        async for point in self._reader.every(everything, fields=True, vectors=stored.VECTORS):
            self._look_at(point)
        if self._versions != head.versions:
            self._find(
                "the collection", f"there should be {head.versions:,} versions, and {self._versions:,} are there"
            )
        self._compare_marks()
        return CheckReport(self._versions, self._bytes, tuple(self._findings))

    def _look_at(self, point: models.Record) -> None:
        self._versions += 1
        write = stored.write_of_point(point)
        texts = sum(len(text) for text in write.payload.values() if isinstance(text, str))
        self._bytes += texts + sum(len(part) for part in (write.dense, write.windows, write.terms) if part)
        ref = _ref_of(write.payload)
        for part in faults_of(write, self._reader.dimension):
            self._find(f"point {point.id}, {part}", "it differs from its checksum, or is missing", ref)
        if ref is None:
            return
        if str(point.id) != point_id(ref):
            self._find(f"point {point.id}", "it holds another version than its id says", ref)
        line = self._lines[ref.memory_id, ref.branch]
        line.append((write.payload.get(POSITION, 0), write.payload.get(UNTIL), ref))

    def _compare_marks(self) -> None:
        """See that each version is superseded where the next one on its branch stands, and the newest is not."""
        for line in self._lines.values():
            line.sort()
            nexts = [position for position, _, _ in line[1:]]
            for (_, superseded, ref), expected in zip(line, [*nexts, NEVER], strict=True):
                if superseded != expected:
                    place = f"point {point_id(ref)}, {UNTIL}"
                    self._find(place, f"it is superseded at {superseded}, and should be at {expected}", ref)

    def _find(self, place: str, problem: str, ref: VersionRef | None = None) -> None:
        self._findings.append(Finding(place, problem, REMEDY, ref))


def _ref_of(payload: dict[str, Any]) -> VersionRef | None:
    try:
        return VersionRef(str(payload[MEMORY]), str(payload[BRANCH]), int(payload[NUMBER]))
    except (KeyError, TypeError, ValueError):
        return None
