"""Walks over points in the order of a scan, a page at a time: the engine sorts, ties are put in order here."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from recollect.adapters.port import Cursor, Order
from recollect.adapters.qdrant.conditions import All, Between, Condition, Selection
from recollect.adapters.qdrant.engine import Engine, Found, Parts
from recollect.adapters.qdrant.fields import BRANCH, CREATED, HEAD, MEMORY, NUMBER, POSITION
from recollect.adapters.qdrant.points import read_versions
from recollect.adapters.qdrant.tokens import EXACT_INTEGER_MAX

PAGE_POINTS_MIN = 16
PAGE_POINTS_MAX = 1_024
GROUP_READ_POINTS = 256
"""How many points of one large group are loaded at a time."""

Place = tuple[int, str, str, int]
"""Where a version stands: the value sorted by, then memory id, branch and number."""

_FIELDS = {Order.POSITION: POSITION, Order.CREATED_AT: CREATED}
_PLACE_FIELDS = (MEMORY, BRANCH, NUMBER, POSITION, CREATED, HEAD)


class _Created(Struct):
    created_at_ms: int


class Walk(Struct, frozen=True):
    """A walk: where, in which order, and from where on.

    Attributes:
        engine: Where the points are.
        order: By what they are sorted.
        descending: Largest first; ties are then reversed too.
        after: Where to go on; None begins at the beginning.
    """

    engine: Engine
    order: Order = Order.POSITION
    descending: bool = False
    after: Cursor | None = None

    def points(self, selection: Selection, parts: Parts, first: int) -> Iterator[Found]:
        """Yield the points that a selection wants.

        What the selection compares with must fix the state that is read, as commits may come between two pages.

        Args:
            selection: Which are wanted.
            parts: What to load of each.
            first: How many are wanted soon.
        """
        if selection.exact:
            yield from self._pages(selection.condition, parts, first)
            return
        for point in self._pages(selection.condition, replace(parts, content=True), first):
            [version] = read_versions([point.stored(Parts(content=True))], 1)
            if selection.admits(version):
                yield point

    def _pages(self, condition: Condition, parts: Parts, first: int) -> Iterator[Found]:
        field = _FIELDS[self.order]
        beyond = None if self.after is None else self._from(float(self.after.value), inclusive=True)
        size = max(PAGE_POINTS_MIN, min(PAGE_POINTS_MAX, first + 1))
        while True:
            here = condition if beyond is None else All((condition, beyond))
            page = self.engine.in_order(here, field, descending=self.descending, limit=size, parts=parts)
            if len(page) < size:
                yield from self._in_place(page)
                return
            # Of the last value there may be more than the page holds; they come with the next one.
            last = float(page[-1].payload[field])
            whole = [point for point in page if float(point.payload[field]) != last]
            if whole:
                yield from self._in_place(whole)
                last = float(whole[-1].payload[field])
            else:
                yield from self._group(All((condition, Between(field, gte=last, lte=last))), parts)
            beyond = self._from(last, inclusive=False)
            size = PAGE_POINTS_MAX

    def _in_place(self, points: list[Found]) -> Iterator[Found]:
        """Yield points in order, from where the walk goes on."""
        places = {point.point_id: self._place(point.payload) for point in points}
        ordered = sorted(points, key=lambda point: places[point.point_id], reverse=self.descending)
        yield from (point for point in ordered if self._is_ahead(places[point.point_id]))

    def _group(self, condition: Condition, parts: Parts) -> Iterator[Found]:
        """Yield the points of one value, of which there are more than a page holds: their places are read first."""
        places = sorted(
            ((self._place(payload), identity) for identity, payload in self.engine.each(condition, _PLACE_FIELDS)),
            reverse=self.descending,
        )
        wanted = [identity for place, identity in places if self._is_ahead(place)]
        for begin in range(0, len(wanted), GROUP_READ_POINTS):
            part = wanted[begin : begin + GROUP_READ_POINTS]
            found = self.engine.retrieve(part, parts)
            yield from (found[identity] for identity in part if identity in found)

    def _from(self, value: float, *, inclusive: bool) -> Condition:
        field = _FIELDS[self.order]
        if self.descending:
            return Between(field, lte=value) if inclusive else Between(field, lt=value)
        return Between(field, gte=value) if inclusive else Between(field, gt=value)

    def _is_ahead(self, place: Place) -> bool:
        if self.after is None:
            return True
        start = (self.after.value, self.after.memory_id, self.after.branch, self.after.number)
        return place < start if self.descending else place > start

    def _place(self, payload: Mapping[str, Any]) -> Place:
        value = payload[_FIELDS[self.order]]
        if self.order is Order.CREATED_AT and abs(value) >= EXACT_INTEGER_MAX:
            value = msgspec.json.decode(payload[HEAD], type=_Created).created_at_ms
        return int(value), payload[MEMORY], payload[BRANCH], int(payload[NUMBER])
