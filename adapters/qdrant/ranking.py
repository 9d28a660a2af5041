"""Search by rows and by terms: the engine finds candidates, and those that lie close together are put in order here.

The engine's scores are float32 and its order among equals is its own. A candidate whose score is clear of all others
keeps it; where two are too close to tell, both scores are computed anew in float64 from what is stored, and rounded.
A candidate is given out once nothing behind it can come before it.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from operator import attrgetter, itemgetter

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


class Hit(Struct, eq=False):
    """A memory in a ranking, with its point as far as it was loaded.

    Attributes:
        found: The point.
        score: The engine's, or the exact one.
        is_exact: Which of the two.
    """

    found: Found
    score: float
    is_exact: bool = False

    @property
    def memory_id(self) -> str:
        """Return the id of the memory."""
        memory_id: str = self.found.payload[MEMORY]
        return memory_id


class Ranking:
    """One ranking: what the engine is asked, and how a candidate's score is computed."""

    def __init__(
        self,
        engine: Engine,
        queries: Sequence[tuple[Nearest, Condition | None]],
        parts: Parts,
        scored: Parts,
        score: Callable[[Sequence[Found]], Scores],
    ) -> None:
        """Make a ranking.

        Args:
            engine: Where the points are.
            queries: What the engine is asked, each with a further condition.
            parts: What is loaded of a candidate.
            scored: What must be loaded besides before its score can be computed.
            score: From candidates, so loaded, to their exact scores.
        """
        self._engine = engine
        self._queries = queries
        self._parts = parts
        self._scored = parts | scored
        self._score = score

    def hits(self, now: Selection, later: Selection, wanted: int | None) -> Iterator[Hit]:
        """Yield memories best first, ties by id.

        Args:
            now: Which points are wanted, as of this moment.
            later: The same when commits have come in between.
            wanted: How many will be asked for; None for all.
        """
        waiting: list[Hit] = []
        for candidates, bound in self._candidates(now, later, wanted):
            waiting = self._told_apart(waiting + candidates)
            ready = len(waiting)
            if bound is not None:
                ready = next((place for place, hit in enumerate(waiting) if hit.score <= bound), ready)
            yield from waiting[:ready]
            waiting = waiting[ready:]

    def _told_apart(self, hits: list[Hit]) -> list[Hit]:
        """Put hits in order; the exact scores of those that are too close to tell are computed first."""
        hits.sort(key=attrgetter("score"), reverse=True)
        close: dict[int, Hit] = {}
        for place, (better, worse) in enumerate(pairwise(hits)):
            if worse.score >= better.score - _doubt(better.score):
                close[place], close[place + 1] = better, worse
        unsure = [hit for hit in close.values() if not hit.is_exact]
        gone: set[Hit] = set()
        if unsure:
            loaded = self._engine.retrieve([hit.found.point_id for hit in unsure], self._scored)
            gone = {hit for hit in unsure if not _is_there(loaded.get(hit.found.point_id))}
            self._make_exact(
                [hit for hit in unsure if hit not in gone],
                [loaded[hit.found.point_id] for hit in unsure if hit not in gone],
            )
        # Only here, as a rounded score may be equal to one that it was told apart from.
        return sorted((hit for hit in hits if hit not in gone), key=lambda hit: (-hit.score, hit.memory_id))

    def _make_exact(self, hits: Sequence[Hit], loaded: Sequence[Found]) -> None:
        for hit, score in zip(hits, self._score(loaded).tolist(), strict=True):
            hit.score, hit.is_exact = round(score, SCORE_DECIMALS) or 0.0, True

    def _candidates(
        self, now: Selection, later: Selection, wanted: int | None
    ) -> Iterator[tuple[list[Hit], float | None]]:
        """Yield candidates once each, with the score that none of those still to come exceeds; None at the end."""
        seen: set[str] = set()
        limit, selection = FIRST_POINTS if wanted is None else wanted + MARGIN_POINTS, now
        while limit <= PREFETCH_POINTS_MAX:
            # What an index misses would come out of place in a ranking that goes on to the end.
            ranked, bound = self._ask(selection, limit, exact=wanted is None)
            new = [hit for hit in ranked if hit.found.point_id not in seen] if seen else ranked
            yield self._wanted(new, selection), bound
            if bound is None:
                return
            seen.update(hit.found.point_id for hit in ranked)
            limit, selection = PREFETCH_POINTS_MAX + 1 if wanted is None else limit * GROWTH, later
        everything = self._ask_for_all(selection)
        for start in range(0, len(everything), LOAD_POINTS):
            part = [str(identity) for identity, _ in everything[start : start + LOAD_POINTS]]
            after = everything[start + LOAD_POINTS : start + LOAD_POINTS + 1]
            left = [identity for identity in part if identity not in seen]
            # So many lie close together that the scores of all are computed.
            loaded = self._engine.retrieve(left, self._scored) if left else {}
            candidates = [loaded[identity] for identity in left if _is_there(loaded.get(identity))]
            hits = [Hit(found, 0.0) for found in candidates]
            self._make_exact(hits, candidates)
            yield self._wanted(hits, selection), _bound(after[0][1]) if after else None
        yield [], None

    def _wanted(self, hits: list[Hit], selection: Selection) -> list[Hit]:
        """Leave out what the condition found too much."""
        if selection.exact or not hits:
            return hits
        versions = read_versions([hit.found.stored(Parts(content=True)) for hit in hits], 1)
        return [hit for hit, version in zip(hits, versions, strict=True) if selection.admits(version)]

    def _ask(self, selection: Selection, limit: int, *, exact: bool) -> tuple[list[Hit], float | None]:
        """Return candidates, and the score that what was left out does not exceed; None if nothing was left out."""
        ranked: list[Hit] = []
        bounds: list[float] = []
        parts = self._scored if exact else self._parts
        for query, condition in self._asked(selection):
            part = self._engine.nearest(query, condition, limit, parts, exact=exact)
            if len(part) == limit:
                bounds.append(_bound(part[-1][1]))
            ranked += [Hit(found, round(score, SCORE_DECIMALS) or 0.0) for found, score in part]
        if exact:
            self._make_exact(ranked, [hit.found for hit in ranked])
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


