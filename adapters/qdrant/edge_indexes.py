"""Do the embedded engine's indexes find the points that their payloads say? No checksum covers them.

An index that leaves a point out answers a search or a read by name without it, and nothing else is wrong. So the scrub
asks the engine for the points of each batch by what their payloads hold, field by field, and expects all of them.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from qdrant_edge import FieldCondition, Filter, HasIdCondition, MatchAny, RangeFloat

from recollect.adapters.port import Finding
from recollect.adapters.qdrant.fields import KEYWORD_INDEXES, LIVE, NUMBER_INDEXES, TOKENS, UUID_INDEXES
from recollect.adapters.qdrant.mutations import PointWrite
from recollect.adapters.qdrant.scrub import ref_in

Count = Callable[[Filter], int]
"""Returns how many points a filter finds, exactly."""

GROUPS = 16
"""Points have many tokens. They are asked for in so many groups, as one that is left out would hide behind the rest."""

REMEDY = "copy the store into a new one (recollect migrate-store), which builds its indexes anew"


def index_findings(points: Sequence[PointWrite], count: Count) -> Iterator[Finding]:
    """Yield what indexes leave out of some points, which nobody changes meanwhile.

    Args:
        points: As the engine holds them, whole.
        count: Asks the engine.
    """
    for field in (*KEYWORD_INDEXES, *UUID_INDEXES, LIVE):
        groups = GROUPS if field in (TOKENS, LIVE) else 1
        for group in range(groups):
            held = {point.point_id: _words(point, field, group, groups) for point in points}
            yield from _missing(points, field, held, count)
    for field in NUMBER_INDEXES:
        numbers = {point.point_id: _numbers(point, field) for point in points}
        yield from _missing(points, field, numbers, count)


def _missing(points: Sequence[PointWrite], field: str, held: dict[str, list[Any]], count: Count) -> Iterator[Finding]:
    having = {point_id: values for point_id, values in held.items() if values}
    if not having or _found(field, having, count) == len(having):
        return
    for point in points:
        values = having.get(point.point_id)
        if values and not _found(field, {point.point_id: values}, count):
            yield Finding(
                place=f"point {point.point_id}, the engine's index of {field!r}",
                problem="the index leaves the version out: it is stored whole, and is not found by this field",
                remedy=REMEDY,
                ref=ref_in(point),
            )


def _found(field: str, having: dict[str, list[Any]], count: Count) -> int:
    values = {value for held in having.values() for value in held}
    if field in NUMBER_INDEXES:
        asked = FieldCondition(field, range=RangeFloat(gte=min(values), lte=max(values)))
    else:
        asked = FieldCondition(field, match=MatchAny(sorted(values)))
    return count(Filter(must=[HasIdCondition(set(having)), asked]))


def _words(point: PointWrite, field: str, group: int, groups: int) -> list[str]:
    value = point.payload.get(field)
    words = value if isinstance(value, list) else [value]
    return [word for word in words if isinstance(word, str) and zlib.crc32(word.encode()) % groups == group]


def _numbers(point: PointWrite, field: str) -> list[float]:
    value = point.payload.get(field)
    return [float(value)] if isinstance(value, int | float) else []
