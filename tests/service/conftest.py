"""A real service for each test: the file backend in a folder of its own, and the deterministic embedder."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from recollect.service import MemoryService, Settings, create_memory_service

MakeService = Callable[..., Awaitable[MemoryService]]


@pytest.fixture(autouse=True)
def logs_of_no_other_test() -> Iterator[None]:
    """Undo what a test set up for its logs, whose stream is gone after it."""
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    root.handlers[:] = [
        handler for handler in root.handlers if not isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter)
    ]


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
