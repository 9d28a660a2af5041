"""Commands that work through a running service, over HTTP."""

import asyncio
import ipaddress
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from recollect.service.answers import (
    Frame,
    HistoryAnswer,
    ImportReport,
    Memory,
    MemoryPage,
    Problem,
    Remembered,
    ServiceStatus,
)
from recollect.service.cli.branch_backend import RemoteBranches
from recollect.service.cli.exits import CommandError, usage_error
from recollect.service.cli.provenance_backend import ProvenanceBackend, RemoteProvenance
from recollect.service.cli.safety_backend import RemoteSafety, SafetyBackend
from recollect.service.requests import (
    ListRequest,
    NewMemory,
    ProvenanceInput,
    ReadOptions,
    Revision,
    SearchRequest,
)

CONNECT_S = 5.0
SILENCE_S = 60.0
"""How long a service may say nothing: several heartbeats of a stream."""
IMPORT_SILENCE_S = 600.0
"""An import answers when all of its chunk is embedded and stored."""
ATTEMPTS_MAX = 8
"""How often a chunk of an import is sent to a service that is busy."""
WAIT_S_MAX = 30.0

NDJSON = "application/x-ndjson"
Answer = TypeVar("Answer")
_frame: Any = Frame
"""The union of the frames, which type checkers do not take for a type."""
Parameters = Mapping[str, str | int | bool | list[str] | None]


@asynccontextmanager
async def open_remote(url: str) -> AsyncIterator["RemoteBackend"]:
    """Open a client for one command; nothing is sent before the first operation.

    Raises:
        CommandError: The URL is none that HTTP knows.
    """
    try:
        base = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise usage_error(f"--url: {url!r} is no URL ({error}); give one such as http://127.0.0.1:8300") from error
    if base.scheme not in {"http", "https"} or not base.host:
        raise usage_error(f"--url: {url!r} is no HTTP URL; give one such as http://127.0.0.1:8300")
    client = httpx.AsyncClient(
        base_url=base,
        timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S),
        # A proxy for the outside world does not reach this machine's own services.
        trust_env=not _is_loopback(base.host),
    )
    async with client:
        yield RemoteBackend(client)


class RemoteBackend:
    """A `Backend` over the HTTP API."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.branches = RemoteBranches(self._ask, self._stream)
        self.provenance: ProvenanceBackend = RemoteProvenance(self._ask, self._fetch, self._stream)
        self.safety: SafetyBackend = RemoteSafety(self._ask)

    async def remember(self, memory: NewMemory, *, idempotency_key: str | None = None) -> Remembered:
        """Store a memory."""
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        return await self._ask(Remembered, "POST", "/v1/memories", body=_body(memory), headers=headers)

    async def revise(self, memory_id: str, revision: Revision, *, expected_version: int | None = None) -> Remembered:
        """Add a version to a memory."""
        return await self._ask(
            Remembered, "PATCH", _path(memory_id), body=_body(revision), headers=_if_match(expected_version)
        )

    async def forget(
        self,
        memory_id: str,
        *,
        branch: str,
        expected_version: int | None = None,
        provenance: ProvenanceInput | None = None,
    ) -> Remembered:
        """Forget a memory."""
        given = provenance or ProvenanceInput()
        parameters = {"branch": branch, "actor": given.actor, "source": given.source, "note": given.note}
        headers = _if_match(expected_version)
        return await self._ask(Remembered, "DELETE", _path(memory_id), parameters=parameters, headers=headers)

    async def get(self, memory_id: str, options: ReadOptions) -> Memory:
        """Return a memory by its id."""
        return await self._ask(Memory, "GET", _path(memory_id), parameters=_read_parameters(options))

    async def get_by_key(self, namespace: str, key: str, options: ReadOptions) -> Memory:
        """Return a memory by its key."""
        parameters = {**_read_parameters(options), "namespace": namespace, "key": key}
        page = await self._ask(MemoryPage, "GET", "/v1/memories", parameters=parameters)
        if not page.items:
            raise CommandError(
                Problem(
                    title="There is no such memory",
                    status=404,
                    code="memory_not_found",
                    detail=f"there is no memory with the key {key!r} in {namespace!r}",
                )
            )
        return page.items[0]

    async def list_memories(self, request: ListRequest) -> MemoryPage:
        """Return a page of memories."""
        parameters = {
            **_read_parameters(request),
            **_selection_parameters(request),
            "order": request.order,
            "descending": request.descending,
            "limit": request.limit,
            "cursor": request.cursor,
        }
        return await self._ask(MemoryPage, "GET", "/v1/memories", parameters=parameters)

    async def history(self, memory_id: str, options: ReadOptions) -> HistoryAnswer:
        """Return a memory's versions, newest first."""
        path = f"{_path(memory_id)}/history"
        return await self._ask(HistoryAnswer, "GET", path, parameters=_read_parameters(options))

    async def find_similar(self, request: SearchRequest) -> AsyncGenerator[Frame, None]:
        """Stream the frames of a search."""
        headers = {"Content-Type": "application/json", "Accept": NDJSON}
        async with self._stream("POST", "/v1/find_similar", content=_body(request), headers=headers) as response:
            async for line in response.aiter_lines():
                if line:
                    yield _decoded(line.encode(), _frame)

    async def export(self, selection: ListRequest) -> AsyncGenerator[bytes, None]:
        """Stream memories as JSON lines."""
        parameters = {
            "branch": selection.branch,
            "as_of": _as_of(selection),
            **_selection_parameters(selection),
        }
        rest = b""
        async with self._stream("GET", "/v1/export", params=_given(parameters)) as response:
            async for piece in response.aiter_bytes():
                whole, end, rest = (rest + piece).rpartition(b"\n")
                if end:
                    yield whole + end
        if rest:
            raise CommandError(
                Problem(
                    title="The export was cut",
                    status=502,
                    code="stream_cut",
                    detail="the service stopped in the middle of a line; export again",
                )
            )

    async def import_memories(self, memories: Sequence[NewMemory]) -> ImportReport:
        """Store memories; a service that is busy is asked again, which stores nothing twice."""
        body = b"".join(_body(memory) + b"\n" for memory in memories)
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return await self._ask(
                    ImportReport, "POST", "/v1/import", body=body, content_type=NDJSON, silence_s=IMPORT_SILENCE_S
                )
            except _BusyError as error:
                if attempt == ATTEMPTS_MAX:
                    raise
                await asyncio.sleep(min(WAIT_S_MAX, max(error.retry_after_s, 0.1 * 2**attempt)))
        raise AssertionError("the last attempt returns or raises")

    async def status(self) -> ServiceStatus:
        """Return how the service is."""
        return await self._ask(ServiceStatus, "GET", "/v1/status")

    async def _ask(
        self,
        kind: type[Answer],
        method: str,
        path: str,
        *,
        parameters: Parameters | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        silence_s: float = SILENCE_S,
    ) -> Answer:
        sent = {**({"Content-Type": content_type} if body is not None else {}), **(headers or {})}
        response = await self._send(method, path, parameters, silence_s, content=body, headers=sent)
        return _decoded(response.content, kind)

    async def _fetch(self, path: str, parameters: Parameters) -> bytes:
        """Return the body of an answer as it came."""
        return (await self._send("GET", path, parameters, SILENCE_S)).content

    async def _send(
        self, method: str, path: str, parameters: Parameters | None, silence_s: float, **arguments: Any
    ) -> httpx.Response:
        try:
            response = await self._client.request(
                method,
                path,
                params=_given(parameters or {}),
                timeout=httpx.Timeout(silence_s, connect=CONNECT_S),
                **arguments,
            )
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if not response.is_success:
            raise _refusal(response)
        return response

    @asynccontextmanager
    async def _stream(self, method: str, path: str, **arguments: Any) -> AsyncIterator[httpx.Response]:
        try:
            async with self._client.stream(method, path, **arguments) as response:
                if not response.is_success:
                    await response.aread()
                    raise _refusal(response)
                yield response
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.HTTPError) -> CommandError:
        url = str(self._client.base_url).rstrip("/")
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            detail = (
                f"nothing answers at {url}; start it with `recollect serve`, or leave --url and RECOLLECT_URL out to "
                "work straight on the store"
            )
        else:
            detail = f"the connection to {url} broke ({type(error).__name__}: {error}); ask again"
        return CommandError(
            Problem(title="The service cannot be reached", status=503, code="service_unreachable", detail=detail)
        )


