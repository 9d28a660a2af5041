"""Has something happen at the moment in which two calls could meet."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from recollect.service import MemoryService


def after_next_read(memory: MemoryService, patch: pytest.MonkeyPatch, act: Callable[[], Awaitable[object]]) -> None:
    """Have something happen once, after the next look at the store and before what is done with it."""
    real = memory._store.get

    async def get(*asked: Any) -> Any:
        found = await real(*asked)
        patch.setattr(memory._store, "get", real)
        await act()
        return found

    patch.setattr(memory._store, "get", get)


def before_next_write(memory: MemoryService, patch: pytest.MonkeyPatch, act: Callable[[], Awaitable[object]]) -> None:
    """Have something happen once between what the next write was planned on and the write."""
    real = memory._store.commit

    async def commit(commit: Any) -> Any:
        if commit.puts:
            patch.setattr(memory._store, "commit", real)
            await act()
        return await real(commit)

    patch.setattr(memory._store, "commit", commit)
