"""Every mistake of a caller is a problem of its own, with a remedy, and never a 500."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from recollect.adapters.errors import StoreBusyError, StoreFullError, StoreUnavailableError
from recollect.embeddings.errors import EmbedderBusyError
from recollect.service import MemoryService

MakeService = Callable[..., Awaitable[MemoryService]]
Listen = Callable[[MemoryService], Awaitable[int]]
Connect = Callable[..., Awaitable[httpx.AsyncClient]]

JSON = {"Content-Type": "application/json"}
DEEP = b"[" * 100_000 + b"]" * 100_000


def check_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem


@pytest.mark.parametrize("path", ["/v1/memories", "/v1/memories/batch", "/v1/search", "/v1/find_similar"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"content": "\xff\xfe"}',
        b'{"content": "\\ud800"}',
        b'{"content": ' + b"9" * 5000 + b"}",
        b'{"content": ' + DEEP + b"}",
        b"\x00" * 10,
        b'{"content": "a"} trailing',
    ],
    ids=["empty", "cut", "word", "bytes", "surrogate", "digits", "deep", "zeros", "more"],
)
async def test_a_body_that_is_no_json_is_a_400(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    check_problem(await client.post(path, content=body, headers=JSON), 400, "invalid_json")


@pytest.mark.parametrize(
    "body",
    [
        b'{"content": NaN}',
        b'{"content": {"a": [1, {"b": Infinity}]}}',
        b'{"content": 1e999}',
        b'{"content": "a", "metadata": {"a": NaN}}',
        b'{"content": "a", "importance": NaN}',
        b'{"content": "a", "vector": [NaN]}',
        b'{"content": "a", "importance": 1.5}',
        b'{"content": "a", "importance": "high"}',
        b'{"content": "a", "tags": "one"}',
        b'{"content": "a", "tags": [1]}',
        b'{"content": "a", "surprise": 1}',
        b'{"content": ""}',
        b'{"content": null}',
        b'{"content": "a", "key": ""}',
        b'{"content": "a", "expires_at": "soon"}',
        b'{"content": "a", "expires_at": "2030-01-01T00:00:00"}',
        b'{"content": "a", "expires_at": 1900000000}',
        b'{"content": "a", "provenance": {"derived_from": ["no-id"]}}',
        b'{"content": "a", "metadata": {"big": 9223372036854775808}}',
        b"[]",
        b"null",
        b'"text"',
    ],
)
async def test_a_body_of_the_wrong_kind_is_a_422_that_says_where(client: httpx.AsyncClient, body: bytes) -> None:
    problem = check_problem(await client.post("/v1/memories", content=body, headers=JSON), 422, "invalid_request")

    assert problem["errors"]
    assert all({"loc", "msg", "type"} == error.keys() for error in problem["errors"])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"content": "a", "namespace": "_audit"}, "namespace_reserved"),
        ({"content": "a", "namespace": "a b"}, "namespace_reserved"),
        ({"content": "a", "vector": [1.0, 2.0]}, "invalid_vector"),
        ({"content": "a", "vector": [0.0] * 64}, "invalid_vector"),
        ({"content": "a" * 2_000_000}, "content_too_large"),
        ({"content": "a", "expires_at": "2001-01-01T00:00:00Z"}, "invalid_request"),
    ],
)
async def test_what_the_service_refuses_is_a_422_with_its_own_code(
    client: httpx.AsyncClient, body: dict[str, Any], code: str
) -> None:
    check_problem(await client.post("/v1/memories", json=body), 422, code)


async def test_a_request_with_very_many_mistakes_is_refused_without_naming_them_all(client: httpx.AsyncClient) -> None:
    body = json.dumps({f"k{i}": 1 for i in range(20_000)})

    response = await client.post("/v1/memories", content=body, headers=JSON)

    check_problem(response, 422, "invalid_request")
    assert len(response.content) < 1000


async def test_the_mistakes_told_never_repeat_what_was_said(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/memories", json={"content": "a", "tags": [{"secret": "treasure"}]})

    check_problem(response, 422, "invalid_request")
    assert "treasure" not in response.text


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
async def test_another_type_of_body_is_a_415_that_names_the_right_one(
    client: httpx.AsyncClient, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}

    problem = check_problem(
        await client.post("/v1/memories", content=b'{"content": "a"}', headers=headers), 415, "unsupported_media_type"
    )

    assert "application/json" in problem["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_a_body_in_another_encoding_is_a_415(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await client.post("/v1/memories", content=b"{}", headers=headers)

    check_problem(response, 415, "unsupported_media_type")


async def test_json_with_a_charset_of_utf_8_is_taken(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json; charset=UTF-8"}

    assert (await client.post("/v1/memories", content=b'{"content": "a"}', headers=headers)).status_code == 201


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/memories/", "/v2/memories", "/v1/memories/a/b/c", "/%2e%2e/etc"])
async def test_an_unknown_path_is_a_404_problem(client: httpx.AsyncClient, path: str) -> None:
    check_problem(await client.get(path), 404, "route_not_found")


async def test_another_method_is_a_405_that_says_which_are_taken(client: httpx.AsyncClient) -> None:
    response = await client.put("/v1/memories", json={})

    check_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/memories/not-an-id",
        "/v1/memories/not-an-id/history",
        "/v1/memories?limit=0",
        "/v1/memories?limit=many",
        "/v1/memories?surprise=1",
        "/v1/memories?view=everything",
        "/v1/memories?include=secrets",
        "/v1/memories?as_of=yesterday",
        "/v1/memories?as_of=2026-01-01T00:00:00",
        "/v1/memories?as_of=-1",
        "/v1/memories?order=random",
        "/v1/export?surprise=1",
    ],
)
async def test_a_wrong_path_or_query_is_a_422_that_says_where(client: httpx.AsyncClient, path: str) -> None:
    problem = check_problem(await client.get(path), 422, "invalid_request")

    assert problem["errors"][0]["loc"][0] in ("path", "query")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("filters=no json", "invalid_filter"),
        ("filters=[]", "invalid_filter"),
        ('filters={"no_such": 1}', "invalid_filter"),
        ("cursor=abc", "invalid_cursor"),
        ("cursor=%F0%9F%98%80", "invalid_cursor"),
        ("namespace=_provenance", "namespace_reserved"),
    ],
)
async def test_a_query_that_the_service_refuses_is_a_422(client: httpx.AsyncClient, query: str, code: str) -> None:
    check_problem(await client.get(f"/v1/memories?{query}"), 422, code)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreFullError("no space is left; free some"), 507, "store_full"),
        (StoreBusyError("the lock is held; try again"), 503, "store_busy"),
        (StoreUnavailableError("the store does not answer"), 503, "store_unavailable"),
        (EmbedderBusyError(queued_texts=9, queue_texts_max=9), 429, "overloaded"),
    ],
)
async def test_a_store_or_model_in_trouble_is_told_with_when_to_try_again(
    client: httpx.AsyncClient,
    memory: MemoryService,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    code: str,
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(memory, "remember", fail)

    response = await client.post("/v1/memories", json={"content": "a"})

    check_problem(response, status, code)
    assert ("retry-after" in response.headers) is (status in (429, 503))


async def test_an_unplanned_error_is_a_500_that_keeps_its_text_to_itself(
    client: httpx.AsyncClient, memory: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the secret of Ana")

    monkeypatch.setattr(memory, "remember", fail)

    response = await client.post("/v1/memories", json={"content": "a"})

    problem = check_problem(response, 500, "internal_error")
    assert "secret" not in response.text
    assert "log" in problem["detail"]


@pytest.mark.parametrize("request_line", [b"nonsense", b"GET / HTTP/9.9", b"GET /\xff\xfe HTTP/1.1"])
async def test_what_is_no_http_is_a_400_problem(memory: MemoryService, listen: Listen, request_line: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", await listen(memory))
    writer.write(request_line + b"\r\nHost: localhost\r\n\r\n")

    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")

    writer.close()
    assert head.startswith(b"HTTP/1.1 400 Bad Request")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["code"] == "invalid_http"


async def test_readiness_fails_with_the_reason_while_the_process_still_answers(
    client: httpx.AsyncClient, memory: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise StoreUnavailableError("the disk is gone")

    assert (await client.get("/readyz")).json() == {"status": "ready"}
    monkeypatch.setattr(memory, "ready", fail)

    check_problem(await client.get("/readyz"), 503, "store_unavailable")
    assert (await client.get("/healthz")).json() == {"status": "alive"}


@pytest.mark.requirement("B12")
async def test_the_status_tells_store_model_buffer_and_operations(client: httpx.AsyncClient) -> None:
    await client.post("/v1/memories", json={"content": "a"})

    status = (await client.get("/v1/status")).json()

    assert status["status"] == "healthy"
    assert status["storage"]["memories"] == 1
    assert status["embedder"]["model_id"].startswith("hash")
    assert status["operations"]["remember"]["count"] == 1
    assert "batches_flushed" in status["buffer"]
