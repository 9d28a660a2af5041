"""Compaction, and the change to another shard, may be cut off at any moment: the store is sound and compacted later."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from recollect.adapters.errors import StoreUnavailableError
from recollect.adapters.port import Scan
from recollect.adapters.qdrant.edge.adapter import EdgeAdapter
from recollect.adapters.testing.values import EVERYTHING, NEWEST, PROFILE, a_commit, a_version, axis, collected, windows
from recollect.adapters.versions import Version
from tests.adapters.qdrant.edge_programs import MANY
from tests.adapters.starting import Start
from tests.leftovers import files_that_hold

MARK = "quokka"
"""A word that stands in every text of what is erased, and nowhere else."""

STEPS_MAX = 421
"""More than there are; the last ones find nothing to die at."""

STRIDE = 42
SERIES = [range(at, STEPS_MAX, STRIDE) for at in range(1, STRIDE, 14)]


@pytest.fixture
def folder(quick_path: Path) -> Path:
    return quick_path / "store"


def a_memory(number: int) -> Version:
    """Return one of those of which each second one is erased."""
    word = "kept" if number % 2 else MARK
    return replace(a_version(number, vectors=windows(axis(0))), content=f"{word} {number} " * 50)


def wait_for_builders(folder: Path) -> None:
    """Wait for the end of processes that still fill a shard, which nobody wants any more."""
    left = [process for process in psutil.process_iter() if any(str(folder) in word for word in command_of(process))]
    psutil.wait_procs(left, 30)


def command_of(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


async def prepare(folder: Path) -> None:
    adapter = EdgeAdapter(folder)
    await adapter.open(PROFILE)
    await adapter.commit(a_commit(*map(a_memory, range(MANY))))
    await adapter.close()


async def see_sound_and_compact(folder: Path, *, erased: bool) -> None:
    """See that a store holds all that it should and nothing else, and that compacting it leaves nothing erased."""
    adapter = EdgeAdapter(folder)
    await adapter.open()
    found = await collected(adapter.scan(Scan(read_point=NEWEST, projection=EVERYTHING)))
    assert len(found) in ({MANY // 2 + 1} if erased else {MANY, MANY // 2 + 1})
    erased = len(found) < MANY
    assert any(MARK in (version.content or "") for version in found) != erased
    assert (await adapter.check()).findings == ()
    await adapter.compact()
    if erased:
        assert files_that_hold(folder, MARK.encode()) == []
    assert len(await collected(adapter.scan(Scan(read_point=NEWEST)))) == len(found)
    await adapter.close()


@pytest.mark.requirement("B3", "B7")
@pytest.mark.parametrize("steps", [SERIES[0], *(pytest.param(steps, marks=pytest.mark.slow) for steps in SERIES[1:])])
async def test_a_compaction_that_dies_at_any_step_leaves_a_sound_store_and_the_next_one_finishes_it(
    folder: Path, start_program: Start, steps: range
) -> None:
    await prepare(folder)
    program = start_program("die_at_each", "compaction", str(folder), *map(str, steps))
    output, _ = await asyncio.to_thread(program.communicate)
    await asyncio.to_thread(wait_for_builders, folder)
    outcomes = [line.split() for line in output.splitlines()]
    assert [int(step) for step, *_ in outcomes] == list(steps)
    assert "done" in outcomes[-1]
    assert "done" not in outcomes[0]
    for step, *told in outcomes:
        if "done" not in told or step == outcomes[-1][0]:
            await see_sound_and_compact(Path(f"{folder} {step}"), erased="CommitReceipt" in told)


@pytest.mark.requirement("B7")
async def test_a_builder_that_dies_is_said_and_the_next_compaction_is_whole(folder: Path) -> None:
    adapter = EdgeAdapter(folder)
    await adapter.open(PROFILE)
    await adapter.commit(a_commit(*map(a_memory, range(MANY))))
    erases = tuple(a_memory(number).ref for number in range(0, MANY, 2))
    await adapter.commit(a_commit(a_version(MANY), erases=erases))
    compacting = asyncio.create_task(adapter.compact())
    builders: list[psutil.Process] = []
    while not builders and not compacting.done():
        await asyncio.sleep(0)
        builders = psutil.Process(adapter.engine_pid).children()
    os.kill(builders[0].pid, signal.SIGKILL)
    with pytest.raises(StoreUnavailableError, match="process that builds an index has ended"):
        await compacting
    assert await adapter.count(NEWEST) == MANY // 2 + 1
    await adapter.close()
    await see_sound_and_compact(folder, erased=True)
