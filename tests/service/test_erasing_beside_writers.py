"""What is erased stays away whatever other writers do at that moment, and whatever dies before the files are clean."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from recollect.adapters.errors import StoreBusyError, StoreUnavailableError
from recollect.adapters.port import Projection, Scan
from recollect.service import MemoryService, NewMemory, ProvenanceInput, Revision
from recollect.service.branching.requests import (
    CherryPick,
    MergeRequest,
    NewBranch,
    NewTag,
    Resolution,
    RollbackRequest,
)
from recollect.service.erasure import erasing
from recollect.service.erasure.requests import ErasureRequest
from recollect.service.errors import ConflictNotFoundError, MemoryNotFoundError, VersionConflictError
from recollect.service.namespaces import SYSTEM_NAMESPACES
from recollect.service.quarantine.requests import NewQuarantine, ReleaseRequest
from tests.leftovers import files_that_hold
from tests.service.erasures import MARK, erase, folder_of, store
from tests.service.meanwhile import before_next_write

MakeService = Callable[..., Awaitable[MemoryService]]
Change = Callable[[MemoryService, str], Awaitable[object]]
PROGRAM = Path(__file__).with_name("erasing_program.py")


async def that_hold(memory: MemoryService, word: str) -> list[str]:
    """Return the namespaces of the versions, of all branches and of the system, that hold a word."""
    found: list[str] = []
    for namespaces in (None, SYSTEM_NAMESPACES):
        scan = Scan(read_point=None, namespaces=namespaces, projection=Projection(content=True, provenance=True))
        async for batch in memory._store.scan(scan):
            found += [version.namespace for version in batch if word in str(version)]
    return found


# --- What is taken along from version to version --------------------------------------------------


async def ready_to_merge(memory: MemoryService) -> str:
    await memory.branches.create(NewBranch(name="draft"))
    return (await memory.remember(NewMemory(content=f"a {MARK}", branch="draft"))).id


async def merging(memory: MemoryService, _: str) -> object:
    return await memory.branches.merge("main", MergeRequest(source="draft"))


async def picking(memory: MemoryService, memory_id: str) -> object:
    return await memory.branches.cherry_pick("main", CherryPick(source="draft", memory_id=memory_id))


async def changed_on_both_sides(memory: MemoryService) -> str:
    memory_id = await store(memory, "something")
    await memory.branches.create(NewBranch(name="draft"))
    await memory.revise(memory_id, Revision(content=f"a {MARK} on the draft", branch="draft"))
    await memory.revise(memory_id, Revision(content=f"a {MARK} on main"))
    return memory_id


async def setting_aside(memory: MemoryService, _: str) -> object:
    return await memory.branches.merge("main", MergeRequest(source="draft", on_conflict="branch"))


async def in_conflict(memory: MemoryService) -> str:
    memory_id = await changed_on_both_sides(memory)
    await memory.branches.merge("main", MergeRequest(source="draft"))
    return memory_id


async def resolving(memory: MemoryService, _: str) -> object:
    (conflict,) = (await memory.branches.conflicts.page()).items
    return await memory.branches.conflicts.resolve(conflict.id, Resolution(take="theirs"))


async def forgotten(memory: MemoryService) -> str:
    memory_id = await store(memory, f"a {MARK}")
    await memory.branches.tags.create(NewTag(name="before"))
    await memory.forget(memory_id)
    return memory_id


async def rolling_back(memory: MemoryService, _: str) -> object:
    return await memory.branches.rollback("main", RollbackRequest(to="before"))


async def quarantined(memory: MemoryService) -> str:
    memory_id = await store(memory, f"a {MARK}", source="message:1")
    await memory.quarantine.quarantine(NewQuarantine(source="message:1"))
    return memory_id


async def releasing(memory: MemoryService, _: str) -> object:
    (held,) = await memory.quarantine.all()
    return await memory.quarantine.release(held.id, ReleaseRequest())


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("prepare", "change"),
    [
        (ready_to_merge, merging),
        (ready_to_merge, picking),
        (changed_on_both_sides, setting_aside),
        (in_conflict, resolving),
        (forgotten, rolling_back),
        (quarantined, releasing),
    ],
    ids=["merge", "cherry_pick", "conflict_branch", "resolution", "rollback", "release"],
)
async def test_words_that_are_erased_while_they_are_taken_along_do_not_come_back(
    memory: MemoryService,
    storage: str,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[MemoryService], Awaitable[str]],
    change: Change,
) -> None:
    memory_id = await prepare(memory)
    before_next_write(memory, monkeypatch, lambda: erase(memory, ErasureRequest(ids=[memory_id])))
    with suppress(ConflictNotFoundError, MemoryNotFoundError):  # what it would have changed may be gone by then
        await change(memory, memory_id)
    assert await that_hold(memory, MARK) == []
    with pytest.raises(MemoryNotFoundError):
        await memory.get(memory_id)
    if not storage.startswith("qdrant"):
        assert files_that_hold(folder_of(storage), MARK.encode()) == []


# --- What other writers make of it just before ----------------------------------------------------


@pytest.mark.every_backend
@pytest.mark.parametrize("policy", ["keep", "flag", "erase"])
async def test_what_another_writer_makes_of_it_just_before_is_kept_flagged_or_erased_as_asked(
    memory: MemoryService, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    root = await store(memory, f"a {MARK}")
    made: list[str] = []

    async def derive() -> None:
        made.append(await store(memory, "made of it", derived_from=[root]))
        made.append(await store(memory, "made of that", derived_from=[made[0]]))

    before_next_write(memory, monkeypatch, derive)
    await erase(memory, ErasureRequest.model_validate({"ids": [root], "derived": policy}))
    for memory_id in made:
        if policy == "erase":
            with pytest.raises(MemoryNotFoundError, match="erased"):
                await memory.get(memory_id)
        else:
            assert ("source-erased" in (await memory.get(memory_id)).tags) == (policy == "flag")
    assert await that_hold(memory, MARK) == []


@pytest.mark.every_backend
@pytest.mark.parametrize("named_by", ["ids", "source"])
async def test_a_version_that_another_writer_adds_just_before_goes_too(
    memory: MemoryService, monkeypatch: pytest.MonkeyPatch, named_by: str
) -> None:
    root = await store(memory, f"a {MARK}", source="message:1")
    await memory.branches.create(NewBranch(name="draft"))

    async def revise() -> None:
        for branch in ("main", "draft"):
            await memory.revise(root, Revision(content=f"a {MARK} on {branch}", branch=branch))

    before_next_write(memory, monkeypatch, revise)
    given: dict[str, Any] = {"ids": [root]} if named_by == "ids" else {"source": "message:1"}
    done = await erase(memory, ErasureRequest.model_validate(given))
    assert done.receipt.versions == 1  # the plan that was confirmed
    assert await that_hold(memory, MARK) == []


async def test_a_writer_who_never_stops_is_told_of_and_what_was_confirmed_is_erased(
    memory: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = await store(memory, f"a {MARK}", source="message:1")
    real = memory._store.commit

    async def commit(commit: Any) -> Any:
        if commit.erases:
            later = NewMemory(content=f"more at {commit.preconditions}", provenance=ProvenanceInput(source="message:1"))
            monkeypatch.setattr(memory._store, "commit", real)
            await memory.remember(later)
            monkeypatch.setattr(memory._store, "commit", commit_again)
        return await real(commit)

    commit_again = commit
    monkeypatch.setattr(memory._store, "commit", commit)
    with pytest.raises(VersionConflictError, match="is erased, but others kept writing"):
        await erase(memory, ErasureRequest(source="message:1"))
    monkeypatch.setattr(memory._store, "commit", real)
    assert await that_hold(memory, MARK) == []
    with pytest.raises(MemoryNotFoundError, match="erased"):
        await memory.get(root)


# --- What is left in files ------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["file", pytest.param("edge", marks=pytest.mark.slow)])
async def test_files_that_a_killed_process_left_uncleaned_are_cleaned_by_the_next_one(
    make_service: MakeService, tmp_path: Path, backend: str
) -> None:
    storage = f"{backend}:{tmp_path / 'store'}"
    command = [sys.executable, str(PROGRAM), storage]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    memory = await make_service(storage=storage)
    assert len(await memory.erasure.receipts()) == 1
    await until_clean(memory)
    assert files_that_hold(folder_of(storage), MARK.encode()) == []
    assert (await memory.status()).notes == []


async def test_files_that_a_reader_holds_are_said_to_hold_erased_words_and_cleaned_once_it_is_gone(
    memory: MemoryService, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "CLEAN_PAUSES_S", (0.01,))
    memory_id = await store(memory, f"a {MARK}")
    (catalog,) = (tmp_path / "store").glob("*.sqlite*[!lm]")
    reader = sqlite3.connect(catalog)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
    done = await erase(memory, ErasureRequest(ids=[memory_id]))
    assert not done.compacted
    assert "again" in (done.note or "")
    status = await memory.status()
    assert status.status == "degraded"
    assert "may still hold words that were erased" in status.notes[0]
    reader.close()
    await until_clean(memory)
    assert files_that_hold(folder_of(storage), MARK.encode()) == []
    assert (await memory.status()).status == "healthy"


async def test_files_that_another_process_has_cleaned_are_no_longer_said_to_hold_erased_words(
    memory: MemoryService, make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def held() -> None:
        raise StoreBusyError("a reader holds the files")

    monkeypatch.setattr(erasing, "CLEAN_PAUSES_S", (0.01,))
    monkeypatch.setattr(memory._store, "compact", held)
    await erase(memory, ErasureRequest(ids=[await store(memory, f"a {MARK}")]))
    assert (await memory.status()).status == "degraded"
    await until_clean(await make_service())
    await until_clean(memory)
    assert (await memory.status()).status == "healthy"


async def test_that_it_cannot_be_known_whether_files_are_clean_is_said(
    memory: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_scan: Scan) -> None:
        raise StoreUnavailableError("the store is away")

    await until_clean(memory)
    with monkeypatch.context() as patch:
        patch.setattr(memory._store, "scan", away)
        memory.erasure.resume()
        await until_clean(memory)
    assert "the store is away" in (await memory.status()).notes[0]


async def until_clean(memory: MemoryService) -> None:
    assert memory.erasure._background is not None
    await asyncio.wait_for(memory.erasure._background, 60)
