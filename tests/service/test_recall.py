import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recollect.adapters.errors import FilterError, InvalidVectorError
from recollect.service import (
    ListRequest,
    MemoryService,
    NewMemory,
    ProvenanceInput,
    ReadOptions,
    Revision,
    SearchRequest,
)
from recollect.service.answers import EndFrame, HitsFrame
from recollect.service.errors import (
    BranchNotFoundError,
    InvalidCursorError,
    InvalidInputError,
    MemoryNotFoundError,
    ReservedNamespaceError,
)

pytestmark = pytest.mark.every_backend

NOWHERE = "11111111-2222-3333-4444-555555555555"
DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


async def _remember(memory: MemoryService, count: int, **fields: Any) -> list[str]:
    answers = await memory.remember_many([NewMemory(content=f"memory number {i}", **fields) for i in range(count)])
    return [answer.id for answer in answers]  # type: ignore[union-attr]


@pytest.mark.requirement("C1")
async def test_a_summary_leaves_out_content_and_the_full_view_adds_it(memory: MemoryService) -> None:
    stored = await memory.remember(NewMemory(content="the text", metadata={"a": 1}))
    summary = await memory.get(stored.id)
    full = await memory.get(stored.id, ReadOptions(view="full"))
    assert not summary.content
    assert not summary.metadata
    assert (full.content, full.metadata) == ("the text", {"a": 1})


@pytest.mark.requirement("A3")
async def test_provenance_is_answered_only_when_asked_for(memory: MemoryService) -> None:
    stored = await memory.remember(NewMemory(content="x", provenance=ProvenanceInput(actor="ana", source="message:7")))
    without = await memory.get(stored.id, ReadOptions(view="full"))
    record = (await memory.get(stored.id, ReadOptions(include_provenance=True))).provenance
    assert not without.provenance
    assert record
    assert (record.actor, record.source, record.action, record.level) == ("ana", "message:7", "created", "full")


@pytest.mark.requirement("C3")
async def test_a_memory_is_found_by_its_key(memory: MemoryService) -> None:
    stored = await memory.remember(NewMemory(content="x", key="a/b c?%", namespace="projects"))
    assert (await memory.get_by_key("projects", "a/b c?%")).id == stored.id
    with pytest.raises(MemoryNotFoundError, match="no memory with the key"):
        await memory.get_by_key("longterm", "a/b c?%")


async def test_an_unknown_id_is_named(memory: MemoryService) -> None:
    with pytest.raises(MemoryNotFoundError, match=NOWHERE):
        await memory.get(NOWHERE)
    with pytest.raises(MemoryNotFoundError, match=NOWHERE):
        await memory.history(NOWHERE)


async def test_an_unknown_branch_is_named(memory: MemoryService) -> None:
    with pytest.raises(BranchNotFoundError, match="feature"):
        await memory.get(NOWHERE, ReadOptions(branch="feature"))


async def test_a_read_as_of_a_position_shows_what_was_known_then(memory: MemoryService) -> None:
    stored = await memory.remember("first")
    revised = await memory.revise(stored.id, Revision(content="second"))
    await memory.forget(stored.id)
    then = await memory.get(stored.id, ReadOptions(view="full", as_of=stored.position))
    later = await memory.get(stored.id, ReadOptions(view="full", as_of=revised.position))
    assert (then.content, later.content) == ("first", "second")


async def test_a_search_as_of_a_position_finds_what_was_known_then(memory: MemoryService) -> None:
    stored = await memory.remember("the red bicycle")
    await memory.revise(stored.id, Revision(content="quarterly tax report"))
    (hit,) = (await memory.search(SearchRequest(text="the red bicycle", as_of=stored.position))).hits
    assert (hit.version, hit.summary) == (1, "the red bicycle")


async def test_before_a_memory_was_stored_there_is_none(memory: MemoryService) -> None:
    stored = await memory.remember("new")
    with pytest.raises(MemoryNotFoundError):
        await memory.get(stored.id, ReadOptions(as_of=datetime(2020, 1, 1, tzinfo=UTC)))