class _BusyError(CommandError):
    """The service is busy; `retry_after_s` says when to ask again."""

    def __init__(self, problem: Problem, retry_after_s: float) -> None:
        super().__init__(problem)
        self.retry_after_s = retry_after_s


def _refusal(response: httpx.Response) -> CommandError:
    """Return the error that an answer tells, whoever wrote it: the service, or a proxy in front of it."""
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except msgspec.MsgspecError:
        words = " ".join(response.text[:200].split())
        problem = Problem(
            title="The service refused",
            status=response.status_code,
            code="http_error",
            detail=f"{response.status_code} {response.reason_phrase}: {words}",
        )
    if response.status_code in {429, 503}:
        wait = response.headers.get("Retry-After", "")
        return _BusyError(problem, float(wait) if wait.isdigit() else 0.0)
    return CommandError(problem)


def _decoded(data: bytes, kind: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise CommandError(
            Problem(
                title="This is not an answer of Recollect",
                status=502,
                code="foreign_answer",
                detail=f"what came back cannot be read ({error}); check --url, and that both sides are of one version",
            )
        ) from error


def _body(model: Any) -> bytes:
    return str(model.model_dump_json(exclude_unset=True)).encode()


def _path(memory_id: str) -> str:
    return f"/v1/memories/{quote(memory_id, safe='')}"


def _if_match(expected_version: int | None) -> dict[str, str]:
    return {} if expected_version is None else {"If-Match": f'"{expected_version}"'}


def _read_parameters(options: ReadOptions) -> dict[str, Any]:
    return {
        "view": options.view,
        "include": "provenance" if options.include_provenance else None,
        "branch": options.branch,
        "as_of": _as_of(options),
        "actor": options.actor,
    }


def _selection_parameters(request: ListRequest) -> dict[str, Any]:
    return {
        "namespace": request.namespaces,
        "filters": None if request.filters is None else msgspec.json.encode(request.filters).decode(),
    }


def _as_of(options: ReadOptions) -> str | None:
    if options.as_of is None:
        return None
    return str(options.as_of) if isinstance(options.as_of, int) else options.as_of.isoformat()


def _given(parameters: Parameters) -> dict[str, Any]:
    """Leave out what was not given; booleans as JSON says them."""
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in parameters.items()
        if value is not None
    }


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
