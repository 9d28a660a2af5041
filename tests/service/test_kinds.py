from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recollect.service import ListRequest, MemoryService, NewMemory, ReadOptions, Revision, SearchRequest
from recollect.service.errors import InvalidInputError, MemoryNotFoundError

pytestmark = pytest.mark.requirement("B8")


async def _contents(memory: MemoryService) -> set[str]:
    return {item.summary for item in (await memory.list_memories(ListRequest(limit=100))).items}


async def test_a_working_memory_too_many_pushes_out_the_least_recently_used(make_service: Any) -> None:
    memory = await make_service(working_memories_max=3)
    ids = [(await memory.remember(NewMemory(content=f"w{i}", kind="working"))).id for i in range(3)]
    await memory.get(ids[0])
    await memory.remember(NewMemory(content="w3", kind="working"))
    assert await _contents(memory) == {"w0", "w2", "w3"}


async def test_what_a_search_finds_counts_as_used(make_service: Any) -> None:
    memory = await make_service(working_memories_max=2)
    for name in ("apple", "stone"):
        await memory.remember(NewMemory(content=name, kind="working"))
    await memory.remember(NewMemory(content="cloud", kind="working"))
    await memory.search(SearchRequest(text="stone", limit=1))
    await memory.remember(NewMemory(content="river", kind="working"))
    assert await _contents(memory) == {"stone", "river"}


async def test_each_namespace_has_its_own_bound(make_service: Any) -> None:
    memory = await make_service(working_memories_max=1)
    await memory.remember(NewMemory(content="a", kind="working", namespace="one"))
    await memory.remember(NewMemory(content="b", kind="working", namespace="two"))
    await memory.remember(NewMemory(content="c", kind="episodic", namespace="one"))
    assert await _contents(memory) == {"a", "b", "c"}


async def test_the_bound_holds_for_a_batch_and_after_a_restart(make_service: Any) -> None:
    memory = await make_service(working_memories_max=4)
    await memory.remember_many([NewMemory(content=f"w{i}", kind="working") for i in range(4)])
    await memory.close()
    memory = await make_service(working_memories_max=4)
    await memory.remember_many([NewMemory(content=f"x{i}", kind="working") for i in range(2)])
    left = await _contents(memory)
    assert len(left) == 4
    assert {"x0", "x1"} <= left


async def test_what_was_pushed_out_says_so_in_its_history(make_service: Any) -> None:
    memory = await make_service(working_memories_max=1)
    first = await memory.remember(NewMemory(content="a", kind="working"))
    await memory.remember(NewMemory(content="b", kind="working"))
    newest = (await memory.history(first.id, ReadOptions(include_provenance=True))).items[0]
    assert newest.forgotten
    assert newest.provenance
    assert newest.provenance.note == "working memory is bounded"


async def test_a_working_memory_that_becomes_another_kind_stays(make_service: Any) -> None:
    memory = await make_service(working_memories_max=1)
    first = await memory.remember(NewMemory(content="a", kind="working"))
    await memory.revise(first.id, Revision(kind="semantic"))
    await memory.remember(NewMemory(content="b", kind="working"))
    assert await _contents(memory) == {"a", "b"}


async def test_a_ghost_without_a_time_gets_one(make_service: Any) -> None:
    memory = await make_service(ghost_ttl_s=60)
    stored = await memory.remember(NewMemory(content="boo", kind="ghost"))
    found = await memory.get(stored.id)
    assert found.expires_at
    assert found.expires_at - found.updated_at == timedelta(seconds=60)


async def test_an_expired_memory_is_not_recalled_but_its_past_is(make_service: Any) -> None:
    memory = await make_service(ghost_ttl_s=0.2)
    stored = await memory.remember(NewMemory(content="boo", kind="ghost"))
    gone = (await memory.get(stored.id)).expires_at
    while datetime.now(UTC) <= gone:
        await memory.status()  # time passes
    with pytest.raises(MemoryNotFoundError):
        await memory.get(stored.id)
    assert (await memory.search(SearchRequest(text="boo"))).hits == []
    assert (await memory.get(stored.id, ReadOptions(as_of=stored.position))).summary == "boo"
    assert await memory.sweep() == 1
    assert (await memory.history(stored.id)).items[0].forgotten


async def test_an_expiry_that_is_over_is_refused(memory: MemoryService) -> None:
    with pytest.raises(InvalidInputError, match="expires_at"):
        await memory.remember(NewMemory(content="x", expires_at=datetime(2020, 1, 1, tzinfo=UTC)))


async def test_a_kind_of_ones_own_is_kept(memory: MemoryService) -> None:
    stored = await memory.remember(NewMemory(content="x", kind="recipe"))
    assert (await memory.get(stored.id)).kind == "recipe"
