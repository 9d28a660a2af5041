"""What the commands about provenance work on: a store in this process, or a service over HTTP."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import quote

from recollect.service.answers import HistoryAnswer, Remembered
from recollect.service.provenance.answers import BlameAnswer, ReceiptsAnswer, Relation, RelationsAnswer
from recollect.service.provenance.requests import (
    LineageRequest,
    NewInsight,
    NewRelation,
    ReceiptsRequest,
    RelationsRequest,
    RemovalRequest,
    VersionOptions,
    WhyRequest,
)
from recollect.service.requests import ReadOptions

if TYPE_CHECKING:
    from recollect.service.memory_service import MemoryService

Way = Literal["crystallize", "synthesize"]


class ProvenanceBackend(Protocol):
    """The operations behind the commands; see `ProvenanceViews` and `Relations` for what each does and raises."""

    async def why(self, memory_id: str, request: WhyRequest) -> bytes:
        """Return why a memory says what it says, in the format of the request."""
        ...

    async def lineage(self, memory_id: str, request: LineageRequest) -> bytes:
        """Return the lineage of a memory, in the format of the request."""
        ...

    async def blame(self, memory_id: str, options: VersionOptions) -> BlameAnswer:
        """Return who wrote each sentence of a memory."""
        ...

    async def changes(self, memory_id: str, options: ReadOptions) -> HistoryAnswer:
        """Return a memory's versions, newest first, each with what it changed."""
        ...

    async def receipts(self, request: ReceiptsRequest) -> ReceiptsAnswer:
        """Return who was given what."""
        ...

    async def connect(self, request: NewRelation) -> Relation:
        """Relate two memories."""
        ...

    async def relations(self, memory_id: str, request: RelationsRequest) -> RelationsAnswer:
        """Return the relations of a memory."""
        ...

    async def disconnect(self, relation_id: str, request: RemovalRequest) -> Relation:
        """Remove a relation."""
        ...

    async def draw(self, way: Way, request: NewInsight) -> Remembered:
        """Store an insight drawn from several memories."""
        ...

    def export(self, namespaces: list[str] | None) -> AsyncGenerator[bytes, None]:
        """Stream the provenance of all versions as one PROV-JSON document."""
        ...


class LocalProvenance:
    """A `ProvenanceBackend` over a memory service in this process."""

    def __init__(self, service: "MemoryService") -> None:
        self._service = service

    async def why(self, memory_id: str, request: WhyRequest) -> bytes:
        """Return why a memory says what it says, in the format of the request."""
        return await self._service.provenance.why_as(memory_id, request)

    async def lineage(self, memory_id: str, request: LineageRequest) -> bytes:
        """Return the lineage of a memory, in the format of the request."""
        return await self._service.provenance.lineage_as(memory_id, request)

    async def blame(self, memory_id: str, options: VersionOptions) -> BlameAnswer:
        """Return who wrote each sentence of a memory."""
        return await self._service.provenance.blame(memory_id, options)

    async def changes(self, memory_id: str, options: ReadOptions) -> HistoryAnswer:
        """Return a memory's versions, newest first, each with what it changed."""
        return await self._service.provenance.history_with_changes(memory_id, options)

    async def receipts(self, request: ReceiptsRequest) -> ReceiptsAnswer:
        """Return who was given what."""
        return await self._service.provenance.receipts(request)

    async def connect(self, request: NewRelation) -> Relation:
        """Relate two memories."""
        return await self._service.relations.connect(request)

    async def relations(self, memory_id: str, request: RelationsRequest) -> RelationsAnswer:
        """Return the relations of a memory."""
        items = await self._service.relations.of(
            memory_id, direction=request.direction, relation_type=request.type, branch=request.branch
        )
        return RelationsAnswer(items=items)

    async def disconnect(self, relation_id: str, request: RemovalRequest) -> Relation:
        """Remove a relation."""
        return await self._service.relations.disconnect(relation_id, branch=request.branch, actor=request.actor)

    async def draw(self, way: Way, request: NewInsight) -> Remembered:
        """Store an insight drawn from several memories."""
        relations = self._service.relations
        return await (relations.crystallize(request) if way == "crystallize" else relations.synthesize(request))

    async def export(self, namespaces: list[str] | None) -> AsyncGenerator[bytes, None]:
        """Stream the provenance of all versions as one PROV-JSON document."""
        async for pieces in self._service.provenance.export(namespaces):
            yield b"".join(pieces)


