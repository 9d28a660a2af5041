"""The engine's process may die at any moment: nothing acknowledged is lost, nothing is done twice, nothing is left."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from recollect.adapters.errors import StoreBusyError, StoreDamagedError, StoreUnavailableError
from recollect.adapters.port import ById, KeyIs, Scan, SimilarityQuery
from recollect.adapters.qdrant.edge import adapter as adapters
from recollect.adapters.qdrant.edge import launching
from recollect.adapters.qdrant.edge.adapter import EdgeAdapter
from recollect.adapters.qdrant.edge.keeper import Keeper
from recollect.adapters.testing.values import (
    NEWEST,
    PROFILE,
    a_commit,
    a_version,
    axis,
    collected,
    ids,
    memory_id,
    windows,
)
from tests.adapters.qdrant.edge_programs import MANY, a_pair
from tests.adapters.qdrant.in_process import ShardAdapter
from tests.adapters.qdrant.killing import kill_with_engine
from tests.adapters.starting import Start


@pytest.fixture
def folder(quick_path: Path) -> Path:
    return quick_path / "store"


@pytest_asyncio.fixture
async def adapter(folder: Path) -> AsyncIterator[EdgeAdapter]:
    adapter = EdgeAdapter(folder)
    await adapter.open(PROFILE)
    yield adapter
    await adapter.close()


async def ends(pid: int) -> bool:
    """Say whether a process ends within a time that is long enough for any machine."""
    try:
        await asyncio.to_thread(psutil.Process(pid).wait, 30)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


# --- The engine's process dies ---


@pytest.mark.requirement("B7")
async def test_a_killed_engine_is_started_again_and_everything_acknowledged_is_there(adapter: EdgeAdapter) -> None:
    await adapter.commit(a_commit(a_version(1), durability="relaxed"))
    await adapter.commit(a_commit(a_version(2)))
    first = adapter.engine_pid
    os.kill(first, signal.SIGKILL)
    found = await adapter.get([ById(memory_id(1)), ById(memory_id(2))], NEWEST)
    assert all(version is not None for version in found)
    assert adapter.engine_pid != first
    assert (await adapter.check()).findings == ()


@pytest.mark.requirement("B7")
async def test_commits_under_way_when_the_engine_dies_are_done_once(adapter: EdgeAdapter) -> None:
    done = 0

    async def write(number: int) -> None:
        nonlocal done
        # A commit that were done twice would find its own key taken.
        free = KeyIs("longterm", f"key {number}", None)
        await adapter.commit(a_commit(a_version(number, key=f"key {number}"), preconditions=(free,)))
        done += 1
        if done % 100 == 50:
            os.kill(adapter.engine_pid, signal.SIGKILL)

    await asyncio.gather(*(write(number) for number in range(400)))
    assert await adapter.count(NEWEST) == 400


async def test_a_stream_under_way_when_the_engine_dies_says_so_and_the_next_one_is_whole(adapter: EdgeAdapter) -> None:
    await adapter.commit(a_commit(*(a_version(number) for number in range(200))))
    stream = adapter.scan(Scan(read_point=NEWEST, batch_size=10))
    await anext(stream)
    os.kill(adapter.engine_pid, signal.SIGKILL)
    with pytest.raises(StoreUnavailableError, match="ask again"):
        async for _ in stream:
            pass
    assert len(await collected(adapter.scan(Scan(read_point=NEWEST)))) == 200


async def test_an_engine_that_dies_again_and_again_is_a_clear_error(
    adapter: EdgeAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "BACKOFF_S", 0.0)
    for _ in range(4):
        os.kill(adapter.engine_pid, signal.SIGKILL)
        assert await adapter.count(NEWEST) == 0
    os.kill(adapter.engine_pid, signal.SIGKILL)
    with pytest.raises(StoreUnavailableError, match="died 5 times"):
        await adapter.count(NEWEST)


async def test_an_engine_that_does_not_answer_is_a_clear_error(
    adapter: EdgeAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "ANSWER_LIMIT_S", 0.2)
    os.kill(adapter.engine_pid, signal.SIGSTOP)
    with pytest.raises(StoreBusyError, match="did not answer"):
        await adapter.count(NEWEST)
    os.kill(adapter.engine_pid, signal.SIGCONT)
    monkeypatch.setattr(adapters, "ANSWER_LIMIT_S", 60.0)
    assert await adapter.count(NEWEST) == 0


async def test_a_store_whose_engine_does_not_open_it_in_time_is_a_clear_error_and_no_process_is_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = launching.reach
    pids: list[int] = []

    def reach_and_stop(*arguments: Any) -> launching.Reached:
        reached = real(*arguments)
        pids.append(reached.pid)
        os.kill(reached.pid, signal.SIGSTOP)
        return reached

    monkeypatch.setattr(launching, "reach", reach_and_stop)
    monkeypatch.setattr(adapters, "OPEN_LIMIT_S", 0.2)
    with pytest.raises(StoreDamagedError, match="did not open the store"):
        await EdgeAdapter(folder).open(PROFILE)
    assert await ends(pids[0])


async def test_a_second_opener_of_an_engine_that_hangs_is_told_so(
    adapter: EdgeAdapter, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "OPEN_LIMIT_S", 0.2)
    os.kill(adapter.engine_pid, signal.SIGSTOP)
    with pytest.raises(StoreBusyError, match=f"process {adapter.engine_pid} .* did not answer"):
        await EdgeAdapter(folder).open()
    os.kill(adapter.engine_pid, signal.SIGCONT)
    assert await adapter.count(NEWEST) == 0


async def test_an_engine_that_is_asked_to_end_leaves_everything_on_disk_and_is_started_again(
    adapter: EdgeAdapter,
) -> None:
    await adapter.commit(a_commit(a_version(1)))
    first = adapter.engine_pid
    os.kill(first, signal.SIGTERM)
    assert await ends(first)
    assert await adapter.count(NEWEST) == 1


# --- Who started it dies, or another comes ---


@pytest.mark.requirement("A17")
async def test_processes_share_one_engine_and_see_each_others_commits(
    adapter: EdgeAdapter, folder: Path, start_program: Start
) -> None:
    program = start_program("hold", str(folder))
    assert program.stdout is not None
    pid = await asyncio.to_thread(program.stdout.readline)
    assert int(pid) == adapter.engine_pid
    assert await adapter.count(NEWEST) == 1


async def test_the_engine_outlives_the_process_that_started_it_while_another_uses_it(
    folder: Path, start_program: Start
) -> None:
    program = start_program("hold", str(folder))
    assert program.stdout is not None
    pid = int(await asyncio.to_thread(program.stdout.readline))
    adapter = EdgeAdapter(folder)
    await adapter.open()
    program.kill()
    await asyncio.to_thread(program.wait)
    await adapter.commit(a_commit(a_version(2)))
    assert (await adapter.count(NEWEST), adapter.engine_pid) == (2, pid)
    await adapter.close()
    assert await ends(pid)


@pytest.mark.requirement("B7")
async def test_a_killed_program_leaves_no_engine_and_everything_it_was_told(folder: Path, start_program: Start) -> None:
    program = start_program("hold", str(folder))
    assert program.stdout is not None
    pid = int(await asyncio.to_thread(program.stdout.readline))
    program.kill()
    assert await ends(pid)
    adapter = EdgeAdapter(folder)
    await adapter.open()
    assert await adapter.count(NEWEST) == 1
    await adapter.close()


async def test_closing_leaves_no_process_and_no_socket(folder: Path) -> None:
    adapter = EdgeAdapter(folder)
    await adapter.open(PROFILE)
    pid = adapter.engine_pid
    await adapter.close()
    assert not psutil.pid_exists(pid)
    assert not (folder / "engine.sock").exists()


# --- Everything dies, at every step ---


@pytest.mark.requirement("A7", "B7")
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 7))])
async def test_no_kill_loses_an_acknowledged_commit_or_leaves_half_of_one(
    folder: Path, start_program: Start, seed: int
) -> None:
    chance = random.Random(seed)
    program = start_program("write_pairs", str(folder), "4")
    assert program.stdout is not None
    told = [await asyncio.to_thread(program.stdout.readline) for _ in range(chance.randrange(1, 300))]
    await asyncio.to_thread(kill_with_engine, program, engine_first=chance.random() < 0.5)
    adapter = EdgeAdapter(folder)
    await adapter.open()
    versions = await collected(adapter.scan(Scan(read_point=NEWEST)))
    there = {version.memory_id for version in versions}
    assert all({version.memory_id for version in a_pair(int(line))} <= there for line in told)
    assert len(there) % 2 == 0
    assert (await adapter.check()).findings == ()
    await adapter.close()


@pytest.mark.requirement("A7", "B7")
@pytest.mark.parametrize(
    "steps", [range(1, 145, 12), *(pytest.param(range(at, 145, 12), marks=pytest.mark.slow) for at in range(2, 13))]
)
async def test_a_large_commit_is_there_wholly_or_not_at_all_at_whatever_step_its_process_dies(
    folder: Path, start_program: Start, steps: range
) -> None:
    adapter = ShardAdapter(folder)
    await adapter.open(PROFILE)
    await adapter.commit(a_commit(*(a_version(number, vectors=windows(axis(0))) for number in range(MANY))))
    await adapter.close()
    program = start_program("die_at_each", "commit", str(folder), *map(str, steps))
    output, _ = await asyncio.to_thread(program.communicate)
    outcomes = [line.split() for line in output.splitlines()]
    assert [int(step) for step, *_ in outcomes] == list(steps)
    assert "done" in outcomes[-1]
    for step, *told in outcomes:
        await _see_all_or_nothing(Path(f"{folder} {step}"), acknowledged="CommitReceipt" in told)


async def _see_all_or_nothing(folder: Path, *, acknowledged: bool) -> None:
    """See that a store whose process died while it did the large commit holds all of it, or nothing."""
    Keeper(folder, PROFILE).close()
    adapter = ShardAdapter(folder)
    await adapter.open()
    everything = await collected(adapter.scan(Scan(read_point=None)))
    found = await collected(
        adapter.find_similar(SimilarityQuery(read_point=NEWEST, dense=axis(1), threshold=0.5, limit=None))
    )
    assert len(everything) in ({3 * MANY} if acknowledged else {MANY, 3 * MANY})
    whole = len(everything) == 3 * MANY
    assert sorted(match.version.memory_id for match in found) == (ids(*range(MANY, 2 * MANY)) if whole else [])
    assert sum(version.erased for version in everything) == (1 if whole else 0)
    assert (await adapter.check()).findings == ()
    await adapter.close()
