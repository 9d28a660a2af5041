"""Branches and time: one memory seen from several places."""

from recollect.adapters.port import (
    ByContent,
    ById,
    ByKey,
    ByRef,
    ProvenanceStorageAdapter,
    ReadPoint,
    Scan,
    Selector,
    SimilarityQuery,
)
from recollect.adapters.testing.base import ConformanceBase
from recollect.adapters.testing.values import (
    NEWEST,
    NOW_MS,
    a_commit,
    a_version,
    axis,
    branch_point,
    collected,
    content_hash,
    found_ids,
    ids,
    memory_id,
    refs,
    revision_of,
    tombstone_of,
    windows,
)
from recollect.adapters.versions import MAIN, VersionRef


async def numbers(adapter: ProvenanceStorageAdapter, read_point: ReadPoint) -> dict[str, int]:
    """Return the number of each visible version, by memory id, the same by scan, get and search."""
    scanned = {found.memory_id: found.number for found in await collected(adapter.scan(Scan(read_point=read_point)))}
    searched = await collected(adapter.find_similar(SimilarityQuery(read_point=read_point, dense=axis(0), limit=None)))
    read = await adapter.get([ById(name) for name in ids(*range(10))], read_point)
    assert {found.memory_id: found.number for found in read if found} == scanned
    assert {match.version.memory_id: match.version.number for match in searched} == scanned
    assert await adapter.count(read_point) == len(scanned)
    return scanned


ONE = a_version(1, key="k", vectors=windows(axis(0)))
TWO = a_version(2, vectors=windows(axis(0)))
THREE = a_version(3, vectors=windows(axis(0)))


