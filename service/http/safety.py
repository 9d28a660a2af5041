"""Routes that erase, and that trace and quarantine what came of a bad source."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from recollect.service.erasure.answers import Erased, ErasurePlan, ErasureReceipt, ErasuresAnswer
from recollect.service.erasure.requests import ErasureRequest
from recollect.service.http.answering import BODY_PROBLEMS, Service, answer, answers, reference
from recollect.service.http.bodies import read_json, takes
from recollect.service.quarantine.answers import Quarantine, QuarantinesAnswer, TraceAnswer
from recollect.service.quarantine.requests import NewQuarantine, ReleaseRequest, TraceRequest
from recollect.service.requests import MemoryId
from recollect.service.requests import Request as ServiceRequest

_ID = "0198f0c2-a7d3-7c1e-9d5b-8f6a7e4c3b21"
_DIGEST = "9f2f4d1b0c6a7e5d8b3a2c1f0e9d8c7b6a5f4e3d2c1b0a9f8e7d6c5b4a392817"
_TIME = "2026-11-26T09:00:00Z"
_ITEM: dict[str, Any] = {"id": _ID, "version": 1, "branch": "main", "namespace": "longterm", "reason": "named"}
_PLAN: dict[str, Any] = {
    "digest": _DIGEST,
    "versions": 1,
    "memories": 1,
    "derived": 0,
    "records": 0,
    "policy": "flag",
    "items": [{**_ITEM, "summary": "Ana prefers the window seat on night trains."}],
}
_RECEIPT: dict[str, Any] = {
    "id": _ID,
    "time": _TIME,
    "requested_by": "ana",
    "plan_digest": _DIGEST,
    "request_digest": _DIGEST,
    "policy": "flag",
    "versions": 1,
    "memories": 1,
    "flagged": 0,
    "records": 0,
    "version_digests": [_DIGEST],
    "position": 116127481023488,
}
_ERASED: dict[str, Any] = {"receipt": _RECEIPT, "compacted": True, "note": None}
_TRACE: dict[str, Any] = {
    "memories": 1,
    "items": [{**_ITEM, "forgotten": False, "summary": "Ana prefers the window seat on night trains."}],
}
_QUARANTINE: dict[str, Any] = {
    "id": _ID,
    "state": "active",
    "time": _TIME,
    "by": "ana",
    "reason": "the page was forged",
    "memories": [_ID],
    "released_at": None,
    "released_by": None,
    "release_reason": None,
    "left_out": [],
    "position": 116127481023488,
}

router = APIRouter(prefix="/v1", tags=["safety"], default_response_class=Response)

PathErasureId = Annotated[MemoryId, Path(description="The receipt's id.", examples=[_ID])]
PathQuarantineId = Annotated[MemoryId, Path(description="The quarantine's id.", examples=[_ID])]


class NewestQuery(ServiceRequest):
    """How many of the newest."""

    limit: int = Field(default=100, ge=1, le=1000)
    """How many at most."""


@router.post(
    "/erasures",
    summary="Erase",
    responses=answers(
        200,
        ErasurePlan,
        "Without `confirm`: the plan, and nothing is changed.",
        _PLAN,
        (*BODY_PROBLEMS, 404, 409, 507),
        status_201={
            "description": "With `confirm`: it is erased, and this is the receipt.",
            "content": {"application/json": {"schema": reference(Erased), "example": _ERASED}},
        },
    ),
    openapi_extra=takes(ErasureRequest, "What to erase.", {"source": "document:9#1", "derived": "flag"}),
)
async def erase(request: Request, service: Service) -> Response:
    """Plan an erasure; with `confirm`, carry out exactly that plan, in all versions, branches, indexes and files."""
    asked = await read_json(request, ErasureRequest)
    if asked.confirm is None:
        return answer(await service.erasure.plan(asked))
    done = await service.erasure.erase(asked)
    return answer(done, 201, location=f"/v1/erasures/{done.receipt.id}")


@router.get(
    "/erasures",
    summary="Erasures",
    responses=answers(200, ErasuresAnswer, "The receipts, newest first.", {"items": [_RECEIPT]}, (422,)),
)
async def erasures(query: Annotated[NewestQuery, Query()], service: Service) -> Response:
    """List the receipts of erasures: digests and numbers, nothing of what was erased."""
    return answer(ErasuresAnswer(items=await service.erasure.receipts(query.limit)))


@router.get(
    "/erasures/{erasure_id}",
    summary="Erasure",
    responses=answers(200, ErasureReceipt, "The receipt.", _RECEIPT, (404, 422)),
)
async def erasure(erasure_id: PathErasureId, service: Service) -> Response:
    """Give the receipt of one erasure."""
    return answer(await service.erasure.receipt(erasure_id))


@router.post(
    "/trace",
    summary="Trace",
    responses=answers(200, TraceAnswer, "Everything that came of it.", _TRACE, BODY_PROBLEMS),
    openapi_extra=takes(TraceRequest, "Where to begin.", {"source": "message:8123"}),
)
async def trace(request: Request, service: Service) -> Response:
    """List everything that descends from a source, an actor or memories, on all branches."""
    return answer(await service.quarantine.trace(await read_json(request, TraceRequest)))


@router.post(
    "/quarantines",
    status_code=201,
    summary="Quarantine",
    responses=answers(201, Quarantine, "They are out of recall.", _QUARANTINE, (*BODY_PROBLEMS, 409, 507)),
    openapi_extra=takes(
        NewQuarantine, "What to take out.", {"source": "message:8123", "reason": "the page was forged"}
    ),
)
async def quarantine(request: Request, service: Service) -> Response:
    """Take everything that descends from a source, an actor or memories out of recall, at once and reversibly."""
    done = await service.quarantine.quarantine(await read_json(request, NewQuarantine))
    return answer(done, 201, location=f"/v1/quarantines/{done.id}")


@router.get(
    "/quarantines",
    summary="Quarantines",
    responses=answers(200, QuarantinesAnswer, "Newest first, released ones too.", {"items": [_QUARANTINE]}, (422,)),
)
async def quarantines(query: Annotated[NewestQuery, Query()], service: Service) -> Response:
    """List quarantines."""
    return answer(QuarantinesAnswer(items=await service.quarantine.all(query.limit)))


@router.get(
    "/quarantines/{quarantine_id}",
    summary="A quarantine",
    responses=answers(200, Quarantine, "The quarantine.", _QUARANTINE, (404, 422)),
)
async def one_quarantine(quarantine_id: PathQuarantineId, service: Service) -> Response:
    """Give one quarantine."""
    return answer(await service.quarantine.get(quarantine_id))


@router.post(
    "/quarantines/{quarantine_id}/release",
    summary="Release",
    responses=answers(200, Quarantine, "They are back.", _QUARANTINE, (*BODY_PROBLEMS, 404, 409, 507)),
    openapi_extra=takes(ReleaseRequest, "Who brings them back, and why.", {"reason": "the page was genuine"}),
)
async def release(request: Request, quarantine_id: PathQuarantineId, service: Service) -> Response:
    """Bring back exactly what a quarantine took out of recall."""
    return answer(await service.quarantine.release(quarantine_id, await read_json(request, ReleaseRequest)))