class RemoteProvenance:
    """A `ProvenanceBackend` over the HTTP API.

    Args:
        ask: Sends a request and reads its answer as a type, as `RemoteBackend` does.
        fetch: Sends a GET and returns the body as it came.
        stream: Opens the body of an answer to be read in pieces.
    """

    def __init__(
        self,
        ask: Callable[..., Any],
        fetch: Callable[[str, Mapping[str, Any]], Any],
        stream: Callable[..., AbstractAsyncContextManager[Any]],
    ) -> None:
        self._ask = ask
        self._fetch = fetch
        self._stream = stream

    async def why(self, memory_id: str, request: WhyRequest) -> bytes:
        """Return why a memory says what it says, in the format of the request."""
        body: bytes = await self._fetch(_path(memory_id, "why"), _query(request))
        return body

    async def lineage(self, memory_id: str, request: LineageRequest) -> bytes:
        """Return the lineage of a memory, in the format of the request."""
        body: bytes = await self._fetch(_path(memory_id, "lineage"), _query(request))
        return body

    async def blame(self, memory_id: str, options: VersionOptions) -> BlameAnswer:
        """Return who wrote each sentence of a memory."""
        answer: BlameAnswer = await self._ask(BlameAnswer, "GET", _path(memory_id, "blame"), parameters=_query(options))
        return answer

    async def changes(self, memory_id: str, options: ReadOptions) -> HistoryAnswer:
        """Return a memory's versions, newest first, each with what it changed."""
        query = _query(options)
        if query.pop("include_provenance", False):
            query["include"] = "provenance"
        answer: HistoryAnswer = await self._ask(
            HistoryAnswer, "GET", _path(memory_id, "history"), parameters={**query, "diff": True}
        )
        return answer

    async def receipts(self, request: ReceiptsRequest) -> ReceiptsAnswer:
        """Return who was given what."""
        answer: ReceiptsAnswer = await self._ask(ReceiptsAnswer, "GET", "/v1/receipts", parameters=_query(request))
        return answer

    async def connect(self, request: NewRelation) -> Relation:
        """Relate two memories."""
        answer: Relation = await self._ask(Relation, "POST", "/v1/relations", body=_body(request))
        return answer

    async def relations(self, memory_id: str, request: RelationsRequest) -> RelationsAnswer:
        """Return the relations of a memory."""
        answer: RelationsAnswer = await self._ask(
            RelationsAnswer, "GET", _path(memory_id, "relations"), parameters=_query(request)
        )
        return answer

    async def disconnect(self, relation_id: str, request: RemovalRequest) -> Relation:
        """Remove a relation."""
        path = f"/v1/relations/{quote(relation_id, safe='')}"
        answer: Relation = await self._ask(Relation, "DELETE", path, parameters=_query(request))
        return answer

    async def draw(self, way: Way, request: NewInsight) -> Remembered:
        """Store an insight drawn from several memories."""
        answer: Remembered = await self._ask(Remembered, "POST", f"/v1/{way}", body=_body(request))
        return answer

    async def export(self, namespaces: list[str] | None) -> AsyncGenerator[bytes, None]:
        """Stream the provenance of all versions as one PROV-JSON document."""
        query: dict[str, Any] = {"format": "prov", **({"namespace": namespaces} if namespaces else {})}
        async with self._stream("GET", "/v1/export", params=query) as response:
            async for piece in response.aiter_bytes():
                yield piece


def _path(memory_id: str, view: str) -> str:
    return f"/v1/memories/{quote(memory_id, safe='')}/{view}"


def _query(request: Any) -> dict[str, Any]:
    """Return a request's fields as query parameters."""
    return dict(request.model_dump(mode="json", exclude_none=True, exclude_unset=True, by_alias=True))


def _body(request: Any) -> bytes:
    return str(request.model_dump_json(exclude_unset=True, by_alias=True)).encode()
