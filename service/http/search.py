"""Routes that search by meaning."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from recollect.service.answers import EndFrame, ErrorFrame, HeartbeatFrame, HitsFrame, SearchAnswer
from recollect.service.http import examples
from recollect.service.http.answering import (
    BODY_PROBLEMS,
    Actor,
    answer,
    answers,
    asked_by,
    problem_answers,
    reference,
    service_of,
)
from recollect.service.http.bodies import read_json, takes
from recollect.service.http.streams import NDJSON, SSE, FrameStream, wants_events
from recollect.service.requests import SearchRequest

router = APIRouter(prefix="/v1", tags=["search"], default_response_class=Response)

_FRAMES = {
    "oneOf": [reference(frame) for frame in (HitsFrame, HeartbeatFrame, EndFrame, ErrorFrame)],
    "description": "One frame; a line each in NDJSON, the `data` of an event in SSE.",
}


@router.post(
    "/search",
    summary="Search",
    responses=answers(
        200,
        SearchAnswer,
        "The hits, best first.",
        examples.SEARCH_ANSWER,
        (*BODY_PROBLEMS, 404, 429),
    ),
    openapi_extra=takes(SearchRequest, "What to look for; `limit` is a number.", examples.SEARCH),
)
async def search(request: Request, actor: Actor = None) -> Response:
    """Find what is similar in meaning, in one answer. For many hits use `/v1/find_similar`."""
    asked = asked_by(await read_json(request, SearchRequest), actor)
    return answer(await service_of(request).search_encoded(asked))


@router.post(
    "/find_similar",
    summary="Search, streamed",
    responses={
        200: {
            "description": (
                "Frames: `hits` in batches, best first; `heartbeat` while nothing else is said; one `end` with "
                "totals, or `error`. A stream without `end` or `error` was cut. As NDJSON, or as server-sent events "
                "where `Accept` asks for `text/event-stream`."
            ),
            "content": {
                NDJSON: {"schema": _FRAMES, "example": examples.FRAMES_NDJSON},
                SSE: {"schema": _FRAMES, "example": examples.FRAMES_SSE},
            },
        },
        **problem_answers((*BODY_PROBLEMS, 404, 429)),
    },
    openapi_extra=takes(SearchRequest, "What to look for; `limit` null streams everything.", examples.SEARCH),
)
async def find_similar(request: Request, actor: Actor = None) -> Response:
    """Find what is similar in meaning, as a stream whose reader sets the pace. Leaving the stream stops the search."""
    asked = asked_by(await read_json(request, SearchRequest), actor)
    return FrameStream(
        service_of(request).find_similar_encoded(asked),
        heartbeat_s=request.app.state.settings.heartbeat_s,
        events=wants_events(request.headers.get("accept")),
    )
