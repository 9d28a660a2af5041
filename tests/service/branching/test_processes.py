"""Forks, merges, rollbacks and erasures that are killed at any step, and merges by several processes at once."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recollect.service import MemoryService, NewMemory, ProvenanceInput, Settings, create_memory_service
from recollect.service.branching.requests import MergeRequest, NewBranch, NewTag
from recollect.service.requests import ListRequest, Revision
from tests.leftovers import files_that_hold
from tests.service.branching.programs import CHANGES
from tests.service.erasures import folder_of

PROGRAMS = Path(__file__).with_name("programs.py")
EVERY_BACKEND = ["file", pytest.param("edge", marks=pytest.mark.slow)]
ERASED = "a quokka"


async def open_service(storage: str) -> MemoryService:
    return await create_memory_service(Settings(storage=storage, model="hash"))


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


async def clean(service: MemoryService) -> None:
    """Wait until what an earlier process erased is out of the files."""
    assert service.erasure._background is not None
    await asyncio.wait_for(service.erasure._background, 60)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "file"))


@pytest.fixture
async def template(tmp_path: Path, backend: str) -> Path:
    """A closed store with a tag, a branch beyond it, and a memory that both main and the branch have changed."""
    folder = tmp_path / "template"
    async with await open_service(f"{backend}:{folder}") as service:
        ids = [(await service.remember(NewMemory(content=f"fact {number}"))).id for number in range(4)]
        source = ProvenanceInput(source="message:1")
        secret = (await service.remember(NewMemory(content=ERASED, provenance=source))).id
        await service.branches.tags.create(NewTag(name="v1"))
        await service.branches.create(NewBranch(name="draft"))
        await service.revise(ids[0], Revision(content="fact 0 on draft", branch="draft"))
        await service.revise(ids[1], Revision(content="fact 1 on draft", branch="draft"))
        await service.revise(secret, Revision(content=f"{ERASED} on draft", branch="draft"))
        await service.forget(ids[2], branch="draft")
        await service.remember(NewMemory(content="new on draft", branch="draft"))
        await service.revise(ids[0], Revision(content="fact 0 on main"))
        await service.remember(NewMemory(content="new on main"))
    return folder


async def steps_of(backend: str, template: Path, target: Path, name: str, dying: str) -> list[str]:
    """Have a change killed at every step, each in a copy of the template; return what became of each."""
    command = [sys.executable, str(PROGRAMS), "killed_at_every_step", backend, str(template), str(target), name, dying]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=250, check=True)
    return done.stdout.splitlines()


@pytest.mark.requirement("A7", "A9")
@pytest.mark.parametrize("backend", EVERY_BACKEND, indirect=True)
@pytest.mark.parametrize("name", ["fork", "merge", "rollback", "erase"])
async def test_a_change_that_is_killed_at_any_step_happened_wholly_or_not_at_all(
    template: Path, tmp_path: Path, backend: str, name: str
) -> None:
    *kills, last = await steps_of(backend, template, tmp_path, name, "caller")
    assert last == f"{len(kills) + 1} ended 0"
    assert kills == [f"{step} killed" for step in range(1, len(kills) + 1)]
    assert len(kills) >= (10 if backend == "file" else 2)
    async with await open_service(f"{backend}:{template}") as service:
        before = await everything(service)
    async with await open_service(f"{backend}:{tmp_path / str(len(kills) + 1)}") as service:
        after = await everything(service)
    assert before != after
    seen = []
    for step in range(1, len(kills) + 1):
        storage = f"{backend}:{tmp_path / str(step)}"
        async with await open_service(storage) as service:
            found = await everything(service)
            assert found in (before, after), step
            seen.append(found == after)
            if found == before:
                await CHANGES[name](service)
                assert await everything(service) == after, step
            await clean(service)
            assert (await service._store.check()).findings == ()
        if name == "erase":
            assert files_that_hold(folder_of(storage), ERASED.encode()) == [], step
    assert seen == sorted(seen)  # from some step on it has happened
    assert {True, False} == set(seen)


@pytest.mark.slow
@pytest.mark.requirement("A7", "A9")
@pytest.mark.parametrize("backend", ["edge"], indirect=True)
@pytest.mark.parametrize("name", ["fork", "merge", "rollback", "erase"])
async def test_a_change_during_which_the_engine_dies_at_any_step_happens_once(
    template: Path, tmp_path: Path, backend: str, name: str
) -> None:
    *kills, last = await steps_of(backend, template, tmp_path, name, "engine")
    assert last == f"{len(kills) + 1} ended 0"
    assert kills == [f"{step} killed ended 0" for step in range(1, len(kills) + 1)]
    assert len(kills) >= 2
    async with await open_service(f"{backend}:{tmp_path / str(len(kills) + 1)}") as service:
        after = await everything(service)
    for step in range(1, len(kills) + 1):
        storage = f"{backend}:{tmp_path / str(step)}"
        async with await open_service(storage) as service:
            assert await everything(service) == after, step
            await clean(service)
            assert (await service._store.check()).findings == ()
        if name == "erase":
            assert files_that_hold(folder_of(storage), ERASED.encode()) == [], step


@pytest.fixture
def start_merging() -> Iterator[Callable[[str, str], subprocess.Popen[str]]]:
    """Start a process that merges a branch into main once it is told to; it is killed at the end."""
    running: list[subprocess.Popen[str]] = []

    def start(storage: str, source: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROGRAMS), "merge", storage, source]
        running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return running[-1]

    yield start
    for program in running:
        program.kill()
        program.communicate()


@pytest.mark.every_backend
@pytest.mark.requirement("A7", "A17")
async def test_processes_that_merge_into_one_branch_at_once_lose_nothing(
    storage: str, start_merging: Callable[[str, str], subprocess.Popen[str]]
) -> None:
    sources = ["ana", "ben", "ben"]
    async with await open_service(storage) as service:
        for name in set(sources):
            await service.branches.create(NewBranch(name=name))
            for number in range(20):
                await service.remember(NewMemory(content=f"{name} {number}", branch=name))
    merging = [start_merging(storage, name) for name in sources]
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
    async with await open_service(storage) as service:
        expected = sorted(f"{name} {number}" for name in set(sources) for number in range(20))
        assert await contents(service, "main") == expected
        assert (await service.branches.merge("main", MergeRequest(source="ana"))).position is None
