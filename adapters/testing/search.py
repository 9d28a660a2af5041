"""Search: by meaning, by terms, by both; in order, exactly."""

import numpy as np
import pytest
from msgspec.structs import replace

from recollect.adapters.errors import InvalidRequestError, InvalidVectorError
from recollect.adapters.filters import parse_filter
from recollect.adapters.fusion import RRF_K
from recollect.adapters.port import ByRef, Projection, ProvenanceStorageAdapter, ReadPoint, SimilarityQuery
from recollect.adapters.testing.base import ConformanceBase
from recollect.adapters.testing.strategies import HOSTILE_VECTORS
from recollect.adapters.testing.values import (
    EVERYTHING,
    NEWEST,
    NOW_MS,
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
    toward,
    windows,
)
from recollect.adapters.versions import SparseVector, Version

DENSE = SimilarityQuery(read_point=NEWEST, dense=axis(0))
SPARSE = SimilarityQuery(read_point=NEWEST, sparse=terms({1: 1.0, 2: 0.5}))
FUSED = SimilarityQuery(read_point=NEWEST, dense=axis(0), sparse=terms({1: 1.0, 2: 0.5}))
QUERIES = {"dense": DENSE, "sparse": SPARSE, "fused": FUSED}


def scored(number: int, cosine: float | None = None, weight: float | None = None) -> Version:
    """Return a version with a given cosine to the dense query, and a given weight of the first term."""
    return a_version(
        number,
        vectors=None if cosine is None else windows(toward(cosine)),
        sparse=None if weight is None else terms({1: weight}),
    )


async def scores(adapter: ProvenanceStorageAdapter, query: SimilarityQuery) -> list[tuple[str, float]]:
    """Return ids and scores in order, rounded to 5 decimals."""
    found = await collected(adapter.find_similar(query))
    return [(match.version.memory_id, round(match.score, 5)) for match in found]


