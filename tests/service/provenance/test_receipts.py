"""Who was given what: noted beside the answer, written together, found both ways."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recollect.adapters.errors import StoreBusyError
from recollect.adapters.port import FULL, Commit, CommitReceipt, Scan
from recollect.service import MemoryService, NewMemory, ReadOptions, SearchRequest
from recollect.service.hashing import sha256_hex
from recollect.service.provenance import receipts
from recollect.service.provenance.requests import ReceiptsRequest
from recollect.service.requests import ListRequest

MakeService = Callable[..., Awaitable[MemoryService]]
Derive = Callable[..., Awaitable[str]]
EVERYTHING = ReceiptsRequest()
pytestmark = [pytest.mark.requirement("A11"), pytest.mark.every_backend]


async def found(memory: MemoryService, **asked: Any) -> list[tuple[str, str, list[str]]]:
    answer = await memory.provenance.receipts(ReceiptsRequest(**asked))
    return [(item.actor, item.operation, [given.id for given in item.given]) for item in answer.items]


async def test_a_search_leaves_a_receipt_without_its_words(memory: MemoryService, derive: Derive) -> None:
    stored = await derive("the night train leaves late")
    answer = await memory.search(SearchRequest(text="night train", actor="planner"))
    (receipt,) = (await memory.provenance.receipts(EVERYTHING)).items
    assert (receipt.actor, receipt.operation, receipt.hits) == ("planner", "search", 1)
    assert receipt.query_digest == sha256_hex(b"night train")
    assert [(item.id, item.version, item.score) for item in receipt.given] == [(stored, 1, answer.hits[0].score)]
    scan = Scan(read_point=None, namespaces=(receipts.NAMESPACE,), projection=FULL)
    contents = [version.content or "" async for batch in memory._store.scan(scan) for version in batch]
    assert "night train" not in "".join(contents)


@pytest.mark.parametrize("view", ["summary", "full"])
async def test_a_stream_leaves_one_receipt_whether_its_hits_are_json_or_not(
    memory: MemoryService, derive: Derive, view: Any
) -> None:
    ids = {await derive(f"train {number}") for number in range(5)}
    request = SearchRequest(text="train", limit=None, batch_size=2, view=view, actor="reader")
    frames = [frame async for frame in memory.find_similar_encoded(request)]
    assert frames
    ((actor, operation, given),) = await found(memory)
    assert (actor, operation, set(given)) == ("reader", "find_similar", ids)


async def test_a_stream_that_is_left_early_has_its_receipt_too(memory: MemoryService, derive: Derive) -> None:
    for number in range(6):
        await derive(f"train {number}")
    frames = memory.find_similar(SearchRequest(text="train", limit=None, batch_size=2))
    await anext(frames)
    await frames.aclose()
    ((_, _, given),) = await found(memory)
    assert len(given) == 2


async def test_a_receipt_names_the_best_hits_and_counts_all(make_service: MakeService) -> None:
    memory = await make_service(receipts_hits_max=2)
    for number in range(5):
        await memory.remember(f"train {number}")
    for search in (memory.find_similar, memory.find_similar_encoded):
        frames = [frame async for frame in search(SearchRequest(text="train", limit=None, batch_size=1))]
        assert frames
    first, second = (await memory.provenance.receipts(EVERYTHING)).items
    assert (first.hits, len(first.given)) == (second.hits, len(second.given)) == (5, 2)
    assert {item.id for item in first.given} == {item.id for item in second.given}


async def test_receipts_are_found_by_memory_by_actor_and_by_time(memory: MemoryService, derive: Derive) -> None:
    left, right = await derive("left"), await derive("right")
    await memory.get(left, ReadOptions(actor="ana"))
    await memory.provenance.receipts(EVERYTHING)
    await memory.get(right, ReadOptions(actor="ben"))
    await memory.get(left, ReadOptions(actor="ben"))
    await memory.list_memories(ListRequest(actor="eve"))
    assert [item[0] for item in await found(memory, memory_id=left)] == ["eve", "ben", "ana"]
    assert await found(memory, actor="ben") == [("ben", "get", [left]), ("ben", "get", [right])]
    assert len(await found(memory, limit=2)) == 2
    later = datetime.now(UTC) + timedelta(hours=1)
    assert await found(memory, since=later) == []
    assert len(await found(memory, since=later - timedelta(hours=2))) == 4


async def test_only_the_namespaces_that_were_chosen_are_noted(make_service: MakeService) -> None:
    memory = await make_service()
    shared = await memory.remember(NewMemory(content="train one", namespace="shared"))
    await memory.remember(NewMemory(content="train two", namespace="session"))
    await memory.search(SearchRequest(text="train"))
    ((_, _, given),) = await found(memory)
    assert given == [shared.id]
    none = await make_service(receipts_namespaces=())
    await none.get(shared.id)
    await none.search(SearchRequest(text="train"))
    assert [frame async for frame in none.find_similar_encoded(SearchRequest(text="train"))]
    assert len(await found(none)) == 1


async def test_many_recalls_cost_one_commit_and_none_of_their_own_time(
    memory: MemoryService, derive: Derive, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await derive("often asked for")
    commits: list[Commit] = []
    commit = memory._store.commit

    async def counted(given: Commit) -> CommitReceipt:
        commits.append(given)
        return await commit(given)

    monkeypatch.setattr(memory._store, "commit", counted)
    for _ in range(50):
        await memory.get(stored)
    assert commits == []
    assert len(await found(memory)) == 50
    assert [len(given.puts) for given in commits] == [1]


async def test_what_is_noted_is_written_when_the_service_closes(make_service: MakeService) -> None:
    memory = await make_service()
    stored = await memory.remember("kept")
    await memory.get(stored.id, ReadOptions(actor="ana"))
    await memory.close()
    again = await make_service()
    assert await found(again) == [("ana", "get", [stored.id])]


async def test_more_than_can_wait_is_counted_and_not_kept(
    memory: MemoryService, derive: Derive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "WAITING_MAX", 3)
    stored = await derive("popular")
    for _ in range(5):
        await memory.get(stored)
    assert len(await found(memory)) == 3
    scan = Scan(read_point=None, namespaces=(receipts.NAMESPACE,), projection=FULL)
    contents = [version.content or "" async for batch in memory._store.scan(scan) for version in batch]
    assert any('"dropped":2' in content for content in contents)


async def test_a_store_that_refuses_receipts_does_not_disturb_the_recall(
    memory: MemoryService, derive: Derive, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await derive("kept")

    async def refused(_: Commit) -> CommitReceipt:
        raise StoreBusyError("another writer does not end")

    with monkeypatch.context() as patched:
        patched.setattr(memory._store, "commit", refused)
        assert (await memory.get(stored)).id == stored
        assert await found(memory) == []
    await memory.get(stored)
    assert len(await found(memory)) == 1


async def test_receipts_end_with_their_time_and_leave_nothing_behind(make_service: MakeService) -> None:
    memory = await make_service(receipts_ttl_s=0.0001)
    stored = await memory.remember("short")
    await memory.get(stored.id)
    await memory._parts.receipts.flush()
    assert await found(memory) == []
    await memory.sweep()
    scan = Scan(read_point=None, namespaces=(receipts.NAMESPACE,), projection=FULL)
    kept = [version async for batch in memory._store.scan(scan) for version in batch]
    assert [(version.content, version.tags, version.forgotten) for version in kept] == [(None, (), True)]
    assert await memory._store.count(receipts._LINE, (receipts.NAMESPACE,)) == 0
