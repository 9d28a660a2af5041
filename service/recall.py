"""Reading memories: by id, by key, in order, in all versions, and by meaning."""

import base64
import binascii
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
import numpy as np
from msgspec import Raw

from recollect.adapters.filters import parse_filter
from recollect.adapters.port import (
    ById,
    ByKey,
    Cursor,
    EncodedSearch,
    Order,
    Projection,
    ReadPoint,
    Scan,
    Selector,
    SimilarityQuery,
)
from recollect.adapters.versions import Vector, Version
from recollect.service.answers import (
    EncodedHitsFrames,
    EncodedSearchAnswer,
    EndFrame,
    HistoryAnswer,
    Hit,
    HitsFrame,
    Memory,
    MemoryPage,
    SearchAnswer,
)
from recollect.service.branches import read_point
from recollect.service.drafts import check_namespace
from recollect.service.errors import (
    InvalidCursorError,
    InvalidInputError,
    MemoryNotFoundError,
    MemoryQuarantinedError,
)
from recollect.service.forgetting import QUARANTINED_TAG
from recollect.service.parts import Parts
from recollect.service.presenting import hit_of, memory_of, moment
from recollect.service.requests import ListRequest, ReadOptions, SearchRequest
from recollect.service.revise import not_found
from recollect.service.telemetry import Operation

WHOLE_BATCH_MAX = 1000
"""How many hits of an answer in one piece are read at a time at most."""

_ORDERS = {"stored": Order.POSITION, "created_at": Order.CREATED_AT}


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """What a cursor holds: the order it belongs to, and the last memory of the page."""

    order: str
    descending: bool
    cursor: Cursor


def projection_of(options: ReadOptions) -> Projection:
    """Return what to load."""
    return Projection(content=options.view == "full", provenance=options.include_provenance)


def namespaces_of(names: list[str] | None) -> tuple[str, ...] | None:
    """Return the namespaces to look into; None for all of the users'."""
    return None if names is None else tuple(check_namespace(name) for name in names)


