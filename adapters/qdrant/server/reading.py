"""Reading versions: by name, along a memory's line, and in order.

Every read is capped at the position up to which commits were applied when it began, so it is a snapshot however long
it takes: later commits only add points beyond the cap and marks that say a position beyond it.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from msgspec.structs import replace
from qdrant_client import AsyncQdrantClient, models

from recollect.adapters.filters import Filter
from recollect.adapters.port import Order, Projection, ReadPoint, Scan, Selector
from recollect.adapters.qdrant.client_conditions import client_filter
from recollect.adapters.qdrant.conditions import Between, Selection
from recollect.adapters.qdrant.fields import BRANCH, CREATED, MEMORY, NUMBER, POSITION
from recollect.adapters.qdrant.server import heads, selecting, stored, wire
from recollect.adapters.qdrant.server.connection import Connection
from recollect.adapters.qdrant.server.heads import HEAD_ID, Head
from recollect.adapters.qdrant.server.lookups import Lookup, Place
from recollect.adapters.qdrant.server.selecting import ERASED_AT
from recollect.adapters.qdrant.server.stored import Found
from recollect.adapters.qdrant.server.wire import Question
from recollect.adapters.qdrant.validation import is_memory_id
from recollect.adapters.versions import Version

CHUNK = 2_048
"""How many places are read at once; a walk with a small limit reads fewer."""

CHUNK_MIN = 64
HISTORY_BATCH = 256
_PLACE_FIELDS: Final = [MEMORY, BRANCH, NUMBER]
_Item = TypeVar("_Item")

HEAD_REQUEST: Final = models.QueryRequest(
    filter=models.Filter(must=[models.HasIdCondition(has_id=[HEAD_ID])]),
    limit=1,
    with_payload=models.PayloadSelectorExclude(exclude=["head_intent"]),
)


@dataclass(frozen=True)
class Placed:
    """Where a version stands in an order, and which point it is."""

    place: Place
    point_id: str


class Reader:
    """Reads for one adapter."""

    def __init__(self, connection: Connection, dimension: int) -> None:
        """Remember where to read; nothing is sent yet."""
        self.dimension = dimension
        self._connection = connection
        self._head = wire.prepared(connection, HEAD_REQUEST)

    @property
    def windowed(self) -> bool:
        """Whether a version up to the position that the next question is capped at may have several rows."""
        return self._connection.windowed

    async def cap(self) -> int:
        """Return up to where the store can be read now."""
        return (await heads.read(self._connection)).applied

    async def ask(self, requests: Callable[[int], Sequence[Question]]) -> tuple[Head, list[list[Found]]]:
        """Ask several questions of one snapshot, in one call if the store is still where it was when last heard of.

        The head is read in the same call. Where it has moved on, the questions are asked again from there, which is
        late enough: it has every commit that was acknowledged before this call.

        Args:
            requests: Makes the questions for a cap.

        Returns:
            The head with `applied` as the cap that holds for the answers, and the answers.
        """
        cap = self._connection.applied
        head, answers = await self._ask(requests(cap))
        # Compared with what was asked for: other calls move what is known on.
        if head.applied != cap:
            _, answers = await self._ask(requests(head.applied))
        return head, answers

    async def ask_at(self, requests: Sequence[Question]) -> list[list[Found]]:
        """Ask questions of a snapshot that is known already."""
        return (await self._ask(requests))[1]

    async def _ask(self, requests: Sequence[Question]) -> tuple[Head, list[list[Found]]]:
        asked = [self._head, *requests]

        async def ask(client: AsyncQdrantClient) -> tuple[Head, list[list[Found]]]:
            since = self._connection.applied
            found, *answers = await wire.query(self._connection, client, asked)
            head = heads.seen(self._connection, found[0].payload if found else None, since)
            return head, answers

        return await self._connection.call("reading", ask)

    async def has_erased(self) -> bool:
        """Say whether there is a stub of an erased version."""
        return await self.count_points(client_filter(Between(ERASED_AT, gte=0))) > 0

    # --- By name ---

    async def get(
        self, selectors: Sequence[Selector], read_point: ReadPoint, projection: Projection
    ) -> list[Version | None]:
        """Return what each selector names; see the port."""
        if not selectors:
            return []
        lookup = Lookup(selectors, read_point, projection, self.dimension)
        while True:
            _, answers = await self.ask(lookup.requests)
            if not lookup.is_cut(answers):
                return lookup.found(answers)

    # --- In order ---

    async def history(
        self, memory_id: str, read_point: ReadPoint | None, projection: Projection
    ) -> AsyncIterator[list[Version]]:
        """Stream a memory's versions, newest first."""
        cap = await self.cap()
        if not is_memory_id(memory_id):
            return
        places = await self._all_places(selecting.line_of(memory_id, read_point, cap), POSITION)
        ids = [placed.point_id for placed in sorted(places, key=_by_place, reverse=True)]
        for start in range(0, len(ids), HISTORY_BATCH):
            yield await self.versions(ids[start : start + HISTORY_BATCH], projection)

    async def scan(self, scan: Scan) -> AsyncIterator[list[Version]]:
        """Stream versions in order, in batches of any size."""
        cap = await self.cap()
        selection = selecting.selection(scan.read_point, cap, scan.namespaces, scan.filter, segments=scan.segments)
        async for placed in self._places(client_filter(selection.condition), scan):
            for start in range(0, len(placed), CHUNK):
                ids = [one.point_id for one in placed[start : start + CHUNK]]
                for at in range(0, len(ids), scan.batch_size):
                    yield await self.versions(ids[at : at + scan.batch_size], scan.projection, selection)

    async def _places(self, condition: models.Filter, scan: Scan) -> AsyncIterator[list[Placed]]:
        """Walk the places of an order in chunks, none of them empty.

        The server sorts by the value alone. Of a chunk the places with the last value are therefore read once more,
        all of them, and sorted here.
        """
        field = CREATED if scan.order is Order.CREATED_AT else POSITION
        chunk = CHUNK if scan.limit is None else min(CHUNK, max(CHUNK_MIN, 2 * scan.limit))
        beyond: Callable[[int], models.Range] = _below if scan.descending else _above
        bound = None if scan.after is None else _from(scan.after.value, descending=scan.descending)
        while True:
            bounded = condition if bound is None else _and(condition, field, bound)
            points = await self._sorted(bounded, field, chunk, descending=scan.descending)
            placed = [_placed(point, field) for point in points]
            is_last = len(placed) < chunk
            if not is_last:
                value = placed[-1].place[0]
                ties = await self._all_places(_and(condition, field, models.Range(gte=value, lte=value)), field)
                placed = [*(one for one in placed if one.place[0] != value), *ties]
                bound = beyond(value)
            placed.sort(key=_by_place, reverse=scan.descending)
            if scan.after is not None:
                end = (scan.after.value, scan.after.memory_id, scan.after.branch, scan.after.number)
                placed = [one for one in placed if one.place != end and (one.place < end) == scan.descending]
            if placed:
                yield placed
            if is_last:
                return

    async def _sorted(
        self, condition: models.Filter, field: str, limit: int, *, descending: bool
    ) -> list[models.ScoredPoint]:
        direction = models.Direction.DESC if descending else models.Direction.ASC
        answer = await self._connection.call(
            "reading in order",
            lambda client: client.query_points(
                self._connection.name,
                models.OrderByQuery(order_by=models.OrderBy(key=field, direction=direction)),
                query_filter=condition,
                limit=limit,
                with_payload=[field, *_PLACE_FIELDS],
            ),
        )
        return list(answer.points)

    async def _all_places(self, condition: models.Filter, field: str) -> list[Placed]:
        """Return the places of all that a condition selects, in no order."""
        return [_placed(point, field) async for point in self.every(condition, fields=[field, *_PLACE_FIELDS])]

    async def every(
        self, condition: models.Filter, *, fields: list[str] | bool, vectors: list[str] | bool = False
    ) -> AsyncIterator[models.Record]:
        """Walk all points that a condition selects, in no order."""
        offset: Any = None
        while True:
            found, offset = await self._page(condition, offset, fields=fields, vectors=vectors)
            for point in found:
                yield point
            if offset is None:
                return

    async def _page(
        self, condition: models.Filter, offset: Any, *, fields: list[str] | bool, vectors: list[str] | bool
    ) -> tuple[list[models.Record], Any]:
        return await self._connection.call(
            "reading",
            lambda client: client.scroll(
                self._connection.name, condition, limit=CHUNK, offset=offset, with_payload=fields, with_vectors=vectors
            ),
        )

    # --- What the reads are made of ---

    async def versions(
        self, ids: Sequence[str], projection: Projection, selection: Selection | None = None
    ) -> list[Version]:
        """Read points by their ids, in the same order, and try once more what the server could not decide."""
        tried = selection is not None and not selection.exact
        asked = replace(projection, content=True) if tried else projection
        versions = stored.versions_of(await self.points(ids, asked), asked, self.dimension)
        if selection is not None and tried:
            versions = [version for version in versions if selection.admits(version)]
        if asked.content and not projection.content:
            versions = [replace(version, content=None, metadata=None) for version in versions]
        return versions

    async def points(self, ids: Sequence[str], projection: Projection) -> list[models.Record]:
        """Read points by their ids, in the same order."""
        found = await self._connection.call(
            "reading",
            lambda client: client.retrieve(
                self._connection.name,
                list(ids),
                with_payload=stored.payload_fields(projection),
                with_vectors=stored.vector_names(projection),
            ),
        )
        by_id = {str(point.id): point for point in found}
        return [by_id[name] for name in ids if name in by_id]

    async def count(
        self, read_point: ReadPoint | None, namespaces: Sequence[str] | None, matching: Filter | None
    ) -> int:
        """Count versions; None for every version of every branch."""
        cap = await self.cap()
        selection = selecting.selection(read_point, cap, namespaces, matching)
        condition = client_filter(selection.condition)
        if selection.exact:
            return await self.count_points(condition)
        counted = 0
        async for points in _in_chunks(self.every(condition, fields=False), HISTORY_BATCH):
            counted += len(await self.versions([str(point.id) for point in points], Projection(), selection))
        return counted

    async def count_points(self, condition: models.Filter) -> int:
        """Count the points that a condition selects."""
        answer = await self._connection.call(
            "counting", lambda client: client.count(self._connection.name, condition, exact=True)
        )
        return int(answer.count)


