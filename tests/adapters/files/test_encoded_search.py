"""Matches as JSON say what the matches say, whatever is in them."""

from typing import Any

import msgspec
import numpy as np
import pytest

from recollect.adapters.files import FileAdapter
from recollect.adapters.port import Commit, EncodedSearch, Match, Put, SimilarityQuery
from recollect.adapters.testing.values import NEWEST, a_version
from recollect.adapters.versions import SparseVector

QUERY = np.array([0.6, 0.8, 0, 0, 0, 0, 0, 0], dtype=np.float32)
TERMS = SparseVector(np.array([1, 2], dtype=np.uint32), np.array([1.0, 2.0], dtype=np.float32))
HOSTILE = ('","position":7,"x":"', 'line\nbreak \u2028 \\" é 𝄞', '{"id":"x","namespace":', "")


async def _fill(adapter: FileAdapter) -> None:
    vectors = np.random.default_rng(7).standard_normal((40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    puts = []
    for number, vector in enumerate(vectors):
        hostile = HOSTILE[number % len(HOSTILE)]
        fields: dict[str, Any] = {
            "summary": hostile,
            "tags": tuple(sorted({hostile, "tag"} - {""})),
            "key": f"{hostile}{number}" if number % 3 else None,
            "sparse": TERMS if number % 2 else None,
            "created_at_ms": (-(2**61), 0, 2**61, 1_795_254_240_123)[number % 4],
            "vectors": np.vstack([vector, -vector]) if number % 5 == 0 else vector[None, :],
        }
        puts.append(Put(a_version(number, **fields)))
    await adapter.commit(Commit(puts=tuple(puts), read_point=NEWEST))


def _said(match: Match) -> dict[str, Any]:
    version = match.version
    return {
        "score": match.score,
        "id": version.memory_id,
        "version": version.number,
        "namespace": version.namespace,
        "key": version.key,
        "kind": version.kind,
        "summary": version.summary,
        "tags": list(version.tags),
    }


@pytest.mark.parametrize("limit", [None, 7])
@pytest.mark.parametrize(
    "asked", [{"dense": QUERY}, {"sparse": TERMS}, {"dense": QUERY, "sparse": TERMS}], ids=["dense", "terms", "fused"]
)
async def test_encoded_matches_say_what_matches_say_in_the_same_batches(
    adapter: FileAdapter, asked: dict[str, Any], limit: int | None
) -> None:
    await _fill(adapter)
    query = SimilarityQuery(read_point=NEWEST, limit=limit, batch_size=6, **asked)
    said = [[_said(match) for match in batch] async for batch in adapter.find_similar(query)]
    encoded = [[msgspec.json.decode(match) for match in batch] async for batch in adapter.find_similar_encoded(query)]
    for batch in encoded:
        for match in batch:
            match.pop("created_at")
    assert encoded == said


async def test_an_encoded_match_says_when_the_memory_came_about(adapter: FileAdapter) -> None:
    await _fill(adapter)
    query = SimilarityQuery(read_point=NEWEST, dense=QUERY, limit=None)
    times = {
        match["id"]: match["created_at"]
        async for batch in adapter.find_similar_encoded(query)
        for match in map(msgspec.json.decode, batch)
    }
    assert [times[a_version(number).memory_id] for number in range(4)] == [
        None,  # before the year 1
        "1970-01-01T00:00:00Z",
        None,  # after the year 9999
        "2026-11-21T09:44:00.123000Z",
    ]


def test_the_file_backend_has_the_power(adapter: FileAdapter) -> None:
    assert isinstance(adapter, EncodedSearch)
