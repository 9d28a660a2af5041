"""Reading versions: by name, along a memory's line, and in order.

Every read is capped at the position up to which commits were applied when it began, so it is a snapshot however long
it takes: later commits only add points beyond the cap and marks that say a position beyond it.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from msgspec.structs import replace
from qdrant_client import models

from recollect.adapters.filters import Filter, matches
from recollect.adapters.port import (
    ByContent,
    ById,
    ByKey,
    ByRef,
    Order,
    Projection,
    ReadPoint,
    Scan,
    Selector,
)
from recollect.adapters.qdrant.server import conditions, heads, records
from recollect.adapters.qdrant.server.connection import Connection
from recollect.adapters.qdrant.server.heads import HEAD_ID, Head
from recollect.adapters.versions import Version

CHUNK = 2_048
"""How many places are read at once; a walk with a small limit reads fewer."""

CHUNK_MIN = 64
HISTORY_BATCH = 256
Place = tuple[int, str, str, int]
_PLACE_FIELDS: Final = ["memory", "branch", "number"]
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

    def __init__(self, connection: Connection) -> None:
        """Begin without knowing how far the store has come."""
        self._connection = connection
        self._cap = 0

    async def cap(self) -> int:
        """Return up to where the store can be read now."""
        self._cap = (await heads.read(self._connection)).applied
        return self._cap

    async def ask(
        self, requests: Callable[[int], Sequence[models.QueryRequest]]
    ) -> tuple[Head, list[list[models.ScoredPoint]]]:
        """Ask several questions of one snapshot, in one call if the store is still where it was at the last one.

        The head is read in the same call. Where it has moved on, the questions are asked again from there, which is
        late enough: it has every commit that was acknowledged before this call.

        Args:
            requests: Makes the questions for a cap.

        Returns:
            The head with `applied` as the cap that holds for the answers, and the answers.
        """
        head, answers = await self._ask(requests(self._cap))
        if head.applied != self._cap:
            self._cap = cap = head.applied
            _, answers = await self._ask(requests(cap))
        return head, answers

    async def ask_at(self, requests: Sequence[models.QueryRequest]) -> list[list[models.ScoredPoint]]:
        """Ask questions of a snapshot that is known already."""
        return (await self._ask(requests))[1]

    async def _ask(self, requests: Sequence[models.QueryRequest]) -> tuple[Head, list[list[models.ScoredPoint]]]:
        asked = [HEAD_REQUEST, *requests]
        responses = await self._connection.call(
            "reading",
            lambda client: client.query_batch_points(
                self._connection.name, asked, consistency=self._connection.consistency
            ),
        )
        found = responses[0].points
        return heads.decode(found[0].payload if found else None), [response.points for response in responses[1:]]

    # --- By name ---

    async def get(
        self, selectors: Sequence[Selector], read_point: ReadPoint, projection: Projection
    ) -> list[Version | None]:
        """Return what each selector names; see the port."""
        if not selectors:
            return []
        lookup = Lookup(selectors, read_point, projection)
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
        line: models.Condition = conditions.equals("memory", memory_id)
        within = conditions.at_most("position", cap) if read_point is None else conditions.along(read_point, cap)
        places = await self._all_places(models.Filter(must=[line, within]), "position")
        ids = [placed.point_id for placed in sorted(places, key=_by_place, reverse=True)]
        for start in range(0, len(ids), HISTORY_BATCH):
            yield await self.versions(ids[start : start + HISTORY_BATCH], projection)

    async def scan(self, scan: Scan) -> AsyncIterator[list[Version]]:
        """Stream versions in order, in batches of any size."""
        cap = await self.cap()
        selection = conditions.select(scan.read_point, cap, scan.namespaces, scan.filter)
        left_over = None if selection.exact else scan.filter
        async for placed in self._places(selection.condition, scan):
            for start in range(0, len(placed), CHUNK):
                ids = [one.point_id for one in placed[start : start + CHUNK]]
                for at in range(0, len(ids), scan.batch_size):
                    yield await self.versions(ids[at : at + scan.batch_size], scan.projection, left_over)

    async def _places(self, condition: models.Filter, scan: Scan) -> AsyncIterator[list[Placed]]:
        """Walk the places of an order in chunks, none of them empty.

        The server sorts by the value alone. Of a chunk the places with the last value are therefore read once more,
        all of them, and sorted here.
        """
        field = "created_at" if scan.order is Order.CREATED_AT else "position"
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
                consistency=self._connection.consistency,
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
                self._connection.name,
                condition,
                limit=CHUNK,
                offset=offset,
                with_payload=fields,
                with_vectors=vectors,
                consistency=self._connection.consistency,
            ),
        )

    # --- What the reads are made of ---

    async def versions(
        self, ids: Sequence[str], projection: Projection, left_over: Filter | None = None
    ) -> list[Version]:
        """Read points by their ids, in the same order, and try what the server could not decide of a filter."""
        asked = projection if left_over is None else replace(projection, content=True)
        points = await self.points(ids, asked)
        versions = records.versions_of(points, asked)
        if left_over is not None:
            versions = [version for version in versions if matches(left_over, version)]
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
                with_payload=records.payload_fields(projection),
                with_vectors=records.vector_names(projection),
                consistency=self._connection.consistency,
            ),
        )
        by_id = {str(point.id): point for point in found}
        return [by_id[name] for name in ids if name in by_id]

    async def count(
        self, read_point: ReadPoint | None, namespaces: Sequence[str] | None, matching: Filter | None
    ) -> int:
        """Count versions; None for every version of every branch."""
        cap = await self.cap()
        selection = conditions.select(read_point, cap, namespaces, matching)
        if selection.exact:
            return await self.count_points(selection.condition)
        counted = 0
        async for ids in _in_chunks(self.every(selection.condition, fields=False), HISTORY_BATCH):
            counted += len(await self.versions([str(point.id) for point in ids], Projection(), matching))
        return counted

    async def count_points(self, condition: models.Filter) -> int:
        """Count the points that a condition selects."""
        answer = await self._connection.call(
            "counting", lambda client: client.count(self._connection.name, condition, exact=True)
        )
        return int(answer.count)


class Lookup:
    """Selectors as few questions, and their answers as versions."""

    def __init__(self, selectors: Sequence[Selector], read_point: ReadPoint, projection: Projection) -> None:
        """Sort the selectors into questions that find many at once."""
        self._selectors = selectors
        self._read_point = read_point
        self._projection = projection
        self._spare = 64
        self._refs = [records.point_id(one.ref) for one in selectors if isinstance(one, ByRef)]
        self._ids = [one.memory_id for one in selectors if isinstance(one, ById)]
        self._named: dict[tuple[str, str], list[str]] = {}
        for one in selectors:
            match one:
                case ByKey(namespace, key):
                    self._named.setdefault(("key", namespace), []).append(key)
                case ByContent(namespace, content_hash):
                    self._named.setdefault(("content_hash", namespace), []).append(content_hash)
                case _:
                    pass

    def requests(self, cap: int) -> list[models.QueryRequest]:
        """Return the questions, as of a cap."""
        visible = conditions.visible(self._read_point, cap)
        asked: list[tuple[list[models.Condition], int]] = []
        if self._refs:
            by_id = models.HasIdCondition(has_id=[*self._refs])
            asked.append(([by_id, conditions.at_most("position", cap)], len(self._refs)))
        if self._ids:
            asked.append(([conditions.one_of("memory", self._ids), *visible], len(self._ids)))
        for (field, namespace), names in self._named.items():
            named = [conditions.equals("namespace", namespace), conditions.one_of(field, names), *visible]
            asked.append((named, len(names)))
        return [
            models.QueryRequest(
                filter=models.Filter(must=must),
                limit=count + self._spare,
                with_payload=[*records.payload_fields(self._projection), "memory", "namespace", "key", "content_hash"],
                with_vector=records.vector_names(self._projection),
            )
            for must, count in asked
        ]

    def is_cut(self, answers: Sequence[Sequence[models.ScoredPoint]]) -> bool:
        """Say whether more was found than was asked for; the next questions then ask for more."""
        limits = [request.limit or 0 for request in self.requests(0)]
        cut = any(len(answer) >= limit for answer, limit in zip(answers, limits, strict=True))
        if cut:
            self._spare *= 8
        return cut

    def found(self, answers: Sequence[Sequence[models.ScoredPoint]]) -> list[Version | None]:
        """Return what each selector names, in order."""
        points = {str(point.id): point for answer in answers for point in answer}
        versions = dict(zip(points, records.versions_of(list(points.values()), self._projection), strict=True))
        by_ref = {version.ref: version for version in versions.values()}
        rest = answers[1:] if self._refs else answers
        visible = sorted(
            {str(point.id): versions[str(point.id)] for answer in rest for point in answer}.values(), key=_position
        )
        by_id = {version.memory_id: version for version in visible}
        by_key = {(version.namespace, version.key): version for version in visible}
        by_content = {(version.namespace, version.content_hash): version for version in reversed(visible)}
        return [_pick(selector, by_ref, by_id, by_key, by_content) for selector in self._selectors]


def _pick(selector: Selector, by_ref: Any, by_id: Any, by_key: Any, by_content: Any) -> Version | None:
    found: Version | None
    match selector:
        case ByRef(ref):
            found = by_ref.get(ref)
        case ById(memory_id):
            found = by_id.get(memory_id)
        case ByKey(namespace, key):
            found = by_key.get((namespace, key))
        case ByContent(namespace, content_hash):
            found = by_content.get((namespace, content_hash))
    return found


def _position(version: Version) -> Place:
    return (version.position, version.memory_id, version.branch, version.number)


def _by_place(placed: Placed) -> Place:
    return placed.place


def _placed(point: models.ScoredPoint | models.Record, field: str) -> Placed:
    payload = point.payload or {}
    try:
        place = (payload[field], payload["memory"], payload["branch"], payload["number"])
    except KeyError as error:
        raise records.damaged(point, "its payload lacks a field") from error
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
