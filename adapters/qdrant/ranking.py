"""Search by rows and by terms: the engine finds candidates, their scores are computed anew, and ties are put in order.

The engine's scores are float32 and its order among equals is its own. So each candidate's score is computed in float64
from what is stored, rounded, and given out once nothing behind it can come before it.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import itemgetter

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from recollect.adapters.fusion import SCORE_DECIMALS, candidates_of, reciprocal_rank_fusion
from recollect.adapters.port import SimilarityQuery
from recollect.adapters.qdrant.conditions import All, Condition, Matching, Selection
from recollect.adapters.qdrant.engine import Engine, Found, Nearest, Parts, nearest_rows, nearest_terms
from recollect.adapters.qdrant.fields import MEMORY, WINDOWED
from recollect.adapters.qdrant.points import StoredMatch, read_terms, read_versions
from recollect.adapters.versions import SparseVector, Vector

MARGIN_POINTS = 2
"""How many more candidates are asked for than are wanted, so that the last wanted one is seldom in doubt."""

GROWTH = 8
"""How many times as many candidates are asked for when the last wanted one is in doubt."""

PREFETCH_POINTS_MAX = 1_024
"""A longer list of candidates is read as ids, and loaded part by part."""

FIRST_POINTS = 256
"""How many candidates are loaded at once of a ranking that goes on to the end, so that its best come soon."""

LOAD_POINTS = 256
ROUNDING = 4e-6
"""By how much a float32 score may differ from the exact one, for each unit of its size; with room for rounding."""

Scores = NDArray[np.float64]


class Hit(Struct, frozen=True, eq=False):
    """A memory in a ranking, with its point as far as it was loaded."""

    memory_id: str
    score: float
    found: Found


class Ranking:
    """One ranking: what the engine is asked, and how a candidate's score is computed.

    Attributes:
        queries: What the engine is asked, each with a further condition.
        parts: What is loaded of a candidate.
        score: From loaded candidates to their scores.
    """

    def __init__(
        self,
        engine: Engine,
        queries: Sequence[tuple[Nearest, Condition | None]],
        parts: Parts,
        score: Callable[[Sequence[Found]], Scores],
    ) -> None:
        self._engine = engine
        self._queries = queries
        self._parts = parts
        self._score = score

    def hits(self, now: Selection, later: Selection, wanted: int | None) -> Iterator[Hit]:
        """Yield memories best first, ties by id.

        Args:
            now: Which points are wanted, as of this moment.
            later: The same when commits have come in between.
            wanted: How many will be asked for; None for all.
        """
        ready: list[tuple[float, str, Found]] = []
        for candidates, bound in self._candidates(now, later, wanted):
            for found, score in zip(candidates, self._score(candidates).tolist(), strict=True):
                heapq.heappush(ready, (-round(score, SCORE_DECIMALS), found.payload[MEMORY], found))
            while ready and (bound is None or -ready[0][0] > bound):
                negated, memory_id, found = heapq.heappop(ready)
                yield Hit(memory_id, -negated or 0.0, found)

    def _candidates(
        self, now: Selection, later: Selection, wanted: int | None
    ) -> Iterator[tuple[list[Found], float | None]]:
        """Yield candidates once each, with the score that none of those still to come exceeds; None at the end."""
        seen: set[str] = set()
        limit, selection = FIRST_POINTS if wanted is None else wanted + MARGIN_POINTS, now
        while limit <= PREFETCH_POINTS_MAX:
            # What an index misses would come out of place in a ranking that goes on to the end.
            ranked, bound = self._ask(selection, limit, exact=wanted is None)
            yield self._wanted([found for found, _ in ranked if found.point_id not in seen], selection), bound
            if bound is None:
                return
            seen.update(found.point_id for found, _ in ranked)
            limit, selection = PREFETCH_POINTS_MAX + 1 if wanted is None else limit * GROWTH, later
        everything = self._ask_for_all(selection)
        for start in range(0, len(everything), LOAD_POINTS):
            part = [str(identity) for identity, _ in everything[start : start + LOAD_POINTS]]
            after = everything[start + LOAD_POINTS : start + LOAD_POINTS + 1]
            left = [identity for identity in part if identity not in seen]
            loaded = self._engine.retrieve(left, self._parts) if left else {}
            candidates = [loaded[identity] for identity in left if identity in loaded]
            yield self._wanted(candidates, selection), _bound(after[0][1]) if after else None
        yield [], None

    def _wanted(self, candidates: list[Found], selection: Selection) -> list[Found]:
        """Leave out what the condition found too much, and what was erased since it was found."""
        there = [found for found in candidates if found.rows is not None or found.terms is not None]
        if selection.exact or not there:
            return there
        versions = read_versions([found.stored(Parts(content=True)) for found in there], 1)
        return [found for found, version in zip(there, versions, strict=True) if selection.admits(version)]

    def _ask(self, selection: Selection, limit: int, *, exact: bool) -> tuple[list[tuple[Found, float]], float | None]:
        """Return candidates, and the score that what was left out does not exceed; None if nothing was left out."""
        ranked: list[tuple[Found, float]] = []
        bounds: list[float] = []
        for query, condition in self._asked(selection):
            part = self._engine.nearest(query, condition, limit, self._parts, exact=exact)
            if len(part) == limit:
                bounds.append(_bound(part[-1][1]))
            ranked += part
        return ranked, max(bounds, default=None)

    def _ask_for_all(self, selection: Selection) -> list[tuple[object, float]]:
        """Return the ids of all candidates with the engine's scores, best first."""
        ranked = [
            candidate
            for query, condition in self._asked(selection)
            for candidate in self._engine.all_nearest(query, condition)
        ]
        if len(self._queries) > 1:
            ranked.sort(key=itemgetter(1), reverse=True)
        return ranked

    def _asked(self, selection: Selection) -> Iterator[tuple[Nearest, Condition]]:
        for query, also in self._queries:
            yield query, selection.condition if also is None else All((selection.condition, also))


