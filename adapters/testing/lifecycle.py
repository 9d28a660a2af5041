"""Opening, closing, reopening; two adapters at once; what a store says about itself."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from recollect.adapters.errors import ProfileMismatchError, StoreClosedError, StoreUnavailableError
from recollect.adapters.port import (
    ById,
    ProvenanceStorageAdapter,
    Scan,
    SimilarityQuery,
    StoreProfile,
)
from recollect.adapters.testing.base import AdapterFactory, ConformanceBase
from recollect.adapters.testing.values import (
    DIMENSION,
    EVERYTHING,
    NEWEST,
    a_commit,
    a_full_version,
    a_version,
    as_plain,
    axis,
    collected,
    found_ids,
    ids,
    memory_id,
    revision_of,
    terms,
    tombstone_of,
    windows,
)

USES: dict[str, Callable[[ProvenanceStorageAdapter], Awaitable[object]]] = {
    "commit": lambda adapter: adapter.commit(a_commit(a_version())),
    "flush": lambda adapter: adapter.flush(),
    "compact": lambda adapter: adapter.compact(),
    "get": lambda adapter: adapter.get([ById(memory_id(1))], NEWEST),
    "history": lambda adapter: collected(adapter.history(memory_id(1), NEWEST)),
    "scan": lambda adapter: collected(adapter.scan(Scan(read_point=NEWEST))),
    "count": lambda adapter: adapter.count(NEWEST),
    "find_similar": lambda adapter: collected(adapter.find_similar(SimilarityQuery(read_point=NEWEST, dense=axis(0)))),
    "check": lambda adapter: adapter.check(),
    "status": lambda adapter: adapter.status(),
}
POOL_THREADS = ("asyncio_", "AnyIO")
"""How threads of pools are named that belong to the event loop and end with it."""


class LifecycleTests(ConformanceBase):
    """What opening and closing promise."""

    async def test_a_store_that_does_not_exist_needs_a_profile(self, make_adapter: AdapterFactory) -> None:
        with pytest.raises(StoreUnavailableError):
            await make_adapter().open()

    async def test_a_store_says_which_profile_it_holds(
        self, make_adapter: AdapterFactory, storage_profile: StoreProfile
    ) -> None:
        first = make_adapter()
        assert await first.open(storage_profile) == storage_profile
        await first.close()
        again = make_adapter()
        assert await again.open() == storage_profile
        await again.close()

    @pytest.mark.parametrize("other", ["model", "dimension"])
    async def test_another_profile_is_refused_and_the_store_is_unharmed(
        self, make_adapter: AdapterFactory, storage_profile: StoreProfile, other: str
    ) -> None:
        first = make_adapter()
        await first.open(storage_profile)
        await first.commit(a_commit(a_version()))
        await first.close()
        wrong = (
            StoreProfile("another-model", DIMENSION)
            if other == "model"
            else StoreProfile(storage_profile.model_id, DIMENSION + 1)
        )
        refused = make_adapter()
        with pytest.raises(ProfileMismatchError):
            await refused.open(wrong)
        await refused.close()
        again = make_adapter()
        await again.open(storage_profile)
        assert await again.count(NEWEST) == 1
        await again.close()

    @pytest.mark.parametrize("use", USES)
    async def test_a_store_that_is_not_open_yet_refuses_every_use(self, make_adapter: AdapterFactory, use: str) -> None:
        with pytest.raises(StoreClosedError):
            await USES[use](make_adapter())

    @pytest.mark.parametrize("use", USES)
    async def test_a_closed_store_refuses_every_use(
        self, make_adapter: AdapterFactory, storage_profile: StoreProfile, use: str
    ) -> None:
        adapter = make_adapter()
        await adapter.open(storage_profile)
        await adapter.commit(a_commit(a_version()))
        await adapter.close()
        with pytest.raises(StoreClosedError):
            await USES[use](adapter)

    async def test_closing_again_and_before_opening_does_nothing(
        self, make_adapter: AdapterFactory, storage_profile: StoreProfile
    ) -> None:
        adapter = make_adapter()
        await adapter.close()
        await adapter.open(storage_profile)
        await adapter.close()
        await adapter.close()

    async def test_closing_leaves_no_task_and_no_thread(
        self, make_adapter: AdapterFactory, storage_profile: StoreProfile
    ) -> None:
        tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
        adapter = make_adapter()
        await adapter.open(storage_profile)
        await adapter.commit(a_commit(*(a_version(number, vectors=windows(axis(0))) for number in range(20))))
        stream = adapter.find_similar(SimilarityQuery(read_point=NEWEST, dense=axis(0), limit=None, batch_size=2))
        await anext(stream)
        await stream.aclose()
        await adapter.close()
        left = [thread for thread in set(threading.enumerate()) - threads if not thread.name.startswith(POOL_THREADS)]
        for thread in left:
            await asyncio.to_thread(thread.join, 5)
        assert [thread.name for thread in left if thread.is_alive()] == []
        assert asyncio.all_tasks() == tasks


class ReopeningTests(ConformanceBase):
    """What outlives an adapter."""

    async def test_reopening_finds_everything_as_it_was(
        self, make_adapter: AdapterFactory, storage_profile: StoreProfile
    ) -> None:
        first, full = make_adapter(), a_full_version()
        await first.open(storage_profile)
        await first.commit(a_commit(full, a_version(2), a_version(3)))
        await first.commit(a_commit(revision_of(full), tombstone_of(a_version(2)), a_version(4, branch="draft")))
        everything = Scan(read_point=None, projection=EVERYTHING)
        before = await collected(first.scan(everything))
        query = SimilarityQuery(read_point=NEWEST, dense=axis(0), sparse=terms({3: 1.0}))
        found = await found_ids(first, query)
        await first.close()

        again = make_adapter()
        await again.open()
        after = await collected(again.scan(everything))
        assert len(before) == 6
        assert [as_plain(version) for version in after] == [as_plain(version) for version in before]
        assert await found_ids(again, query) == found == ids(1)
        await again.close()

    async def test_positions_rise_across_reopening(
        self, make_adapter: AdapterFactory, storage_profile: StoreProfile
    ) -> None:
        positions = []
        for number in range(3):
            adapter = make_adapter()
            await adapter.open(storage_profile)
            positions.append((await adapter.commit(a_commit(a_version(number)))).position)
            await adapter.close()
        assert positions == sorted(set(positions))

    async def test_a_relaxed_commit_is_seen_at_once_and_outlives_a_flush_and_a_close(
        self, make_adapter: AdapterFactory, storage_profile: StoreProfile
    ) -> None:
        adapter = make_adapter()
        await adapter.open(storage_profile)
        await adapter.commit(a_commit(a_version(1), durability="relaxed"))
        assert await adapter.count(NEWEST) == 1
        await adapter.flush()
        await adapter.commit(a_commit(a_version(2), durability="relaxed"))
        await adapter.close()
        again = make_adapter()
        await again.open(storage_profile)
        assert await again.count(NEWEST) == 2
        await again.close()

    async def test_two_adapters_see_the_commits_of_each_other(
        self, adapter: ProvenanceStorageAdapter, other_adapter: ProvenanceStorageAdapter
    ) -> None:
        first = a_version(1, vectors=windows(axis(0)))
        await adapter.commit(a_commit(first))
        query = SimilarityQuery(read_point=NEWEST, dense=axis(0))
        assert await found_ids(other_adapter, query) == ids(1)
        await other_adapter.commit(a_commit(revision_of(first), a_version(2, vectors=windows(axis(1)))))
        assert await found_ids(adapter, query) == ids(1, 2)
        [seen] = await adapter.get([ById(first.memory_id)], NEWEST)
        assert seen is not None
        assert seen.number == 2

    async def test_closing_one_adapter_leaves_the_other_open(
        self, adapter: ProvenanceStorageAdapter, make_adapter: AdapterFactory, storage_profile: StoreProfile
    ) -> None:
        other = make_adapter()
        await other.open(storage_profile)
        await other.commit(a_commit(a_version(1)))
        await other.close()
        await adapter.commit(a_commit(a_version(2)))
        assert await adapter.count(NEWEST) == 2


class SelfKnowledgeTests(ConformanceBase):
    """What a store says about itself."""

    async def test_a_check_reads_every_version_of_a_sound_store_and_finds_nothing(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        full = a_full_version()
        await adapter.commit(a_commit(full, a_version(2)))
        await adapter.commit(a_commit(revision_of(full), tombstone_of(a_version(2))))
        report = await adapter.check()
        assert report.findings == ()
        assert report.versions_checked == 4

    async def test_the_status_tells_the_facts(
        self, adapter: ProvenanceStorageAdapter, storage_profile: StoreProfile
    ) -> None:
        empty = await adapter.status()
        assert (empty.profile, empty.versions, empty.last_position) == (storage_profile, 0, 0)
        full = a_full_version()
        await adapter.commit(a_commit(full, a_version(2)))
        last = await adapter.commit(a_commit(tombstone_of(full)))
        status = await adapter.status()
        assert (status.versions, status.last_position) == (3, last.position)
        assert status.backend
        assert status.location
        assert status.bytes_on_disk >= 0
        assert status.notes == ()
