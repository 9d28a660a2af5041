"""A real service for each test: a store of its own, and the deterministic embedder.

The store is in files. A test marked `every_backend` runs on the embedded engine and on a Qdrant server too.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog

from recollect.service import MemoryService, Settings, create_memory_service
from tests.adapters.qdrant.server_process import drop, url_of

MakeService = Callable[..., Awaitable[MemoryService]]
BACKENDS = ("file", pytest.param("edge", marks=pytest.mark.slow), pytest.param("server", marks=pytest.mark.slow))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "storage" in metafunc.fixturenames and metafunc.definition.get_closest_marker("every_backend"):
        metafunc.parametrize("storage", BACKENDS, indirect=True)


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
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store that is not there yet: in files, or of the backend that a test is parametrized with."""
    backend = getattr(request, "param", "file")
    if backend != "server":
        yield f"{backend}:{tmp_path / 'store'}"
        return
    server, collection = request.getfixturevalue("qdrant_server"), f"service-{uuid4().hex}"
    yield url_of(server, collection)
    drop(server, collection)


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