@pytest.mark.parametrize("descending", [True, False])
async def test_pages_show_every_memory_once_in_order(memory: MemoryService, *, descending: bool) -> None:
    ids = await _remember(memory, 25)
    seen: list[str] = []
    cursor = None
    while True:
        page = await memory.list_memories(ListRequest(limit=7, cursor=cursor, descending=descending))
        seen += [item.id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(seen) == 25
    assert set(seen) == set(ids)
    positions = [(await memory.get(memory_id)).position for memory_id in seen]
    assert positions == sorted(positions, reverse=descending)


async def test_a_page_is_not_disturbed_by_what_is_stored_meanwhile(memory: MemoryService) -> None:
    await _remember(memory, 6)
    first = await memory.list_memories(ListRequest(limit=3))
    await memory.remember("newer")
    second = await memory.list_memories(ListRequest(limit=3, cursor=first.next_cursor))
    assert len({item.id for item in [*first.items, *second.items]}) == 6
    assert second.next_cursor is None


@pytest.mark.requirement("C7")
async def test_a_timeline_is_ordered_by_when_memories_came_about(memory: MemoryService) -> None:
    for days in (3, 1, 2, 0):
        await memory.remember(NewMemory(content=f"day {days}", created_at=START + days * DAY, tags=["trip"]))
    timeline = ListRequest(order="created_at", descending=False, filters={"tags": "trip"}, limit=3)
    page = await memory.list_memories(timeline)
    rest = await memory.list_memories(timeline.model_copy(update={"cursor": page.next_cursor}))
    assert [item.summary for item in [*page.items, *rest.items]] == ["day 0", "day 1", "day 2", "day 3"]


@pytest.mark.parametrize("cursor", ["rubbish", "bm90IGpzb24=", ""])
async def test_a_cursor_that_is_not_ours_is_refused(memory: MemoryService, cursor: str) -> None:
    with pytest.raises(InvalidCursorError, match="next_cursor"):
        await memory.list_memories(ListRequest(cursor=cursor))


async def test_a_cursor_of_another_order_is_refused(memory: MemoryService) -> None:
    await _remember(memory, 3)
    page = await memory.list_memories(ListRequest(limit=1))
    with pytest.raises(InvalidCursorError, match="another order"):
        await memory.list_memories(ListRequest(limit=1, order="created_at", cursor=page.next_cursor))


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"kind": "episodic"}, {"b"}),
        ({"tags": {"all": ["x", "y"]}}, {"b"}),
        ({"metadata.user.id": {"in": [1, 2]}}, {"a", "b"}),
        ({"metadata.user.id": {"gt": 1}}, {"b"}),
        ({"importance": {"gte": 0.6}}, {"c"}),
        ({"actor": "ana"}, {"a"}),
        ({"source": "message:1"}, {"a"}),
        ({"key": {"exists": True}}, {"c"}),
        ({"created_at": {"lt": "2026-01-02T00:00:00Z"}}, {"a"}),
        ({"OR": [{"kind": "episodic"}, {"NOT": {"tags": "x"}}]}, {"b", "c"}),
        ({"namespace": "projects"}, {"c"}),
    ],
)
async def test_filters_choose_what_is_listed_and_found(
    memory: MemoryService, filters: dict[str, Any], found: set[str]
) -> None:
    await memory.remember_many(
        [
            NewMemory(
                content="a",
                tags=["x"],
                metadata={"user": {"id": 1}},
                created_at=START,
                provenance=ProvenanceInput(actor="ana", source="message:1"),
            ),
            NewMemory(content="b", kind="episodic", tags=["x", "y"], metadata={"user": {"id": 2}}),
            NewMemory(content="c", key="c", importance=0.7, namespace="projects"),
        ]
    )
    listed = (await memory.list_memories(ListRequest(filters=filters))).items
    hits = (await memory.search(SearchRequest(text="a", filters=filters))).hits
    assert {item.summary for item in listed} == found
    assert {hit.summary for hit in hits} == found


async def test_a_search_stays_in_the_namespaces_it_names(memory: MemoryService) -> None:
    await memory.remember(NewMemory(content="same text", namespace="one"))
    await memory.remember(NewMemory(content="same text", namespace="two"))
    hits = (await memory.search(SearchRequest(text="same text", namespaces=["two"]))).hits
    assert [hit.namespace for hit in hits] == ["two"]


