"""The server as a process: how it starts, how it stops, and what it says when it cannot."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from recollect.service import MemoryService, SearchRequest, Settings, create_memory_service
from recollect.service.http.server import StartError, _listen, _Stopping, bind, run, url_of

MakeService = Callable[..., Awaitable[MemoryService]]
Start = Callable[..., Awaitable["Running"]]

PROGRAM = """
import sys
from recollect.service import Settings
from recollect.service.http.server import run
sys.exit(run(Settings()))
"""


class Running:
    """A server in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.url = ""

    async def listening(self) -> "Running":
        assert self.process.stdout is not None
        line = (await asyncio.wait_for(self.process.stdout.readline(), 60)).decode()
        assert line.startswith("Recollect listens on http://"), line
        self.url = line.split()[-1]
        return self

    async def stopped(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 10)

    async def errors(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()


@pytest.fixture
async def start(storage: str) -> AsyncGenerator[Start, None]:
    """Return what starts a server by environment variables."""
    made: list[asyncio.subprocess.Process] = []

    async def started(**variables: str) -> Running:
        environment = {
            "RECOLLECT_STORAGE": storage,
            "RECOLLECT_MODEL": "hash",
            "RECOLLECT_PORT": "0",
            "PATH": os.environ["PATH"],
            **{f"RECOLLECT_{name.upper()}": value for name, value in variables.items()},
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROGRAM,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        made.append(process)
        return Running(process)

    yield started
    for process in made:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.requirement("B7", "F1")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("backend", ["file", "edge"])
async def test_a_server_told_to_stop_exits_0_and_every_acknowledged_write_is_there_afterwards(
    start: Start, tmp_path: Path, number: int, backend: str
) -> None:
    storage = f"{backend}:{tmp_path / 'store'}"
    server = await (await start(storage=storage, preset="background")).listening()
    acknowledged: list[str] = []

    async def write(client: httpx.AsyncClient, writer: int) -> None:
        for i in range(1000):
            body = {"content": f"writer {writer} says {i}", "durability": "relaxed" if i % 2 else "durable"}
            with contextlib.suppress(httpx.TransportError):
                response = await client.post("/v1/memories", json=body)
                acknowledged.append(response.json()["id"])
                if len(acknowledged) == 100:
                    server.process.send_signal(number)
                continue
            return

    async with httpx.AsyncClient(base_url=server.url) as client:
        await asyncio.gather(*(write(client, writer) for writer in range(4)))
    code = await asyncio.wait_for(server.process.wait(), 10)

    assert code == 0, await server.errors()
    assert len(acknowledged) >= 100
    async with await create_memory_service(Settings(storage=storage, model="hash")) as service:
        for memory_id in acknowledged:
            assert (await service.get(memory_id)).id == memory_id


async def test_an_idle_server_with_an_open_connection_stops_at_once(start: Start) -> None:
    server = await (await start()).listening()
    async with httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.get("/readyz")).status_code == 200
        assert await server.stopped() == 0
    log = await server.errors()
    assert "ready" in log
    assert "stopped" in log


async def test_logs_of_a_server_are_json_when_asked_and_name_the_requests(start: Start) -> None:
    server = await (await start(log_format="json")).listening()
    async with httpx.AsyncClient(base_url=server.url) as client:
        await client.get("/v1/status", headers={"X-Request-ID": "r-1"})
    await server.stopped()

    events = [json.loads(line) for line in (await server.errors()).splitlines()]
    (request,) = [event for event in events if event["event"] == "request"]
    assert (request["route"], request["request_id"], request["status"]) == ("/v1/status", "r-1", 200)


async def test_a_taken_port_is_told_with_its_remedy_before_the_model_is_loaded(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = await start(port=str(taken.getsockname()[1]), model="no-such-model")
        code = await asyncio.wait_for(server.process.wait(), 60)

    errors = await server.errors()
    assert code == 1
    assert "cannot be taken" in errors
    assert "RECOLLECT_PORT" in errors
    assert "Traceback" not in errors
    assert "no-such-model" not in errors


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"storage": "nowhere:/tmp/x"}, "nowhere"),
        ({"storage": "file:/proc/no/such/place"}, "/proc/no/such/place"),
        ({"model": "hash:many"}, "hash:many"),
        ({"host": "no.such.host.invalid"}, "no.such.host.invalid"),
    ],
)
async def test_what_cannot_be_opened_is_told_in_one_paragraph_and_the_port_stays_shut(
    start: Start, variables: dict[str, str], says: str
) -> None:
    server = await start(**variables)

    output, errors = await asyncio.wait_for(server.process.communicate(), 60)

    assert server.process.returncode == 1
    assert output == b""
    assert b"Recollect cannot start: " in errors
    assert says.encode() in errors
    assert b"Traceback" not in errors


