"""Searching: the server ranks, and what it found is scored again, so that the order is the same on every backend.

The server's scores are sums of float32 in an order of its own. A candidate whose score is clear of all others keeps it;
where two are too close to tell, or one may lie on either side of the threshold, they are computed anew in float64 from
what is stored. They are rounded, and cut where nothing behind can come before. Loading the vectors of all candidates
would take longer than finding them.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
from msgspec.structs import replace

from recollect.adapters.fusion import SCORE_DECIMALS, candidates_of, reciprocal_rank_fusion
from recollect.adapters.port import Match, Projection, SimilarityQuery
from recollect.adapters.qdrant.client_conditions import client_filter
from recollect.adapters.qdrant.conditions import All, Matching, Selection
from recollect.adapters.qdrant.fields import DENSE, MEMORY, TERMS, WINDOWED, WINDOWS
from recollect.adapters.qdrant.points import read_terms
from recollect.adapters.qdrant.server import selecting, stored
from recollect.adapters.qdrant.server.reading import Reader
from recollect.adapters.qdrant.server.wire import Nearest
from recollect.adapters.versions import SparseVector, Vector, Version

Kind = Literal["dense", "sparse"]
Questions = Callable[[int], list[Nearest]]
TOLERANCE: Final = 1e-5
"""How far, beside its size, a float32 score may lie from the one in float64; ten times what was seen."""

MARGIN = 2
"""How many more candidates than the limit are asked for, so that one call is mostly enough."""

TOP_MAX = 1_000
"""Up to this limit candidates come with all that is needed; beyond it first their scores alone."""

FETCH = 256


@dataclass(frozen=True)
class Found:
    """A candidate with its score, as it is given out."""

    score: float
    memory_id: str
    version: Version


class Search:
    """One search of one snapshot."""

    def __init__(self, reader: Reader, query: SimilarityQuery) -> None:
        """Prepare a search; nothing is asked yet."""
        self._reader = reader
        self._query = query
        self._cap: int | None = None

    async def matches(self) -> AsyncIterator[list[Match]]:
        """Stream matches, best first, in groups of any size."""
        query = self._query
        if query.limit == 0:
            return
        if query.dense is not None and query.sparse is not None:
            async for group in self._fused():
                yield group
            return
        kind: Kind = "dense" if query.dense is not None else "sparse"
        async for found in self._ranked(kind, query.limit, query.threshold):
            yield [
                Match(one.version, one.score, one.score, None)
                if kind == "dense"
                else Match(one.version, one.score, None, one.score)
                for one in found
            ]

    async def _fused(self) -> AsyncIterator[list[Match]]:
        query = self._query
        depth = candidates_of(query.limit, query.candidates)
        dense = [one async for group in self._ranked("dense", depth, None) for one in group]
        sparse = [one async for group in self._ranked("sparse", depth, None) for one in group]
        versions = {one.memory_id: one.version for one in (*dense, *sparse)}
        of_dense, of_sparse = ({one.memory_id: one.score for one in side} for side in (dense, sparse))
        ranked = reciprocal_rank_fusion(of_dense, of_sparse, None)
        yield [
            Match(versions[memory_id], score, of_dense.get(memory_id), of_sparse.get(memory_id))
            for memory_id, score in ranked
            if query.threshold is None or score >= query.threshold
        ]

    # --- One ranking ---

    async def _ranked(self, kind: Kind, limit: int | None, threshold: float | None) -> AsyncIterator[list[Found]]:
        """Stream one ranking, best first, up to a limit."""
        if limit is not None and limit <= TOP_MAX and self._select(0).exact:
            yield _cut(await self._top(kind, limit, threshold), limit, threshold)
            return
        left = limit
        async for group in self._all(kind, threshold):
            yield group[:left]
            left = None if left is None else left - len(group)
            if left is not None and left <= 0:
                return

    def _select(self, cap: int) -> Selection:
        query = self._query
        return selecting.selection(query.read_point, cap, query.namespaces, query.filter)

    async def _top(self, kind: Kind, limit: int, threshold: float | None) -> list[Found]:
        """Return at least the best `limit`, scored and sorted."""
        wanted = limit + MARGIN
        while True:
            answers = await self._candidates(kind, wanted, threshold)
            points = [point for answer in answers for point in answer]
            if self._comes_with_vectors(kind):
                found = self._scored(kind, points, self._query.projection)
            else:
                found = await self._told_apart(points, threshold)
            # What the server did not show has at most the last score that it did.
            floors = [answer[-1].score for answer in answers if len(answer) >= wanted]
            if not floors or (len(found) >= limit and found[limit - 1].score > max(floors) + _doubt(max(floors))):
                return found
            wanted *= 4

    def _comes_with_vectors(self, kind: Kind) -> bool:
        """Say whether candidates are loaded with what scores are computed from: terms are short, and often tie."""
        return kind == "sparse" or self._query.projection.vectors

    async def _told_apart(self, points: Sequence[stored.Found], threshold: float | None) -> list[Found]:
        """Return candidates by rows, best first; the scores of those that are too close to tell are computed anew."""
        projection = self._query.projection
        versions = stored.versions_of(points, projection, self._reader.dimension)
        scores = {str(point.id): round(float(point.score), SCORE_DECIMALS) or 0.0 for point in points}
        unsure = _unsure(scores, threshold)
        if unsure:
            loaded = await self._reader.points(sorted(unsure), Projection(vectors=True))
            scores = {name: score for name, score in scores.items() if name not in unsure}
            # What was erased meanwhile has no rows any more.
            anew = {str(point.id): self._score("dense", point) for point in loaded}
            scores |= {name: score for name, score in anew.items() if score is not None}
        found = [
            Found(scores[str(point.id)], version.memory_id, version)
            for point, version in zip(points, versions, strict=True)
            if str(point.id) in scores
        ]
        return sorted(found, key=_by_rank)

    async def _candidates(self, kind: Kind, wanted: int, threshold: float | None) -> list[list[stored.Found]]:
        vectors: list[str] | bool = False if kind == "dense" else [TERMS]
        if self._query.projection.vectors:
            vectors = stored.vector_names(self._query.projection)

        fields = stored.payload_fields(self._query.projection)
        return await self._ask(
            lambda cap: [
                replace(one, fields=fields, vectors=vectors) for one in self._questions(kind, cap, wanted, threshold)
            ]
        )

    async def _ask(self, questions: Questions) -> list[list[stored.Found]]:
        """Ask of the snapshot of this search; the first question decides which one that is."""
        if self._cap is not None:
            return await self._reader.ask_at(questions(self._cap))
        head, answers = await self._reader.ask(questions)
        self._cap = head.applied
        return answers

    def _questions(self, kind: Kind, cap: int, wanted: int, threshold: float | None) -> list[Nearest]:
        selected = self._select(cap).condition
        floor = None if threshold is None else threshold - TOLERANCE * max(1.0, abs(threshold))
        if kind == "sparse":
            terms = self._query.sparse
            return [Nearest(using=TERMS, terms=terms, condition=selected, limit=wanted, floor=floor, fields=[MEMORY])]
        row = self._query.dense
        one = Nearest(using=DENSE, row=row, condition=selected, limit=wanted, floor=floor, fields=[MEMORY])
        if not self._reader.windowed:
            return [one]
        # Without this condition the server looks at every point to find those that have several rows.
        several = All((selected, Matching(WINDOWED, ("yes",))))
        return [
            one,
            Nearest(using=WINDOWS, row=row, condition=several, limit=wanted, floor=floor, fields=[MEMORY]),
        ]

    async def _all(self, kind: Kind, threshold: float | None) -> AsyncIterator[list[Found]]:
        """Stream a whole ranking: the server's scores first, then versions as they are given out."""
        if self._cap is None:
            self._cap = await self._reader.cap()
        selection = self._select(self._cap)
        total = await self._reader.count_points(client_filter(selection.condition))
        if total == 0:
            return

        answers = await self._ask(
            lambda cap: [replace(one, exact=True) for one in self._questions(kind, cap, total, threshold)]
        )
        candidates = sorted((point for answer in answers for point in answer), key=_by_score)
        held: list[Found] = []
        for start in range(0, len(candidates), FETCH):
            chunk = candidates[start : start + FETCH]
            held += await self._fetched(kind, [str(point.id) for point in chunk], selection)
            held.sort(key=_by_rank)
            behind = start + FETCH
            ceiling = _ceiling(candidates[behind].score) if behind < len(candidates) else None
            ready = len(held) if ceiling is None else sum(1 for one in held if one.score > ceiling)
            group, held = _cut(held[:ready], None, threshold), held[ready:]
            if group:
                yield group

    async def _fetched(self, kind: Kind, ids: Sequence[str], selection: Selection) -> list[Found]:
        wanted = self._query.projection
        projection = replace(wanted, vectors=True, content=wanted.content or not selection.exact)
        found = self._scored(kind, await self._reader.points(ids, projection), projection)
        return [
            Found(one.score, one.memory_id, _stripped(one.version, wanted))
            for one in found
            if selection.exact or selection.admits(one.version)
        ]

    def _scored(self, kind: Kind, points: Sequence[Any], projection: Projection) -> list[Found]:
        """Return candidates with their scores in float64, best first."""
        versions = stored.versions_of(points, projection, self._reader.dimension)
        scores = [self._score(kind, point) for point in points]
        found = [
            Found(score, version.memory_id, version)
            for version, score in zip(versions, scores, strict=True)
            if score is not None
        ]
        return sorted(found, key=_by_rank)

    def _score(self, kind: Kind, point: Any) -> float | None:
        if kind == "dense":
            assert self._query.dense is not None  # noqa: S101 - the ranking was chosen by it
            rows = stored.rows_of(point)
            return None if rows is None else cosine(rows, self._query.dense)
        assert self._query.sparse is not None  # noqa: S101 - likewise
        terms = stored.terms_of(point)
        return None if terms is None else dot(read_terms(terms), self._query.sparse)