@pytest.mark.requirement("A1")
async def test_the_systems_namespaces_cannot_be_searched(memory: MemoryService) -> None:
    with pytest.raises(ReservedNamespaceError):
        await memory.search(SearchRequest(text="x", namespaces=["_idempotency"]))


async def test_what_is_similar_to_a_memory_leaves_it_out(memory: MemoryService) -> None:
    ids = await _remember(memory, 5)
    hits = (await memory.search(SearchRequest(memory_id=ids[0], limit=4))).hits
    assert {hit.id for hit in hits} == set(ids[1:])


async def test_a_threshold_and_a_limit_bound_the_hits(memory: MemoryService) -> None:
    await _remember(memory, 8)
    exact = (await memory.search(SearchRequest(text="memory number 3", threshold=0.9999))).hits
    assert [hit.summary for hit in exact] == ["memory number 3"]
    assert len((await memory.search(SearchRequest(text="memory number 3", limit=2))).hits) == 2


async def test_explain_gives_the_parts_of_a_score(memory: MemoryService) -> None:
    await memory.remember("alpha")
    (hit,) = (await memory.search(SearchRequest(text="alpha", explain=True))).hits
    assert hit.scores
    assert hit.scores.dense == pytest.approx(hit.score)


async def test_a_search_by_a_vector_of_another_length_says_which_is_needed(memory: MemoryService) -> None:
    with pytest.raises(InvalidVectorError, match="has 3 numbers, but this store's have 64"):
        await memory.search(SearchRequest(vector=[1.0, 2.0, 3.0]))


async def test_a_filter_that_is_wrong_is_refused_before_the_first_frame(memory: MemoryService) -> None:
    stream = memory.find_similar(SearchRequest(text="x", filters={"colour": "red"}))
    with pytest.raises(FilterError, match="colour"):
        await anext(stream)


async def test_an_answer_in_one_piece_needs_a_limit(memory: MemoryService) -> None:
    with pytest.raises(InvalidInputError, match="find_similar"):
        await memory.search(SearchRequest(text="x", limit=None))


@pytest.mark.requirement("B5")
async def test_a_stream_without_a_limit_gives_every_memory_best_first_and_ends(memory: MemoryService) -> None:
    ids = await _remember(memory, 150)
    frames = [frame async for frame in memory.find_similar(SearchRequest(text="memory", limit=None, batch_size=40))]
    hits = [hit for frame in frames if isinstance(frame, HitsFrame) for hit in frame.hits]
    assert {hit.id for hit in hits} == set(ids)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(len(frame.hits) <= 40 for frame in frames if isinstance(frame, HitsFrame))
    assert isinstance(frames[-1], EndFrame)
    assert frames[-1].hits == 150


async def test_a_reader_that_leaves_ends_the_search(memory: MemoryService) -> None:
    await _remember(memory, 100)
    stream = memory.find_similar(SearchRequest(text="memory", limit=None, batch_size=5))
    await anext(stream)
    await stream.aclose()
    assert [task for task in asyncio.all_tasks() if "find_similar" in repr(task)] == []
    assert (await memory.search(SearchRequest(text="memory number 1", limit=1))).hits


async def test_an_empty_store_answers_with_no_hits(memory: MemoryService) -> None:
    frames = [frame async for frame in memory.find_similar(SearchRequest(text="anything"))]
    assert [type(frame) for frame in frames] == [EndFrame]


async def test_a_history_shows_who_changed_what_newest_first(memory: MemoryService) -> None:
    stored = await memory.remember(NewMemory(content="v1", provenance=ProvenanceInput(actor="ana")))
    await memory.revise(stored.id, Revision(content="v2", provenance=ProvenanceInput(actor="ben")))
    items = (await memory.history(stored.id, ReadOptions(view="full", include_provenance=True))).items
    assert [(item.version, item.content) for item in items] == [(2, "v2"), (1, "v1")]
    assert [item.provenance and item.provenance.actor for item in items] == ["ben", "ana"]