def _bound(score: float) -> float:
    return score + ROUNDING * max(1.0, abs(score))


def rows_ranking(engine: Engine, query: Vector, parts: Parts) -> Ranking:
    """Return the ranking by the best row of each version."""
    single, several = nearest_rows(query)
    exact = query.astype(np.float64)

    def score(candidates: Sequence[Found]) -> Scores:
        # Each version has a row: others are in no ranking by rows.
        rows = [np.frombuffer(found.rows or b"", dtype="<f4").reshape(-1, len(exact)) for found in candidates]
        if not rows:
            return np.empty(0)
        counts = np.array([len(part) for part in rows])
        products = np.vecdot(np.concatenate(rows).astype(np.float64), exact)
        return np.maximum.reduceat(products, np.cumsum(counts) - counts)

    loaded = Parts(parts.content, parts.provenance, rows=True, terms=parts.terms)
    return Ranking(engine, ((single, None), (several, Matching(WINDOWED, ("yes",)))), loaded, score)


def terms_ranking(engine: Engine, query: SparseVector, parts: Parts) -> Ranking:
    """Return the ranking by shared terms."""
    exact = query.weights.astype(np.float64)

    def score(candidates: Sequence[Found]) -> Scores:
        scores = np.empty(len(candidates))
        for index, found in enumerate(candidates):
            stored = read_terms(found.terms or b"")
            _, mine, theirs = np.intersect1d(stored.terms, query.terms, assume_unique=True, return_indices=True)
            scores[index] = stored.weights[mine].astype(np.float64) @ exact[theirs]
        return scores

    loaded = Parts(parts.content, parts.provenance, rows=parts.rows, terms=True)
    return Ranking(engine, ((nearest_terms(query.terms, query.weights), None),), loaded, score)


def find_similar(engine: Engine, query: SimilarityQuery, now: Selection, later: Selection) -> Iterator[StoredMatch]:
    """Yield matches, best first: see the port's `find_similar`."""
    parts = Parts.of(query.projection)
    loaded = parts if now.exact else Parts(True, parts.provenance, parts.rows, parts.terms)
    if query.dense is not None and query.sparse is not None:
        yield from _fused(engine, query, now, later, loaded)
        return
    if query.dense is not None:
        ranking = rows_ranking(engine, query.dense, loaded)
    elif query.sparse is not None:
        ranking = terms_ranking(engine, query.sparse, loaded)
    else:
        return
    by_meaning = query.dense is not None
    for hit in ranking.hits(now, later, query.limit):
        if query.threshold is not None and hit.score < query.threshold:
            return
        dense, sparse = (hit.score, None) if by_meaning else (None, hit.score)
        yield StoredMatch(hit.found.stored(parts), hit.score, dense, sparse)


def _fused(
    engine: Engine, query: SimilarityQuery, now: Selection, later: Selection, loaded: Parts
) -> Iterator[StoredMatch]:
    """Yield the matches of both rankings, by the sum of their places."""
    assert query.dense is not None  # noqa: S101 - that is what makes it a fusion
    assert query.sparse is not None  # noqa: S101
    depth = candidates_of(query.limit, query.candidates)
    points: dict[str, str] = {}
    scores: list[dict[str, float]] = []
    for ranking in (rows_ranking(engine, query.dense, loaded), terms_ranking(engine, query.sparse, loaded)):
        part: dict[str, float] = {}
        for hit in islice(ranking.hits(now, later, depth), depth):
            part[hit.memory_id] = hit.score
            points[hit.memory_id] = hit.found.point_id
        scores.append(part)
    dense, sparse = scores
    parts = Parts.of(query.projection)
    ranked = [
        (memory_id, score)
        for memory_id, score in reciprocal_rank_fusion(dense, sparse, query.limit)
        if query.threshold is None or score >= query.threshold
    ]
    for start in range(0, len(ranked), LOAD_POINTS):
        some = ranked[start : start + LOAD_POINTS]
        found = engine.retrieve([points[memory_id] for memory_id, _ in some], parts)
        for memory_id, score in some:
            point = found.get(points[memory_id])
            if point is not None:
                yield StoredMatch(point.stored(parts), score, dense.get(memory_id), sparse.get(memory_id))
