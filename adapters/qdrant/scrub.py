"""A look at every point: are its parts what their checksums say, and is each version there that others speak of?"""

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Any

from recollect.adapters.port import CheckReport, Finding
from recollect.adapters.qdrant.fields import BRANCH, FIRST, FIRSTS, MEMORY, NEVER, NUMBER, POSITION, UNTIL
from recollect.adapters.qdrant.mutations import PointWrite
from recollect.adapters.qdrant.planning import STORE_POINT
from recollect.adapters.qdrant.points import faults_of
from recollect.adapters.versions import VersionRef

REMEDY = "restore the store from a backup, or write the memory anew"


def scrub(
    batches: Iterable[list[PointWrite]],
    dimension: int,
    last_position: int,
    left_out: Callable[[list[PointWrite]], Iterable[Finding]] = lambda _points: (),
) -> Iterator[CheckReport]:
    """Yield what is found in points, a batch at a time, and what is missing at the end.

    Commits may come between two batches.

    Args:
        batches: Every point as a whole.
        dimension: How many numbers a row has.
        last_position: The newest position when the reading began.
        left_out: Finds what the engine's indexes miss of a batch.
    """
    neighbours = _Neighbours(last_position)
    for points in batches:
        versions = [point for point in points if point.point_id != STORE_POINT]
        findings: list[Finding] = []
        for point in versions:
            faults = faults_of(point, dimension)
            findings += [_finding(point, part) for part in faults]
            neighbours.add(point.payload)
        findings += left_out(versions)
        yield CheckReport(len(versions), sum(map(_size_bytes, versions)), tuple(findings))
    if missing := neighbours.missing():
        yield CheckReport(0, 0, tuple(missing))


class _Neighbours:
    """The versions that are there, and those that their neighbours on a branch speak of."""

    def __init__(self, last_position: int) -> None:
        self._last_position = last_position
        self._there: set[bytes] = set()
        self._spoken_of: dict[bytes, tuple[str, str, int]] = {}

    def add(self, payload: dict[str, Any]) -> None:
        memory_id, branch = payload.get(MEMORY), payload.get(BRANCH)
        if not isinstance(memory_id, str) or not isinstance(branch, str):
            return
        own = (branch, payload.get(POSITION))
        self._there.add(_name(memory_id, *own))
        places = [(branch, payload.get(UNTIL)), (branch, payload.get(FIRST))]
        places += [(first.get(BRANCH), first.get(FIRST)) for first in payload.get(FIRSTS) or []]
        for other, position in places:
            if not isinstance(position, int) or (other, position) == own:
                continue
            if position != NEVER and position <= self._last_position:
                self._spoken_of[_name(memory_id, other, position)] = (memory_id, other, position)

    def missing(self) -> list[Finding]:
        return [
            Finding(
                place=f"memory {memory_id}, branch {branch}",
                problem=f"the version written at position {position} is missing",
                remedy=REMEDY,
            )
            for name, (memory_id, branch, position) in self._spoken_of.items()
            if name not in self._there
        ]


def _name(*parts: object) -> bytes:
    return blake2b(repr(parts).encode(), digest_size=12).digest()


def _finding(point: PointWrite, part: str) -> Finding:
    return Finding(
        place=f"point {point.point_id}, {part}",
        problem="it differs from its checksum or from the rest of the version, or is missing",
        remedy=REMEDY,
        ref=ref_in(point),
    )


def ref_in(point: PointWrite) -> VersionRef | None:
    """Return the name of a version; None where its fields do not say it."""
    memory_id, branch, number = (point.payload.get(name) for name in (MEMORY, BRANCH, NUMBER))
    if isinstance(memory_id, str) and isinstance(branch, str) and isinstance(number, int):
        return VersionRef(memory_id, branch, number)
    return None


def _size_bytes(point: PointWrite) -> int:
    texts = sum(len(value) for value in point.payload.values() if isinstance(value, str))
    return texts + sum(len(part) for part in (point.dense, point.windows, point.terms) if part is not None)