def _is_there(found: Found | None) -> bool:
    """Say whether a point still has what a score is computed from: what was erased since it was found has not."""
    return found is not None and (found.rows is not None or found.terms is not None)


def _doubt(score: float) -> float:
    """Return how far apart two float32 scores must be, at least, to be in the order of the exact ones."""
    return 2 * ROUNDING * max(1.0, abs(score))


def _bound(score: float) -> float:
    return score + _doubt(score)


def rows_ranking(engine: Engine, query: Vector, parts: Parts, *, windowed: bool) -> Ranking:
    """Return the ranking by the best row of each version.

    Args:
        engine: Where the points are.
        query: What they are compared with, shape (dimension,), float32.
        parts: What is loaded of each.
        windowed: Whether some have several rows.
    """
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

    queries: list[tuple[Nearest, Condition | None]] = [(single, None)]
    if windowed:
        queries.append((several, Matching(WINDOWED, ("yes",))))
    return Ranking(engine, queries, parts, Parts(rows=True), score)


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

    return Ranking(engine, ((nearest_terms(query.terms, query.weights), None),), parts, Parts(terms=True), score)


def find_similar(
    engine: Engine, query: SimilarityQuery, now: Selection, later: Selection, *, windowed: bool
) -> Iterator[StoredMatch]:
    """Yield matches, best first: see the port's `find_similar`.

    Args:
        engine: Where the points are.
        query: It was validated.
        now: Which points are wanted, as of this moment.
        later: The same when commits have come in between.
        windowed: Whether some versions have several rows.
    """
    parts = Parts.of(query.projection)
    loaded = parts if now.exact else Parts(True, parts.provenance, parts.rows, parts.terms)
    if query.dense is not None and query.sparse is not None:
        yield from _fused(engine, query, now, later, loaded, windowed=windowed)
        return
    if query.dense is not None:
        ranking = rows_ranking(engine, query.dense, loaded, windowed=windowed)
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
    engine: Engine, query: SimilarityQuery, now: Selection, later: Selection, loaded: Parts, *, windowed: bool
) -> Iterator[StoredMatch]:
    """Yield the matches of both rankings, by the sum of their places."""
    assert query.dense is not None  # noqa: S101 - that is what makes it a fusion
    assert query.sparse is not None  # noqa: S101
    depth = candidates_of(query.limit, query.candidates)
    points: dict[str, str] = {}
    scores: list[dict[str, float]] = []
    by_rows = rows_ranking(engine, query.dense, loaded, windowed=windowed)
    for ranking in (by_rows, terms_ranking(engine, query.sparse, loaded)):
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
