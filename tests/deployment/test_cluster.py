"""Three nodes with two copies of each shard, two services: a node dies under load and comes back, and another dies."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from recollect.adapters.qdrant.server import from_url
from tests.adapters.qdrant.server_process import HOST, ProcessServer, ServerMissingError, cluster, executable

COLLECTION = "memories"
WRITERS_EACH = 3
PATIENCE_S = 100
ENOUGH = 40
"""How many memories must be acknowledged in each phase."""

Start = Callable[[str], Awaitable[httpx.AsyncClient]]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Sequence[ProcessServer]]:
    """Give the nodes of a cluster, which a test may end."""
    try:
        executable()
    except ServerMissingError as missing:
        pytest.skip(f"no Qdrant server to test against: {missing}")
    with cluster(tmp_path) as servers:
        yield servers


@pytest.fixture
async def start() -> AsyncGenerator[Start, None]:
    """Give what starts a service on a store, as a process of its own, and returns a client of it."""
    processes: list[asyncio.subprocess.Process] = []
    clients: list[httpx.AsyncClient] = []

    async def started(storage: str) -> httpx.AsyncClient:
        settings = {"STORAGE": storage, "MODEL": "hash", "PORT": "0", "LOG_LEVEL": "error"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "recollect.service.cli", "serve"),
            env={**os.environ, **{f"RECOLLECT_{name}": value for name, value in settings.items()}},
            stdout=asyncio.subprocess.PIPE,
        )
        processes.append(process)
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)).decode()
        client = httpx.AsyncClient(base_url=line.split()[-1], timeout=PATIENCE_S)
        clients.append(client)
        return client

    yield started
    for client in clients:
        await client.aclose()
    for process in processes:
        process.terminate()
        await process.wait()


class Load:
    """Writers and readers of all services, until they are told to stop.

    Attributes:
        acknowledged: The id of each memory that a service said it holds, by its content.
        refusals: What the services said instead.
        wrong: What must never be: an answer that is neither the memory nor a clear error.
    """

    def __init__(self, services: Sequence[httpx.AsyncClient]) -> None:
        self._services = services
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self.acknowledged: dict[str, str] = {}
        self.refusals: list[dict[str, Any]] = []
        self.wrong: list[str] = []

    def begin(self) -> None:
        for at, service in enumerate(self._services):
            self._tasks += [asyncio.create_task(self._write(service, f"{at}-{n}")) for n in range(WRITERS_EACH)]
            self._tasks.append(asyncio.create_task(self._read(service)))

    async def more(self, count: int) -> None:
        """Wait until so many more are acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(PATIENCE_S):
            while len(self.acknowledged) < wanted:  # noqa: ASYNC110 - until enough came, which no event says
                await asyncio.sleep(0.05)

    async def end(self) -> None:
        """Have every writer finish what it began."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    def break_off(self) -> None:
        """End at once; without effect behind the end."""
        for task in self._tasks:
            task.cancel()

    async def _write(self, service: httpx.AsyncClient, name: str) -> None:
        number = 0
        while not self._stopping:
            content, number = f"note {number} of writer {name}", number + 1
            # Sent again under the same key until it is acknowledged, as a client does that wants it kept once.
            while content not in self.acknowledged:
                answer = await service.post(
                    "/v1/memories",
                    json={"content": content, "namespace": "longterm"},
                    headers={"Idempotency-Key": content.replace(" ", "-")},
                )
                if answer.status_code in (200, 201):
                    self.acknowledged[content] = answer.json()["id"]
                else:
                    self._refused(answer)

    async def _read(self, service: httpx.AsyncClient) -> None:
        turn = 0
        while not self._stopping:
            await asyncio.sleep(0.01)
            if not self.acknowledged:
                continue
            turn += 1
            content, memory_id = list(self.acknowledged.items())[turn * 7 % len(self.acknowledged)]
            answer = await service.get(f"/v1/memories/{memory_id}", params={"view": "full"})
            if answer.status_code != 200:
                self._refused(answer)
            elif answer.json()["content"] != content:
                self.wrong.append(answer.text)

    def _refused(self, answer: httpx.Response) -> None:
        problem = answer.json()
        self.refusals.append(problem)
        if answer.status_code != 503 or HOST not in problem["detail"]:
            self.wrong.append(f"{answer.status_code}: {answer.text}")


async def all_active(nodes: Sequence[ProcessServer]) -> None:
    """Wait until every copy of every shard has caught up."""
    async with asyncio.timeout(PATIENCE_S), httpx.AsyncClient() as client:
        for node in nodes:
            while True:
                with suppress(httpx.HTTPError):
                    url = f"http://{HOST}:{node.http_port}/collections/{COLLECTION}/cluster"
                    found = (await client.get(url)).json()["result"]
                    copies = found["local_shards"] + found["remote_shards"]
                    if all(copy["state"] == "Active" for copy in copies) and not found["shard_transfers"]:
                        break
                await asyncio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.requirement("A17", "F7")
async def test_a_node_dies_under_load_and_comes_back_and_another_one_dies_and_nothing_acknowledged_is_lost(
    nodes: Sequence[ProcessServer], start: Start
) -> None:
    hosts = ",".join(f"{HOST}:{node.http_port}" for node in nodes)
    storage = f"qdrant://{hosts}/{COLLECTION}?shards=6&replicas=2"
    services = [await start(storage), await start(storage)]
    load = Load(services)
    load.begin()
    try:
        await load.more(ENOUGH)
        await asyncio.to_thread(nodes[1].kill)
        await load.more(ENOUGH)
        await asyncio.to_thread(nodes[1].start)
        await load.more(ENOUGH)
        await load.end()
    finally:
        load.break_off()
    await all_active(nodes)
    assert load.wrong == []

    await asyncio.to_thread(nodes[2].kill)
    for service in services:
        for content, memory_id in load.acknowledged.items():
            answer = await service.get(f"/v1/memories/{memory_id}", params={"view": "full"})
            assert answer.status_code == 200, answer.text
            assert answer.json()["content"] == content
    adapter = from_url(storage)
    await adapter.open()
    report = await adapter.check()
    await adapter.close()
    assert report.findings == ()
    listed = await services[0].get("/v1/memories", params={"namespace": "longterm", "limit": 1000})
    assert len(listed.json()["items"]) == len(load.acknowledged) < 1000
