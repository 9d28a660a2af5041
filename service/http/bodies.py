"""Bodies of requests: their type, their JSON, and the lines of an import."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request

from recollect.service.http.problems import BodyTooLargeError, InvalidHeaderError, UnsupportedMediaTypeError
from recollect.service.requests import Request as ServiceRequest

JSON_TYPES = frozenset({"application/json"})
LINES_TYPES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})

_Model = TypeVar("_Model", bound=BaseModel)
_CHARSETS = ("", "charset=utf-8", 'charset="utf-8"')


def takes(model: type[ServiceRequest], description: str, example: Any) -> dict[str, Any]:
    """Return what OpenAPI says of a route that reads its body by `read_json`."""
    content = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}, "example": example}
    return {"requestBody": {"required": True, "description": description, "content": {"application/json": content}}}


async def read_json(request: Request, model: type[_Model]) -> _Model:
    """Read a body as a model, straight from its bytes.

    A cross-site page can send plain text or a form without being asked for leave, but no JSON: the type is therefore
    checked, and a missing one refused.

    Raises:
        UnsupportedMediaTypeError: The body's type is another, or it is compressed.
        ValidationError: It is no JSON, or does not fit the model.
        BodyTooLargeError, OverloadedError: See `BodyBound`.
    """
    check_type(request, JSON_TYPES)
    return model.model_validate_json(await request.body())


def check_type(request: Request, types: frozenset[str]) -> None:
    """Raise `UnsupportedMediaTypeError` unless the body is of one of some types, in UTF-8, and not compressed."""
    given = request.headers.get("content-type", "")
    media_type, _, parameter = given.partition(";")
    expected = min(types) if len(types) == 1 else " or ".join(sorted(types))
    if media_type.strip().lower() not in types:
        raise UnsupportedMediaTypeError(
            f"the body's type is {given[:100]!r}; send it with the header Content-Type: {expected}"
            if given
            else f"the body has no type; send it with the header Content-Type: {expected}",
            headers={"Accept-Post": ", ".join(sorted(types))},
        )
    if parameter.strip().lower() not in _CHARSETS:
        raise UnsupportedMediaTypeError(f"the body's type has the parameter {parameter.strip()[:100]!r}; send UTF-8")
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise UnsupportedMediaTypeError(f"the body is encoded as {encoding[:100]!r}; send it as it is")


async def read_lines(request: Request, line_bytes_max: int) -> AsyncIterator[bytes]:
    """Yield the lines of a body as they come in, without their ends; empty lines are left out.

    Memory stays bounded: at most one line and what the server has read ahead are held.

    Raises:
        BodyTooLargeError: A line is longer than `line_bytes_max`.
        ClientDisconnect: The client left before the body was complete.
    """
    parts: list[bytes] = []
    held = 0
    number = 0
    async for chunk in request.stream():
        first, *others = chunk.split(b"\n")
        parts.append(first)
        held += len(first)
        for following in others:
            number += 1
            _check_line(held, number, line_bytes_max)
            line = b"".join(parts).strip()
            if line:
                yield line
            parts, held = [following], len(following)
        _check_line(held, number + 1, line_bytes_max)
    line = b"".join(parts).strip()
    if line:
        yield line


def _check_line(size: int, number: int, line_bytes_max: int) -> None:
    if size > line_bytes_max:
        raise BodyTooLargeError(
            f"line {number} is longer than {line_bytes_max:,} bytes; the lines before it may be imported already: "
            "shorten it, or raise body_bytes_max, and import again, which stores nothing twice"
        )


def expected_version(if_match: str | None) -> int | None:
    """Return the version that `If-Match` names, or None where it is absent or `*`.

    Raises:
        InvalidHeaderError: It names something else.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().strip('"')
    if not (text.isascii() and text.isdigit() and 0 < int(text[:20]) < 2**53):
        raise InvalidHeaderError(
            f'the header If-Match is {if_match[:100]!r}; give the version that you have read, such as "3"'
        )
    return int(text)
