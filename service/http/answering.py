"""Answers: structs to JSON responses, and what OpenAPI says of them."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Depends, Header, Request
from msgspec import Struct
from starlette.responses import Response

from recollect.service.idempotency import KEY_CHARS_MAX
from recollect.service.memory_service import MemoryService
from recollect.service.requests import ReadOptions

Reading = TypeVar("Reading", bound=ReadOptions)
_encoder = msgspec.json.Encoder()

BODY_PROBLEMS = (400, 413, 415, 422)
"""What any route that takes a JSON body may answer."""

PROBLEM_TEXTS: Mapping[int, str] = {
    400: "The request is not HTTP, or its body not JSON.",
    404: "There is no such memory, branch, tag or conflict.",
    409: "What is there is not what the request expects, or a name or key is taken; `found` says what is there.",
    413: "The body is larger than the service takes.",
    415: "The body has another type.",
    421: "The `Host` header names a machine that the service does not answer for.",
    422: "The request is not valid; `errors` says where.",
    429: "Too much is waiting to be embedded; try again after `Retry-After` seconds.",
    500: "The service or its store failed; the log holds the reason under the request id.",
    503: "Too much is under way, or the store cannot be reached; try again after `Retry-After` seconds.",
    507: "The store is full; reads go on.",
}


def service_of(request: Request) -> MemoryService:
    """Return the service behind the app; what is asked most takes it so, as a dependency costs 0.03 ms a request."""
    service: MemoryService = request.app.state.service
    return service


async def _service_of(request: Request) -> MemoryService:
    return service_of(request)


Service = Annotated[MemoryService, Depends(_service_of)]
"""The service behind the app."""

Actor = Annotated[
    str | None,
    Header(
        alias="X-Recollect-Actor",
        min_length=1,
        max_length=256,
        description="Who asks, as the recall's receipt shall say, where the request itself does not.",
    ),
]
"""The header that names who asks."""

IfMatch = Annotated[
    str | None,
    Header(description='The version that you have read, such as `"3"`: the write happens only if it still stands.'),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=KEY_CHARS_MAX,
        description="A text of your own (up to 255 characters) under which the write happens once: sent again, it is "
        "answered as it was the first time.",
    ),
]


def asked_by(request: Reading, actor: str | None) -> Reading:
    """Return a request with the actor that a header names, unless it names one itself."""
    return request if actor is None or request.actor is not None else request.model_copy(update={"actor": actor})


def answer(value: Struct, status: int = 200, *, version: int | None = None, location: str | None = None) -> Response:
    """Return a struct as a JSON response.

    Args:
        value: The answer.
        status: The HTTP status.
        version: The memory's version, which becomes the `ETag` that `If-Match` takes.
        location: The path of what was created.
    """
    headers = {}
    if version is not None:
        headers["ETag"] = f'"{version}"'
    if location is not None:
        headers["Location"] = location
    return Response(_encoder.encode(value), status, headers, "application/json")


def reference(model: type | str) -> dict[str, Any]:
    """Return a JSON Schema that refers to a component."""
    return {"$ref": f"#/components/schemas/{model if isinstance(model, str) else model.__name__}"}


def answers(
    status: int, model: type, description: str, example: Any, problems: Iterable[int] = (), **others: dict[str, Any]
) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of the answers of a route.

    Args:
        status: Where all went well.
        model: The struct that is answered then.
        description: What it means.
        example: One of them, as JSON.
        problems: The statuses of the problems that the route may answer, besides 400, 421, 500 and 503.
        others: Further answers: `status_200=...`.
    """
    told: dict[int | str, dict[str, Any]] = {
        status: {
            "description": description,
            "content": {"application/json": {"schema": reference(model), "example": example}},
        }
    }
    told |= {int(name.removeprefix("status_")): other for name, other in others.items()}
    return told | problem_answers(problems)


def problem_answers(problems: Iterable[int]) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of the problems of a route: those given, and 400, 421, 500 and 503."""
    return {code: _problem_answer(code) for code in sorted({*problems, 400, 421, 500, 503})}


def _problem_answer(status: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "description": PROBLEM_TEXTS[status],
        "content": {
            "application/problem+json": {
                "schema": reference("Problem"),
                "example": {
                    "title": HTTPStatus(status).phrase,
                    "status": status,
                    "code": _EXAMPLE_CODES[status],
                    "detail": PROBLEM_TEXTS[status],
                    "request_id": "0198f0c2a7d34c1e9d5b8f6a7e4c3b21",
                },
            }
        },
    }
    if status in (429, 503):
        told["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return told


_EXAMPLE_CODES: Mapping[int, str] = {
    400: "invalid_json",
    404: "memory_not_found",
    409: "version_conflict",
    413: "body_too_large",
    415: "unsupported_media_type",
    421: "foreign_host",
    422: "invalid_request",
    429: "overloaded",
    500: "internal_error",
    503: "store_busy",
    507: "store_full",
}
