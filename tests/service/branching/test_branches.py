"""What branches promise to every other operation, and how a merge settles what both sides changed."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recollect.adapters.port import ByRef, Commit, CommitReceipt, Projection, ReadPoint
from recollect.adapters.versions import VersionRef
from recollect.service import MemoryService, NewMemory
from recollect.service.branching.requests import (
    CherryPick,
    MergeRequest,
    NewBranch,
    NewTag,
    Resolution,
    RollbackRequest,
)
from recollect.service.errors import (
    BranchNotFoundError,
    InvalidInputError,
    MemoryNotFoundError,
    MergeConflictError,
    NameTakenError,
)
from recollect.service.requests import ListRequest, ProvenanceInput, ReadOptions, Revision, SearchRequest

pytestmark = pytest.mark.every_backend

MakeService = Callable[..., Awaitable[MemoryService]]


async def contents(memory: MemoryService, branch: str = "main", as_of: Any = None) -> list[Any]:
    request = ListRequest(branch=branch, as_of=as_of, view="full", descending=False, limit=1000)
    return [item.content for item in (await memory.list_memories(request)).items]


async def _after(memory: MemoryService, moment: datetime) -> None:
    """Return once the clock's millisecond is past a moment's."""
    while datetime.now(UTC) <= moment + timedelta(milliseconds=1):
        await memory.ready()  # time passes


async def fork(memory: MemoryService, name: str = "draft", **fields: Any) -> None:
    await memory.branches.create(NewBranch(name=name, **fields))


async def test_the_same_content_is_a_duplicate_on_a_branch_that_inherits_it_and_new_on_one_that_does_not(
    memory: MemoryService,
) -> None:
    await fork(memory, "before")
    stored = await memory.remember("the same")
    await fork(memory, "after")
    known = await memory.remember(NewMemory(content="the same", branch="after"))
    new = await memory.remember(NewMemory(content="the same", branch="before"))
    assert (known.status, known.id) == ("duplicate", stored.id)
    assert (new.status, new.branch) == ("created", "before")


async def test_a_key_is_free_on_a_branch_that_forgot_its_holder(memory: MemoryService) -> None:
    stored = await memory.remember(NewMemory(content="one", key="k"))
    await fork(memory)
    await memory.forget(stored.id, branch="draft")
    again = await memory.remember(NewMemory(content="two", key="k", branch="draft"))
    assert again.status == "created"
    assert again.id != stored.id
    assert (await memory.get_by_key("longterm", "k", ReadOptions(view="full"))).content == "one"


async def test_a_write_with_an_idempotency_key_happens_once_on_a_branch(memory: MemoryService) -> None:
    await fork(memory)
    stored = await memory.remember("first")
    await fork(memory, "other")
    first = [await memory.remember(NewMemory(content="x", branch="draft"), idempotency_key="a") for _ in range(2)]
    revision = Revision(content="second", branch="other")
    second = [await memory.revise(stored.id, revision, idempotency_key="b") for _ in range(2)]
    assert first[0] == first[1]
    assert second[0] == second[1]
    assert (first[0].status, second[0].status) == ("created", "revised")


@pytest.mark.requirement("A10")
async def test_every_read_and_search_answers_as_of_a_position_or_a_time_on_a_branch_of_a_branch(
    memory: MemoryService,
) -> None:
    stored = await memory.remember(NewMemory(content="the sea was calm", key="sea"))
    await fork(memory)
    await fork(memory, "deep", origin="draft")
    moment = datetime.fromtimestamp((await memory.remember("elsewhere")).position // 1024 / 1000, UTC)
    await _after(memory, moment)
    revised = await memory.revise(stored.id, Revision(content="the sea was rough", branch="deep"))
    await memory.remember(NewMemory(content="the sea again", branch="deep"))
    before = revised.position - 1
    for as_of in (before, moment):
        place: dict[str, Any] = {"branch": "deep", "as_of": as_of}
        old = ReadOptions(view="full", **place)
        assert (await memory.get(stored.id, old)).content == "the sea was calm"
        assert (await memory.get_by_key("longterm", "sea", old)).version == 1
        assert await contents(memory, **place) == ["the sea was calm"]
        assert len((await memory.history(stored.id, old)).items) == 1
        answer = await memory.search(SearchRequest(text="sea", view="full", **place))
        assert [hit.content for hit in answer.hits] == ["the sea was calm"]
        frames = [frame async for frame in memory.find_similar_encoded(SearchRequest(text="sea", **place))]
        assert frames[-1].hits == 1  # type: ignore[union-attr]
        lines = [line async for batch in memory.export(**place) for line in batch]
        assert len(lines) == 1
    assert len(await contents(memory, "deep")) == 2
    assert await contents(memory) == ["the sea was calm", "elsewhere"]


@pytest.mark.requirement("A17")
async def test_a_write_that_meets_the_deletion_of_its_branch_is_refused_and_not_lost_in_silence(
    make_service: MakeService,
) -> None:
    one, other = await make_service(), await make_service()
    await fork(one)
    await one.remember(NewMemory(content="a", branch="draft"))
    as_before = other._store.commit

    async def late(commit: Commit) -> CommitReceipt:
        if any(put.version.namespace == "longterm" for put in commit.puts):
            await one.branches.delete("draft")
            other._store.commit = as_before  # type: ignore[method-assign]
        return await as_before(commit)

    other._store.commit = late  # type: ignore[method-assign]
    with pytest.raises(BranchNotFoundError, match="was deleted"):
        await other.remember(NewMemory(content="b", branch="draft"))


async def test_a_name_that_is_used_again_names_another_branch(memory: MemoryService) -> None:
    await fork(memory)
    old = await memory.remember(NewMemory(content="old", branch="draft"))
    await memory.branches.delete("draft")
    with pytest.raises(BranchNotFoundError):
        await contents(memory, "draft")
    await fork(memory)
    new = await memory.remember(NewMemory(content="new", branch="draft"))
    assert (old.branch, new.branch) == ("draft", "draft~2")
    assert await contents(memory, "draft") == ["new"]
    (kept,) = await memory._store.get([ByRef(VersionRef(old.id, "draft", 1))], ReadPoint(()))
    assert kept is not None


@pytest.mark.requirement("A17")
async def test_a_branch_that_one_service_makes_is_there_for_another_at_once(make_service: MakeService) -> None:
    one, other = await make_service(), await make_service()
    await fork(one)
    stored = await other.remember(NewMemory(content="a", branch="draft"))
    assert (await one.get(stored.id, ReadOptions(branch="draft"))).id == stored.id
    await one.branches.delete("draft")
    with pytest.raises(BranchNotFoundError):
        await other.get(stored.id, ReadOptions(branch="draft"))
    outcomes = await asyncio.gather(
        *(service.branches.create(NewBranch(name="twin")) for service in (one, other)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Branch", "NameTakenError"]


async def test_expired_memories_of_a_branch_are_swept_there(memory: MemoryService) -> None:
    await fork(memory)
    soon = datetime.now(UTC) + timedelta(milliseconds=200)
    ghost = await memory.remember(NewMemory(content="boo", kind="ghost", expires_at=soon, branch="draft"))
    await _after(memory, soon)
    assert await memory.sweep() == 1
    line = (await memory.history(ghost.id, ReadOptions(branch="draft"))).items
    assert [version.forgotten for version in line] == [True, False]


async def changed_on_both(memory: MemoryService, ours: str, theirs: str, base: str = "base", **fields: Any) -> str:
    """Store a memory and change it on main and then on a branch; return its id."""
    stored = await memory.remember(NewMemory(content=base, **fields))
    await fork(memory)
    await memory.revise(stored.id, Revision(content=ours))
    await memory.revise(stored.id, Revision(content=theirs, branch="draft", provenance=ProvenanceInput(source="s:1")))
    return stored.id


@pytest.mark.requirement("A8")
@pytest.mark.parametrize(
    ("strategy", "expected"),
    [("ours", "ours"), ("theirs", "theirs"), ("newest", "theirs"), ("union", "ours\ntheirs"), ("conflict", "ours")],
)
async def test_a_strategy_settles_what_both_changed(memory: MemoryService, strategy: Any, expected: str) -> None:
    name = await changed_on_both(memory, "ours", "theirs")
    done = await memory.branches.merge("main", MergeRequest(source="draft", strategy=strategy))
    assert (done.conflicts, done.settled) == ((1, 0) if strategy == "conflict" else (0, 1))
    found = await memory.get(name, ReadOptions(view="full", include_provenance=True))
    assert found.content == expected
    if strategy in {"theirs", "union"}:
        assert found.provenance.action == "merged"  # type: ignore[union-attr]
        refs = found.provenance.derived_from  # type: ignore[union-attr]
        assert [(ref.branch, ref.version) for ref in refs] == [("main", 2), ("draft", 2)]
        hits = (await memory.search(SearchRequest(text=expected, limit=1))).hits
        assert hits[0].score > 0.99


@pytest.mark.requirement("A8")
async def test_a_union_keeps_shared_lines_once_joins_fields_and_drops_what_one_side_removed(
    memory: MemoryService,
) -> None:
    base = "a\nb\nc"
    name = await changed_on_both(
        memory, "a\nB\nc", "a\nb\nc\nd", base, tags=["old", "gone"], metadata={"kept": 1, "gone": 2}
    )
    await memory.revise(name, Revision(tags=["old", "ours"], metadata={"kept": 1, "mine": 3}))
    await memory.revise(name, Revision(tags=["old", "gone", "theirs"], metadata={"kept": 5, "gone": 2}, branch="draft"))
    await memory.branches.merge("main", MergeRequest(source="draft", strategy="union"))
    found = await memory.get(name, ReadOptions(view="full"))
    assert found.content == "a\nB\nb\nc\nd"
    assert found.tags == ("old", "ours", "theirs")
    assert found.metadata == {"kept": 5, "mine": 3}


@pytest.mark.requirement("A8")
async def test_what_one_side_forgot_and_the_other_revised_is_a_conflict(memory: MemoryService) -> None:
    stored = await memory.remember("base")
    await fork(memory)
    await memory.forget(stored.id)
    await memory.revise(stored.id, Revision(content="theirs", branch="draft"))
    done = await memory.branches.merge("main", MergeRequest(source="draft"))
    (conflict_id,) = done.conflict_ids
    conflict = await memory.branches.conflicts.get(conflict_id)
    assert (conflict.kind, conflict.ours, conflict.contents) == (
        "forgotten",
        None,
        {"base": "base", "theirs": "theirs"},
    )
    with pytest.raises(MemoryNotFoundError):
        await memory.get(stored.id)
    await memory.branches.conflicts.resolve(conflict_id, Resolution(take="theirs"))
    back = await memory.get(stored.id, ReadOptions(view="full"))
    assert (back.content, back.version) == ("theirs", 3)


@pytest.mark.requirement("A8")
@pytest.mark.parametrize("take", ["ours", "theirs", "content"])
async def test_two_memories_with_one_key_are_a_conflict_and_one_keeps_it(memory: MemoryService, take: Any) -> None:
    await fork(memory)
    await memory.remember(NewMemory(content="ours", key="k"))
    await memory.remember(NewMemory(content="theirs", key="k", branch="draft"))
    done = await memory.branches.merge("main", MergeRequest(source="draft"))
    conflict = await memory.branches.conflicts.get(done.conflict_ids[0])
    assert (conflict.kind, conflict.contents) == ("key", {"ours": "ours", "theirs": "theirs"})
    with pytest.raises(InvalidInputError, match="one key"):
        await memory.branches.conflicts.resolve(conflict.id, Resolution(take="base"))
    given = Resolution(content="both") if take == "content" else Resolution(take=take)
    await memory.branches.conflicts.resolve(conflict.id, given)
    assert await contents(memory) == ["both" if take == "content" else take]


async def test_a_merge_carries_vectors_over_and_embeds_nothing_again(memory: MemoryService) -> None:
    await fork(memory)
    vector = [0.0] * 63 + [1.0]
    stored = await memory.remember(NewMemory(content="a", branch="draft", vector=vector))
    done = await memory.branches.merge("main", MergeRequest(source="draft"))
    assert done.fast_forward
    (version,) = await memory._store.get(
        [ByRef(VersionRef(stored.id, "main", 1))], ReadPoint(()), Projection(vectors=True)
    )
    assert version is not None
    assert version.vectors is not None
    assert version.vectors[0].tolist() == vector


async def test_a_merge_among_busy_writers_comes_through_and_loses_none_of_them(memory: MemoryService) -> None:
    await fork(memory)
    for number in range(30):
        await memory.remember(NewMemory(content=f"draft {number}", branch="draft"))
    stop = asyncio.Event()
    written = 0

    async def write() -> None:
        nonlocal written
        while not stop.is_set():
            await memory.remember(f"main {written}")
            written += 1

    writer = asyncio.create_task(write())
    done = await memory.branches.merge("main", MergeRequest(source="draft"))
    stop.set()
    await writer
    assert done.added == 30
    assert len(await contents(memory)) == 30 + written


async def test_what_cannot_be_done_is_refused_with_the_reason(memory: MemoryService) -> None:
    await fork(memory)
    stored = await memory.remember(NewMemory(content="a", branch="draft"))
    await memory.branches.tags.create(NewTag(name="there", branch="draft"))
    with pytest.raises(InvalidInputError, match="into itself"):
        await memory.branches.merge("draft", MergeRequest(source="draft"))
    with pytest.raises(InvalidInputError, match="never had"):
        await memory.branches.rollback("main", RollbackRequest(to="there"))
    with pytest.raises(NameTakenError):
        await fork(memory, "there")
    await memory.branches.cherry_pick("main", CherryPick(source="draft", memory_id=stored.id))
    await memory.forget(stored.id)
    with pytest.raises(MergeConflictError, match="forgotten on the target"):
        await memory.branches.cherry_pick("main", CherryPick(source="draft", memory_id=stored.id))
    with pytest.raises(MemoryNotFoundError):
        await memory.branches.cherry_pick("main", CherryPick(source="draft", memory_id=stored.id, version=9))
