"""Streams: what they show while others write, and what they leave when they are left."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import pytest

from recollect.adapters.errors import StorageError
from recollect.adapters.port import ProvenanceStorageAdapter, Scan, SimilarityQuery, StoreProfile
from recollect.adapters.testing.base import AdapterFactory, ConformanceBase
from recollect.adapters.testing.values import (
    NEWEST,
    a_commit,
    a_version,
    axis,
    collected,
    memory_id,
    revision_of,
    terms,
    tombstone_of,
    windows,
)
from recollect.adapters.versions import VersionRef

Stream = AsyncGenerator[Sequence[Any], None]
STREAMS: dict[str, Callable[[ProvenanceStorageAdapter], Stream]] = {
    "scan": lambda adapter: adapter.scan(Scan(read_point=NEWEST, batch_size=3)),
    "scan_descending": lambda adapter: adapter.scan(Scan(read_point=NEWEST, batch_size=3, descending=True)),
    "scan_everything": lambda adapter: adapter.scan(Scan(read_point=None, batch_size=3)),
    "dense": lambda adapter: adapter.find_similar(
        SimilarityQuery(read_point=NEWEST, dense=axis(0), limit=None, batch_size=3)
    ),
    "sparse": lambda adapter: adapter.find_similar(
        SimilarityQuery(read_point=NEWEST, sparse=terms({1: 1.0}), limit=None, batch_size=3)
    ),
    "fused": lambda adapter: adapter.find_similar(
        SimilarityQuery(read_point=NEWEST, dense=axis(0), sparse=terms({1: 1.0}), limit=None, batch_size=3)
    ),
}
FLOCK = [a_version(number, vectors=windows(axis(0)), sparse=terms({1: 1.0})) for number in range(20)]
CLOSING_DEADLINE_S = 60
"""Long enough for any machine; a store that waits for a stream which nobody reads waits for ever."""


def named(items: Sequence[Any]) -> list[VersionRef]:
    """Return the refs of versions or of matches."""
    return [getattr(item, "version", item).ref for item in items]


class StreamTests(ConformanceBase):
    """What every stream promises."""

    @pytest.mark.parametrize("kind", STREAMS)
    async def test_a_stream_shows_the_state_in_which_it_began(
        self, adapter: ProvenanceStorageAdapter, other_adapter: ProvenanceStorageAdapter, kind: str
    ) -> None:
        await adapter.commit(a_commit(*FLOCK))
        before = named(await collected(STREAMS[kind](adapter)))
        stream = STREAMS[kind](adapter)
        found = [*await anext(stream)]
        await other_adapter.commit(
            a_commit(
                *(tombstone_of(version) for version in FLOCK[::4]),
                *(revision_of(version) for version in FLOCK[1::4]),
                *(a_version(number, vectors=windows(axis(0)), sparse=terms({1: 1.0})) for number in range(30, 40)),
            )
        )
        found += [item async for batch in stream for item in batch]
        assert named(found) == before
        assert len(before) == 20

    async def test_history_shows_the_state_in_which_it_began(self, adapter: ProvenanceStorageAdapter) -> None:
        version = a_version(1)
        await adapter.commit(a_commit(version))
        for _ in range(300):
            put = revision_of(version, content="again")
            await adapter.commit(a_commit(put, durability="relaxed"))
            version = put.version
        stream = adapter.history(memory_id(1), NEWEST)
        numbers = [item.number for item in await anext(stream)]
        await adapter.commit(a_commit(tombstone_of(version)))
        numbers += [item.number async for batch in stream for item in batch]
        assert numbers == [*range(301, 0, -1)]

    @pytest.mark.parametrize("kind", STREAMS)
    async def test_a_stream_that_is_closed_early_ends_and_the_store_goes_on(
        self, adapter: ProvenanceStorageAdapter, kind: str
    ) -> None:
        await adapter.commit(a_commit(*FLOCK))
        tasks = asyncio.all_tasks()
        for _ in range(30):
            stream = STREAMS[kind](adapter)
            await anext(stream)
            await stream.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        await adapter.commit(a_commit(a_version(99)))
        assert await adapter.count(NEWEST) == 21
        assert asyncio.all_tasks() - tasks == set()

    @pytest.mark.parametrize("kind", STREAMS)
    async def test_a_stream_that_nobody_reads_on_keeps_neither_writers_nor_the_close_waiting(
        self, make_adapter: AdapterFactory, storage_profile: StoreProfile, kind: str
    ) -> None:
        adapter = make_adapter()
        await adapter.open(storage_profile)
        await adapter.commit(a_commit(*FLOCK))
        stream = STREAMS[kind](adapter)
        await anext(stream)
        async with asyncio.timeout(CLOSING_DEADLINE_S):
            await adapter.commit(a_commit(a_version(99)))
            await adapter.close()
        try:
            rest = [item async for batch in stream for item in batch]
        except StorageError:
            rest = []
        assert set(named(rest)) <= {version.ref for version in FLOCK}
        await stream.aclose()
        again = make_adapter()
        await again.open(storage_profile)
        assert await again.count(NEWEST) == 21
        await again.close()

    @pytest.mark.parametrize("kind", STREAMS)
    async def test_a_reader_that_is_cancelled_leaves_the_store_usable(
        self, adapter: ProvenanceStorageAdapter, kind: str
    ) -> None:
        await adapter.commit(a_commit(*FLOCK))
        for turns in range(6):
            reader = asyncio.ensure_future(collected(STREAMS[kind](adapter)))
            for _ in range(turns):
                await asyncio.sleep(0)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        await adapter.commit(a_commit(a_version(99, vectors=windows(axis(0)), sparse=terms({1: 1.0}))))
        assert len(await collected(STREAMS[kind](adapter))) == 21

    async def test_streams_side_by_side_do_not_mix(
        self, adapter: ProvenanceStorageAdapter, other_adapter: ProvenanceStorageAdapter
    ) -> None:
        await adapter.commit(a_commit(*FLOCK))
        streams = [collected(stream(reader)) for reader in (adapter, other_adapter) for stream in STREAMS.values()]
        for found in await asyncio.gather(*streams):
            assert sorted(named(found)) == sorted(version.ref for version in FLOCK)
