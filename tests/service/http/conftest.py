"""The real app over a real service: in memory for most tests, on a socket where the wire matters."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest

from recollect.service import MemoryService
from recollect.service.http.app import create_app
from recollect.service.http.server import _listen, _Stopping, bind

MakeService = Callable[..., Awaitable[MemoryService]]
Connect = Callable[..., Awaitable[httpx.AsyncClient]]
Listen = Callable[[MemoryService], Awaitable[int]]

BASE_URL = "http://127.0.0.1"


@pytest.fixture
async def connect(make_service: MakeService) -> AsyncGenerator[Connect, None]:
    """Return what gives a client of an app, in memory, by settings or for a service."""
    clients: list[httpx.AsyncClient] = []

    async def connected(service: MemoryService | None = None, **settings: Any) -> httpx.AsyncClient:
        memory = service or await make_service(**settings)
        transport = httpx.ASGITransport(create_app(memory.settings, service=memory), raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url=BASE_URL)
        clients.append(client)
        return client

    yield connected
    for client in clients:
        await client.aclose()


@pytest.fixture
async def client(connect: Connect, memory: MemoryService) -> httpx.AsyncClient:
    """Return a client of the app that speaks for the service `memory`."""
    return await connect(memory)


@pytest.fixture
async def listen() -> AsyncGenerator[Listen, None]:
    """Return what serves a service on a socket of this loop, and gives its port."""
    running: list[tuple[asyncio.Task[bool], _Stopping]] = []

    async def listening(service: MemoryService) -> int:
        listener = bind("127.0.0.1", 0)
        stopping = _Stopping(1)
        ready = asyncio.Event()
        task = asyncio.create_task(_listen(service.settings, service, listener, stopping, lambda _: ready.set()))
        running.append((task, stopping))
        await ready.wait()
        port: int = listener.getsockname()[1]
        return port

    yield listening
    for task, stopping in running:
        stopping.stop()
        with suppress(asyncio.CancelledError):
            await task


async def remembered(client: httpx.AsyncClient, content: Any, **fields: Any) -> dict[str, Any]:
    """Store a memory over HTTP and return the answer."""
    response = await client.post("/v1/memories", json={"content": content, **fields})
    assert response.status_code in (200, 201), response.text
    answer: dict[str, Any] = response.json()
    return answer
