"""Memories with a past."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from recollect.service import MemoryService, NewMemory, ProvenanceInput

Derive = Callable[..., Awaitable[str]]


@pytest.fixture
def derive(memory: MemoryService) -> Derive:
    """Return what stores a memory made of others, and gives its id."""

    async def derived(content: str, parents: Sequence[Any] = (), *, namespace: str = "longterm", **said: Any) -> str:
        given = ProvenanceInput(**{"actor": "ana", "derived_from": list(parents), **said})
        return (await memory.remember(NewMemory(content=content, namespace=namespace, provenance=given))).id

    return derived
