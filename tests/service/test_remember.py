import asyncio
from typing import Any

import pytest

from recollect.adapters.errors import InvalidVectorError
from recollect.adapters.port import Commit, CommitReceipt
from recollect.service import MemoryBatch, MemoryService, NewMemory, ProvenanceInput, ReadOptions, Revision
from recollect.service.answers import Refused, Remembered
from recollect.service.errors import (
    BatchRefusedError,
    ContentTooLargeError,
    IdempotencyConflictError,
    InvalidInputError,
    ReservedNamespaceError,
)
from tests.service.meanwhile import after_next_read

pytestmark = pytest.mark.every_backend

FULL = ReadOptions(view="full", include_provenance=True)


async def test_a_new_memory_is_created_and_read_back_whole(memory: MemoryService) -> None:
    stored = await memory.remember(
        NewMemory(
            content="Ana prefers the window seat.",
            key="seat",
            namespace="projects",
            kind="episodic",
            tags=["travel", "ana", "travel"],
            metadata={"trip": {"id": 7}},
            importance=0.9,
            confidence=0.8,
        )
    )
    found = await memory.get(stored.id, FULL)
    assert (stored.status, stored.version, stored.durability) == ("created", 1, "durable")
    assert (found.content, found.metadata, found.tags) == (
        "Ana prefers the window seat.",
        {"trip": {"id": 7}},
        ("ana", "travel"),
    )
    assert (found.key, found.kind, found.importance, found.confidence) == ("seat", "episodic", 0.9, 0.8)
    assert found.position == stored.position


async def test_text_alone_is_enough(memory: MemoryService) -> None:
    stored = await memory.remember("tea, not coffee")
    assert (await memory.get(stored.id, FULL)).content == "tea, not coffee"


@pytest.mark.parametrize("content", [{"b": [1, 2.5, None], "a": True}, [1, "two"], 7, True])
async def test_json_content_comes_back_with_its_types(memory: MemoryService, content: Any) -> None:
    stored = await memory.remember(NewMemory(content=content))
    assert (await memory.get(stored.id, FULL)).content == content


@pytest.mark.requirement("B2")
async def test_the_same_memory_again_is_a_duplicate_under_the_id_it_has(memory: MemoryService) -> None:
    first = await memory.remember(NewMemory(content="same", metadata={"a": 1, "b": 2}))
    again = await memory.remember(NewMemory(content="same", metadata={"b": 2, "a": 1}))
    assert (again.status, again.id, again.version) == ("duplicate", first.id, 1)


@pytest.mark.requirement("B2")
@pytest.mark.parametrize(
    "other",
    [{"tags": ["new"]}, {"metadata": {"turn": 2}}, {"kind": "episodic"}, {"namespace": "projects"}, {"key": "k"}],
)
async def test_a_memory_that_says_more_is_not_taken_for_a_duplicate(
    memory: MemoryService, other: dict[str, Any]
) -> None:
    first = await memory.remember(NewMemory(content="same"))
    second = await memory.remember(NewMemory(content="same", **other))
    assert second.status == "created"
    assert second.id != first.id


async def test_how_a_text_is_encoded_does_not_make_it_another(memory: MemoryService) -> None:
    await memory.remember("caf\u00e9\r\nau lait")
    assert (await memory.remember("  cafe\u0301\nau lait ")).status == "duplicate"


async def test_other_content_under_the_same_key_revises_the_memory(memory: MemoryService) -> None:
    first = await memory.remember(NewMemory(content="lives in Rome", key="home"))
    second = await memory.remember(NewMemory(content="lives in Oslo", key="home"))
    third = await memory.remember(NewMemory(content="lives in Oslo", key="home"))
    assert (second.status, second.id, second.version) == ("revised", first.id, 2)
    assert (third.status, third.version) == ("duplicate", 2)
    assert (await memory.get(first.id, FULL)).content == "lives in Oslo"


async def test_of_many_writers_of_one_memory_one_creates_it(memory: MemoryService) -> None:
    answers = await asyncio.gather(*(memory.remember("said by all") for _ in range(20)))
    assert sorted(answer.status for answer in answers) == ["created"] + ["duplicate"] * 19
    assert len({answer.id for answer in answers}) == 1


async def test_many_writers_under_one_key_lose_no_version(memory: MemoryService) -> None:
    answers = await asyncio.gather(
        *(memory.remember(NewMemory(content=f"state {i}", key="state", vector=None)) for i in range(6))
    )
    assert sorted(answer.version for answer in answers) == [1, 2, 3, 4, 5, 6]


async def test_a_vector_that_is_given_is_not_embedded_again(memory: MemoryService) -> None:
    vector = [0.0] * 63 + [2.0]
    stored = await memory.remember(NewMemory(content="given", vector=vector))
    twin = await memory.remember(NewMemory(content="given", vector=vector))
    assert (stored.status, twin.status, twin.id) == ("created", "duplicate", stored.id)


@pytest.mark.parametrize(("vector", "words"), [([1.0] * 3, "64"), ([0.0] * 64, "zeros")])
async def test_a_vector_that_does_not_fit_is_refused_in_words(
    memory: MemoryService, vector: list[float], words: str
) -> None:
    with pytest.raises(InvalidVectorError, match=words):
        await memory.remember(NewMemory(content="x", vector=vector))


@pytest.mark.requirement("A1")
@pytest.mark.parametrize("namespace", ["_provenance", "_branches", "_audit", "_mine", "a b", "../x", "", "x\x00"])
async def test_namespaces_of_the_system_and_hostile_names_are_closed(memory: MemoryService, namespace: str) -> None:
    with pytest.raises(ReservedNamespaceError, match="namespace"):
        await memory.remember(NewMemory(content="x", namespace=namespace))