def cosine(rows: bytes, query: Vector) -> float:
    """Return the cosine of the best row, as it is given out. All have length 1."""
    products = np.frombuffer(rows, dtype="<f4").reshape(-1, len(query)).astype(np.float64) @ query.astype(np.float64)
    return round(float(products.max()), SCORE_DECIMALS)


def dot(mine: SparseVector, query: SparseVector) -> float | None:
    """Return the dot product of terms, as it is given out; None where none is shared."""
    _, left, right = np.intersect1d(mine.terms, query.terms, assume_unique=True, return_indices=True)
    if not len(left):
        return None
    product = mine.weights[left].astype(np.float64) @ query.weights[right].astype(np.float64)
    return round(float(product), SCORE_DECIMALS)


def _cut(found: Sequence[Found], limit: int | None, threshold: float | None) -> list[Found]:
    return [one for one in found if threshold is None or one.score >= threshold][:limit]


def _ceiling(score: float) -> float:
    """Return what a score in float64 is at most, where the server's is this."""
    return score + TOLERANCE * max(1.0, abs(score))


def _doubt(score: float) -> float:
    """Return how far apart two of the server's scores must be, at least, to be in the order of the exact ones."""
    return 2 * TOLERANCE * max(1.0, abs(score))


def _unsure(scores: Mapping[str, float], threshold: float | None) -> set[str]:
    """Return the ids of those whose place among the others, or beside the threshold, their scores do not tell."""
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    unsure = {
        name
        for (better, high), (worse, low) in pairwise(ranked)
        if low >= high - _doubt(high)
        for name in (better, worse)
    }
    if threshold is not None:
        unsure |= {name for name, score in ranked if abs(score - threshold) <= _doubt(score)}
    return unsure


def _by_rank(found: Found) -> tuple[float, str]:
    return (-found.score, found.memory_id)


def _by_score(point: stored.Found) -> float:
    return -point.score


def _stripped(version: Version, projection: Projection) -> Version:
    """Return a version without what was loaded for the search alone."""
    changes: dict[str, Any] = {}
    if not projection.content:
        changes |= {"content": None, "metadata": None}
    if not projection.vectors:
        changes |= {"vectors": None, "sparse": None}
    return replace(version, **changes) if changes else version
