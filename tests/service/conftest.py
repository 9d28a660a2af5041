"""A real service for each test: the file backend in a folder of its own, and the deterministic embedder."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from recollect.service import MemoryService, Settings, create_memory_service

MakeService = Callable[..., Awaitable[MemoryService]]


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"file:{tmp_path / 'store'}"


@pytest.fixture
async def make_service(storage: str) -> AsyncGenerator[MakeService, None]:
    made: list[MemoryService] = []

    async def make(**settings: Any) -> MemoryService:
        service = await create_memory_service(Settings(**{"storage": storage, "model": "hash", **settings}))
        made.append(service)
        return service

    yield make
    for service in made:
        await service.close()


@pytest.fixture
async def memory(make_service: MakeService) -> MemoryService:
    return await make_service()
