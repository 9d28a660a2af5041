"""What every request gets: an id, a line in the log, and bounds."""

import asyncio
import contextlib
import http.client
import io
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import psutil
import pytest

from recollect.service import MemoryService, Settings
from recollect.service.http.app import create_app
from recollect.service.http.middleware import host_name, is_loopback
from recollect.service.logs import configure_logs

MakeService = Callable[..., Awaitable[MemoryService]]
Connect = Callable[..., Awaitable[httpx.AsyncClient]]
Listen = Callable[[MemoryService], Awaitable[int]]


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    configure_logs("debug", "json", stream)
    return stream


def lines_of(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


async def test_a_sane_request_id_is_echoed_and_another_one_replaced(client: httpx.AsyncClient) -> None:
    sane = await client.get("/healthz", headers={"X-Request-ID": "order-17/step:3"})
    none = await client.get("/healthz")

    assert sane.headers["x-request-id"] == "order-17/step:3"
    assert re.fullmatch(r"[0-9a-f]{32}", none.headers["x-request-id"])
    for bad in ("", "two words", "x" * 129, "naïve", "a\tb", '"quoted"'):
        response = await client.get("/healthz", headers=[(b"x-request-id", bad.encode("latin-1"))])
        assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-request-id"])


async def test_a_request_is_logged_by_its_template_and_never_by_what_it_says(
    client: httpx.AsyncClient, log: io.StringIO
) -> None:
    stored = (await client.post("/v1/memories", json={"content": "the treasure is buried", "key": "treasure"})).json()
    await client.get(f"/v1/memories/{stored['id']}", params={"branch": "main"}, headers={"X-Request-ID": "r-2"})
    await client.get("/v1/memories", params={"key": "treasure"})
    await client.get("/no/such/treasure")

    lines = [line for line in lines_of(log) if line["event"] == "request"]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/v1/memories", 201),
        ("GET", "/v1/memories/{memory_id}", 200),
        ("GET", "/v1/memories", 200),
        ("GET", "-", 404),
    ]
    assert lines[1]["request_id"] == "r-2"
    assert all(line["ms"] >= 0 for line in lines)
    assert "treasure" not in log.getvalue()
    assert stored["id"] not in log.getvalue()