async def test_a_memory_larger_than_the_limit_is_refused_and_nothing_is_stored(make_service: Any) -> None:
    memory = await make_service(content_bytes_max=100)
    with pytest.raises(ContentTooLargeError, match="content_bytes_max"):
        await memory.remember("x" * 101)
    assert (await memory.status()).storage.versions == 0


@pytest.mark.requirement("A4")
async def test_ten_memories_with_their_provenance_cost_one_storage_call(
    memory: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = 0
    inner = memory._store._store
    commit = inner.commit

    async def counted(batch: Commit) -> CommitReceipt:
        nonlocal commits
        commits += 1
        return await commit(batch)

    monkeypatch.setattr(inner, "commit", counted)
    await memory.remember_many([NewMemory(content=f"fact {i}", track_provenance=True) for i in range(10)])
    assert commits == 1


async def test_a_batch_answers_each_in_order_with_a_result_or_an_error(memory: MemoryService) -> None:
    await memory.remember("known")
    batch = MemoryBatch.model_validate(
        {
            "memories": [
                {"content": "new"},
                {"content": "known"},
                {"content": ""},
                {"content": "new"},
                {"content": "bad", "namespace": "_audit"},
                {"content": 5, "importance": "high"},
            ]
        }
    )
    answers = await memory.remember_many(batch.memories)
    statuses = [answer.status if isinstance(answer, Remembered) else answer.error.code for answer in answers]
    assert statuses == ["created", "duplicate", "invalid_request", "duplicate", "namespace_reserved", "invalid_request"]
    assert isinstance(answers[0], Remembered)
    assert isinstance(answers[3], Remembered)
    assert answers[3].id == answers[0].id


async def test_the_same_key_twice_in_a_batch_is_a_memory_and_its_revision(memory: MemoryService) -> None:
    answers = await memory.remember_many([NewMemory(content="one", key="k"), NewMemory(content="two", key="k")])
    assert [(a.status, a.version) for a in answers if isinstance(a, Remembered)] == [("created", 1), ("revised", 2)]


async def test_an_atomic_batch_with_a_bad_memory_stores_none(memory: MemoryService) -> None:
    bad = NewMemory(content="bad", provenance=ProvenanceInput(derived_from=["00000000-0000-0000-0000-000000000000"]))
    with pytest.raises(BatchRefusedError, match="memory 1 of the batch") as refusal:
        await memory.remember_many([NewMemory(content="good"), bad], atomic=True)
    assert refusal.value.found == 1
    assert (await memory.status()).storage.versions == 0


async def test_an_atomic_batch_has_one_position(memory: MemoryService) -> None:
    answers = await memory.remember_many([NewMemory(content=f"{i}") for i in range(5)], atomic=True)
    assert len({answer.position for answer in answers if isinstance(answer, Remembered)}) == 1


async def test_a_write_with_an_idempotency_key_happens_once(memory: MemoryService) -> None:
    request = NewMemory(content="pay once")
    first = await memory.remember(request, idempotency_key="order-1")
    await memory.forget(first.id)
    again = await memory.remember(request, idempotency_key="order-1")
    assert again == first
    assert (await memory.status()).storage.memories == 0


async def test_concurrent_requests_under_one_idempotency_key_get_one_answer(memory: MemoryService) -> None:
    request = NewMemory(content="pay once")
    answers = await asyncio.gather(*(memory.remember(request, idempotency_key="order-2") for _ in range(8)))
    assert len(set(map(repr, answers))) == 1


async def test_a_request_under_a_key_that_is_answered_while_it_looks_gets_that_answer(
    memory: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = NewMemory(content="pay once")
    answered: list[Remembered] = []

    async def act() -> None:
        answered.append(await memory.remember(request, idempotency_key="order-3"))

    after_next_read(memory, monkeypatch, act)
    assert await memory.remember(request, idempotency_key="order-3") == answered[0]


async def test_an_idempotency_key_for_another_request_is_a_conflict(memory: MemoryService) -> None:
    await memory.remember("one", idempotency_key="k")
    with pytest.raises(IdempotencyConflictError, match="another request"):
        await memory.remember("two", idempotency_key="k")


async def test_a_batch_under_an_idempotency_key_is_answered_as_it_was(memory: MemoryService) -> None:
    batch = MemoryBatch.model_validate({"memories": [{"content": "a"}, {"content": ""}]}).memories
    first = await memory.remember_many(batch, idempotency_key="b")
    again = await memory.remember_many(batch, idempotency_key="b")
    assert again == first
    assert isinstance(first[1], Refused)


async def test_a_memory_names_the_versions_it_was_made_of(memory: MemoryService) -> None:
    root = await memory.remember("root")
    await memory.revise(root.id, Revision(content="root, revised"))
    made = await memory.remember(NewMemory(content="leaf", provenance=ProvenanceInput(derived_from=[root.id])))
    record = (await memory.get(made.id, FULL)).provenance
    assert record
    assert [(name.id, name.version) for name in record.derived_from] == [(root.id, 2)]


async def test_a_root_that_is_not_there_is_named(memory: MemoryService) -> None:
    nowhere = "11111111-2222-3333-4444-555555555555"
    with pytest.raises(InvalidInputError, match=nowhere):
        await memory.remember(NewMemory(content="x", provenance=ProvenanceInput(derived_from=[nowhere])))


async def test_half_a_surrogate_pair_is_refused_in_words(memory: MemoryService) -> None:
    memory_request = NewMemory.model_construct(content="\ud800", **{
        name: field.get_default(call_default_factory=True)
        for name, field in NewMemory.model_fields.items() if name != "content"
    })  # fmt: skip
    with pytest.raises(InvalidInputError, match="surrogate"):
        await memory.remember(memory_request)
