import asyncio

import pytest

from recollect.adapters.port import Scan
from recollect.service import (
    ListRequest,
    MemoryService,
    NewMemory,
    ProvenanceInput,
    ReadOptions,
    Revision,
    SearchRequest,
)
from recollect.service.answers import Remembered
from recollect.service.errors import InvalidInputError, MemoryNotFoundError, VersionConflictError
from tests.service.meanwhile import after_next_read

pytestmark = pytest.mark.every_backend

FULL = ReadOptions(view="full", include_provenance=True)
NOWHERE = "11111111-2222-3333-4444-555555555555"


async def test_a_revision_is_a_new_version_under_the_same_id(memory: MemoryService) -> None:
    stored = await memory.remember(NewMemory(content="old", key="k", tags=["a"], metadata={"x": 1}))
    revised = await memory.revise(stored.id, Revision(content="new", provenance=ProvenanceInput(actor="ben")))
    found = await memory.get(stored.id, FULL)
    assert (revised.status, revised.version) == ("revised", 2)
    assert (found.content, found.tags, found.metadata, found.key) == ("new", ("a",), {"x": 1}, "k")
    assert found.summary == "new"
    assert found.provenance
    assert (found.provenance.actor, found.provenance.action) == ("ben", "revised")


async def test_a_revision_is_found_by_its_new_meaning_only(memory: MemoryService) -> None:
    stored = await memory.remember("the red bicycle")
    await memory.revise(stored.id, Revision(content="quarterly tax report"))
    (hit,) = (await memory.search(SearchRequest(text="quarterly tax report"))).hits
    assert (hit.id, hit.version) == (stored.id, 2)
    assert hit.score == pytest.approx(1, abs=1e-5)


async def test_new_tags_keep_content_and_meaning(memory: MemoryService) -> None:
    stored = await memory.remember("the red bicycle")
    await memory.revise(stored.id, Revision(tags=["blue", "blue"]))
    (hit,) = (await memory.search(SearchRequest(text="the red bicycle"))).hits
    assert (hit.tags, hit.version) == (("blue",), 2)
    assert hit.score == pytest.approx(1, abs=1e-5)


async def test_a_revision_that_changes_nothing_adds_no_version(memory: MemoryService) -> None:
    stored = await memory.remember(NewMemory(content="same", tags=["t"]))
    answer = await memory.revise(stored.id, Revision(content="same", tags=["t"]))
    assert (answer.status, answer.version) == ("duplicate", 1)


async def test_an_unexpected_version_is_a_conflict_that_names_the_one_there(memory: MemoryService) -> None:
    stored = await memory.remember("one")
    await memory.revise(stored.id, Revision(content="two"))
    with pytest.raises(VersionConflictError, match="at version 2, not 1") as conflict:
        await memory.revise(stored.id, Revision(content="three"), expected_version=1)
    assert conflict.value.found == {"version": 2}


async def test_of_many_who_expect_the_same_version_one_succeeds(memory: MemoryService) -> None:
    stored = await memory.remember("one")
    attempts = (memory.revise(stored.id, Revision(content=f"by {i}"), expected_version=1) for i in range(10))
    answers = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(answer, Remembered) for answer in answers) == 1
    assert sum(isinstance(answer, VersionConflictError) for answer in answers) == 9


async def test_who_expects_nothing_revises_what_is_there(memory: MemoryService) -> None:
    stored = await memory.remember("zero")
    answers = await asyncio.gather(*(memory.revise(stored.id, Revision(content=f"by {i}")) for i in range(5)))
    assert sorted(answer.version for answer in answers) == [2, 3, 4, 5, 6]
    assert len((await memory.history(stored.id)).items) == 6


async def test_a_revision_under_an_idempotency_key_happens_once(memory: MemoryService) -> None:
    stored = await memory.remember("one")
    first = await memory.revise(stored.id, Revision(content="two"), idempotency_key="r")
    again = await memory.revise(stored.id, Revision(content="two"), idempotency_key="r")
    assert again == first
    assert len((await memory.history(stored.id)).items) == 2


async def test_a_revision_under_a_key_that_is_answered_while_it_looks_gets_that_answer(
    memory: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await memory.remember("one")
    answered: list[Remembered] = []

    async def revise() -> Remembered:
        return await memory.revise(stored.id, Revision(content="two"), expected_version=1, idempotency_key="r")

    async def act() -> None:
        answered.append(await revise())

    after_next_read(memory, monkeypatch, act)
    assert await revise() == answered[0]


async def test_a_revision_can_remove_the_expiry(memory: MemoryService) -> None:
    stored = await memory.remember(NewMemory(content="boo", kind="ghost"))
    await memory.revise(stored.id, Revision(expires_at=None, kind="semantic"))
    assert (await memory.get(stored.id)).expires_at is None


async def test_empty_content_cannot_be_revised_into_a_memory(memory: MemoryService) -> None:
    stored = await memory.remember("x")
    with pytest.raises(InvalidInputError, match="forget"):
        await memory.revise(stored.id, Revision(content="  "))


async def test_a_forgotten_memory_is_gone_from_every_read_but_its_history(memory: MemoryService) -> None:
    stored = await memory.remember(NewMemory(content="secret plan", key="plan"))
    gone = await memory.forget(stored.id, provenance=ProvenanceInput(actor="ana", note="asked to"))
    assert (gone.status, gone.version) == ("forgotten", 2)
    with pytest.raises(MemoryNotFoundError):
        await memory.get(stored.id)
    with pytest.raises(MemoryNotFoundError):
        await memory.get_by_key("longterm", "plan")
    assert (await memory.search(SearchRequest(text="secret plan"))).hits == []
    assert (await memory.list_memories(ListRequest())).items == []
    newest, oldest = (await memory.history(stored.id, FULL)).items
    assert (newest.forgotten, newest.content, oldest.content) == (True, "", "secret plan")
    assert newest.provenance
    assert (newest.provenance.actor, newest.provenance.note) == ("ana", "asked to")


async def test_what_was_forgotten_can_be_remembered_anew(memory: MemoryService) -> None:
    first = await memory.remember(NewMemory(content="again", key="k"))
    await memory.forget(first.id)
    second = await memory.remember(NewMemory(content="again", key="k"))
    assert second.status == "created"
    assert second.id != first.id


async def test_an_unknown_memory_cannot_be_changed(memory: MemoryService) -> None:
    with pytest.raises(MemoryNotFoundError, match=NOWHERE):
        await memory.revise(NOWHERE, Revision(content="x"))
    with pytest.raises(MemoryNotFoundError, match=NOWHERE):
        await memory.forget(NOWHERE)


@pytest.mark.requirement("A1")
async def test_records_of_the_system_cannot_be_read_revised_or_forgotten(memory: MemoryService) -> None:
    await memory.remember("x", idempotency_key="k")
    ids = [
        version.memory_id
        async for batch in memory._store.scan(Scan(read_point=None, namespaces=("_idempotency",)))
        for version in batch
        if version.namespace.startswith("_")
    ]
    assert len(ids) == 1
    for attempt in (memory.get(ids[0]), memory.forget(ids[0]), memory.revise(ids[0], Revision(content="y"))):
        with pytest.raises(MemoryNotFoundError):
            await attempt
    assert [item.summary for item in (await memory.list_memories(ListRequest())).items] == ["x"]
