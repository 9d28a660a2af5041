"""What a stream does when its source is slow or fails, and when its reader is slow or leaves."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from recollect.adapters.errors import StoreDamagedError
from recollect.service import MemoryService, NewMemory, SearchRequest
from recollect.service.answers import EncodedHitsFrames, EndFrame, HitsFrame
from recollect.service.http.streams import FrameStream, encode_event, wants_events

MakeService = Callable[..., Awaitable[MemoryService]]
Connect = Callable[..., Awaitable[httpx.AsyncClient]]
Listen = Callable[[MemoryService], Awaitable[int]]
Frames = AsyncGenerator[HitsFrame | EncodedHitsFrames | EndFrame, None]


class Source:
    """Stands between the app and a real service's search, to slow it, fail it and see how far it came."""

    def __init__(self, service: MemoryService, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real = service.find_similar_encoded
        self.frames = 0
        self.closed = asyncio.Event()
        self.gate: asyncio.Event | None = None
        self.fails_after: int | None = None
        self.repeats = 1
        self._held: list[Frames] = []
        monkeypatch.setattr(service, "find_similar_encoded", self._started)

    def _started(self, request: SearchRequest) -> Frames:
        self._held.append(self._find_similar(request))  # so that it is closed by its user, and not by being dropped
        return self._held[-1]

    async def _find_similar(self, request: SearchRequest) -> Frames:
        try:
            async with contextlib.aclosing(self._real(request)) as frames:
                async for frame in frames:
                    for _ in range(self.repeats if isinstance(frame, HitsFrame) else 1):
                        if self.gate is not None:
                            await self.gate.wait()
                        if self.frames == self.fails_after:
                            raise StoreDamagedError("a checksum differs", place="pack 7")
                        self.frames += 1
                        yield frame
        finally:
            self.closed.set()


def open_after_a_heartbeat(gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    real = FrameStream._send

    async def send_and_open(stream: FrameStream, send: Any, chunk: bytes, *, more: bool = True) -> None:
        await real(stream, send, chunk, more=more)
        if b'"heartbeat"' in chunk:
            gate.set()

    monkeypatch.setattr(FrameStream, "_send", send_and_open)


def frames_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.requirement("F1")
async def test_a_silent_search_sends_heartbeats_until_it_speaks(
    make_service: MakeService, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = await make_service(heartbeat_s=0.01)
    await memory.remember("a fact")
    source = Source(memory, monkeypatch)
    source.gate = asyncio.Event()
    client = await connect(memory)
    open_after_a_heartbeat(source.gate, monkeypatch)

    response = await client.post("/v1/find_similar", json={"text": "a fact"})

    kinds = [frame["frame"] for frame in frames_of(response.text)]
    assert kinds[0] == "heartbeat"
    assert kinds[-2:] == ["hits", "end"]
    assert set(kinds[:-2]) == {"heartbeat"}


async def test_a_heartbeat_as_an_event_is_named_so(make_service: MakeService, connect: Connect) -> None:
    del make_service, connect
    assert (
        encode_event(EndFrame(hits=1, elapsed_ms=2.0))
        == b'event: end\ndata: {"frame":"end","hits":1,"elapsed_ms":2.0}\n\n'
    )


@pytest.mark.requirement("F1")
async def test_a_search_that_fails_after_its_first_frame_ends_with_an_error_frame(
    make_service: MakeService, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = await make_service()
    for i in range(3):
        await memory.remember(f"fact {i}")
    Source(memory, monkeypatch).fails_after = 1
    client = await connect(memory)

    response = await client.post("/v1/find_similar", json={"text": "fact", "batch_size": 1})

    assert response.status_code == 200
    frames = frames_of(response.text)
    assert [frame["frame"] for frame in frames] == ["hits", "error"]
    assert frames[-1]["error"]["code"] == "store_damaged"
    assert frames[-1]["error"]["request_id"] == response.headers["x-request-id"]


async def test_a_search_that_fails_during_heartbeats_ends_with_an_error_frame(
    make_service: MakeService, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = await make_service(heartbeat_s=0.005)
    await memory.remember("a fact")
    source = Source(memory, monkeypatch)
    source.gate, source.fails_after = asyncio.Event(), 0
    client = await connect(memory)
    open_after_a_heartbeat(source.gate, monkeypatch)

    response = await client.post("/v1/find_similar", json={"text": "fact"})

    kinds = [frame["frame"] for frame in frames_of(response.text)]
    assert kinds[0] == "heartbeat"
    assert kinds[-1] == "error"


async def test_an_unplanned_failure_in_a_stream_says_nothing_of_its_text(
    make_service: MakeService, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = await make_service()
    await memory.remember("a fact")
    real = memory.find_similar_encoded

    async def failing(request: SearchRequest) -> Frames:
        async with contextlib.aclosing(real(request)) as frames:
            async for frame in frames:
                yield frame
                raise RuntimeError("the secret of a fact")

    monkeypatch.setattr(memory, "find_similar_encoded", failing)
    client = await connect(memory)

    response = await client.post("/v1/find_similar", json={"text": "fact"})

    assert frames_of(response.text)[-1]["error"]["code"] == "internal_error"
    assert "secret" not in response.text


async def _open_stream(port: int, body: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
    data = json.dumps(body).encode()
    writer.write(
        b"POST /v1/find_similar HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(data), data)
    )
    await writer.drain()
    return reader, writer


@pytest.mark.requirement("B5", "F1")
async def test_a_reader_that_stops_reading_stops_the_search_and_one_that_leaves_ends_it(
    make_service: MakeService, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = await make_service()
    await memory.remember(NewMemory(content="wide " * 40_000))
    source = Source(memory, monkeypatch)
    source.repeats = 5_000  # 200 kB each: a gigabyte, were nobody to stop it
    reader, writer = await _open_stream(await listen(memory), {"text": "wide", "view": "full"})
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")

    async def held() -> None:
        """Wait until the source is asked for nothing more."""
        before = -1
        while before != source.frames:
            before = source.frames
            for _ in range(50):
                await asyncio.sleep(0)
            await asyncio.to_thread(lambda: None)

    await asyncio.wait_for(held(), 30)
    assert source.frames < 100  # what the buffers of both ends and the kernel take, not what there is
    assert not source.closed.is_set()

    writer.transport.abort()

    await asyncio.wait_for(source.closed.wait(), 10)
    assert source.frames < 100


async def test_a_reader_that_leaves_before_the_first_frame_ends_the_search(
    make_service: MakeService, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = await make_service()
    await memory.remember("a fact")
    source = Source(memory, monkeypatch)
    source.gate = asyncio.Event()
    started = asyncio.Event()
    real_wait = source.gate.wait

    async def wait() -> bool:
        started.set()
        return await real_wait()

    monkeypatch.setattr(source.gate, "wait", wait)
    _, writer = await _open_stream(await listen(memory), {"text": "fact"})
    await asyncio.wait_for(started.wait(), 10)

    writer.transport.abort()

    await asyncio.wait_for(source.closed.wait(), 10)
    assert source.frames == 0


@pytest.mark.parametrize(
    ("accept", "events"),
    [
        (None, False),
        ("*/*", False),
        ("application/x-ndjson", False),
        ("text/event-stream", True),
        ("Text/Event-Stream; q=0.9, */*;q=0.1", True),
        ("application/x-ndjson, text/event-stream", False),
    ],
)
def test_events_are_sent_only_where_the_reader_asks_for_them(accept: str | None, *, events: bool) -> None:
    assert wants_events(accept) is events
