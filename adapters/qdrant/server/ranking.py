"""Searching: the server ranks, and what it found is scored again, so that the order is the same on every backend.

The server's scores are sums of float32 in an order of its own. They serve to find candidates; what is given out is
computed anew in float64 from the stored rows, rounded, and cut where nothing behind it can come before it.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from msgspec.structs import replace
from qdrant_client import models

from recollect.adapters.fusion import SCORE_DECIMALS, candidates_of, reciprocal_rank_fusion
from recollect.adapters.port import Match, Projection, SimilarityQuery
from recollect.adapters.qdrant.client_conditions import client_filter
from recollect.adapters.qdrant.conditions import Selection
from recollect.adapters.qdrant.fields import DENSE, MEMORY, TERMS, WINDOWS
from recollect.adapters.qdrant.points import read_terms
from recollect.adapters.qdrant.server import selecting, stored
from recollect.adapters.qdrant.server.reading import Reader
from recollect.adapters.versions import SparseVector, Vector, Version

Kind = Literal["dense", "sparse"]
Requests = Callable[[int], list[models.QueryRequest]]
TOLERANCE: Final = 1e-5
"""How far, beside its size, a float32 score may lie from the one in float64; ten times what was seen."""

MARGIN = 6
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
            found = self._scored(kind, [point for answer in answers for point in answer], self._query.projection)
            # What the server did not show has at most the last score that it did.
            floors = [answer[-1].score for answer in answers if len(answer) >= wanted]
            if not floors or (len(found) >= limit and found[limit - 1].score > _ceiling(max(floors))):
                return found
            wanted *= 4

    async def _candidates(self, kind: Kind, wanted: int, threshold: float | None) -> list[list[models.ScoredPoint]]:
        vectors: list[str] | bool = [DENSE, WINDOWS] if kind == "dense" else [TERMS]
        if self._query.projection.vectors:
            vectors = stored.vector_names(self._query.projection)

        def requests(cap: int) -> list[models.QueryRequest]:
            return [
                _asking_for(request, stored.payload_fields(self._query.projection), vectors=vectors)
                for request in self._requests(kind, cap, wanted, threshold)
            ]

        return await self._ask(requests)

    async def _ask(self, requests: Requests) -> list[list[models.ScoredPoint]]:
        """Ask of the snapshot of this search; the first question decides which one that is."""
        if self._cap is not None:
            return await self._reader.ask_at(requests(self._cap))
        head, answers = await self._reader.ask(requests)
        self._cap = head.applied
        return answers

    def _requests(self, kind: Kind, cap: int, wanted: int, threshold: float | None) -> list[models.QueryRequest]:
        condition = client_filter(self._select(cap).condition)
        floor = None if threshold is None else threshold - TOLERANCE * max(1.0, abs(threshold))
        if kind == "sparse":
            sparse = self._query.sparse
            assert sparse is not None  # noqa: S101 - the ranking was chosen by it
            terms = models.SparseVector(indices=sparse.terms.tolist(), values=sparse.weights.tolist())
            return [_request(terms, TERMS, condition, wanted, floor)]
        dense = self._query.dense
        assert dense is not None  # noqa: S101 - likewise
        row = dense.astype("<f4").tolist()
        return [_request(row, DENSE, condition, wanted, floor), _request([row], WINDOWS, condition, wanted, floor)]

    async def _all(self, kind: Kind, threshold: float | None) -> AsyncIterator[list[Found]]:
        """Stream a whole ranking: the server's scores first, then versions as they are given out."""
        if self._cap is None:
            self._cap = await self._reader.cap()
        selection = self._select(self._cap)
        total = await self._reader.count_points(client_filter(selection.condition))
        if total == 0:
            return

        def requests(cap: int) -> list[models.QueryRequest]:
            return [
                _asking_for(request, [MEMORY], vectors=False, exact=True)
                for request in self._requests(kind, cap, total, threshold)
            ]

        answers = await self._ask(requests)
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


def _request(query: Any, using: str, condition: models.Filter, limit: int, floor: float | None) -> models.QueryRequest:
    nearest = models.NearestQuery(nearest=query)
    return models.QueryRequest(query=nearest, using=using, filter=condition, limit=limit, score_threshold=floor)


def _asking_for(
    request: models.QueryRequest, fields: list[str], *, vectors: list[str] | bool, exact: bool = False
) -> models.QueryRequest:
    """Return a question that asks for parts of a point, and perhaps looks at every vector."""
    changes: dict[str, Any] = {"with_payload": fields, "with_vector": vectors}
    if exact:
        changes["params"] = models.SearchParams(exact=True)
    return request.model_copy(update=changes)


def _cut(found: Sequence[Found], limit: int | None, threshold: float | None) -> list[Found]:
    return [one for one in found if threshold is None or one.score >= threshold][:limit]


def _ceiling(score: float) -> float:
    """Return what a score in float64 is at most, where the server's is this."""
    return score + TOLERANCE * max(1.0, abs(score))


def _by_rank(found: Found) -> tuple[float, str]:
    return (-found.score, found.memory_id)


def _by_score(point: models.ScoredPoint) -> float:
    return -point.score


def _stripped(version: Version, projection: Projection) -> Version:
    """Return a version without what was loaded for the search alone."""
    changes: dict[str, Any] = {}
    if not projection.content:
        changes |= {"content": None, "metadata": None}
    if not projection.vectors:
        changes |= {"vectors": None, "sparse": None}
    return replace(version, **changes) if changes else version
