"""Query vectors remembered."""

import asyncio

import numpy as np
import pytest

from recollect.embeddings import HashEmbedder, QueryCachingEmbedder
from recollect.embeddings.protocol import Vectors


class CountingEmbedder(HashEmbedder):
    def __init__(self) -> None:
        super().__init__(32)
        self.asked: list[str] = []

    async def embed_query(self, text: str) -> Vectors:
        self.asked.append(text)
        return await super().embed_query(text)


async def test_a_query_asked_again_is_not_computed_again() -> None:
    inner = CountingEmbedder()
    embedder = QueryCachingEmbedder(inner, entries_max=10)
    first = await embedder.embed_query("where is the key?")
    again = await embedder.embed_query("where is the key?")
    np.testing.assert_array_equal(first, again)
    assert inner.asked == ["where is the key?"]
    assert embedder.describe().cached_queries == 1
    await embedder.aclose()


async def test_the_query_not_asked_for_longest_is_forgotten_first() -> None:
    inner = CountingEmbedder()
    embedder = QueryCachingEmbedder(inner, entries_max=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        await embedder.embed_query(text)
    assert inner.asked == ["a", "b", "c", "b"]
    assert embedder.describe().cached_queries == 2
    await embedder.aclose()


async def test_a_remembered_vector_cannot_be_changed_by_who_got_it() -> None:
    embedder = QueryCachingEmbedder(CountingEmbedder(), entries_max=2)
    vector = await embedder.embed_query("a")
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 5
    await embedder.aclose()


async def test_very_long_queries_are_not_remembered() -> None:
    embedder = QueryCachingEmbedder(CountingEmbedder(), entries_max=2)
    await embedder.embed_query("word " * 2000)
    assert embedder.describe().cached_queries == 0
    await embedder.aclose()


async def test_documents_pass_through_with_the_facts_of_the_embedder_behind() -> None:
    embedder = QueryCachingEmbedder(CountingEmbedder(), entries_max=2)
    assert [rows.shape for rows in await embedder.embed_documents(["a", "b"])] == [(1, 32), (1, 32)]
    assert (embedder.model_id, embedder.dimension) == ("hash-32", 32)
    await embedder.aclose()


async def test_many_tasks_asking_at_once_all_get_the_right_vector() -> None:
    embedder = QueryCachingEmbedder(CountingEmbedder(), entries_max=3)
    texts = [f"question {number % 7}" for number in range(200)]
    vectors = await asyncio.gather(*map(embedder.embed_query, texts))
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_array_equal(vector, await embedder.embed_query(text))
    assert embedder.describe().cached_queries == 3
    await embedder.aclose()
