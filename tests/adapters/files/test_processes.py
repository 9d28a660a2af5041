"""Several processes use one store at the same time, and some are killed."""

import random
from pathlib import Path

import pytest

from recollect.adapters.files import FileAdapter
from recollect.adapters.port import ById, Scan
from recollect.adapters.testing.values import EVERYTHING, NEWEST, PROFILE, collected
from tests.adapters.starting import Program, Start


def _line(program: Program) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


def _begin(*programs: Program) -> None:
    for program in programs:
        assert _line(program) == "ready"
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()


def _rest(program: Program) -> list[str]:
    assert program.stdout is not None
    lines = program.stdout.read().splitlines()
    assert program.wait() == 0
    return lines


async def _new_store(folder: Path) -> None:
    adapter = FileAdapter(folder)
    await adapter.open(PROFILE)
    await adapter.close()


@pytest.mark.requirement("A5", "B1")
async def test_processes_that_write_together_lose_nothing(folder: Path, start_program: Start) -> None:
    await _new_store(folder)
    programs = [start_program("write_many", str(folder), "25", "3") for _ in range(3)]
    _begin(*programs)
    acknowledged = [memory_id for program in programs for line in _rest(program) for memory_id in line.split()]
    assert len(acknowledged) == 3 * 25 * 3
    adapter = FileAdapter(folder)
    await adapter.open()
    assert await adapter.count(NEWEST) == len(acknowledged)
    found = await adapter.get([ById(memory_id) for memory_id in acknowledged], NEWEST, EVERYTHING)
    assert all(version is not None and version.provenance is not None for version in found)
    assert (await adapter.check()).findings == ()
    await adapter.close()


async def test_a_key_is_won_by_one_process_only(folder: Path, start_program: Start) -> None:
    await _new_store(folder)
    programs = [start_program("claim_keys", str(folder), "15") for _ in range(3)]
    _begin(*programs)
    won = [key for program in programs for key in _rest(program)]
    assert sorted(won) == sorted(f"key {number}" for number in range(15))


async def test_an_open_store_sees_what_another_process_commits(folder: Path, start_program: Start) -> None:
    await _new_store(folder)
    adapter = FileAdapter(folder)
    await adapter.open()
    assert await adapter.count(NEWEST) == 0
    program = start_program("write_many", str(folder), "2", "1")
    _begin(program)
    for expected in (1, 2):
        memory_id = _line(program)
        assert (await adapter.get([ById(memory_id)], NEWEST))[0] is not None
        assert await adapter.count(NEWEST) >= expected
    assert _rest(program) == []
    await adapter.close()


@pytest.mark.requirement("A5", "A7", "B3", "B7")
@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 30))])
async def test_a_killed_writer_loses_nothing_acknowledged_and_leaves_no_half_commit(
    folder: Path, start_program: Start, seed: int
) -> None:
    await _new_store(folder)
    created: set[str] = set()
    revised: set[tuple[str, str]] = set()
    chance = random.Random(seed)
    for _ in range(2):
        program = start_program("write_and_revise", str(folder))
        _begin(program)
        # The oracle is this list, outside of the store; the kill comes at whatever the writer does by then.
        for _ in range(chance.randrange(1, 60)):
            _note(_line(program), created, revised)
        program.kill()
        assert program.stdout is not None
        for line in program.stdout.read().splitlines():
            _note(line, created, revised)
        program.wait()
        await _compare(folder, created, revised)


def _note(line: str, created: set[str], revised: set[tuple[str, str]]) -> None:
    match line.split():
        case ["created", memory_id]:
            created.add(memory_id)
        case ["revised", memory_id, companion]:
            revised.add((memory_id, companion))


async def _compare(folder: Path, created: set[str], revised: set[tuple[str, str]]) -> None:
    adapter = FileAdapter(folder)
    await adapter.open()
    everything = await collected(adapter.scan(Scan(read_point=None, projection=EVERYTHING)))
    numbers = {(version.memory_id, version.number): version for version in everything}
    assert created <= {memory_id for memory_id, number in numbers if number == 1}
    for memory_id, companion in revised:
        assert numbers[memory_id, 2].position == numbers[companion, 1].position
    # A second version and its companion are one commit: never one of them alone.
    commits: dict[int, int] = {}
    for version in everything:
        commits[version.position] = commits.get(version.position, 0) + 1
    assert all(commits[version.position] == 2 for version in everything if version.number == 2)
    assert (await adapter.check()).findings == ()
    await adapter.close()
