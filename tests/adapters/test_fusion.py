"""Fusion: one ranking of two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.adapters.fusion import CANDIDATES_MIN, RRF_K, candidates_of, reciprocal_rank_fusion

RANKINGS = st.dictionaries(st.sampled_from("abcdefghij"), st.sampled_from([0.0, 0.5, 1.0, 2.0]))


def test_scores_are_the_sums_of_reciprocal_ranks() -> None:
    fused = reciprocal_rank_fusion({"a": 0.9, "b": 0.8}, {"b": 7.0, "c": 3.0}, None)
    assert fused == [
        ("b", round(1 / (RRF_K + 2) + 1 / (RRF_K + 1), 6)),
        ("a", round(1 / (RRF_K + 1), 6)),
        ("c", round(1 / (RRF_K + 2), 6)),
    ]


def test_ties_within_a_ranking_and_in_the_result_go_by_id() -> None:
    assert [name for name, _ in reciprocal_rank_fusion({"b": 1.0, "a": 1.0}, {}, None)] == ["a", "b"]
    assert [name for name, _ in reciprocal_rank_fusion({"b": 1.0}, {"a": 1.0}, None)] == ["a", "b"]


@given(RANKINGS, RANKINGS)
def test_only_ranks_count_and_both_rankings_count_alike(dense: dict[str, float], sparse: dict[str, float]) -> None:
    fused = reciprocal_rank_fusion(dense, sparse, None)
    assert fused == reciprocal_rank_fusion(sparse, dense, None)
    assert fused == reciprocal_rank_fusion({name: 9 * score for name, score in dense.items()}, sparse, None)
    assert {name for name, _ in fused} == dense.keys() | sparse.keys()
    assert fused == sorted(fused, key=lambda item: (-item[1], item[0]))


@given(RANKINGS, RANKINGS, st.integers(0, 12))
def test_a_limit_cuts_the_whole_ranking(dense: dict[str, float], sparse: dict[str, float], limit: int) -> None:
    assert reciprocal_rank_fusion(dense, sparse, limit) == reciprocal_rank_fusion(dense, sparse, None)[:limit]


@pytest.mark.parametrize(
    ("limit", "candidates", "depth"),
    [(None, None, None), (None, 7, 7), (10, 7, 7), (1, None, CANDIDATES_MIN), (25, None, 100), (26, None, 104)],
)
def test_rankings_go_deeper_than_the_limit(limit: int | None, candidates: int | None, depth: int | None) -> None:
    assert candidates_of(limit, candidates) == depth
