"""A rebuild goes on beside requests: it leaves nothing of what was erased, and no search waits for an index."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from msgspec.structs import replace

from recollect.adapters.port import ById, Scan, SimilarityQuery, StoreProfile
from recollect.adapters.qdrant.edge.adapter import EdgeAdapter
from recollect.adapters.testing.values import (
    NEWEST,
    PROFILE,
    a_commit,
    a_full_version,
    a_version,
    axis,
    collected,
    memory_id,
    toward,
    windows,
)
from recollect.adapters.versions import Action, Provenance, Vector, Version
from tests.leftovers import files_that_hold

MARK = "quokka"
"""A word that stands in every text of what is erased, and nowhere else."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest_asyncio.fixture
async def adapter(folder: Path) -> AsyncIterator[EdgeAdapter]:
    adapter = EdgeAdapter(folder)
    await adapter.open(PROFILE)
    yield adapter
    await adapter.close()


def marked(number: int) -> Version:
    return replace(
        a_full_version(number),
        key=f"{MARK} key {number}",
        summary=f"{MARK} summary",
        tags=(f"{MARK}-tag",),
        actor=f"{MARK} actor",
        source=f"message:{MARK}",
        content=f"{MARK} {number} " * 700,
        metadata={MARK: {"deep": [f"{MARK} value"] * 40}},
        provenance=Provenance(action=Action.CREATED, actor=f"{MARK} actor", time_ms=5, note=f"a {MARK} note"),
        vectors=windows(toward(0.123456)),
    )


def traces_of(version: Version) -> tuple[bytes, ...]:
    assert version.vectors is not None
    return (MARK.encode(), version.content_hash.encode(), version.vectors.astype("<f4").tobytes())


@pytest.mark.requirement("B3")
@pytest.mark.parametrize("reopened", [False, True])
async def test_no_byte_of_an_erased_version_is_left_in_any_file_after_compaction(
    adapter: EdgeAdapter, folder: Path, *, reopened: bool
) -> None:
    erased = [marked(number) for number in range(20)]
    await adapter.commit(a_commit(*erased, a_version(90, vectors=windows(axis(0)))))
    if reopened:
        await adapter.close()
        await adapter.open()
    assert files_that_hold(folder, *traces_of(erased[0]))
    await adapter.commit(a_commit(a_version(91), erases=tuple(version.ref for version in erased)))
    await adapter.compact()
    assert files_that_hold(folder, *traces_of(erased[0])) == []
    assert await adapter.count(NEWEST) == 2
    assert (await adapter.check()).findings == ()


async def test_reads_streams_and_commits_go_on_while_a_store_is_compacted(adapter: EdgeAdapter, folder: Path) -> None:
    erased = marked(1)
    await adapter.commit(a_commit(erased, *(a_version(number, vectors=windows(axis(0))) for number in range(10, 500))))
    await adapter.commit(a_commit(a_version(2), erases=(erased.ref,)))
    stream = adapter.scan(Scan(read_point=NEWEST, batch_size=50))
    seen = [*await anext(stream)]
    compacting = asyncio.create_task(adapter.compact())
    written = 0
    while not compacting.done():
        written += 1
        await adapter.commit(a_commit(a_version(1000 + written)))
        assert await adapter.get([ById(memory_id(1000 + written))], NEWEST) != [None]
        if written == 5:
            seen += [version async for batch in stream for version in batch]
    await compacting
    assert len(seen) == 491
    assert await adapter.count(NEWEST) == 491 + written
    assert files_that_hold(folder, MARK.encode()) == []


async def test_two_that_compact_at_once_are_both_answered(adapter: EdgeAdapter, folder: Path) -> None:
    for number in (1, 2):
        await adapter.commit(a_commit(marked(number)))
    await adapter.commit(a_commit(a_version(3), erases=(marked(1).ref,)))
    first = asyncio.create_task(adapter.compact())
    await adapter.commit(a_commit(a_version(4), erases=(marked(2).ref,)))
    await asyncio.gather(first, adapter.compact())
    assert files_that_hold(folder, MARK.encode()) == []


def rows_about_topics(count: int, topics: int) -> Vector:
    """Return vectors of length 1 that lie around some others, as those of texts do; no index finds its way in noise."""
    chance = np.random.default_rng(7)
    centres = chance.standard_normal((topics, 384), dtype=np.float32)
    rows: Vector = centres[chance.integers(topics, size=count)]
    rows += chance.standard_normal((count, 384), dtype=np.float32) / 2
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


@pytest.mark.slow
@pytest.mark.requirement("B10")
async def test_an_index_is_built_beside_requests_and_finds_what_a_look_at_everything_finds(tmp_path: Path) -> None:
    adapter = EdgeAdapter(tmp_path / "store")
    await adapter.open(StoreProfile("model", 384))
    rows = rows_about_topics(21_000, topics=300)
    for start in range(0, len(rows), 500):
        numbers = range(start, start + 500)
        await adapter.commit(a_commit(*(a_version(number, vectors=rows[number : number + 1]) for number in numbers)))
    said = (await adapter.status()).notes
    while (await adapter.status()).notes:
        await adapter.count(NEWEST)
    assert "in no index yet" in said[0]
    found = 0
    for query in rows[:20]:
        matches = await collected(adapter.find_similar(SimilarityQuery(read_point=NEWEST, dense=query)))
        exact = {memory_id(int(number)) for number in np.argsort(-(rows @ query))[:10]}
        found += len({match.version.memory_id for match in matches} & exact)
    assert found >= 190
    assert len(await collected(adapter.scan(Scan(read_point=NEWEST)))) == len(rows)
    await adapter.close()
