"""A scrub: every version is read with all its parts, and compared with its checksums and with what filters see of it.

It also counts: the head says how many versions there are, and each version that is marked as superseded has a next one.
"""

from collections import defaultdict
from typing import Any, Final

from qdrant_client import models

from recollect.adapters.errors import StoreDamagedError
from recollect.adapters.port import CheckReport, Finding, Projection
from recollect.adapters.qdrant.server import conditions, heads, records
from recollect.adapters.qdrant.server.connection import Connection
from recollect.adapters.qdrant.server.reading import Reader
from recollect.adapters.versions import Version, VersionRef

EVERYTHING: Final = Projection(content=True, provenance=True, vectors=True)
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
        upto = models.Filter(must=[conditions.at_most("position", head.applied)])
        async for point in self._reader.every(upto, fields=True, vectors=records.VECTORS):
            self._look_at(point)
        if self._versions != head.versions:
            self._find(
                "the collection", f"there should be {head.versions:,} versions, and {self._versions:,} are there"
            )
        self._compare_marks()
        return CheckReport(self._versions, self._bytes, tuple(self._findings))

    def _look_at(self, point: models.Record) -> None:
        self._versions += 1
        payload = point.payload or {}
        self._bytes += sum(len(text) for text in payload.values() if isinstance(text, str))
        try:
            [version] = records.versions_of([point], EVERYTHING)
        except StoreDamagedError as error:
            self._find(error.place, str(error), _ref_of(payload))
            return
        self._bytes += 0 if version.vectors is None else version.vectors.nbytes
        if str(point.id) != records.point_id(version.ref):
            self._find(f"point {point.id}", "it holds another version than its id says", version.ref)
        if wrong := _wrong_fields(version, payload):
            self._find(f"point {point.id}", f"these fields differ from the version: {', '.join(wrong)}", version.ref)
        line = self._lines[version.memory_id, version.branch]
        line.append((version.position, payload.get("superseded_at"), version.ref))

    def _compare_marks(self) -> None:
        """See that each version is superseded where the next one on its branch stands, and the newest is not."""
        for line in self._lines.values():
            line.sort()
            nexts: list[int | None] = [position for position, _, _ in line[1:]]
            for (_, superseded, ref), expected in zip(line, [*nexts, None], strict=True):
                if superseded != expected:
                    place = f"point {records.point_id(ref)}"
                    self._find(place, f"it is superseded at {superseded}, and should be at {expected}", ref)

    def _find(self, place: str, problem: str, ref: VersionRef | None = None) -> None:
        self._findings.append(Finding(place, problem, REMEDY, ref))


def _wrong_fields(version: Version, payload: dict[str, Any]) -> list[str]:
    expected = records.fields_of(version)
    return [name for name, value in expected.items() if payload.get(name) != value]


def _ref_of(payload: dict[str, Any]) -> VersionRef | None:
    try:
        return VersionRef(str(payload["memory"]), str(payload["branch"]), int(payload["number"]))
    except (KeyError, TypeError, ValueError):
        return None
