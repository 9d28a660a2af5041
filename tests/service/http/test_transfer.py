"""Export and import over HTTP."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

import httpx
import pytest

from recollect.adapters.errors import StoreDamagedError
from recollect.service import MemoryService, NewMemory, ProvenanceInput
from recollect.service.http.bodies import read_lines
from recollect.service.http.problems import BodyTooLargeError

MakeService = Callable[..., Awaitable[MemoryService]]
Connect = Callable[..., Awaitable[httpx.AsyncClient]]
Listen = Callable[[MemoryService], Awaitable[int]]

LINES = {"Content-Type": "application/x-ndjson"}


@pytest.mark.requirement("F1")
async def test_an_export_is_taken_back_by_another_service_with_ids_and_provenance(
    client: httpx.AsyncClient, memory: MemoryService, make_service: MakeService, connect: Connect, storage: str
) -> None:
    stored = await memory.remember(
        NewMemory(
            content={"a": [1, None]}, key="k", tags=["x"], provenance=ProvenanceInput(actor="ana", source="message:1")
        )
    )
    exported = await client.get("/v1/export")
    other = await make_service(storage=storage + "-other")
    other_client = await connect(other)

    first = await other_client.post("/v1/import", content=exported.content, headers=LINES)
    again = await other_client.post("/v1/import", content=exported.content, headers=LINES)

    assert exported.headers["content-type"] == "application/x-ndjson"
    assert first.json()["created"] == 1
    assert (again.json()["created"], again.json()["duplicate"]) == (0, 1)
    params = {"view": "full", "include": "provenance"}
    copy = (await other_client.get(f"/v1/memories/{stored.id}", params=params)).json()
    assert copy["content"] == {"a": [1, None]}
    assert copy["provenance"]["actor"] == "ana"


async def test_an_empty_export_is_an_empty_body(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/export")

    assert (response.status_code, response.content) == (200, b"")


async def test_an_export_is_filtered(client: httpx.AsyncClient, memory: MemoryService) -> None:
    await memory.remember(NewMemory(content="a", namespace="projects"))
    await memory.remember(NewMemory(content="b", namespace="projects", kind="episodic"))
    await memory.remember(NewMemory(content="c", namespace="session", kind="episodic"))

    response = await client.get("/v1/export", params={"namespace": "projects", "filters": '{"kind": "episodic"}'})

    assert [json.loads(line)["content"] for line in response.text.splitlines()] == ["b"]


async def test_an_import_counts_what_it_refuses_and_goes_on(client: httpx.AsyncClient) -> None:
    lines = b'{"content": "a"}\n\n{"content": ""}\nno json\n{"content": "b"}'

    report = (await client.post("/v1/import", content=lines, headers=LINES)).json()

    assert (report["created"], report["refused"]) == (2, 2)
    assert [problem["status"] for problem in report["problems"]] == [422, 400]


async def test_an_import_may_be_larger_than_a_body_elsewhere(make_service: MakeService, connect: Connect) -> None:
    memory = await make_service(body_bytes_max=2_000)
    client = await connect(memory)
    lines = b"".join(json.dumps({"content": f"memory {i} " + "x" * 100}).encode() + b"\n" for i in range(100))

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(lines), 333):  # lines cut anywhere
            yield lines[start : start + 333]

    response = await client.post("/v1/import", content=chunks(), headers=LINES)

    assert response.json()["created"] == 100


async def test_a_line_longer_than_a_body_elsewhere_is_refused_by_its_number(
    make_service: MakeService, connect: Connect
) -> None:
    memory = await make_service(body_bytes_max=2_000)
    client = await connect(memory)

    response = await client.post("/v1/import", content=b'{"content": "a"}\n' + b"x" * 5_000, headers=LINES)

    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert "line 2" in response.json()["detail"]


class Chunked:
    """Stands for a request whose body comes in pieces; counts how many were taken."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.taken = 0
        self._chunks = chunks

    async def stream(self) -> AsyncGenerator[bytes, None]:
        for chunk in self._chunks:
            self.taken += 1
            yield chunk


async def test_an_endless_line_is_refused_before_it_is_held() -> None:
    request = Chunked([b"x" * 1000] * 1000)

    with pytest.raises(BodyTooLargeError):
        async for _ in read_lines(request, 10_000):  # type: ignore[arg-type]
            pass

    assert request.taken == 11


async def test_lines_come_out_as_they_went_in_however_they_are_cut() -> None:
    text = b"one\r\n\n two \nthree"
    for size in range(1, len(text) + 1):
        request = Chunked([text[i : i + size] for i in range(0, len(text), size)])
        lines = [line async for line in read_lines(request, 100)]  # type: ignore[arg-type]
        assert lines == [b"one", b"two", b"three"]


async def test_an_export_that_fails_in_the_middle_cuts_the_connection(
    memory: MemoryService, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    await memory.remember("a")
    real = memory.export

    async def failing(**arguments: object) -> AsyncGenerator[Sequence[bytes], None]:
        async for batch in real(**arguments):  # type: ignore[arg-type]
            yield batch
            raise StoreDamagedError("a checksum differs", place="pack 7")

    monkeypatch.setattr(memory, "export", failing)
    port = await listen(memory)

    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"http://127.0.0.1:{port}/v1/export")


async def test_an_export_that_fails_at_once_is_a_problem(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/export", params={"namespace": "_audit"})

    assert (response.status_code, response.json()["code"]) == (422, "namespace_reserved")
