"""Routes that move memories out and in, as JSON Lines."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from recollect.adapters.versions import MAIN
from recollect.service.answers import ImportReport
from recollect.service.errors import InvalidInputError
from recollect.service.http import examples
from recollect.service.http.answering import Service, answer, answers, problem_answers
from recollect.service.http.bodies import LINES_TYPES, check_type, read_lines
from recollect.service.http.provenance_examples import PROV
from recollect.service.http.queries import ExportQuery, parse_filters
from recollect.service.http.streams import NDJSON, StreamOf, joined

IMPORT_PATH = "/v1/import"

router = APIRouter(tags=["transfer"], default_response_class=Response)

_LINE = {"description": "A memory as `/v1/memories` takes it, with its `id`, a line each.", "type": "string"}


@router.get(
    "/v1/export",
    summary="Export",
    responses={
        200: {
            "description": "A memory a line, which `/v1/import` takes back. A connection cut before its end is an "
            "export that failed.",
            "content": {
                NDJSON: {"schema": _LINE, "example": examples.LINES},
                "application/json": {"schema": {"type": "object"}, "example": PROV},
            },
        },
        **problem_answers((404, 422)),
    },
)
async def export(query: Annotated[ExportQuery, Query()], service: Service) -> Response:
    """Stream memories in the order they were stored, with their provenance; or the provenance alone."""
    if query.format == "prov":
        if query.branch != MAIN or query.as_of is not None or query.filters is not None:
            raise InvalidInputError("format=prov exports every version; leave out branch, as_of and filters")
        return StreamOf(joined(service.provenance.export(query.namespace or None)), "application/json")
    batches = service.export(
        branch=query.branch,
        as_of=query.as_of,
        namespaces=query.namespace or None,
        filters=parse_filters(query.filters),
    )
    return StreamOf(joined(batches), NDJSON)


@router.post(
    IMPORT_PATH,
    summary="Import",
    responses=answers(
        200,
        ImportReport,
        "What became of the lines. One that is not valid is counted as refused and does not stop the rest.",
        examples.IMPORT_REPORT,
        (404, 413, 415, 422, 429, 507),
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "A memory a line, streamed: the body may be of any length, a line only as long as a body "
            "may be elsewhere.",
            "content": {NDJSON: {"schema": _LINE, "example": examples.LINES}},
        }
    },
)
async def import_lines(request: Request, service: Service) -> Response:
    """Store memories from a stream of lines. Sent again, also after an interruption, it stores nothing twice."""
    check_type(request, LINES_TYPES)
    lines = read_lines(request, service.settings.body_bytes_max)
    return answer(await service.import_lines(lines))