class BranchTests(ConformanceBase):
    """What a branch shows."""

    async def test_a_branch_sees_its_parent_as_it_was_at_the_fork(self, adapter: ProvenanceStorageAdapter) -> None:
        fork = (await adapter.commit(a_commit(ONE, TWO))).position
        await adapter.commit(a_commit(revision_of(ONE), tombstone_of(TWO), THREE))
        assert await numbers(adapter, branch_point("draft", (MAIN, fork))) == {memory_id(1): 1, memory_id(2): 1}
        assert await numbers(adapter, NEWEST) == {memory_id(1): 2, memory_id(3): 1}

    async def test_revising_on_a_branch_leaves_its_parent_as_it_was(self, adapter: ProvenanceStorageAdapter) -> None:
        fork = (await adapter.commit(a_commit(ONE, TWO))).position
        draft = branch_point("draft", (MAIN, fork))
        revised = revision_of(ONE, branch="draft", content="on the draft")
        await adapter.commit(a_commit(revised, THREE, read_point=draft))
        assert await numbers(adapter, draft) == {memory_id(1): 2, memory_id(2): 1}
        assert await numbers(adapter, NEWEST) == {memory_id(1): 1, memory_id(2): 1, memory_id(3): 1}
        selectors: list[Selector] = [ByKey("longterm", "k"), ByContent("longterm", content_hash("on the draft"))]
        assert [found and found.ref for found in await adapter.get(selectors, draft)] == [revised.version.ref] * 2
        assert [found and found.ref for found in await adapter.get(selectors, NEWEST)] == [ONE.ref, None]

    async def test_forgetting_on_a_branch_leaves_its_parent_as_it_was(self, adapter: ProvenanceStorageAdapter) -> None:
        fork = (await adapter.commit(a_commit(ONE, TWO))).position
        draft = branch_point("draft", (MAIN, fork))
        await adapter.commit(a_commit(tombstone_of(ONE, branch="draft"), read_point=draft))
        assert await numbers(adapter, draft) == {memory_id(2): 1}
        assert await numbers(adapter, NEWEST) == {memory_id(1): 1, memory_id(2): 1}

    async def test_the_nearest_branch_decides_also_where_the_parent_wrote_later(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        fork = (await adapter.commit(a_commit(ONE))).position
        await adapter.commit(a_commit(revision_of(ONE, branch="draft")))
        second = revision_of(ONE)
        await adapter.commit(a_commit(second))
        late = (await adapter.commit(a_commit(revision_of(second.version)))).position
        assert await numbers(adapter, branch_point("draft", (MAIN, fork))) == {memory_id(1): 2}
        [found] = await adapter.get([ById(memory_id(1))], branch_point("draft", (MAIN, late)))
        assert found is not None
        assert found.ref == VersionRef(memory_id(1), "draft", 2)

    async def test_siblings_do_not_see_each_other(self, adapter: ProvenanceStorageAdapter) -> None:
        fork = (await adapter.commit(a_commit(ONE))).position
        await adapter.commit(
            a_commit(revision_of(ONE, branch="left"), a_version(2, branch="left", vectors=TWO.vectors))
        )
        await adapter.commit(a_commit(tombstone_of(ONE, branch="right")))
        assert await numbers(adapter, branch_point("left", (MAIN, fork))) == {memory_id(1): 2, memory_id(2): 1}
        assert await numbers(adapter, branch_point("right", (MAIN, fork))) == {}
        assert await numbers(adapter, NEWEST) == {memory_id(1): 1}

    async def test_a_branch_of_a_branch_sees_both_up_to_their_forks(self, adapter: ProvenanceStorageAdapter) -> None:
        first_fork = (await adapter.commit(a_commit(ONE, TWO))).position
        on_draft = revision_of(ONE, branch="draft")
        second_fork = (await adapter.commit(a_commit(on_draft))).position
        await adapter.commit(a_commit(revision_of(on_draft.version), revision_of(TWO, branch="draft")))
        await adapter.commit(a_commit(revision_of(TWO), a_version(4, branch="deep", vectors=ONE.vectors)))
        deep = branch_point("deep", ("draft", second_fork), (MAIN, first_fork))
        assert await numbers(adapter, deep) == {memory_id(1): 2, memory_id(2): 1, memory_id(4): 1}

    async def test_an_expired_version_still_hides_what_lies_behind_it(self, adapter: ProvenanceStorageAdapter) -> None:
        fork = (await adapter.commit(a_commit(ONE))).position
        await adapter.commit(a_commit(revision_of(ONE, branch="draft", expires_at_ms=NOW_MS)))
        assert await numbers(adapter, branch_point("draft", (MAIN, fork), at_ms=NOW_MS)) == {}
        assert await numbers(adapter, branch_point("draft", (MAIN, fork))) == {memory_id(1): 2}

    async def test_a_branch_that_nobody_wrote_to_is_empty(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(ONE))
        assert await numbers(adapter, branch_point("nowhere")) == {}
        assert await numbers(adapter, ReadPoint(())) == {}

    async def test_history_follows_the_lineage(self, adapter: ProvenanceStorageAdapter) -> None:
        fork = (await adapter.commit(a_commit(ONE))).position
        second = revision_of(ONE)
        on_draft = revision_of(ONE, branch="draft")
        await adapter.commit(a_commit(second))
        await adapter.commit(a_commit(on_draft))
        draft = branch_point("draft", (MAIN, fork))
        assert refs(await collected(adapter.history(ONE.memory_id, draft))) == [on_draft.version.ref, ONE.ref]
        assert refs(await collected(adapter.history(ONE.memory_id, NEWEST))) == [second.version.ref, ONE.ref]
        every = await collected(adapter.history(ONE.memory_id, None))
        assert refs(every) == [on_draft.version.ref, second.version.ref, ONE.ref]

    async def test_a_ref_is_found_from_everywhere(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(ONE))
        on_draft = revision_of(ONE, branch="draft")
        await adapter.commit(a_commit(on_draft))
        for read_point in (NEWEST, branch_point("draft"), branch_point((MAIN, 1))):
            found = await adapter.get([ByRef(on_draft.version.ref), ByRef(ONE.ref)], read_point)
            assert [version and version.branch for version in found] == ["draft", MAIN]


class TimeTests(ConformanceBase):
    """What a read as of an earlier position shows."""

    async def test_a_read_as_of_a_position_shows_the_state_after_its_commit(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        second = revision_of(ONE)
        states = [
            {memory_id(1): 1},
            {memory_id(1): 2, memory_id(2): 1},
            {memory_id(2): 1},
            {memory_id(2): 1, memory_id(3): 1},
        ]
        commits = [a_commit(ONE), a_commit(second, TWO), a_commit(tombstone_of(second.version)), a_commit(THREE)]
        positions = [(await adapter.commit(commit)).position for commit in commits]
        for position, state in zip(positions, states, strict=True):
            assert await numbers(adapter, branch_point((MAIN, position))) == state
        assert await numbers(adapter, branch_point((MAIN, positions[0] - 1))) == {}
        assert await numbers(adapter, branch_point((MAIN, positions[1] - 1))) == states[0]

    async def test_search_as_of_a_position_ranks_the_vectors_of_then(self, adapter: ProvenanceStorageAdapter) -> None:
        then = (await adapter.commit(a_commit(ONE, a_version(2, vectors=windows(axis(1)))))).position
        await adapter.commit(a_commit(revision_of(ONE, vectors=windows(axis(2)))))
        query = SimilarityQuery(read_point=branch_point((MAIN, then)), dense=axis(0), threshold=0.5)
        assert await found_ids(adapter, query) == ids(1)
        assert await found_ids(adapter, SimilarityQuery(read_point=NEWEST, dense=axis(0), threshold=0.5)) == []

    async def test_history_as_of_a_position_ends_there(self, adapter: ProvenanceStorageAdapter) -> None:
        then = (await adapter.commit(a_commit(ONE))).position
        await adapter.commit(a_commit(revision_of(ONE)))
        found = await collected(adapter.history(ONE.memory_id, branch_point((MAIN, then))))
        assert refs(found) == [ONE.ref]
