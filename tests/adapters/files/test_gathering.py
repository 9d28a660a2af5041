"""Small reads that wait together are read together, and each is answered for itself."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from recollect.adapters.errors import StoreDamagedError, StoreUnavailableError
from recollect.adapters.files import FileAdapter, catalog
from recollect.adapters.files.gathering import TOGETHER_MAX, GatheredReads, Waiting
from recollect.adapters.port import SUMMARY, ById
from recollect.adapters.testing.values import NEWEST, PROFILE, a_commit, a_version
from recollect.adapters.versions import Version


class Held(Executor):
    """A pool whose work waits until it is told to run."""

    def __init__(self) -> None:
        self.work: list[Callable[[], Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        self.work.append(lambda: fn(*args, **kwargs))
        return Future()

    async def run(self) -> None:
        while self.work:
            await asyncio.to_thread(self.work.pop(0))


class Reader:
    """Answers with a version of the id asked for, but for one that is damaged."""

    def select(self, selectors: Sequence[ById], *_: object) -> list[Version | None]:
        if selectors[0].memory_id == "damaged":
            raise StoreDamagedError("row 7 differs from its checksum", place="row 7")
        return [a_version(1, memory_id=selector.memory_id) for selector in selectors]


class Reads:
    """Gathered reads over such a reader, and how many transactions they took."""

    def __init__(self) -> None:
        self.pool = Held()
        self.transactions = 0
        self.gathered = GatheredReads(self.pool, self._reading)

    def _reading(self, work: Callable[[Any], Any]) -> Any:
        self.transactions += 1
        return work(Reader())

    def ask(self, memory_id: str) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self.gathered.submit(Waiting([ById(memory_id)], NEWEST, SUMMARY, loop, future))
        return future


async def test_reads_that_wait_together_take_one_transaction_and_each_gets_its_own_answer() -> None:
    reads = Reads()
    asked = [reads.ask(f"m{number}") for number in range(20)]
    await reads.pool.run()
    found = await asyncio.gather(*asked)
    assert [version.memory_id for (version,) in found] == [f"m{number}" for number in range(20)]
    assert reads.transactions == 1


async def test_a_read_that_fails_fails_alone() -> None:
    reads = Reads()
    asked = [reads.ask(name) for name in ("a", "damaged", "b")]
    await reads.pool.run()
    first, damaged, last = asked
    with pytest.raises(StoreDamagedError, match="row 7"):
        await damaged
    assert [(await first)[0].memory_id, (await last)[0].memory_id] == ["a", "b"]


async def test_a_read_whose_caller_has_gone_is_not_read() -> None:
    reads = Reads()
    reads.ask("gone").cancel()
    await reads.pool.run()
    assert reads.transactions == 0


async def test_when_much_waits_another_thread_helps() -> None:
    reads = Reads()
    asked = [reads.ask(f"m{number}") for number in range(2 * TOGETHER_MAX)]
    assert len(reads.pool.work) > 1
    await reads.pool.run()
    assert len(await asyncio.gather(*asked)) == 2 * TOGETHER_MAX


async def test_many_small_reads_at_once_see_what_was_acknowledged_before(adapter: FileAdapter) -> None:
    versions = [a_version(number) for number in range(30)]
    await adapter.commit(a_commit(*versions))
    found = await asyncio.gather(*(adapter.get([ById(version.memory_id)], NEWEST) for version in versions))
    assert [version and version.memory_id for (version,) in found] == [version.memory_id for version in versions]


@pytest.mark.parametrize(("written", "remedy"), [(1, "export it"), (99, "install a newer version")])
async def test_a_store_of_another_format_is_refused_with_what_to_do(tmp_path: Path, written: int, remedy: str) -> None:
    adapter = FileAdapter(tmp_path / "store")
    await adapter.open(PROFILE)
    await adapter.close()
    connection = catalog.connect(tmp_path / "store" / catalog.NAME)
    catalog.write_meta(connection, "format", str(written))
    connection.close()
    with pytest.raises(StoreUnavailableError, match=remedy):
        await adapter.open()
