"""Ranking rules that every backend shares, so that the same query gives the same order everywhere."""

import heapq
from collections.abc import Mapping

RRF_K = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke, Buettcher: SIGIR 2009), which found 60 to work well."""

SCORE_DECIMALS = 6
"""Scores are rounded to this before they are compared or given out."""

CANDIDATES_MIN = 100


def candidates_of(limit: int | None, candidates: int | None) -> int | None:
    """Return how deep each ranking goes into a fusion; None means all the way."""
    if candidates is not None:
        return candidates
    return None if limit is None else max(CANDIDATES_MIN, 4 * limit)


def reciprocal_rank_fusion(
    dense: Mapping[str, float], sparse: Mapping[str, float], limit: int | None
) -> list[tuple[str, float]]:
    """Fuse two rankings by the sum of 1 / (60 + rank), ranks counted from 1.

    Args:
        dense: Score of each memory id in the dense ranking, in any order.
        sparse: The same for the sparse ranking.
        limit: At most so many; None for all.

    Returns:
        Memory ids with fused scores, best first, ties by id.
    """
    fused: dict[str, float] = {}
    for ranking in (dense, sparse):
        ordered = sorted(ranking.items(), key=lambda item: (-item[1], item[0]))
        for rank, (memory_id, _) in enumerate(ordered, start=1):
            fused[memory_id] = fused.get(memory_id, 0.0) + 1.0 / (RRF_K + rank)
    rounded = ((-round(score, SCORE_DECIMALS), memory_id) for memory_id, score in fused.items())
    best = sorted(rounded) if limit is None else heapq.nsmallest(limit, rounded)
    return [(memory_id, -score) for score, memory_id in best]
