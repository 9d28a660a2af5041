"""Routes that connect memories and draw insights from several."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from recollect.service.answers import Remembered
from recollect.service.http import examples as common
from recollect.service.http import provenance_examples as examples
from recollect.service.http.answering import BODY_PROBLEMS, IdempotencyKey, Service, answer, answers, reference
from recollect.service.http.bodies import read_json, takes
from recollect.service.http.queries import PathMemoryId
from recollect.service.provenance.answers import Relation, RelationsAnswer
from recollect.service.provenance.requests import NewInsight, NewRelation, RelationsRequest, RemovalRequest
from recollect.service.requests import MemoryId

router = APIRouter(prefix="/v1", tags=["relations"], default_response_class=Response)

PathRelationId = Annotated[
    MemoryId, Path(description="The relation's id.", examples=["0198f0c2-a7d3-7c1e-9d5b-8f6a7e4c3b99"])
]
_DUPLICATE = {
    "description": "Exactly this insight is there already; nothing was stored.",
    "content": {"application/json": {"schema": reference(Remembered), "example": common.DUPLICATE}},
}


@router.post(
    "/relations",
    status_code=201,
    summary="Connect",
    responses=answers(
        201, Relation, "The relation, new or as it was there.", examples.RELATION, (*BODY_PROBLEMS, 404, 409, 507)
    ),
    openapi_extra=takes(NewRelation, "What to relate, and how.", examples.NEW_RELATION),
)
async def connect(request: Request, service: Service) -> Response:
    """Relate one memory to another, by a type of your own."""
    return answer(await service.relations.connect(await read_json(request, NewRelation)), 201)


@router.get(
    "/memories/{memory_id}/relations",
    summary="Relations of a memory",
    responses=answers(200, RelationsAnswer, "In the order they were made.", examples.RELATIONS, (404, 422)),
)
async def relations(memory_id: PathMemoryId, query: Annotated[RelationsRequest, Query()], service: Service) -> Response:
    """List the relations that lead from a memory, to it, or both."""
    items = await service.relations.of(
        memory_id, direction=query.direction, relation_type=query.type, branch=query.branch
    )
    return answer(RelationsAnswer(items=items))


@router.delete(
    "/relations/{relation_id}",
    summary="Disconnect",
    responses=answers(200, Relation, "The relation as it was.", examples.RELATION, (404, 409, 422, 507)),
)
async def disconnect(
    relation_id: PathRelationId, query: Annotated[RemovalRequest, Query()], service: Service
) -> Response:
    """Remove a relation; the memories stay."""
    return answer(await service.relations.disconnect(relation_id, branch=query.branch, actor=query.actor))


async def _insight(
    request: Request, service: Service, key: str | None, way: Literal["crystallize", "synthesize"]
) -> Response:
    insight = await read_json(request, NewInsight)
    act = service.relations.crystallize if way == "crystallize" else service.relations.synthesize
    done = await act(insight, idempotency_key=key)
    status = 200 if done.status == "duplicate" else 201
    return answer(done, status, version=done.version, location=f"/v1/memories/{done.id}")


@router.post(
    "/crystallize",
    status_code=201,
    summary="Crystallize",
    responses=answers(
        201,
        Remembered,
        "The pinned memory.",
        common.REMEMBERED,
        (*BODY_PROBLEMS, 404, 409, 429, 507),
        status_200=_DUPLICATE,
    ),
    openapi_extra=takes(NewInsight, "The insight, and what it was drawn from.", examples.NEW_INSIGHT),
)
async def crystallize(request: Request, service: Service, idempotency_key: IdempotencyKey = None) -> Response:
    """Pin an insight drawn from several memories: as important as can be, and without an expiry."""
    return await _insight(request, service, idempotency_key, "crystallize")


@router.post(
    "/synthesize",
    status_code=201,
    summary="Synthesize",
    responses=answers(
        201,
        Remembered,
        "The memory that was drawn.",
        common.REMEMBERED,
        (*BODY_PROBLEMS, 404, 409, 429, 507),
        status_200=_DUPLICATE,
    ),
    openapi_extra=takes(NewInsight, "The memory, and what it was drawn from.", examples.NEW_INSIGHT),
)
async def synthesize(request: Request, service: Service, idempotency_key: IdempotencyKey = None) -> Response:
    """Store a memory drawn from several others, with its lineage."""
    return await _insight(request, service, idempotency_key, "synthesize")