class RankingTests(ConformanceBase):
    """What comes first."""

    async def test_dense_matches_come_by_cosine(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(scored(1, 0.2), scored(2, 0.9), scored(3, -0.5), scored(4, 0.6), a_version(5)))
        expected = list(zip(ids(2, 4, 1, 3), [0.9, 0.6, 0.2, -0.5], strict=True))
        assert await scores(adapter, DENSE) == expected
        [best] = await collected(adapter.find_similar(replace(DENSE, limit=1)))
        assert best.dense == pytest.approx(0.9, abs=1e-5)
        assert best.sparse is None

    async def test_sparse_matches_come_by_dot_product_and_share_a_term(self, adapter: ProvenanceStorageAdapter) -> None:
        by_terms = {1: {1: 0.5}, 2: {1: 0.5, 2: 2.0}, 3: {3: 9.0}, 4: {2: 0.5, 3: 9.0}, 5: {0: 9.0, 2**32 - 1: 9.0}}
        await adapter.commit(a_commit(*(a_version(n, sparse=terms(w)) for n, w in by_terms.items()), a_version(6)))
        assert await scores(adapter, SPARSE) == list(zip(ids(2, 1, 4), [1.5, 0.5, 0.25], strict=True))
        [best, *_] = await collected(adapter.find_similar(SPARSE))
        assert best.dense is None
        assert best.sparse == pytest.approx(1.5, abs=1e-5)

    async def test_fused_matches_come_by_the_sum_of_their_reciprocal_ranks(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        await adapter.commit(
            a_commit(scored(1, 0.9), scored(2, 0.6, 0.5), scored(3, 0.3, 2.0), scored(4, None, 1.0), scored(5))
        )
        found = await collected(adapter.find_similar(FUSED))
        by_rank = {1: 1 / (RRF_K + 1), 2: 1 / (RRF_K + 2) + 1 / (RRF_K + 3), 3: 1 / (RRF_K + 3) + 1 / (RRF_K + 1)}
        by_rank[4] = 1 / (RRF_K + 2)
        assert [match.version.memory_id for match in found] == ids(3, 2, 1, 4)
        assert [match.score for match in found] == pytest.approx([by_rank[n] for n in (3, 2, 1, 4)], abs=1e-5)
        assert [match.dense for match in found] == pytest.approx([0.3, 0.6, 0.9, None], abs=1e-5)
        assert [match.sparse for match in found] == pytest.approx([2.0, 0.5, None, 1.0], abs=1e-5)

    async def test_a_fusion_takes_only_the_best_candidates_of_each_ranking(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        await adapter.commit(
            a_commit(scored(1, 0.9, 0.1), scored(2, 0.6, 0.2), scored(3, 0.3, 0.5), scored(4, 0.1, 0.75))
        )
        found = await collected(adapter.find_similar(replace(FUSED, candidates=2)))
        parts = {match.version.memory_id: (match.dense is not None, match.sparse is not None) for match in found}
        expected = {1: (True, False), 2: (True, False), 3: (False, True), 4: (False, True)}
        assert parts == {memory_id(number): there for number, there in expected.items()}
        assert [match.version.memory_id for match in found] == ids(1, 4, 2, 3)

    @pytest.mark.parametrize("kind", QUERIES)
    async def test_equal_scores_come_by_id(self, adapter: ProvenanceStorageAdapter, kind: str) -> None:
        for number in (7, 3, 9, 1, 5):
            await adapter.commit(a_commit(scored(number, 0.6, 1.0)))
        await adapter.commit(a_commit(scored(8, 0.8, 2.0), scored(2, 0.1, 0.25)))
        assert await found_ids(adapter, QUERIES[kind]) == ids(8, 1, 3, 5, 7, 9, 2)
        assert await found_ids(adapter, replace(QUERIES[kind], limit=3)) == ids(8, 1, 3)

    async def test_scores_that_differ_beyond_six_decimals_are_equal(self, adapter: ProvenanceStorageAdapter) -> None:
        higher = toward(0.6)
        higher[0] = np.nextafter(np.float32(0.6), np.float32(1.0))
        await adapter.commit(a_commit(scored(1, 0.6), a_version(2, vectors=windows(higher)), scored(3, 0.6)))
        assert await found_ids(adapter, DENSE) == ids(1, 2, 3)
        assert await found_ids(adapter, replace(DENSE, limit=1)) == ids(1)

    async def test_the_windows_of_a_text_are_found_as_one_memory_by_the_best(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        many = a_version(1, vectors=windows(toward(0.1), toward(0.9), toward(-0.9), toward(0.5)))
        await adapter.commit(a_commit(many, scored(2, 0.8), scored(3, 0.95)))
        expected = list(zip(ids(3, 1, 2), [0.95, 0.9, 0.8], strict=True))
        assert await scores(adapter, replace(DENSE, limit=None)) == expected
        assert await found_ids(adapter, replace(DENSE, limit=2)) == ids(3, 1)

    async def test_a_match_carries_what_was_asked_for(self, adapter: ProvenanceStorageAdapter) -> None:
        full = a_full_version()
        receipt = await adapter.commit(a_commit(full))
        stored = replace(full, position=receipt.position)
        for projection in (EVERYTHING, Projection(), Projection(content=True)):
            [match] = await collected(adapter.find_similar(replace(DENSE, projection=projection)))
            [read] = await adapter.get([ByRef(stored.ref)], NEWEST, projection)
            assert as_plain(match.version) == as_plain(read)


class SelectionTests(ConformanceBase):
    """What is found at all."""

    @pytest.mark.parametrize("kind", QUERIES)
    async def test_what_is_forgotten_replaced_or_expired_is_never_found(
        self, adapter: ProvenanceStorageAdapter, kind: str
    ) -> None:
        forgotten, replaced = scored(1, 0.9, 9.0), scored(2, 0.9, 9.0)
        expired = replace(scored(3, 0.9, 9.0), expires_at_ms=NOW_MS)
        await adapter.commit(a_commit(forgotten, replaced, expired, scored(4, 0.1, 0.5)))
        without = revision_of(replaced, vectors=windows(toward(0.5)), sparse=terms({1: 1.0}))
        await adapter.commit(a_commit(tombstone_of(forgotten), without))
        query = replace(QUERIES[kind], read_point=ReadPoint.main(at_ms=NOW_MS))
        found = await collected(adapter.find_similar(query))
        assert [match.version.ref for match in found] == [without.version.ref, scored(4).ref]
        assert await found_ids(adapter, replace(query, limit=1)) == ids(2)

    @pytest.mark.parametrize("kind", QUERIES)
    async def test_filters_and_namespaces_apply_before_ranking(
        self, adapter: ProvenanceStorageAdapter, kind: str
    ) -> None:
        better = [replace(scored(number, 0.9, 9.0), kind="ghost") for number in range(10, 30)]
        hidden = [replace(scored(number, 0.9, 9.0), namespace="_audit") for number in range(30, 50)]
        shared = replace(scored(1, 0.5, 1.0), namespace="shared")
        await adapter.commit(a_commit(*better, *hidden, shared, scored(2, 0.4, 0.5)))
        query = replace(QUERIES[kind], filter=parse_filter({"kind": "semantic"}), limit=5, candidates=5)
        assert await found_ids(adapter, query) == ids(1, 2)
        assert await found_ids(adapter, replace(query, namespaces=("shared",))) == ids(1)
        assert len(await found_ids(adapter, replace(query, namespaces=("_audit",)))) == 5
        assert await found_ids(adapter, replace(query, namespaces=())) == []

    async def test_a_filter_on_metadata_works_in_a_search_that_loads_none(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        await adapter.commit(
            a_commit(*(a_version(n, vectors=windows(axis(0)), metadata={"odd": n % 2 == 1}) for n in range(6)))
        )
        query = replace(DENSE, filter=parse_filter({"metadata.odd": True}))
        assert await found_ids(adapter, query) == ids(1, 3, 5)

    @pytest.mark.parametrize(("threshold", "count"), [(0.95, 0), (0.9, 1), (0.6, 3), (0.600001, 1), (-1.0, 4)])
    async def test_a_threshold_lets_through_what_equals_it(
        self, adapter: ProvenanceStorageAdapter, threshold: float, count: int
    ) -> None:
        await adapter.commit(a_commit(scored(1, 0.9), scored(2, 0.6), scored(3, 0.6), scored(4, -0.9)))
        assert await found_ids(adapter, replace(DENSE, threshold=threshold)) == ids(1, 2, 3, 4)[:count]

    async def test_a_threshold_is_held_against_the_score_of_its_kind_of_search(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        await adapter.commit(a_commit(scored(1, 0.1, 2.0), scored(2, 0.9, 0.5), scored(3, None, 1.0)))
        assert await found_ids(adapter, replace(SPARSE, threshold=1.0)) == ids(1, 3)
        assert await found_ids(adapter, replace(FUSED, threshold=0.02)) == ids(1, 2)
        assert await found_ids(adapter, replace(FUSED, threshold=0.5)) == []

    @pytest.mark.parametrize("kind", QUERIES)
    async def test_without_a_limit_everything_streams(self, adapter: ProvenanceStorageAdapter, kind: str) -> None:
        for start in (0, 150):
            await adapter.commit(a_commit(*(scored(start + n, (n % 7) / 10, 0.5 + (n % 5) / 4) for n in range(150))))
        query = replace(QUERIES[kind], limit=None, batch_size=32)
        batches = [batch async for batch in adapter.find_similar(query)]
        found = [match for batch in batches for match in batch]
        assert len({match.version.memory_id for match in found}) == len(found) == 300
        assert [(-match.score, match.version.memory_id) for match in found] == sorted(
            (-match.score, match.version.memory_id) for match in found
        )
        assert {len(batch) <= 32 and len(batch) > 0 for batch in batches} == {True}

    async def test_nothing_found_is_no_batch(self, adapter: ProvenanceStorageAdapter) -> None:
        assert [batch async for batch in adapter.find_similar(FUSED)] == []
        await adapter.commit(a_commit(scored(1, 0.5, 1.0)))
        for query in (replace(DENSE, limit=0), replace(DENSE, threshold=2.0), replace(FUSED, namespaces=("none",))):
            assert [batch async for batch in adapter.find_similar(query)] == []


class RefusalTests(ConformanceBase):
    """What cannot be searched for."""

    @pytest.mark.parametrize("name", [name for name, vectors in HOSTILE_VECTORS.items() if len(vectors) == 1])
    async def test_a_vector_that_cannot_be_ranked_is_refused(
        self, adapter: ProvenanceStorageAdapter, name: str
    ) -> None:
        await adapter.commit(a_commit(scored(1, 0.5)))
        for query in (DENSE, FUSED):
            with pytest.raises(InvalidVectorError):
                await collected(adapter.find_similar(replace(query, dense=HOSTILE_VECTORS[name][0])))
        assert await found_ids(adapter, DENSE) == ids(1)

    async def test_weights_that_cannot_be_ranked_are_refused(self, adapter: ProvenanceStorageAdapter) -> None:
        for weight in (float("nan"), float("inf")):
            sparse: SparseVector = terms({1: weight})
            with pytest.raises(InvalidVectorError):
                await collected(adapter.find_similar(replace(SPARSE, sparse=sparse)))

    async def test_a_search_for_nothing_is_refused(self, adapter: ProvenanceStorageAdapter) -> None:
        with pytest.raises(InvalidRequestError):
            await collected(adapter.find_similar(SimilarityQuery(read_point=NEWEST)))
