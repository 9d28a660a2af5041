import asyncio
from typing import Any

import pytest

from recollect.adapters.errors import StoreFullError
from recollect.adapters.port import Commit, CommitReceipt
from recollect.service import MemoryService, NewMemory, SearchRequest

pytestmark = pytest.mark.requirement("B6")


async def _until_a_write_waits(memory: MemoryService) -> None:
    while not (await memory.status()).buffer["operations_waiting"]:
        pass  # the status is read in a thread, so the writer goes on meanwhile


async def test_gathered_writes_are_all_acknowledged_and_share_few_flushes(make_service: Any) -> None:
    memory: MemoryService = await make_service(preset="background", flush_operations_max=10, flush_interval_ms=5000)
    answers = await asyncio.gather(*(memory.remember(f"fact {i}") for i in range(30)))
    buffer = (await memory.status()).buffer
    assert [answer.status for answer in answers] == ["created"] * 30
    assert (buffer["operations_buffered"], buffer["batches_flushed"]) == (30, 3)


@pytest.mark.requirement("B12")
async def test_a_write_alone_is_flushed_after_the_interval_and_counted(make_service: Any) -> None:
    memory: MemoryService = await make_service(preset="background", flush_operations_max=50, flush_interval_ms=1)
    await memory.remember("alone")
    buffer = (await memory.status()).buffer
    assert (buffer["operations_buffered"], buffer["batches_flushed"], buffer["operations_waiting"]) == (1, 1, 0)
    assert buffer["flush_ms_mean"] > 0


async def test_what_waits_is_written_when_everything_is_to_be_saved(make_service: Any) -> None:
    memory: MemoryService = await make_service(preset="background", flush_operations_max=50, flush_interval_ms=10_000)
    writing = asyncio.create_task(memory.remember("waits"))
    await _until_a_write_waits(memory)
    await memory.save_all()
    assert (await writing).status == "created"


async def test_what_waits_is_written_before_the_service_closes(make_service: Any) -> None:
    memory: MemoryService = await make_service(preset="background", flush_operations_max=50, flush_interval_ms=10_000)
    writing = asyncio.create_task(memory.remember("waits"))
    await _until_a_write_waits(memory)
    await memory.close()
    stored = await writing
    again: MemoryService = await make_service()
    assert (await again.get(stored.id)).summary == "waits"


async def test_a_writer_that_leaves_before_the_flush_stores_nothing(make_service: Any) -> None:
    memory: MemoryService = await make_service(preset="background", flush_operations_max=50, flush_interval_ms=10_000)
    writing = asyncio.create_task(memory.remember("never mind"))
    await _until_a_write_waits(memory)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await memory.save_all()
    assert (await memory.search(SearchRequest(text="never mind"))).hits == []


async def test_one_writer_that_fails_does_not_fail_the_others(
    make_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory: MemoryService = await make_service(preset="background", flush_operations_max=3, flush_interval_ms=5000)
    inner = memory._store._store
    commit = inner.commit

    async def sometimes_full(batch: Commit) -> CommitReceipt:
        if batch.puts[0].version.content == "too much":
            raise StoreFullError("no space left on the device; free some and try again")
        return await commit(batch)

    monkeypatch.setattr(inner, "commit", sometimes_full)
    answers = await asyncio.gather(
        *(memory.remember(NewMemory(content=text)) for text in ("a", "too much", "b")), return_exceptions=True
    )
    assert [type(answer).__name__ for answer in answers] == ["Remembered", "StoreFullError", "Remembered"]
