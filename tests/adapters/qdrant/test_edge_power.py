"""A power cut loses nothing acknowledged: tried on a file system that drops all that was not synced."""

import asyncio
import random
from pathlib import Path

import pytest

from recollect.adapters.port import ById, Scan
from recollect.adapters.qdrant.edge.adapter import EdgeAdapter
from recollect.adapters.testing.values import EVERYTHING, NEWEST, PROFILE, collected
from tests.adapters.disks import Disk
from tests.adapters.qdrant.edge_programs import a_pair
from tests.adapters.qdrant.killing import kill_with_engine
from tests.adapters.starting import Program, Start

SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))]


async def cut(disk: Disk, program: Program) -> None:
    """Cut the power under a program and its engine, and turn it on again."""
    disk.cut()
    await asyncio.to_thread(kill_with_engine, program)
    disk.power_up()


async def see_whole_pairs(folder: Path, told: list[str]) -> None:
    """See that every acknowledged pair is there, that no pair is halved, and that nothing is damaged."""
    adapter = EdgeAdapter(folder)
    await adapter.open()
    names = [version.memory_id for line in told for version in a_pair(int(line))]
    found = await adapter.get([ById(name) for name in names], NEWEST, EVERYTHING)
    assert all(version is not None and version.provenance is not None for version in found)
    stored = await collected(adapter.scan(Scan(read_point=NEWEST)))
    assert len(stored) % 2 == 0
    assert (await adapter.check()).findings == ()
    await adapter.close()


@pytest.mark.requirement("A5", "B3", "B7")
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_power_cut_loses_no_acknowledged_commit(disk: Disk, start_program: Start, seed: int) -> None:
    folder = disk.path / "store"
    chance = random.Random(seed)
    told: list[str] = []
    for start in (0, 100_000):  # the second time on what the first one left
        program = start_program("write_pairs", str(folder), "4", str(start))
        assert program.stdout is not None
        told += [await asyncio.to_thread(program.stdout.readline) for _ in range(chance.randrange(1, 300))]
        await cut(disk, program)
        await see_whole_pairs(folder, told)


@pytest.mark.requirement("B3", "B7")
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_power_cut_between_flushes_loses_no_acknowledged_commit(
    disk: Disk, start_program: Start, seed: int
) -> None:
    folder = disk.path / "store"
    chance = random.Random(seed)
    program = start_program("write_and_flush", str(folder), str(seed))
    assert program.stdout is not None
    told = [await asyncio.to_thread(program.stdout.readline) for _ in range(chance.randrange(1, 200))]
    await cut(disk, program)
    await see_whole_pairs(folder, told)


async def test_a_new_store_is_there_after_a_power_cut(disk: Disk, start_program: Start) -> None:
    folder = disk.path / "new" / "store"
    program = start_program("hold", str(folder))
    assert program.stdout is not None
    await asyncio.to_thread(program.stdout.readline)
    await cut(disk, program)
    adapter = EdgeAdapter(folder)
    assert await adapter.open() == PROFILE
    assert await adapter.count(NEWEST) == 1
    await adapter.close()
