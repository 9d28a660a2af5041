"""Problems over HTTP: RFC 9457 problem details, and what only HTTP can get wrong.

HttpError (a ServiceError)          may add headers to its answer
├── RouteNotFoundError         404  there is no such path
├── MethodNotAllowedError      405  the path does not take this method; `Allow` says which it takes
├── BodyTooLargeError          413  the body, or a line of an import, is larger than the service takes
├── UnsupportedMediaTypeError  415  the body's type is not the one that the path takes
├── ForeignHostError           421  the `Host` header names a machine that the service does not answer for
├── InvalidHeaderError         422  a header's value is not valid
├── OverloadedError            503  too many requests, or too large ones, are under way
└── AnotherError                    what the web framework refuses, under its own status

`recollect.service.errors` has the errors that every way in shares.
"""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from recollect.service.answers import Problem
from recollect.service.errors import ServiceError

PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER_S = "1"
"""Queues empty within a second, or a client would better ask less."""

_RETRYABLE = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
_encoder = msgspec.json.Encoder()


class HttpError(ServiceError):
    """The base of the errors that only HTTP has.

    Attributes:
        headers: Added to the answer.
    """

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})


class RouteNotFoundError(HttpError):
    """There is no such path."""

    status = 404
    code = "route_not_found"
    title = "There is no such path"


class MethodNotAllowedError(HttpError):
    """The path does not take this method."""

    status = 405
    code = "method_not_allowed"
    title = "The path does not take this method"


class BodyTooLargeError(HttpError):
    """The body, or a line of an import, is larger than the service takes."""

    status = 413
    code = "body_too_large"
    title = "The body is too large"


class UnsupportedMediaTypeError(HttpError):
    """The body's type is not the one that the path takes."""

    status = 415
    code = "unsupported_media_type"
    title = "The body has another type"


class ForeignHostError(HttpError):
    """The `Host` header names a machine that the service does not answer for."""

    status = 421
    code = "foreign_host"
    title = "This service does not answer for that host"


class InvalidHeaderError(HttpError):
    """A header's value is not valid."""

    status = 422
    code = "invalid_header"
    title = "A header is not valid"


class OverloadedError(HttpError):
    """Too many requests, or too large ones, are under way."""

    status = 503
    code = "overloaded"
    title = "Too much is under way"


class AnotherError(HttpError):
    """What the web framework refuses, under its own status."""

    code = "http_error"

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail, headers=headers)
        self.status = status  # type: ignore[misc] # this class alone has one per error
        self.title = HTTPStatus(status).phrase  # type: ignore[misc]


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer that tells a problem, with `Retry-After` where trying again makes sense."""
    added = dict(headers or {})
    if problem.status in _RETRYABLE:
        added.setdefault("Retry-After", RETRY_AFTER_S)
    return Response(encode_problem(problem), problem.status, headers=added, media_type=PROBLEM_TYPE)


def encode_problem(problem: Problem) -> bytes:
    """Return a problem as JSON; half of a surrogate pair, which a text may quote, becomes a question mark."""
    try:
        return _encoder.encode(problem)
    except UnicodeEncodeError:
        detail = problem.detail.encode("utf-8", "replace").decode()
        return _encoder.encode(msgspec.structs.replace(problem, detail=detail, errors=[], found=None))
