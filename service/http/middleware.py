"""What happens to every request before and after its route: pure ASGI, so that streams pass through untouched.

From the outside in: `RequestContext` (id, log line, errors), `HostGuard`, `HeadAsGet`, `RequestBound`, `BodyBound`.
Each raises what it refuses; `RequestContext` tells it.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from time import perf_counter
from uuid import uuid4

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, reset_contextvars

from recollect.service.errors import problem_of
from recollect.service.http.problems import (
    BodyTooLargeError,
    ForeignHostError,
    HttpError,
    OverloadedError,
    problem_response,
)
from recollect.service.logs import log_failure

logger = structlog.get_logger("recollect")

REQUEST_ID = "recollect.request_id"
"""Where a request's scope holds its id."""
STATUS_CLIENT_LEFT = 499
"""Logged where the client left before it was answered; never sent."""

_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}\Z")
_PROBES = frozenset({"/healthz", "/readyz"})
_SERVER_ERROR = 500


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first value of a header by its lower-case name, or None."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def request_id_of(scope: Scope) -> str:
    """Return the id of the request that a scope belongs to."""
    return str(scope.get(REQUEST_ID, ""))


class RequestContext:
    """Gives a request its id, tells every error as problem details, and writes the request's log line.

    The line holds method, route template, status, milliseconds and id; never a path, a query or a body, which hold
    what users say.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; see the class."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        given = header(scope, b"x-request-id")
        raw_id = given if given is not None and _SANE_ID.match(given) else uuid4().hex.encode()
        scope[REQUEST_ID] = request_id = raw_id.decode()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", raw_id)]
            await send(message)

        tokens = bind_contextvars(request_id=request_id)
        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = status or STATUS_CLIENT_LEFT
        except Exception as error:  # noqa: BLE001 - the outermost place: every error becomes a problem and a log line
            await _tell(error, scope, receive, send_with_id, started=bool(status))
        finally:
            _log_request(scope, status or STATUS_CLIENT_LEFT, (perf_counter() - started) * 1000)
            reset_contextvars(**tokens)


async def _tell(error: Exception, scope: Scope, receive: Receive, send: Send, *, started: bool) -> None:
    problem = problem_of(error, request_id_of(scope))
    if problem.status >= _SERVER_ERROR and not isinstance(error, HttpError):
        log_failure("request failed", error, code=problem.code)
    if started:
        # The answer has begun, so it cannot become a problem any more. Left incomplete, the server cuts the
        # connection, which every client can tell from an end.
        return
    headers = error.headers if isinstance(error, HttpError) else None
    await problem_response(problem, headers)(scope, receive, send)


def _log_request(scope: Scope, status: int, elapsed_ms: float) -> None:
    route = getattr(scope.get("route"), "path_format", None) or "-"
    write = logger.debug if scope["path"] in _PROBES else logger.info
    write("request", method=scope["method"], route=route, status=status, ms=round(elapsed_ms, 2))


class HostGuard:
    """Refuses foreign `Host` headers, by which a web page could reach a service that listens on loopback.

    A page of another site can have its name resolve to 127.0.0.1 (DNS rebinding); what it cannot do is leave that
    name out of `Host`. A service that listens on loopback answers only for loopback names and those in
    `allowed_hosts`; any other answers for every name, unless `allowed_hosts` names some. `*` allows all.
    """

    def __init__(self, app: ASGIApp, *, bound_host: str, allowed_hosts: Iterable[str] = ()) -> None:
        self.app = app
        allowed = {name.lower().strip("[]") for name in allowed_hosts}
        self._guards = "*" not in allowed and (bool(allowed) or is_loopback(bound_host))
        if is_loopback(bound_host):
            allowed |= {"localhost", "127.0.0.1", "::1", bound_host.lower().strip("[]")}
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; see the class."""
        if self._guards and scope["type"] == "http":
            given = header(scope, b"host")
            name = host_name(given.decode("latin-1")) if given is not None else ""
            if name not in self._allowed:
                raise ForeignHostError(
                    f"the Host header names {name[:100]!r}, which this service does not answer for; "
                    "use http://localhost, or add the name to the setting allowed_hosts"
                )
        await self.app(scope, receive, send)


