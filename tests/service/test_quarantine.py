"""What came of a bad source is found, taken out of recall at once, and brought back as it was."""

import pytest

from recollect.service import (
    ListRequest,
    MemoryService,
    NewMemory,
    ProvenanceInput,
    ReadOptions,
    Revision,
    SearchRequest,
)
from recollect.service.branching.requests import NewBranch
from recollect.service.errors import (
    MemoryNotFoundError,
    MemoryQuarantinedError,
    QuarantineNotFoundError,
    QuarantineStateError,
)
from recollect.service.quarantine.requests import NewQuarantine, ReleaseRequest, TraceRequest

pytestmark = pytest.mark.every_backend

FULL = ReadOptions(view="full", include_provenance=True)
BAD = "https://forged.example/page"


async def store(memory: MemoryService, content: str, **provenance: object) -> str:
    given = ProvenanceInput.model_validate(provenance)
    return (await memory.remember(NewMemory(content=content, key=f"{content}/key", provenance=given))).id


async def poisoned(memory: MemoryService) -> list[str]:
    """Store a memory from a bad source, one made of it, one made of that, and one that has nothing to do with it."""
    root = await store(memory, "root", source=BAD)
    child = await store(memory, "child", derived_from=[root])
    grandchild = await store(memory, "grandchild", derived_from=[child])
    return [root, child, grandchild, await store(memory, "innocent")]


async def found(memory: MemoryService, branch: str = "main") -> set[str]:
    return {hit.summary for hit in (await memory.search(SearchRequest(text="child", branch=branch))).hits}


@pytest.mark.requirement("D6")
async def test_a_trace_finds_all_that_descends_from_a_source_and_nothing_else(memory: MemoryService) -> None:
    root, child, grandchild, _ = await poisoned(memory)
    await memory.revise(child, Revision(content="child, revised"))
    answer = await memory.quarantine.trace(TraceRequest(source=BAD))
    assert next((item.id, item.version, item.reason) for item in answer.items) == (root, 1, "named")
    assert {(item.id, item.version) for item in answer.items[1:]} == {(child, 1), (child, 2), (grandchild, 1)}
    assert answer.memories == 3


@pytest.mark.requirement("D6")
async def test_quarantine_takes_it_out_of_every_recall_and_release_brings_back_exactly_what_was(
    memory: MemoryService,
) -> None:
    *bad, innocent = await poisoned(memory)
    await memory.branches.create(NewBranch(name="draft"))
    before = {memory_id: await memory.get(memory_id, FULL) for memory_id in bad}
    held = await memory.quarantine.quarantine(NewQuarantine(source=BAD, by="officer", reason="forged"))

    assert (held.state, held.by, held.reason, held.memories) == ("active", "officer", "forged", sorted(bad))
    for branch in ("main", "draft"):
        assert await found(memory, branch) == {"innocent"}
    assert [item.id for item in (await memory.list_memories(ListRequest())).items] == [innocent]
    for memory_id in bad:
        with pytest.raises(MemoryQuarantinedError, match="quarantine"):
            await memory.get(memory_id)
        last = (await memory.history(memory_id, FULL)).items[0]
        assert last.provenance
        assert (last.forgotten, last.provenance.actor, last.provenance.note) == (True, "officer", "forged")
    assert (await memory.get(bad[0], ReadOptions(as_of=before[bad[0]].position))).summary == "root"

    released = await memory.quarantine.release(held.id, ReleaseRequest(by="judge", reason="genuine after all"))
    assert (released.state, released.released_by, released.left_out) == ("released", "judge", [])
    assert await memory.quarantine.get(held.id) == released
    for branch in ("main", "draft"):
        assert await found(memory, branch) == {"root", "child", "grandchild", "innocent"}
    for memory_id, was in before.items():
        now = await memory.get(memory_id, FULL)
        for name in ("content", "summary", "key", "tags", "metadata", "importance", "content_hash", "created_at"):
            assert getattr(now, name) == getattr(was, name)
        assert now.provenance
        assert was.provenance
        assert (now.provenance.source, now.provenance.derived_from) == (
            was.provenance.source,
            was.provenance.derived_from,
        )
        assert (now.provenance.actor, now.provenance.note) == ("judge", "genuine after all")
    assert (await memory.quarantine.trace(TraceRequest(source=BAD))).memories == 3


async def test_what_was_stored_anew_meanwhile_is_not_overwritten_by_a_release(memory: MemoryService) -> None:
    root = await store(memory, "root", source=BAD)
    held = await memory.quarantine.quarantine(NewQuarantine(source=BAD))
    anew = await memory.remember(NewMemory(content="another", key="root/key"))
    released = await memory.quarantine.release(held.id, ReleaseRequest())
    assert released.left_out == [root]
    assert (await memory.get_by_key("longterm", "root/key")).id == anew.id
    with pytest.raises(QuarantineStateError):
        await memory.quarantine.release(held.id, ReleaseRequest())


async def test_unknown_memories_and_quarantines_are_said_to_be_so(memory: MemoryService) -> None:
    root = await store(memory, "root")
    with pytest.raises(QuarantineNotFoundError):
        await memory.quarantine.get(root)
    await memory.forget(root)
    with pytest.raises(MemoryNotFoundError) as caught:
        await memory.get(root)
    assert not isinstance(caught.value, MemoryQuarantinedError)
