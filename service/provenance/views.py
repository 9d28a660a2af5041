"""What can be asked about where a memory comes from and what became of it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import msgspec

from recollect.adapters.filters import And, Equals
from recollect.adapters.port import ById, ByRef, Projection, ReadPoint, Scan
from recollect.adapters.versions import Version, VersionRef
from recollect.service.answers import HistoryAnswer, ProvenanceRecord
from recollect.service.branches import read_point
from recollect.service.branching.conflict_records import NAMESPACE as CONFLICTS
from recollect.service.branching.conflict_records import OPEN_TAG
from recollect.service.drafts import check_namespace
from recollect.service.errors import InvalidInputError
from recollect.service.parts import Parts
from recollect.service.presenting import memory_of, moment, provenance_of
from recollect.service.provenance import prov_json, render
from recollect.service.provenance.answers import (
    BlameAnswer,
    BlamedSentence,
    LineageAnswer,
    ProvenanceAnswer,
    ReceiptsAnswer,
    WhyAnswer,
)
from recollect.service.provenance.blame import blame, changes
from recollect.service.provenance.certainty import certainty_of
from recollect.service.provenance.derivations import Lines, line_of
from recollect.service.provenance.graph import Graph, name, names
from recollect.service.provenance.relations import relations_of
from recollect.service.provenance.requests import (
    NODES_MAX,
    Format,
    LineageRequest,
    ReceiptsRequest,
    VersionOptions,
    WhyRequest,
)
from recollect.service.requests import ReadOptions
from recollect.service.revise import not_found

RECEIPTS_TOLD = 20
_WHOLE = Projection(content=True, provenance=True)
MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "tree": "text/plain; charset=utf-8",
    "mermaid": "text/plain; charset=utf-8",
    "prov": "application/json",
}


class ProvenanceViews:
    """The use cases of asking a memory where it comes from."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def record(self, memory_id: str, options: VersionOptions) -> ProvenanceAnswer:
        """Return where a version came from.

        Raises:
            MemoryNotFoundError: There is no such memory.
            InvalidInputError: It has no such version.
        """
        with self._parts.telemetry.operation("provenance"):
            version, _ = await self._asked(memory_id, options, Projection(provenance=True))
            record = provenance_of(version.provenance)
            return ProvenanceAnswer(
                id=version.memory_id,
                version=version.number,
                branch=version.branch,
                position=version.position,
                provenance=record if isinstance(record, ProvenanceRecord) else None,
            )

    async def lineage(self, memory_id: str, request: LineageRequest) -> LineageAnswer:
        """Return what a version was made of, what was made of it, or both.

        Raises:
            MemoryNotFoundError, InvalidInputError: As in `record`.
        """
        graph = await self._graph(memory_id, request)
        return graph.answer(request.direction)

    async def lineage_as(self, memory_id: str, request: LineageRequest) -> bytes:
        """Return a lineage in the format that the request names; see `lineage`."""
        graph = await self._graph(memory_id, request)
        return _encoded(graph, graph.answer(request.direction), request.format)

    async def _graph(self, memory_id: str, request: LineageRequest) -> Graph:
        with self._parts.telemetry.operation("lineage"):
            version, point = await self._asked(memory_id, request, Projection())
            graph = Graph(self._parts.store, version.ref, depth=request.depth, nodes=request.nodes)
            await graph.grow(request.direction, point.lineage[0].up_to)
            return graph

    async def why(self, memory_id: str, request: WhyRequest) -> WhyAnswer:
        """Return why a memory says what it says: sources, derivation, certainty, conflicts, relations and receipts.

        Raises:
            MemoryNotFoundError, InvalidInputError: As in `record`.
        """
        answer, _ = await self._why(memory_id, request)
        return answer

    async def why_as(self, memory_id: str, request: WhyRequest) -> bytes:
        """Return why a memory says what it says in the format that the request names; see `why`."""
        answer, graph = await self._why(memory_id, request)
        return msgspec.json.encode(answer) if request.format == "json" else why_encoded(answer, graph, request.format)

    async def _why(self, memory_id: str, request: WhyRequest) -> tuple[WhyAnswer, Graph]:
        with self._parts.telemetry.operation("why") as operation:
            version, point = await self._asked(memory_id, request, _WHOLE)
            graph = Graph(self._parts.store, version.ref, depth=request.depth, nodes=NODES_MAX)
            await graph.grow("up")
            operation.part("lineage")
            receipts = await self._parts.receipts.find(ReceiptsRequest(memory_id=memory_id, limit=RECEIPTS_TOLD))
            operation.part("receipts")
            answer = WhyAnswer(
                root=name(graph.root),
                memory=memory_of(version),
                lineage=graph.answer("up"),
                roots=names(graph.roots()),
                sources=graph.sources(),
                certainty=certainty_of(graph),
                conflicts=await self._conflicts(memory_id),
                relations=await relations_of(self._parts, memory_id, point),
                receipts=receipts,
            )
            operation.part("conflicts and relations")
            return answer, graph

    async def blame(self, memory_id: str, options: VersionOptions) -> BlameAnswer:
        """Return which actor and version each sentence of a version comes from.

        Raises:
            MemoryNotFoundError, InvalidInputError: As in `record`.
        """
        with self._parts.telemetry.operation("blame"):
            asked, _ = await self._asked(memory_id, options, Projection())
            line = await self._line(memory_id)
            known = {version.ref: version for version in line}
            lines = Lines(self._parts.store)
            before = {version.ref: await lines.before(version.ref) for version in line}
            found = await asyncio.to_thread(blame, line, before, asked.ref)  # comparing long texts takes its time
            return BlameAnswer(
                id=asked.memory_id,
                version=asked.number,
                branch=asked.branch,
                sentences=[_blamed(text, known[ref]) for text, ref in found],
            )

    async def history_with_changes(self, memory_id: str, options: ReadOptions) -> HistoryAnswer:
        """Return all versions of a memory, newest first, each with what it changed in the content.

        Raises:
            MemoryNotFoundError: There is no version of it.
        """
        with self._parts.telemetry.operation("history"):
            point = await read_point(self._parts.store, options.branch, options.as_of)
            line = [version for version in await self._line(memory_id, point) if not version.namespace.startswith("_")]
            if not line:
                raise not_found(memory_id, point)
            by_ref = {version.ref: version for version in line}
            lines = Lines(self._parts.store)
            replaced = [await lines.before(version.ref) for version in line]
            before = [None if ref is None else by_ref.get(ref) for ref in replaced]
            told = await asyncio.to_thread(lambda: list(map(changes, before, line)))
            items = [
                msgspec.structs.replace(memory_of(_projected(version, options)), changes=lines)
                for version, lines in zip(line, told, strict=True)
            ]
            return HistoryAnswer(items=items[::-1])

    async def receipts(self, request: ReceiptsRequest) -> ReceiptsAnswer:
        """Return who was given what: of one memory, of one actor, or of all, newest first."""
        with self._parts.telemetry.operation("receipts"):
            return ReceiptsAnswer(items=await self._parts.receipts.find(request))

    def export(self, namespaces: list[str] | None = None) -> AsyncGenerator[Sequence[bytes], None]:
        """Stream the provenance of all versions on all branches as one PROV-JSON document of bundles.

        Args:
            namespaces: Only these; all of the users' namespaces if not given.
        """
        named = None if namespaces is None else tuple(check_namespace(item) for item in namespaces)
        return prov_json.stream_store(self._parts.store, named)

    async def _asked(
        self, memory_id: str, options: VersionOptions, projection: Projection
    ) -> tuple[Version, ReadPoint]:
        """Return the version that is asked about, and from where it is looked at."""
        point = await read_point(self._parts.store, options.branch, options.as_of)
        if options.version is None:
            (version,) = await self._parts.store.get([ById(memory_id)], point, projection)
        else:
            refs = [VersionRef(memory_id, span.branch, options.version) for span in point.lineage]
            found = await self._parts.store.get([ByRef(ref) for ref in refs], point, projection)
            up_to = {span.branch: span.up_to for span in point.lineage}
            version = next((item for item in found if item is not None and item.position <= up_to[item.branch]), None)
        if version is None:
            version = await self._last(memory_id, options, point, projection)
        if version.namespace.startswith("_"):
            raise not_found(memory_id, point)
        return version, point

    async def _last(self, memory_id: str, options: VersionOptions, point: ReadPoint, projection: Projection) -> Version:
        """Return the last version of a memory that was forgotten or has expired: it can still be asked about."""
        async for batch in self._parts.store.history(memory_id, point, projection):
            if options.version is not None and not batch[0].namespace.startswith("_"):
                raise InvalidInputError(
                    f"memory {memory_id} has no version {options.version} on branch {options.branch!r}; its history "
                    "lists those it has"
                )
            return batch[0]
        raise not_found(memory_id, point)

    async def _line(self, memory_id: str, point: ReadPoint | None = None) -> list[Version]:
        return await line_of(self._parts.store, memory_id, point, _WHOLE)

    async def _conflicts(self, memory_id: str) -> list[str]:
        about = And((Equals(("tags",), OPEN_TAG), Equals(("tags",), memory_id)))
        scan = Scan(read_point=ReadPoint.main(), namespaces=(CONFLICTS,), filter=about)
        return [version.memory_id async for batch in self._parts.store.scan(scan) for version in batch]


def _blamed(text: str, version: Version) -> BlamedSentence:
    record = version.provenance
    return BlamedSentence(
        text=text,
        version=version.number,
        branch=version.branch,
        actor=version.actor,
        time=moment(version.updated_at_ms if record is None else record.time_ms),
        source=version.source,
    )


def _projected(version: Version, options: ReadOptions) -> Version:
    full = options.view == "full"
    return msgspec.structs.replace(
        version,
        content=version.content if full else None,
        metadata=version.metadata if full else None,
        provenance=version.provenance if options.include_provenance else None,
    )


def _encoded(graph: Graph, answer: LineageAnswer, form: Format) -> bytes:
    if form == "json":
        return msgspec.json.encode(answer)
    if form == "prov":
        return prov_json.encode_document(graph.versions.values(), graph.steps)
    return (render.tree(answer) if form == "tree" else render.mermaid(answer)).encode()


def why_encoded(answer: WhyAnswer, graph: Graph, form: Format) -> bytes:
    """Return why a memory is there as a tree with what else is known below it, or its lineage in another format."""
    text = _encoded(graph, answer.lineage, form)
    return text + render.facts(answer).encode() if form == "tree" else text
