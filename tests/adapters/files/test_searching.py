"""Exact search: the same answer as a plain computation, whatever blocks, packs and windows it goes through."""

import asyncio
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.adapters.files import FileAdapter, ordering, search, similarity, vectors
from recollect.adapters.files.ordering import top_bound
from recollect.adapters.files.search import AbandonedError
from recollect.adapters.filters import parse_filter
from recollect.adapters.port import SimilarityQuery
from recollect.adapters.testing.values import DIMENSION, NEWEST, PROFILE, a_commit, a_version, collected
from recollect.adapters.versions import Vector, Version


def _unit(rows: np.ndarray) -> Vector:
    scaled: Vector = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few vectors reach over many packs, blocks, runs and groups."""
    monkeypatch.setattr(vectors, "PACK_ROWS", 64)
    monkeypatch.setattr(vectors, "GROW_ROWS_MIN", 4)
    monkeypatch.setattr(similarity, "BLOCK_SLOTS", 24)
    monkeypatch.setattr(similarity, "GATHER_SLOTS", 5)
    monkeypatch.setattr(ordering, "RUN_ROWS", 16)
    monkeypatch.setattr(ordering, "FIRST_EXTRA", 2)
    monkeypatch.setattr(search, "CHUNK_ROWS", 32)


def _flock(count: int, chance: np.random.Generator, windows_max: int) -> list[Version]:
    flock = []
    for number in range(count):
        rows = int(chance.integers(0, windows_max + 1)) if windows_max > 1 else 1
        drawn = chance.standard_normal((rows, DIMENSION))
        if number % 7 == 3:
            # Equal vectors, so that ids decide.
            drawn[:] = 1.0
        flock.append(a_version(number, vectors=_unit(drawn) if rows else None, metadata={"n": number}))
    return flock


def _expected(flock: list[Version], query: Vector) -> list[tuple[str, float]]:
    scored = []
    for version in flock:
        if version.vectors is not None:
            best = float((version.vectors.astype(np.float64) @ query.astype(np.float64)).max())
            scored.append((-round(best, 6), version.memory_id))
    return [(memory_id, -score) for score, memory_id in sorted(scored)]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("windows_max", [1, 3])
async def test_a_search_agrees_with_a_plain_computation(folder: Path, windows_max: int) -> None:
    chance = np.random.default_rng(windows_max)
    flock = _flock(300, chance, windows_max)
    adapter = FileAdapter(folder)
    await adapter.open(PROFILE)
    for start in range(0, 300, 70):
        await adapter.commit(a_commit(*flock[start : start + 70]))
    for limit in (1, 10, 150, None):
        query = _unit(chance.standard_normal((1, DIMENSION)))[0]
        for least in (0, 200, 290):
            wanted = SimilarityQuery(
                read_point=NEWEST,
                dense=query,
                limit=limit,
                batch_size=9,
                filter=parse_filter({"metadata.n": {"gte": least}}),
            )
            found = [(match.version.memory_id, match.score) for match in await collected(adapter.find_similar(wanted))]
            assert found == _expected(flock[least:], query)[:limit]
    await adapter.close()
    # The packs were written over several files; lose one of them, and let its neighbours be.
    (folder / "vectors-000001.pack").unlink()
    await adapter.open()
    assert (await adapter.check()).findings == ()
    await adapter.close()


@pytest.mark.requirement("B5")
async def test_the_first_batch_comes_before_the_rest_is_read(adapter: FileAdapter) -> None:
    chance = np.random.default_rng(5)
    await adapter.commit(a_commit(*_flock(3_000, chance, 1)))
    query = SimilarityQuery(read_point=NEWEST, dense=_unit(np.ones((1, DIMENSION)))[0], limit=None, batch_size=10)
    stream = adapter.find_similar(query)
    first = await anext(stream)
    assert len(first) == 10
    rest = await collected(stream)
    assert len(rest) == 2_990
    scores = [match.score for match in (*first, *rest)]
    assert scores == sorted(scores, reverse=True)


async def test_a_search_whose_reader_has_gone_stops_between_blocks(adapter: FileAdapter) -> None:
    await adapter.commit(a_commit(*_flock(50, np.random.default_rng(6), 1)))
    assert adapter._store is not None
    gone = Event()
    query = SimilarityQuery(read_point=NEWEST, dense=_unit(np.ones((1, DIMENSION)))[0], limit=None)
    running = adapter._store.searcher.find_similar(adapter._store.reader, query, gone)
    gone.set()
    with pytest.raises(AbandonedError):
        next(running)


async def test_searches_and_commits_go_on_beside_each_other(adapter: FileAdapter) -> None:
    chance = np.random.default_rng(8)
    flock = _flock(400, chance, 1)
    await adapter.commit(a_commit(*flock[:100]))
    query = SimilarityQuery(read_point=NEWEST, dense=_unit(np.ones((1, DIMENSION)))[0], limit=None)

    async def write() -> None:
        for version in flock[100:]:
            await adapter.commit(a_commit(version))

    async def read() -> list[int]:
        return [len(await collected(adapter.find_similar(query))) for _ in range(20)]

    _, *counts = await asyncio.gather(write(), read(), read())
    for seen in counts:
        assert seen == sorted(seen)
    assert len(await collected(adapter.find_similar(query))) == 400


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=300), st.integers(1, 40), st.floats(-1, 1, width=32))
def test_the_bound_of_the_best_is_reached_by_as_many_as_asked_for(
    scores: list[float], count: int, least: float
) -> None:
    best = np.array(scores, dtype=np.float32)
    best[best < least] = -np.inf
    bound = top_bound(best, count)
    if bound == -np.inf:
        assert np.count_nonzero(best > -np.inf) <= count or len(best) <= count
    else:
        assert np.count_nonzero(best >= bound) >= count
        assert np.count_nonzero(best > bound) < count
