"""A search that is passed on as JSON says what it says as objects."""

from typing import Any

import msgspec
import pytest

from recollect.service import MemoryService, NewMemory, SearchRequest
from recollect.service.answers import EncodedSearchAnswer, SearchAnswer
from recollect.service.errors import InvalidInputError
from recollect.service.http.streams import encode_line
from recollect.service.provenance.requests import ReceiptsRequest


async def _remember(memory: MemoryService, count: int, **fields: Any) -> list[str]:
    answers = await memory.remember_many([NewMemory(content=f"memory number {i}", **fields) for i in range(count)])
    return [answer.id for answer in answers]  # type: ignore[union-attr]


async def _encoded(memory: MemoryService, request: SearchRequest) -> tuple[list[Any], list[str]]:
    frames = [frame async for frame in memory.find_similar_encoded(request)]
    lines = [line for frame in frames[:-1] for line in encode_line(frame).splitlines()]
    return list(map(msgspec.json.decode, lines)), [type(frame).__name__ for frame in frames]


@pytest.mark.parametrize(
    "asked", [{}, {"view": "full"}, {"include_provenance": True}, {"explain": True}, {"limit": None, "batch_size": 3}]
)
async def test_an_encoded_stream_says_what_the_stream_says(memory: MemoryService, asked: dict[str, Any]) -> None:
    await _remember(memory, 12, tags=["a"], metadata={"n": 1})
    request = SearchRequest(**{"text": "memory number 3", "limit": 5, **asked})
    said = [msgspec.json.decode(msgspec.json.encode(frame)) async for frame in memory.find_similar(request)]
    encoded, _ = await _encoded(memory, request)
    assert encoded == said[:-1]


async def test_hits_are_made_into_objects_only_where_that_is_needed(memory: MemoryService) -> None:
    ids = await _remember(memory, 3)
    _, plain = await _encoded(memory, SearchRequest(text="memory"))
    _, similar = await _encoded(memory, SearchRequest(memory_id=ids[0]))
    await memory.remember(NewMemory(content="w", kind="working"))
    _, with_working_memory = await _encoded(memory, SearchRequest(text="memory"))
    assert plain == ["EncodedHitsFrames", "EndFrame"]
    assert similar == with_working_memory == ["HitsFrame", "EndFrame"]


@pytest.mark.parametrize("asked", [{}, {"view": "full"}, {"explain": True}, {"text": "memory", "limit": 1_500}])
async def test_an_encoded_answer_says_what_the_answer_says(memory: MemoryService, asked: dict[str, Any]) -> None:
    for number in range(2):
        await _remember(memory, 600, tags=["a"], metadata={"n": number})
    request = SearchRequest(**{"text": "memory number 3", "limit": 5, **asked})
    said = msgspec.json.decode(msgspec.json.encode(await memory.search(request)))
    encoded = msgspec.json.decode(msgspec.json.encode(await memory.search_encoded(request)))
    assert len(said["hits"]) == min(request.limit or 0, 1_200)
    assert said.keys() == encoded.keys()
    assert encoded["hits"] == said["hits"]


async def test_an_answer_is_made_of_objects_only_where_that_is_needed(memory: MemoryService) -> None:
    ids = await _remember(memory, 3)
    plain = await memory.search_encoded(SearchRequest(text="memory"))
    similar = await memory.search_encoded(SearchRequest(memory_id=ids[0]))
    assert (type(plain), type(similar)) == (EncodedSearchAnswer, SearchAnswer)


async def test_an_encoded_answer_is_noted_in_the_receipts(memory: MemoryService) -> None:
    ids = await _remember(memory, 3)
    request = SearchRequest(text="memory", limit=2, actor="ana")
    await memory.search_encoded(request)
    await memory.search(request)
    first, second = (await memory.provenance.receipts(ReceiptsRequest(actor="ana"))).items
    assert first.given == second.given
    assert {given.id for given in first.given} < set(ids)
    assert (first.operation, first.query_digest, first.hits) == (second.operation, second.query_digest, 2)


async def test_an_encoded_answer_needs_a_limit(memory: MemoryService) -> None:
    with pytest.raises(InvalidInputError, match="needs a limit"):
        await memory.search_encoded(SearchRequest(text="memory", limit=None))
