"""Erasure: of an erased version nothing but a stub is left; and copying, which asks for positions."""

import pytest
from msgspec.structs import replace

from recollect.adapters.clock import POSITION_MAX
from recollect.adapters.errors import ConflictError, InvalidRequestError
from recollect.adapters.filters import Equals
from recollect.adapters.port import (
    ByContent,
    ById,
    ByKey,
    ByRef,
    ContentIsNew,
    KeyIs,
    ProvenanceStorageAdapter,
    Scan,
    Selector,
    SimilarityQuery,
    VersionIs,
)
from recollect.adapters.testing.base import AdapterFactory, ConformanceBase
from recollect.adapters.testing.values import (
    EVERYTHING,
    NEWEST,
    a_commit,
    a_full_version,
    a_version,
    as_plain,
    axis,
    branch_point,
    collected,
    found_ids,
    ids,
    memory_id,
    revision_of,
    terms,
    toward,
    windows,
)
from recollect.adapters.versions import MAIN, Version, VersionRef, stub_of

EVERYWHERE = Scan(read_point=None, namespaces=("longterm", "projects"), projection=EVERYTHING)
FULL = a_full_version()
"""What is erased in most tests: a version in which every field has a value of its own."""


async def erase(adapter: ProvenanceStorageAdapter, *refs: VersionRef) -> int:
    """Commit an erasure alone, and return its position."""
    return (await adapter.commit(a_commit(erases=refs))).position