async def test_an_unplanned_error_is_logged_with_its_frames_and_id_but_without_its_text(
    client: httpx.AsyncClient, memory: MemoryService, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the treasure is buried")

    monkeypatch.setattr(memory, "remember", fail)

    await client.post("/v1/memories", json={"content": "the treasure"}, headers={"X-Request-ID": "r-1"})

    (failure,) = [line for line in lines_of(log) if line["event"] == "request failed"]
    assert failure["request_id"] == "r-1"
    assert failure["level"] == "error"
    (told,) = failure["raised"]
    assert told["type"] == "builtins.RuntimeError"
    assert "message" not in told
    assert told["frames"][-1].endswith("in fail")
    assert "treasure" not in log.getvalue()


async def test_one_request_too_many_is_told_to_come_back_and_probes_still_pass(
    make_service: MakeService, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = await make_service(requests_max=2)
    gate = asyncio.Event()
    real = memory.remember
    under_way = asyncio.Barrier(3)

    async def held(*args: Any, **kwargs: Any) -> Any:
        await under_way.wait()
        await gate.wait()
        return await real(*args, **kwargs)

    monkeypatch.setattr(memory, "remember", held)
    client = await connect(memory)
    running = [asyncio.create_task(client.post("/v1/memories", json={"content": str(i)})) for i in range(2)]
    await under_way.wait()

    refused = await client.get("/v1/memories")
    probe = await client.get("/healthz")
    gate.set()
    done = await asyncio.gather(*running)
    after = await client.get("/v1/memories")

    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert probe.status_code == 200
    assert [response.status_code for response in done] == [201, 201]
    assert after.status_code == 200


async def test_a_body_that_announces_too_much_is_refused_unread(make_service: MakeService, connect: Connect) -> None:
    memory = await make_service(body_bytes_max=1_000)
    client = await connect(memory)
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b" " * 100

    headers = {"Content-Type": "application/json", "Content-Length": "10000"}
    response = await client.post("/v1/memories", content=body(), headers=headers)

    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert "body_bytes_max" in response.json()["detail"]


async def test_a_body_that_announces_nothing_is_counted_as_it_comes(
    make_service: MakeService, connect: Connect
) -> None:
    memory = await make_service(body_bytes_max=1_000)
    client = await connect(memory)
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b" " * 100

    response = await client.post("/v1/memories", content=body(), headers={"Content-Type": "application/json"})

    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


async def test_bodies_that_are_too_much_together_are_told_to_come_back(
    make_service: MakeService, connect: Connect
) -> None:
    memory = await make_service(body_bytes_max=1_000, bodies_bytes_max=1_500)
    client = await connect(memory)
    held, gate = asyncio.Event(), asyncio.Event()
    body = json.dumps({"content": "x" * 900}).encode()

    async def slow() -> AsyncIterator[bytes]:
        yield body[:-1]
        held.set()
        await gate.wait()
        yield body[-1:]

    headers = {"Content-Type": "application/json"}
    first = asyncio.create_task(client.post("/v1/memories", content=slow(), headers=headers))
    await held.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    refused = await client.post("/v1/memories", content=body, headers=headers)
    gate.set()

    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert (await first).status_code == 201
    assert (await client.post("/v1/memories", content=body, headers=headers)).status_code == 200


def _send_large(port: int, *, chunked: bool, megabytes: int) -> tuple[int, dict[str, Any], int]:
    """Send a large body and then ask on: return status, problem, and the status of what was asked on."""
    block = b" " * 1_048_576
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/json"}
    if not chunked:
        headers["Content-Length"] = str(megabytes * len(block))
    blocks = (block for _ in range(megabytes))
    connection.request("POST", "/v1/memories", body=blocks, headers=headers, encode_chunked=chunked)
    response = connection.getresponse()
    status, problem = response.status, json.loads(response.read())
    connection.request("GET", "/healthz")
    after = connection.getresponse()
    after.read()
    connection.close()
    return status, problem, after.status


@pytest.mark.requirement("F1")
@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
async def test_a_body_of_300_megabytes_is_a_413_that_the_client_gets_to_read_with_memory_bounded(
    make_service: MakeService, listen: Listen, *, chunked: bool
) -> None:
    memory = await make_service()
    port = await listen(memory)
    process = psutil.Process()
    before = process.memory_info().rss
    peak = 0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    try:
        status, problem, after = await asyncio.to_thread(_send_large, port, chunked=chunked, megabytes=300)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching

    assert (status, problem["code"]) == (413, "body_too_large")
    assert after == 200  # the connection goes on
    # What counts is that it does not grow with the body: the bound for one body, twice while it is joined.
    assert peak - before < 2 * memory.settings.body_bytes_max + 32 * 1_048_576


async def test_a_client_that_waits_to_send_too_much_is_answered_at_once_and_let_go(
    make_service: MakeService, listen: Listen
) -> None:
    port = await listen(await make_service())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/memories HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 999999999\r\nExpect: 100-continue\r\n\r\n"
    )

    answer = await asyncio.wait_for(reader.read(), 10)

    writer.close()
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8300", "127.0.0.1.evil.example", "", "localhost.evil"])
async def test_a_foreign_host_is_refused_on_loopback(client: httpx.AsyncClient, host: str) -> None:
    response = await client.get("/v1/memories", headers={"Host": host})

    assert (response.status_code, response.json()["code"]) == (421, "foreign_host")
    assert "allowed_hosts" in response.json()["detail"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8300", "127.0.0.1:1", "[::1]:8300", "memory.internal"])
async def test_a_loopback_or_allowed_host_is_answered(make_service: MakeService, connect: Connect, host: str) -> None:
    client = await connect(await make_service(allowed_hosts=("memory.internal",)))

    assert (await client.get("/v1/memories", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"host": "0.0.0.0"}, 200),
        ({"host": "127.0.0.1", "allowed_hosts": ("*",)}, 200),
        ({"host": "0.0.0.0", "allowed_hosts": ("memory.internal",)}, 421),
    ],
)
async def test_a_service_for_a_network_answers_every_host_unless_some_are_named(
    make_service: MakeService, connect: Connect, settings: dict[str, Any], status: int
) -> None:
    client = await connect(await make_service(**settings))

    assert (await client.get("/v1/memories", headers={"Host": "some.example"})).status_code == status


def test_a_host_header_is_read_without_port_and_brackets() -> None:
    assert host_name("Localhost:80") == "localhost"
    assert host_name("[::1]:8300") == "::1"
    assert host_name("[::1]") == "::1"
    assert is_loopback("127.8.9.1")
    assert is_loopback("::1")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("example.org")


async def test_head_answers_as_get_without_the_body(client: httpx.AsyncClient, memory: MemoryService) -> None:
    stored = await memory.remember("a")

    got = await client.get(f"/v1/memories/{stored.id}")
    head = await client.head(f"/v1/memories/{stored.id}")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == got.headers["etag"]
    assert head.headers["content-length"] == got.headers["content-length"]
    assert (await client.head("/nowhere")).status_code == 404


async def test_head_of_a_stream_ends_after_the_headers(memory: MemoryService, listen: Listen) -> None:
    await memory.remember("a")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{await listen(memory)}") as client:
        head = await client.head("/v1/export")
        after = await client.get("/healthz")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == "application/x-ndjson"
    assert after.status_code == 200


async def test_options_says_which_methods_a_path_takes(client: httpx.AsyncClient) -> None:
    known = await client.options("/v1/search")
    literal = await client.options("/v1/memories/batch")
    unknown = await client.options("/nowhere")

    assert (known.status_code, known.headers["allow"]) == (204, "OPTIONS, POST")
    assert literal.headers["allow"] == "OPTIONS, POST"
    assert "access-control-allow-origin" not in known.headers
    assert unknown.status_code == 404


async def test_an_app_without_a_service_makes_one_when_it_starts_and_closes_it_when_it_stops(storage: str) -> None:
    app = create_app(Settings(storage=storage, model="hash"))

    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.post("/v1/memories", json={"content": "a"})).status_code == 201

    assert app.state.service._closed
