"""Routes that write and read single memories, and list them."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from recollect.service.answers import BatchAnswer, HistoryAnswer, Memory, MemoryPage, Remembered
from recollect.service.errors import InvalidInputError, MemoryNotFoundError
from recollect.service.http import examples
from recollect.service.http.answering import (
    BODY_PROBLEMS,
    Actor,
    IdempotencyKey,
    IfMatch,
    Service,
    answer,
    answers,
    asked_by,
    reference,
)
from recollect.service.http.bodies import expected_version, read_json, takes
from recollect.service.http.queries import ForgetQuery, HistoryQuery, ListQuery, PatchQuery, PathMemoryId, ReadQuery
from recollect.service.requests import MemoryBatch, NewMemory, Revision

DEFAULT_NAMESPACE = str(NewMemory.model_fields["namespace"].default)

router = APIRouter(prefix="/v1/memories", tags=["memories"], default_response_class=Response)


@router.post(
    "",
    status_code=201,
    summary="Remember",
    responses=answers(
        201,
        Remembered,
        "Stored, and durable if so asked: a new memory, or (`revised`) the next version of the one under its key.",
        examples.REMEMBERED,
        (*BODY_PROBLEMS, 404, 409, 429, 507),
        status_200={
            "description": "Exactly this is there already; nothing was stored.",
            "content": {"application/json": {"schema": reference(Remembered), "example": examples.DUPLICATE}},
        },
    ),
    openapi_extra=takes(NewMemory, "The memory to store.", examples.NEW_MEMORY),
)
async def remember(request: Request, service: Service, idempotency_key: IdempotencyKey = None) -> Response:
    """Store one memory. It is embedded, committed and made durable before the answer."""
    memory = await read_json(request, NewMemory)
    done = await service.remember(memory, idempotency_key=idempotency_key)
    return answer(
        done,
        200 if done.status == "duplicate" else 201,
        version=done.version,
        location=f"/v1/memories/{done.id}",
    )


@router.post(
    "/batch",
    summary="Remember many",
    responses=answers(
        200,
        BatchAnswer,
        "What became of each memory, in the order of the request: stored, or refused with its problem.",
        examples.BATCH_ANSWER,
        (*BODY_PROBLEMS, 404, 409, 429, 507),
    ),
    openapi_extra=takes(MemoryBatch, "The memories to store.", examples.BATCH),
)
async def remember_many(request: Request, service: Service, idempotency_key: IdempotencyKey = None) -> Response:
    """Store several memories with one flush: each for itself, or (`atomic`) all or none."""
    batch = await read_json(request, MemoryBatch)
    results = await service.remember_many(batch.memories, atomic=batch.atomic, idempotency_key=idempotency_key)
    return answer(BatchAnswer(results=results))


@router.get(
    "",
    summary="List",
    responses=answers(200, MemoryPage, "A page of memories.", examples.PAGE, (404, 422)),
)
async def list_memories(query: Annotated[ListQuery, Query()], service: Service) -> Response:
    """List memories in the order they were stored or came about, or give the one under a key."""
    if query.key is None:
        return answer(await service.list_memories(query.request()))
    if len(query.namespace) > 1:
        raise InvalidInputError("a key is unique in its namespace; give one namespace with it, not several")
    namespace = query.namespace[0] if query.namespace else DEFAULT_NAMESPACE
    try:
        items = [await service.get_by_key(namespace, query.key, query.options())]
    except MemoryNotFoundError:
        items = []
    return answer(MemoryPage(items=items, next_cursor=None))


@router.get(
    "/{memory_id}",
    summary="Get",
    responses=answers(200, Memory, "The memory in its current version.", examples.MEMORY, (404, 422)),
)
async def get(
    memory_id: PathMemoryId, query: Annotated[ReadQuery, Query()], service: Service, actor: Actor = None
) -> Response:
    """Give one memory: its summary, or all of it; where it came from only when asked. `ETag` holds its version."""
    memory = await service.get(memory_id, asked_by(query.options(), actor))
    return answer(memory, version=memory.version)


@router.patch(
    "/{memory_id}",
    summary="Revise",
    responses=answers(
        200,
        Remembered,
        "The version that now stands for the memory; `duplicate` if nothing would change.",
        examples.REVISED,
        (*BODY_PROBLEMS, 404, 409, 429, 507),
    ),
    openapi_extra=takes(Revision, "What changes; what is not given stays as it is.", examples.REVISION),
)
async def revise(
    request: Request,
    memory_id: PathMemoryId,
    query: Annotated[PatchQuery, Query()],
    service: Service,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Store the next version of a memory; the versions before it stay in its history."""
    expected = expected_version(if_match)
    revision = await read_json(request, Revision)
    if query.branch is not None and query.branch != revision.branch:
        if "branch" in revision.model_fields_set:
            raise InvalidInputError("the query and the body name different branches; name it in one place")
        revision = revision.model_copy(update={"branch": query.branch})
    done = await service.revise(memory_id, revision, expected_version=expected, idempotency_key=idempotency_key)
    return answer(done, version=done.version)


@router.delete(
    "/{memory_id}",
    summary="Forget",
    responses=answers(
        200,
        Remembered,
        "The memory is no longer found; its history says who forgot it, and why.",
        examples.FORGOTTEN,
        (404, 409, 422, 507),
    ),
)
async def forget(
    memory_id: PathMemoryId,
    query: Annotated[ForgetQuery, Query()],
    service: Service,
    if_match: IfMatch = None,
) -> Response:
    """Forget a memory. Its history stays."""
    done = await service.forget(
        memory_id,
        branch=query.branch,
        expected_version=expected_version(if_match),
        provenance=query.provenance(),
    )
    return answer(done, version=done.version)


@router.get(
    "/{memory_id}/history",
    summary="History",
    responses=answers(
        200, HistoryAnswer, "All versions, newest first, also of a forgotten memory.", examples.HISTORY, (404, 422)
    ),
)
async def history(memory_id: PathMemoryId, query: Annotated[HistoryQuery, Query()], service: Service) -> Response:
    """Give every version of a memory: who changed what, when and why with `include=provenance`."""
    if query.diff:
        return answer(await service.provenance.history_with_changes(memory_id, query.options()))
    return answer(await service.history(memory_id, query.options()))