class ErasureTests(ConformanceBase):
    """What erasing promises."""

    async def test_of_an_erased_version_every_read_shows_a_stub(
        self, adapter: ProvenanceStorageAdapter, other_adapter: ProvenanceStorageAdapter
    ) -> None:
        position = (await adapter.commit(a_commit(FULL))).position
        stub = as_plain(stub_of(replace(FULL, position=position)))
        # Both have looked before, so that what they keep in memory has to follow.
        assert await adapter.count(NEWEST) == await other_adapter.count(NEWEST) == 1
        await erase(adapter, FULL.ref)
        for reader in (adapter, other_adapter):
            [found] = await reader.get([ByRef(FULL.ref)], NEWEST, EVERYTHING)
            assert as_plain(found) == stub
            assert [as_plain(one) for one in await collected(reader.history(FULL.memory_id, NEWEST, EVERYTHING))] == [
                stub
            ]
            assert [as_plain(one) for one in await collected(reader.scan(EVERYWHERE))] == [stub]

    async def test_an_erased_version_is_found_by_no_name_no_search_and_no_filter(
        self, adapter: ProvenanceStorageAdapter, other_adapter: ProvenanceStorageAdapter
    ) -> None:
        await adapter.commit(a_commit(FULL, a_version(2, vectors=windows(toward(0.1)), sparse=terms({3: 0.1}))))
        meaning = SimilarityQuery(read_point=NEWEST, dense=axis(2), limit=None)
        words = SimilarityQuery(read_point=NEWEST, sparse=terms({3: 1.0}), limit=None)
        filters = [Equals(("metadata", "user", "id"), 7), Equals(("tags",), "blue"), Equals(("source",), "message:17")]
        for reader in (adapter, other_adapter):
            assert len(await found_ids(reader, meaning)) == len(await found_ids(reader, words)) == 2
            for condition in filters:
                assert await reader.count(NEWEST, None, condition) == 1
        await erase(adapter, FULL.ref)
        for reader in (adapter, other_adapter):
            assert await found_ids(reader, meaning) == await found_ids(reader, words) == ids(2)
            names: list[Selector] = [
                ById(FULL.memory_id),
                ByKey(FULL.namespace, FULL.key or ""),
                ByContent(FULL.namespace, FULL.content_hash),
            ]
            assert await reader.get(names, NEWEST) == [None, None, None]
            for condition in filters:
                assert await collected(reader.scan(replace(EVERYWHERE, filter=condition))) == []

    async def test_an_erased_version_is_not_seen_in_the_past_either(self, adapter: ProvenanceStorageAdapter) -> None:
        first = (await adapter.commit(a_commit(FULL))).position
        second = (await adapter.commit(a_commit(revision_of(FULL)))).position
        await erase(adapter, FULL.ref)
        then, now = branch_point((MAIN, first)), branch_point((MAIN, second))
        assert await adapter.get([ById(FULL.memory_id)], then) == [None]
        assert await adapter.count(then) == 0
        [revised] = await adapter.get([ById(FULL.memory_id)], now)
        assert revised is not None
        assert revised.number == 2

    async def test_the_erased_newest_version_does_not_bring_back_the_one_before(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        revision = revision_of(FULL)
        await adapter.commit(a_commit(FULL))
        await adapter.commit(a_commit(revision))
        await erase(adapter, revision.version.ref)
        assert await adapter.get([ById(FULL.memory_id)], NEWEST) == [None]
        assert await adapter.count(NEWEST) == 0

    async def test_a_version_that_goes_on_with_an_erased_one_keeps_its_key_and_content(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        revision = revision_of(FULL, content=FULL.content, importance=0.75)
        await adapter.commit(a_commit(FULL))
        await adapter.commit(a_commit(revision))
        await erase(adapter, FULL.ref)
        names: list[Selector] = [ByKey(FULL.namespace, FULL.key or ""), ByContent(FULL.namespace, FULL.content_hash)]
        found = await adapter.get(names, NEWEST)
        assert [version and version.number for version in found] == [2, 2]
        with pytest.raises(ConflictError):
            await adapter.commit(a_commit(preconditions=(KeyIs(FULL.namespace, FULL.key or "", None),)))
        assert (await adapter.check()).findings == ()

    async def test_an_erased_memory_frees_its_key_and_its_content(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(FULL))
        await erase(adapter, FULL.ref)
        again = replace(FULL, memory_id=memory_id(2))
        free = (KeyIs(FULL.namespace, FULL.key or "", None), ContentIsNew(FULL.namespace, FULL.content_hash))
        await adapter.commit(a_commit(again, preconditions=(*free, VersionIs(FULL.memory_id, None))))
        assert await adapter.get([ById(memory_id(1))], NEWEST) == [None]
        assert await adapter.count(NEWEST) == 1

    async def test_an_erasure_and_the_puts_beside_it_are_one_commit(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(FULL, a_version(2)))
        revision = revision_of(FULL, content=FULL.content)
        await adapter.commit(a_commit(revision, a_version(3), erases=(FULL.ref,)))
        found = await collected(adapter.scan(replace(EVERYWHERE, read_point=NEWEST)))
        assert [version.ref for version in found] == [a_version(2).ref, revision.version.ref, a_version(3).ref]
        assert (await adapter.check()).findings == ()

    @pytest.mark.parametrize("reason", ["an_unknown_version", "a_precondition", "a_version_that_is_there"])
    async def test_an_erasure_that_fails_erases_and_writes_nothing(
        self, adapter: ProvenanceStorageAdapter, reason: str
    ) -> None:
        await adapter.commit(a_commit(FULL, a_version(2)))
        before = [as_plain(version) for version in await collected(adapter.scan(EVERYWHERE))]
        unknown = VersionRef(FULL.memory_id, MAIN, 7)
        commits = {
            "an_unknown_version": a_commit(a_version(3), erases=(FULL.ref, unknown)),
            "a_precondition": a_commit(
                a_version(3), erases=(FULL.ref,), preconditions=(VersionIs(FULL.memory_id, None),)
            ),
            "a_version_that_is_there": a_commit(a_version(3), a_version(2), erases=(FULL.ref,)),
        }
        with pytest.raises(ConflictError):
            await adapter.commit(commits[reason])
        assert [as_plain(version) for version in await collected(adapter.scan(EVERYWHERE))] == before

    async def test_a_version_put_by_the_same_commit_cannot_be_erased(self, adapter: ProvenanceStorageAdapter) -> None:
        with pytest.raises(ConflictError):
            await adapter.commit(a_commit(FULL, erases=(FULL.ref,)))
        assert await collected(adapter.scan(EVERYWHERE)) == []

    async def test_erasing_again_and_the_same_twice_changes_nothing(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(FULL))
        await erase(adapter, FULL.ref, FULL.ref)
        before = [as_plain(version) for version in await collected(adapter.scan(EVERYWHERE))]
        await erase(adapter, FULL.ref)
        assert [as_plain(version) for version in await collected(adapter.scan(EVERYWHERE))] == before

    async def test_the_ref_of_an_erased_version_stays_taken(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(FULL))
        await erase(adapter, FULL.ref)
        with pytest.raises(ConflictError):
            await adapter.commit(a_commit(FULL))

    async def test_what_is_erased_stays_so_through_compaction_and_reopening(
        self, adapter: ProvenanceStorageAdapter, make_adapter: AdapterFactory
    ) -> None:
        kept = a_version(2, vectors=windows(toward(0.5)), sparse=terms({3: 1.0}), metadata={"user": {"id": 7}})
        await adapter.commit(a_commit(FULL, kept))
        await erase(adapter, FULL.ref)
        before = [as_plain(version) for version in await collected(adapter.scan(EVERYWHERE))]
        await adapter.compact()
        await adapter.commit(a_commit(a_version(3, vectors=windows(toward(0.25)))))
        await adapter.compact()
        await adapter.close()
        again = make_adapter()
        await again.open()
        held = [as_plain(version) for version in await collected(again.scan(EVERYWHERE))]
        assert held[:2] == before
        assert await found_ids(again, SimilarityQuery(read_point=NEWEST, dense=axis(0))) == ids(2, 3)
        assert await found_ids(again, SimilarityQuery(read_point=NEWEST, sparse=terms({3: 1.0}))) == ids(2)
        assert (await again.check()).findings == ()
        assert (await again.status()).versions == 3
        await again.close()

    async def test_compaction_with_nothing_erased_changes_nothing(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.compact()
        await adapter.commit(a_commit(FULL))
        await adapter.compact()
        [found] = await adapter.get([ById(FULL.memory_id)], NEWEST, EVERYTHING)
        assert found is not None
        assert found.content == FULL.content


class CopyingTests(ConformanceBase):
    """Commits that say which position they take."""

    async def test_a_commit_takes_the_position_it_asks_for_and_the_next_comes_after_it(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        early, ahead = 2_048, POSITION_MAX - 10
        assert (await adapter.commit(a_commit(a_version(1), position=early))).position == early
        assert (await adapter.commit(a_commit(a_version(2), position=ahead))).position == ahead
        assert (await adapter.commit(a_commit(a_version(3)))).position == ahead + 1
        found: list[Version] = await collected(adapter.scan(Scan(read_point=NEWEST)))
        assert [version.position for version in found] == [early, ahead, ahead + 1]

    async def test_a_position_that_is_not_after_the_last_conflicts_and_nothing_is_written(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        last = (await adapter.commit(a_commit(a_version(1)))).position
        for position in (last, last - 1, 1):
            with pytest.raises(ConflictError) as caught:
                await adapter.commit(a_commit(a_version(2), position=position))
            assert (caught.value.precondition, caught.value.found) == (None, last)
        assert await adapter.count(NEWEST) == 1

    @pytest.mark.parametrize("position", [0, -1, POSITION_MAX + 1])
    async def test_a_position_that_no_store_can_hold_is_refused(
        self, adapter: ProvenanceStorageAdapter, position: int
    ) -> None:
        with pytest.raises(InvalidRequestError):
            await adapter.commit(a_commit(a_version(1), position=position))
        assert await adapter.count(NEWEST) == 0

    async def test_a_stub_can_be_copied(self, adapter: ProvenanceStorageAdapter) -> None:
        stub = stub_of(FULL)
        receipt = await adapter.commit(a_commit(stub, position=5_000))
        [found] = await adapter.get([ByRef(stub.ref)], NEWEST, EVERYTHING)
        assert as_plain(found) == as_plain(replace(stub, position=receipt.position))
        assert await adapter.count(NEWEST) == 0
        assert (await adapter.check()).findings == ()
