import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from recollect.adapters.errors import StoreFullError
from recollect.adapters.port import Commit, CommitReceipt
from recollect.adapters.testing.model import ModelAdapter, ModelStorage
from recollect.adapters.testing.values import PROFILE, a_commit, a_version
from recollect.service import MemoryService, NewMemory, SearchRequest
from recollect.service.buffer import BufferedStore
from recollect.service.pace import Pace

pytestmark = pytest.mark.requirement("B6")

TURNS = 20
"""After so many turns of the event loop everything has happened that waits for no time and nobody."""


class Busy(Pace):
    """The pace of a load under which everybody waits as long as the bounds allow."""

    @property
    def expects_company(self) -> bool:
        return True

    def ended(self, flush_s: float) -> None:
        """Go on as before the first flush, when the bounds hold."""


async def busy(memory: MemoryService) -> MemoryService:
    settings = memory.settings
    memory._store._pace = Busy(settings.flush_operations_max, settings.flush_interval_ms / 1000)
    return memory


async def _until_a_write_waits(memory: MemoryService) -> None:
    while not (await memory.status()).buffer["operations_waiting"]:
        pass  # the status is read in a thread, so the writer goes on meanwhile


async def test_gathered_writes_are_all_acknowledged_and_share_few_flushes(make_service: Any) -> None:
    memory = await busy(await make_service(preset="background", flush_operations_max=10, flush_interval_ms=5000))
    answers = await asyncio.gather(*(memory.remember(f"fact {i}") for i in range(30)))
    buffer = (await memory.status()).buffer
    assert [answer.status for answer in answers] == ["created"] * 30
    assert (buffer["operations_buffered"], buffer["batches_flushed"]) == (30, 3)


@pytest.mark.requirement("B12")
async def test_a_write_for_which_no_others_come_is_flushed_after_the_interval_and_counted(make_service: Any) -> None:
    memory = await busy(await make_service(preset="background", flush_operations_max=50, flush_interval_ms=1))
    await memory.remember("alone")
    buffer = (await memory.status()).buffer
    assert (buffer["operations_buffered"], buffer["batches_flushed"], buffer["operations_waiting"]) == (1, 1, 0)
    assert buffer["flush_ms_mean"] > 0


async def test_what_waits_is_written_when_everything_is_to_be_saved(make_service: Any) -> None:
    memory = await busy(await make_service(preset="background", flush_operations_max=50, flush_interval_ms=10_000))
    writing = asyncio.create_task(memory.remember("waits"))
    await _until_a_write_waits(memory)
    await memory.save_all()
    assert (await writing).status == "created"


async def test_what_waits_is_written_before_the_service_closes(make_service: Any) -> None:
    memory = await busy(await make_service(preset="background", flush_operations_max=50, flush_interval_ms=10_000))
    writing = asyncio.create_task(memory.remember("waits"))
    await _until_a_write_waits(memory)
    await memory.close()
    stored = await writing
    again: MemoryService = await make_service()
    assert (await again.get(stored.id)).summary == "waits"


async def test_a_writer_that_leaves_before_the_flush_stores_nothing(make_service: Any) -> None:
    memory = await busy(await make_service(preset="background", flush_operations_max=50, flush_interval_ms=10_000))
    writing = asyncio.create_task(memory.remember("never mind"))
    await _until_a_write_waits(memory)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await memory.save_all()
    assert (await memory.search(SearchRequest(text="never mind"))).hits == []


async def test_one_writer_that_fails_does_not_fail_the_others(
    make_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = await busy(await make_service(preset="background", flush_operations_max=3, flush_interval_ms=5000))
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


# --- The pace --------------------------------------------------------------------------------------------------------


class SlowStore(ModelAdapter):
    """A store whose commits take as long, on a clock of its own, as it is told; they end when it is told so."""

    def __init__(self) -> None:
        super().__init__(ModelStorage())
        self.now_s = 0.0
        self.waiting: list[asyncio.Event] = []
        self.is_slow = True

    async def commit(self, commit: Commit) -> CommitReceipt:
        if self.is_slow:
            ended = asyncio.Event()
            self.waiting.append(ended)
            await ended.wait()
        return await super().commit(commit)

    def end_commits_after(self, seconds: float) -> None:
        self.now_s += seconds
        for ended in self.waiting:
            ended.set()
        self.waiting.clear()


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


@pytest.fixture
async def slow() -> AsyncGenerator[tuple[SlowStore, BufferedStore], None]:
    """Give a store and its buffer, with the bounds that are the default."""
    store = SlowStore()
    buffer = BufferedStore(store, 50, 100, clock=lambda: store.now_s)
    await buffer.open(PROFILE)
    yield store, buffer
    store.is_slow = False
    store.end_commits_after(0)
    await buffer.close()


@pytest.mark.requirement("B13")
async def test_a_write_alone_is_not_held_back(slow: tuple[SlowStore, BufferedStore]) -> None:
    store, buffer = slow
    for number in range(5):
        writing = asyncio.create_task(buffer.commit(a_commit(a_version(number))))
        await turns()
        assert len(store.waiting) == 1
        store.end_commits_after(0.02)
        await writing
        store.now_s += 60
    assert buffer.metrics()["flush_operations_now"] == 1
    assert buffer.metrics()["flush_interval_ms_now"] == 0


@pytest.mark.requirement("B13")
async def test_what_comes_while_the_first_flush_runs_shares_the_next_one(slow: tuple[SlowStore, BufferedStore]) -> None:
    store, buffer = slow
    writing = [asyncio.create_task(buffer.commit(a_commit(a_version(number)))) for number in range(6)]
    await turns()
    assert (len(store.waiting), buffer.metrics()["operations_waiting"]) == (1, 5)
    store.end_commits_after(0.02)
    await turns()
    assert (len(store.waiting), buffer.metrics()["operations_waiting"]) == (5, 0)
    store.end_commits_after(0.02)
    await asyncio.gather(*writing)
    assert buffer.metrics()["batches_flushed"] == 2


@pytest.mark.requirement("B13")
async def test_writers_that_keep_coming_share_flushes_and_the_status_says_how_many_are_gathered(
    slow: tuple[SlowStore, BufferedStore],
) -> None:
    store, buffer = slow
    writers, each = 16, 30

    async def write(first: int) -> None:
        for number in range(each):
            await buffer.commit(a_commit(a_version(first + number)))

    writing = asyncio.gather(*(write(1_000 * writer) for writer in range(writers)))
    while not writing.done():
        await turns()
        if store.waiting:  # else a flush waits for company
            store.end_commits_after(0.02)
    await writing
    found = buffer.metrics()
    assert found["operations_buffered"] == writers * each
    assert found["batches_flushed"] < writers * each / 6
    assert 1 < found["flush_operations_now"] <= 50
    assert 0 < found["flush_interval_ms_now"] <= 20
