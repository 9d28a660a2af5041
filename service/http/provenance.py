"""Routes that ask where a memory comes from, what became of it, and who was given it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from recollect.service.http import provenance_examples as examples
from recollect.service.http.answering import Service, answer, answers, problem_answers, reference
from recollect.service.http.queries import PathMemoryId
from recollect.service.provenance.answers import (
    BlameAnswer,
    LineageAnswer,
    ProvenanceAnswer,
    ReceiptsAnswer,
    SquashesAnswer,
    WhyAnswer,
)
from recollect.service.provenance.requests import (
    LineageRequest,
    MemoryReceiptsRequest,
    ReceiptsRequest,
    VersionOptions,
    WhyRequest,
)
from recollect.service.provenance.views import MEDIA_TYPES

router = APIRouter(prefix="/v1", tags=["provenance"], default_response_class=Response)


def _in_formats(model: type, description: str, example: Any) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of an answer that can be had as JSON, and as text for people."""
    contents = {
        "application/json": {"schema": reference(model), "example": example},
        "text/plain": {"schema": {"type": "string"}, "example": examples.TREE},
    }
    return {200: {"description": description, "content": contents}, **problem_answers((404, 422))}


@router.get(
    "/memories/{memory_id}/provenance",
    summary="Provenance",
    responses=answers(200, ProvenanceAnswer, "The record of the version.", examples.RECORD, (404, 422)),
)
async def provenance(memory_id: PathMemoryId, query: Annotated[VersionOptions, Query()], service: Service) -> Response:
    """Say who wrote a version of a memory, from what, when, why, and how sure they were."""
    return answer(await service.provenance.record(memory_id, query))


@router.get(
    "/memories/{memory_id}/blame",
    summary="Blame",
    responses=answers(200, BlameAnswer, "The sentences, each with its version.", examples.BLAME, (404, 422)),
)
async def blame(memory_id: PathMemoryId, query: Annotated[VersionOptions, Query()], service: Service) -> Response:
    """Say of each sentence of a memory which version brought it, and who wrote that."""
    return answer(await service.provenance.blame(memory_id, query))


@router.get(
    "/memories/{memory_id}/lineage",
    summary="Lineage",
    responses=_in_formats(
        LineageAnswer,
        "The graph; with `format=tree` or `mermaid` as text, with `format=prov` as PROV-JSON.",
        examples.LINEAGE,
    ),
)
async def lineage(memory_id: PathMemoryId, query: Annotated[LineageRequest, Query()], service: Service) -> Response:
    """Follow what a memory was made of (`up`), what was made of it (`down`), or both."""
    content = await service.provenance.lineage_as(memory_id, query)
    return Response(content, media_type=MEDIA_TYPES[query.format])


@router.get(
    "/memories/{memory_id}/why",
    summary="Why",
    responses=_in_formats(
        WhyAnswer,
        "Sources, derivation to the roots, certainty, conflicts, relations, and who was given it.",
        examples.WHY,
    ),
)
async def why(memory_id: PathMemoryId, query: Annotated[WhyRequest, Query()], service: Service) -> Response:
    """Say in one answer why a memory says what it says."""
    content = await service.provenance.why_as(memory_id, query)
    return Response(content, media_type=MEDIA_TYPES[query.format])


@router.get(
    "/memories/{memory_id}/receipts",
    summary="Receipts of a memory",
    responses=answers(200, ReceiptsAnswer, "The recalls, newest first.", examples.RECEIPTS, (422,)),
)
async def receipts_of_memory(
    memory_id: PathMemoryId, query: Annotated[MemoryReceiptsRequest, Query()], service: Service
) -> Response:
    """Say who was given a memory, when, and for which query (its SHA-256)."""
    return answer(await service.provenance.receipts(query.of(memory_id)))


@router.get(
    "/memories/{memory_id}/squashes",
    summary="Squashes",
    responses=answers(200, SquashesAnswer, "What was dropped, oldest first.", examples.SQUASHES, (422,)),
)
async def squashes(memory_id: PathMemoryId, service: Service) -> Response:
    """Say which versions of a memory a retention policy dropped, and when."""
    return answer(SquashesAnswer(items=await service.retention.of(memory_id)))


@router.get(
    "/receipts",
    summary="Receipts",
    responses=answers(200, ReceiptsAnswer, "The recalls, newest first.", examples.RECEIPTS, (422,)),
)
async def receipts(query: Annotated[ReceiptsRequest, Query()], service: Service) -> Response:
    """Say what was given to whom: to one actor, since a time, or of one memory."""
    return answer(await service.provenance.receipts(query))
