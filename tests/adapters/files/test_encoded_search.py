"""Matches as JSON say what the matches say, whatever is in them."""

import errno
import os
from typing import Any

import msgspec
import numpy as np
import pytest

from recollect.adapters.files import FileAdapter
from recollect.adapters.files.shown import ShownPack
from recollect.adapters.port import Commit, EncodedMatches, EncodedSearch, Match, Put, SimilarityQuery
from recollect.adapters.testing.values import NEWEST, a_commit, a_version
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


def _decoded(found: EncodedMatches) -> list[list[dict[str, Any]]]:
    batches = [msgspec.json.decode(b"[%b]" % batch) for batch in found.batches]
    assert sum(map(len, batches)) == found.count
    return batches


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
    encoded = [batch async for found in adapter.find_similar_encoded(query) for batch in _decoded(found)]
    for batch in encoded:
        for match in batch:
            match.pop("created_at")
    assert encoded == said


async def test_an_encoded_match_says_when_the_memory_came_about(adapter: FileAdapter) -> None:
    await _fill(adapter)
    query = SimilarityQuery(read_point=NEWEST, dense=QUERY, limit=None)
    times = {
        match["id"]: match["created_at"]
        async for found in adapter.find_similar_encoded(query)
        for batch in _decoded(found)
        for match in batch
    }
    assert [times[a_version(number).memory_id] for number in range(4)] == [
        None,  # before the year 1
        "1970-01-01T00:00:00Z",
        None,  # after the year 9999
        "2026-11-21T09:44:00.123000Z",
    ]


def test_the_file_backend_has_the_power(adapter: FileAdapter) -> None:
    assert isinstance(adapter, EncodedSearch)


async def test_memories_that_come_later_are_in_the_next_stream(adapter: FileAdapter) -> None:
    await _fill(adapter)
    query = SimilarityQuery(read_point=NEWEST, dense=QUERY, limit=None)
    before = sum([found.count async for found in adapter.find_similar_encoded(query)])
    await adapter.commit(a_commit(a_version(900, summary="later", vectors=QUERY[None, :])))
    found = [_decoded(found)[0][0] async for found in adapter.find_similar_encoded(query)]
    assert (before, found[0]["summary"]) == (40, "later")


async def test_without_room_for_the_pack_a_stream_says_the_same_and_the_store_says_why_it_is_slow(
    adapter: FileAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ShownPack, "_write", full)
    await _fill(adapter)
    query = SimilarityQuery(read_point=NEWEST, dense=QUERY, limit=None, batch_size=6)
    said = [[_said(match) for match in batch] async for batch in adapter.find_similar(query)]
    encoded = [batch async for found in adapter.find_similar_encoded(query) for batch in _decoded(found)]
    assert [[match["id"] for match in batch] for batch in encoded] == [
        [match["id"] for match in batch] for batch in said
    ]
    assert "free some space" in " ".join((await adapter.status()).notes)