def host_name(value: str) -> str:
    """Return the name in a `Host` header, without port and brackets, in lower case."""
    value = value.strip().lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.rpartition(":")[0] if ":" in value else value


def is_loopback(host: str) -> bool:
    """Say whether an address to listen on is reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class _HeadAnswered(Exception):  # noqa: N818 - it ends a stream whose body nobody wants; nothing is wrong
    pass


class HeadAsGet:
    """Answers HEAD as GET without the body; a stream is left as soon as its headers are out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; see the class."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        scope["method"] = "GET"

        async def send_without_body(message: Message) -> None:
            scope["method"] = "HEAD"  # the server looks at it again to frame the answer
            if message["type"] != "http.response.body":
                await send(message)
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            if message.get("more_body", False):
                raise _HeadAnswered

        try:
            await self.app(scope, receive, send_without_body)
        except _HeadAnswered:
            return
        finally:
            scope["method"] = "HEAD"


class RequestBound:
    """Answers 503 while `requests_max` requests are under way. Probes always pass."""

    def __init__(self, app: ASGIApp, *, requests_max: int) -> None:
        self.app = app
        self._requests_max = requests_max
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; see the class."""
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await self.app(scope, receive, send)
            return
        if self._requests >= self._requests_max:
            raise OverloadedError(
                f"{self._requests_max} requests are under way, which is the most this service takes; try again in a "
                "moment, or raise requests_max"
            )
        self._requests += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._requests -= 1


class BodyBound:
    """Bounds what bodies may take: each alone, and all that are under way together.

    A length that is announced is judged before anything is read; what comes without one is counted as it comes. The
    rest of a body that was refused is read and dropped by the server, so that the client gets to read the answer.

    Args:
        app: What comes next.
        body_bytes_max: For one body.
        bodies_bytes_max: For all bodies that are held at a time.
        streamed_paths: Paths that read their bodies as streams, and bound them themselves.
    """

    def __init__(
        self, app: ASGIApp, *, body_bytes_max: int, bodies_bytes_max: int, streamed_paths: Iterable[str] = ()
    ) -> None:
        self.app = app
        self._body_bytes_max = body_bytes_max
        self._bodies_bytes_max = max(body_bytes_max, bodies_bytes_max)
        self._streamed_paths = frozenset(streamed_paths)
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; see the class."""
        if scope["type"] != "http" or scope["path"] in self._streamed_paths:
            await self.app(scope, receive, send)
            return
        length = header(scope, b"content-length")
        if length is not None and length.isdigit() and int(length) > self._body_bytes_max:
            # A client that waits for "100 Continue" has not sent the body: closing is the quickest way for both.
            waits = header(scope, b"expect") is not None
            raise self._too_large({"Connection": "close"} if waits else None)
        held = 0

        async def receive_bounded() -> Message:
            nonlocal held
            message = await receive()
            size = len(message.get("body", b"")) if message["type"] == "http.request" else 0
            if size:
                held += size
                self._held_bytes += size
                if held > self._body_bytes_max:
                    raise self._too_large()
                if self._held_bytes > self._bodies_bytes_max:
                    raise OverloadedError(
                        f"the bodies of the requests under way are larger than {self._bodies_bytes_max:,} bytes "
                        "together; try again in a moment, send less at once, or raise bodies_bytes_max"
                    )
            return message

        try:
            await self.app(scope, receive_bounded, send)
        finally:
            self._held_bytes -= held

    def _too_large(self, headers: dict[str, str] | None = None) -> BodyTooLargeError:
        return BodyTooLargeError(
            f"the body is larger than {self._body_bytes_max:,} bytes, which is the most this service takes: send less "
            "at once, stream it to /v1/import, or raise body_bytes_max",
            headers=headers,
        )