async def test_a_store_of_another_model_is_told_before_the_port_opens(start: Start) -> None:
    first = await (await start()).listening()
    assert await first.stopped() == 0

    second = await start(model="hash:32")
    output, errors = await asyncio.wait_for(second.process.communicate(), 60)

    assert (second.process.returncode, output) == (1, b"")
    assert b"hash-64" in errors
    assert b"Traceback" not in errors


class _Held:
    """Holds searches of a service until told otherwise."""

    def __init__(self, service: MemoryService, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.gate = asyncio.Event(), asyncio.Event()
        self._real = service.search_encoded
        monkeypatch.setattr(service, "search_encoded", self._search)

    async def _search(self, request: SearchRequest) -> Any:
        self.begun.set()
        await self.gate.wait()
        return await self._real(request)


async def test_a_request_under_way_is_finished_and_a_new_connection_refused(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await make_service(shutdown_s=30)
    held = _Held(service, monkeypatch)
    listener, stopping, ready = bind("127.0.0.1", 0), _Stopping(30), asyncio.Event()
    serving = asyncio.create_task(_listen(service.settings, service, listener, stopping, lambda _: ready.set()))
    await ready.wait()
    url = url_of(listener)
    async with httpx.AsyncClient(base_url=url) as client:
        running = asyncio.create_task(client.post("/v1/search", json={"text": "a"}))
        await asyncio.wait_for(held.begun.wait(), 10)
        stopping.stop()
        async with httpx.AsyncClient(base_url=url) as late:
            while True:
                try:
                    await late.get("/healthz")
                except httpx.TransportError:
                    break
        assert not running.done()
        held.gate.set()
        assert (await running).status_code == 200
    assert await asyncio.wait_for(serving, 10)


async def test_a_request_that_takes_too_long_is_cut_when_time_is_up(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await make_service(shutdown_s=0.1)
    held = _Held(service, monkeypatch)
    listener, stopping, ready = bind("127.0.0.1", 0), _Stopping(0.1), asyncio.Event()
    serving = asyncio.create_task(_listen(service.settings, service, listener, stopping, lambda _: ready.set()))
    await ready.wait()
    async with httpx.AsyncClient(base_url=url_of(listener)) as client:
        running = asyncio.create_task(client.post("/v1/search", json={"text": "a"}))
        await asyncio.wait_for(held.begun.wait(), 10)
        stopping.stop()
        assert await asyncio.wait_for(serving, 10)
        with contextlib.suppress(httpx.TransportError):
            assert (await running).status_code >= 500


HOLDING = """
import asyncio, sys
from recollect.service import MemoryService, Settings
from recollect.service.http import server
async def held(self):
    print("held", flush=True)
    await asyncio.Event().wait()
MemoryService.save_all = held
sys.exit(server.run(Settings()))
"""


async def test_a_second_signal_ends_a_server_that_does_not_come_to_an_end(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PROGRAM", HOLDING)
    server = await (await start(shutdown_s="3600")).listening()
    assert server.process.stdout is not None
    server.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(server.process.stdout.readline(), 30) == b"held\n"

    assert await server.stopped() == 128 + signal.SIGTERM


async def test_a_flush_that_hangs_is_given_up_and_told_by_the_exit_code(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PROGRAM", HOLDING)
    server = await (await start(shutdown_s="0.5")).listening()

    assert await server.stopped() == 1
    assert "flush took too long" in await server.errors()


def test_a_port_of_0_is_a_free_one_and_the_url_names_it() -> None:
    with bind("127.0.0.1", 0) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.listen()
        with pytest.raises(StartError, match="another port"):
            bind("127.0.0.1", listener.getsockname()[1])


def test_run_answers_with_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(Settings(storage=f"nowhere:{tmp_path}", model="hash", port=0))

    assert code == 1
    assert "cannot start" in capsys.readouterr().err
