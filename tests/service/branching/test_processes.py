"""Forks, merges and rollbacks that are killed at any step, and merges by several processes at once."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recollect.service import MemoryService, NewMemory, Settings, create_memory_service
from recollect.service.branching.requests import MergeRequest, NewBranch, NewTag, RollbackRequest
from recollect.service.requests import ListRequest, Revision

PROGRAMS = Path(__file__).with_name("programs.py")


async def open_service(folder: Path) -> MemoryService:
    return await create_memory_service(Settings(storage=f"file:{folder}", model="hash"))


async def contents(service: MemoryService, branch: str) -> list[str]:
    page = await service.list_memories(ListRequest(branch=branch, view="full", limit=1000))
    return sorted(str(memory.content) for memory in page.items)


async def everything(service: MemoryService) -> dict[str, list[str]]:
    """Return what is on each branch, and the conflicts; names that are drawn by chance are left out."""
    branches = (await service.branches.page()).items
    found = {branch.name.partition("-")[0]: await contents(service, branch.name) for branch in branches}
    conflicts = (await service.branches.conflicts.page()).items
    found["conflicts"] = sorted(conflict.summaries["theirs"] for conflict in conflicts)
    return found


@pytest.fixture
async def template(tmp_path: Path) -> Path:
    """A closed store with a tag, a branch beyond it, and a memory that both main and the branch have changed."""
    folder = tmp_path / "template"
    async with await open_service(folder) as service:
        ids = [(await service.remember(NewMemory(content=f"fact {number}"))).id for number in range(4)]
        await service.branches.tags.create(NewTag(name="v1"))
        await service.branches.create(NewBranch(name="draft"))
        await service.revise(ids[0], Revision(content="fact 0 on draft", branch="draft"))
        await service.revise(ids[1], Revision(content="fact 1 on draft", branch="draft"))
        await service.forget(ids[2], branch="draft")
        await service.remember(NewMemory(content="new on draft", branch="draft"))
        await service.revise(ids[0], Revision(content="fact 0 on main"))
        await service.remember(NewMemory(content="new on main"))
    return folder


async def change(service: MemoryService, name: str) -> None:
    match name:
        case "fork":
            await service.branches.create(NewBranch(name="new"))
        case "merge":
            await service.branches.merge("main", MergeRequest(source="draft", on_conflict="branch"))
        case "rollback":
            await service.branches.rollback("main", RollbackRequest(to="v1"))


@pytest.mark.requirement("A7", "A9")
@pytest.mark.parametrize("name", ["fork", "merge", "rollback"])
async def test_a_change_that_is_killed_at_any_step_happened_wholly_or_not_at_all(
    template: Path, tmp_path: Path, name: str
) -> None:
    command = [sys.executable, str(PROGRAMS), "killed_at_every_step", str(template), str(tmp_path), name]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120, check=True)
    told = done.stdout.splitlines()
    *kills, last = told
    assert last.endswith("ended 0")
    assert len(kills) >= 10
    assert all(line.endswith("killed") for line in kills)
    async with await open_service(template) as service:
        before = await everything(service)
    async with await open_service(tmp_path / str(len(told))) as service:
        after = await everything(service)
    assert before != after
    seen = []
    for step in range(1, len(told)):
        async with await open_service(tmp_path / str(step)) as service:
            found = await everything(service)
            assert found in (before, after), step
            seen.append(found == after)
            if found == before:
                await change(service, name)
                assert await everything(service) == after, step
            assert (await service._store.check()).findings == ()
    assert seen == sorted(seen)  # from some step on it has happened
    assert {True, False} == set(seen)


@pytest.fixture
def start_merging() -> Iterator[Callable[[Path, str], subprocess.Popen[str]]]:
    """Start a process that merges a branch into main once it is told to; it is killed at the end."""
    running: list[subprocess.Popen[str]] = []

    def start(folder: Path, source: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROGRAMS), "merge", str(folder), source]
        running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return running[-1]

    yield start
    for program in running:
        program.kill()
        program.communicate()


@pytest.mark.requirement("A7", "A17")
async def test_processes_that_merge_into_one_branch_at_once_lose_nothing(
    tmp_path: Path, start_merging: Callable[[Path, str], subprocess.Popen[str]]
) -> None:
    folder = tmp_path / "store"
    sources = ["ana", "ben", "ben"]
    async with await open_service(folder) as service:
        for name in set(sources):
            await service.branches.create(NewBranch(name=name))
            for number in range(20):
                await service.remember(NewMemory(content=f"{name} {number}", branch=name))
    merging = [start_merging(folder, name) for name in sources]
    for program in merging:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
    for program in merging:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
    told = [program.communicate(timeout=60)[0].split() for program in merging]
    assert all(program.returncode == 0 for program in merging)
    # One of the two that merge the same branch brings it; the other finds it there.
    assert sorted(line[0] for line in told) == ["0", "20", "20"]
    assert [line[1] for line in told if line[0] == "0"] == ["None"]
    async with await open_service(folder) as service:
        expected = sorted(f"{name} {number}" for name in set(sources) for number in range(20))
        assert await contents(service, "main") == expected
        assert (await service.branches.merge("main", MergeRequest(source="ana"))).position is None