class Recalling:
    """The use cases of reading."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def get(self, selector: ById | ByKey, options: ReadOptions) -> Memory:
        """Return one memory; see `MemoryService.get`."""
        with self._parts.telemetry.operation(f"get_{options.view}"):
            point = await read_point(self._parts.store, options.branch, options.as_of)
            version = await self._visible(selector, point, projection_of(options))
            self._parts.working.used([version])
            self._parts.receipts.note_versions("get", options.actor, [version])
            return memory_of(version)

    async def _visible(self, selector: ById | ByKey, point: ReadPoint, projection: Projection) -> Version:
        selectors: list[Selector] = [selector]
        (version,) = await self._parts.store.get(selectors, point, projection)
        if version is None or version.namespace.startswith("_"):
            if isinstance(selector, ByKey):
                raise MemoryNotFoundError(f"there is no memory with the key {selector.key!r} in {selector.namespace!r}")
            raise await self._absent(selector.memory_id, point)
        return version

    async def _absent(self, memory_id: str, point: ReadPoint) -> MemoryNotFoundError:
        """Return the error for a memory that is not visible, which says so if it is in quarantine or was erased."""
        async for newest, *_ in self._parts.store.history(memory_id, point):
            if newest.forgotten and QUARANTINED_TAG in newest.tags:
                return MemoryQuarantinedError(
                    f"memory {memory_id} is in quarantine since {moment(newest.updated_at_ms).isoformat()}: it is "
                    "kept, its history can be read, and releasing the quarantine brings it back"
                )
            if newest.erased:
                return MemoryNotFoundError(f"memory {memory_id} was erased; the receipts of erasures say when")
            break
        return not_found(memory_id, point)

    async def history(self, memory_id: str, options: ReadOptions) -> HistoryAnswer:
        """Return a memory's versions; see `MemoryService.history`."""
        with self._parts.telemetry.operation("history"):
            point = await read_point(self._parts.store, options.branch, options.as_of)
            items: list[Memory] = []
            async for batch in self._parts.store.history(memory_id, point, projection_of(options)):
                items += [memory_of(version) for version in batch if not version.namespace.startswith("_")]
            if not items:
                raise not_found(memory_id, point)
            return HistoryAnswer(items=items)

    async def page(self, request: ListRequest) -> MemoryPage:
        """Return a page of memories; see `MemoryService.list_memories`."""
        with self._parts.telemetry.operation("list"):
            scan = Scan(
                read_point=await read_point(self._parts.store, request.branch, request.as_of),
                namespaces=namespaces_of(request.namespaces),
                filter=parse_filter(request.filters),
                order=_ORDERS[request.order],
                descending=request.descending,
                after=_read_cursor(request),
                limit=request.limit + 1,
                batch_size=request.limit + 1,
                projection=projection_of(request),
            )
            versions: list[Version] = []
            async for batch in self._parts.store.scan(scan):
                versions += batch
            page = versions[: request.limit]
            self._parts.receipts.note_versions("list", request.actor, page)
            following = _write_cursor(request, page[-1]) if len(versions) > request.limit else None
            return MemoryPage(items=[memory_of(version) for version in page], next_cursor=following)

    async def frames(self, request: SearchRequest) -> AsyncGenerator[HitsFrame | EndFrame, None]:
        """Stream the hits of a search; see `MemoryService.find_similar`."""
        count = 0
        noted: list[Hit] = []
        receipts = self._parts.receipts
        with self._parts.telemetry.operation("find_similar") as operation:
            try:
                async with aclosing(self._hits(request, operation, request.batch_size)) as batches:
                    async for hits in batches:
                        count += len(hits)
                        noted += hits[: receipts.hits_max - len(noted)]
                        yield HitsFrame(hits=hits)
            finally:  # also of a stream that its reader left
                receipts.note_hits("find_similar", request, noted, count)
            yield EndFrame(hits=count, elapsed_ms=round(operation.elapsed_ms, 3))

    async def search(self, request: SearchRequest) -> SearchAnswer:
        """Return the hits of a search; see `MemoryService.search`."""
        batch_size = _whole(request)
        found: list[Hit] = []
        with self._parts.telemetry.operation("search") as operation:
            async with aclosing(self._hits(request, operation, batch_size)) as batches:
                async for hits in batches:
                    found += hits
        self._parts.receipts.note_hits("search", request, found[: self._parts.receipts.hits_max], len(found))
        return SearchAnswer(hits=found, elapsed_ms=round(operation.elapsed_ms, 3))

    async def encoded_search(self, request: SearchRequest) -> SearchAnswer | EncodedSearchAnswer:
        """Return hits as JSON where that can be done; see `MemoryService.search_encoded`."""
        encoded = self._encodes(request)
        if encoded is None:
            return await self.search(request)
        batch_size = _whole(request)
        found: list[bytes] = []
        count = 0
        with self._parts.telemetry.operation("search") as operation:
            query = await self._query(request, operation, batch_size)
            async with aclosing(encoded.find_similar_encoded(query)) as groups:
                async for group in groups:
                    found += group.batches
                    count += group.count
            operation.part("search")
        self._parts.receipts.note_encoded("search", request, found[: self._batches_noted(batch_size)], count)
        return EncodedSearchAnswer(hits=Raw(b"[%b]" % b",".join(found)), elapsed_ms=round(operation.elapsed_ms, 3))

    def _encodes(self, request: SearchRequest) -> EncodedSearch | None:
        """Return what gives the hits of a search as JSON; None where they must be looked at, or the store does not."""
        plain = request.view == "summary" and not (request.include_provenance or request.explain)
        # To leave one out, or to note which were used, hits must be looked at.
        looked_at = request.memory_id is not None or self._parts.working.in_use
        return self._parts.encoded if plain and not looked_at else None

    def _batches_noted(self, batch_size: int) -> int:
        return -(-self._parts.receipts.hits_max // batch_size)

    async def encoded_frames(
        self, request: SearchRequest
    ) -> AsyncGenerator[HitsFrame | EncodedHitsFrames | EndFrame, None]:
        """Stream hits as JSON where that can be done; see `MemoryService.find_similar_encoded`."""
        encoded = self._encodes(request)
        if encoded is None:
            async with aclosing(self.frames(request)) as frames:
                async for frame in frames:
                    yield frame
            return
        count = 0
        noted: list[bytes] = []
        batches_noted = self._batches_noted(request.batch_size)
        with self._parts.telemetry.operation("find_similar") as operation:
            query = await self._query(request, operation, request.batch_size)
            try:
                async with aclosing(encoded.find_similar_encoded(query)) as batches:
                    async for found in batches:
                        operation.part("search")
                        count += found.count
                        noted += found.batches[: batches_noted - len(noted)]
                        yield EncodedHitsFrames(found.batches)
                        operation.part("send")
            finally:  # also of a stream that its reader left
                self._parts.receipts.note_encoded("find_similar", request, noted, count)
            yield EndFrame(hits=count, elapsed_ms=round(operation.elapsed_ms, 3))

    async def _hits(
        self, request: SearchRequest, operation: Operation, batch_size: int
    ) -> AsyncGenerator[list[Hit], None]:
        query = await self._query(request, operation, batch_size)
        itself = request.memory_id
        left = request.limit
        async with aclosing(self._parts.store.find_similar(query)) as matches:
            async for batch in matches:
                operation.part("search")
                wanted = batch
                if itself is not None:
                    wanted = [match for match in batch if match.version.memory_id != itself][:left]
                    left = None if left is None else left - len(wanted)
                if wanted:
                    self._parts.working.used(match.version for match in wanted)
                    yield [hit_of(match, explain=request.explain) for match in wanted]
                operation.part("send")

    async def _query(self, request: SearchRequest, operation: Operation, batch_size: int) -> SimilarityQuery:
        point = await read_point(self._parts.store, request.branch, request.as_of)
        namespaces = namespaces_of(request.namespaces)
        condition = parse_filter(request.filters)
        vector = await self._query_vector(request, point)
        operation.part("embed")
        # The memory that is compared with is found too, and left out later.
        itself = request.memory_id is not None
        return SimilarityQuery(
            read_point=point,
            dense=vector,
            namespaces=namespaces,
            filter=condition,
            limit=None if request.limit is None else request.limit + itself,
            threshold=request.threshold,
            batch_size=batch_size,
            projection=projection_of(request),
        )

    async def _query_vector(self, request: SearchRequest, point: ReadPoint) -> Vector:
        if request.text is not None:
            return await self._parts.embedder.embed_query(request.text)
        if request.vector is not None:
            return self._parts.drafter.unit_vector(request.vector)
        seed = await self._visible(ById(request.memory_id or ""), point, Projection(vectors=True))
        if seed.vectors is None:
            raise InvalidInputError(f"memory {seed.memory_id} has no vector to compare with")
        middle = seed.vectors.mean(axis=0)
        return np.asarray(middle / max(float(np.linalg.norm(middle)), 1e-12), dtype=np.float32)


def _whole(request: SearchRequest) -> int:
    """Return the size of the batches in which an answer in one piece is read.

    Raises:
        InvalidInputError: It has no limit.
    """
    if request.limit is None:
        raise InvalidInputError("an answer in one piece needs a limit; use find_similar to stream everything")
    return min(request.limit, WHOLE_BATCH_MAX)


def _read_cursor(request: ListRequest) -> Cursor | None:
    if request.cursor is None:
        return None
    try:
        place = msgspec.json.decode(base64.urlsafe_b64decode(request.cursor.encode()), type=_Place)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise InvalidCursorError(
            "the cursor is not one of ours; give next_cursor of the page before, unchanged"
        ) from error
    if (place.order, place.descending) != (request.order, request.descending):
        raise InvalidCursorError("the cursor belongs to another order; keep order and descending from page to page")
    return place.cursor


def _write_cursor(request: ListRequest, last: Version) -> str:
    value = last.position if request.order == "stored" else last.created_at_ms
    place = _Place(request.order, request.descending, Cursor(value, last.memory_id, last.branch, last.number))
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()