def _by_place(placed: Placed) -> Place:
    return placed.place


def _placed(point: models.ScoredPoint | models.Record, field: str) -> Placed:
    payload = point.payload or {}
    try:
        place = (payload[field], payload[MEMORY], payload[BRANCH], payload[NUMBER])
    except KeyError as error:
        raise stored.damaged(point, "its payload lacks a field") from error
    return Placed(place, str(point.id))


def _and(condition: models.Filter, field: str, within: models.Range) -> models.Filter:
    return models.Filter(must=[condition, models.FieldCondition(key=field, range=within)])


def _above(value: int) -> models.Range:
    return models.Range(gt=value)


def _below(value: int) -> models.Range:
    return models.Range(lt=value)


def _from(value: int, *, descending: bool) -> models.Range:
    return models.Range(lte=value) if descending else models.Range(gte=value)


async def _in_chunks(items: AsyncIterator[_Item], size: int) -> AsyncIterator[list[_Item]]:
    chunk: list[_Item] = []
    async for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


async def in_batches(
    groups: AsyncIterator[Iterable[_Item]], size: int, limit: int | None
) -> AsyncIterator[list[_Item]]:
    """Cut groups of any size into batches of one size, up to a limit; the last may be smaller, none is empty."""
    left = limit
    batch: list[_Item] = []
    if left == 0:
        return
    async for group in groups:
        for item in group:
            batch.append(item)
            if len(batch) == (size if left is None else min(size, left)):
                yield batch
                left = None if left is None else left - len(batch)
                batch = []
                if left == 0:
                    return
    if batch:
        yield batch
