"""What reads and searches mean, one small function each: the definitions of the port in Python.

They are written to be read, and take every version one by one; a backend does the same by its own means.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from typing import TypeVar

import numpy as np
from msgspec.structs import replace

from recollect.adapters.errors import InvalidVectorError
from recollect.adapters.filters import Filter, matches
from recollect.adapters.fusion import SCORE_DECIMALS
from recollect.adapters.port import Cursor, Order, Projection, ReadPoint, Segment
from recollect.adapters.versions import SparseVector, Vector, Version

Item = TypeVar("Item")
Place = tuple[int, str, str, int]
"""Where a version stands in an order: the value sorted by, then memory id, branch and number."""


def along(versions: Iterable[Version], read_point: ReadPoint) -> Iterator[Version]:
    """Walk a lineage from the farthest span to the nearest, and each span in the order of commits."""
    stored = list(versions)
    for span in reversed(read_point.lineage):
        yield from (version for version in stored if version.branch == span.branch and version.position <= span.up_to)


def expired(version: Version, read_point: ReadPoint) -> bool:
    """Say whether a version has expired at the moment from which a read looks."""
    if read_point.at_ms is None or version.expires_at_ms is None:
        return False
    return version.expires_at_ms <= read_point.at_ms


def selected(version: Version, namespaces: Sequence[str] | None, matching: Filter | None) -> bool:
    """Say whether a version is in the namespaces asked for, none of them the system's unless named, and matches."""
    there = not version.namespace.startswith("_") if namespaces is None else version.namespace in namespaces
    return there and (matching is None or matches(matching, version))


def written_on(version: Version, segments: Iterable[Segment]) -> bool:
    """Say whether a version was written on one of some stretches of branches."""
    return any(
        version.branch == segment.branch and segment.after < version.position <= segment.up_to for segment in segments
    )


def project(version: Version, projection: Projection) -> Version:
    """Return a copy with only the parts that a projection asks for."""
    return replace(
        version,
        content=version.content if projection.content else None,
        metadata=deepcopy(version.metadata) if projection.content else None,
        provenance=version.provenance if projection.provenance else None,
        vectors=deepcopy(version.vectors) if projection.vectors else None,
        sparse=deepcopy(version.sparse) if projection.vectors else None,
    )


def by_position(version: Version) -> Place:
    """Return where a version stands in the order of commits."""
    return (version.position, version.memory_id, version.branch, version.number)


def by_creation(version: Version) -> Place:
    """Return where a version stands in the order in which memories came about."""
    return (version.created_at_ms, version.memory_id, version.branch, version.number)


ORDERS: dict[Order, Callable[[Version], Place]] = {Order.POSITION: by_position, Order.CREATED_AT: by_creation}


def place_of(cursor: Cursor) -> Place:
    """Return where a cursor stands in the order of a scan."""
    return (cursor.value, cursor.memory_id, cursor.branch, cursor.number)


def cosines(candidates: Iterable[Version], query: Vector | None) -> dict[str, float]:
    """Return, by memory id, the cosine of the best window; rows and query have length 1."""
    if query is None:
        return {}
    found = {version.memory_id: version.vectors for version in candidates if version.vectors is not None}
    return {memory_id: rounded(float((vectors @ query).max())) for memory_id, vectors in found.items()}


def dot_products(candidates: Iterable[Version], query: SparseVector | None) -> dict[str, float]:
    """Return, by memory id, the dot product with the query's terms, where one is shared."""
    if query is None:
        return {}
    scores: dict[str, float] = {}
    for version in candidates:
        if version.sparse is None:
            continue
        _, mine, theirs = np.intersect1d(version.sparse.terms, query.terms, return_indices=True)
        if len(mine):
            scores[version.memory_id] = rounded(float(version.sparse.weights[mine] @ query.weights[theirs]))
    return scores


def rounded(score: float) -> float:
    """Return a score as it is compared and given out."""
    return round(score, SCORE_DECIMALS)


def best_first(scores: dict[str, float], limit: int | None) -> list[tuple[str, float]]:
    """Rank memory ids by score, ties by id."""
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:limit]


def validate_vectors(vectors: Vector, dimension: int) -> None:
    """Refuse vectors, one a row, that have no direction in the store's space."""
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise InvalidVectorError(
            f"a vector of this store has {dimension} numbers; the shape {vectors.shape} does not fit"
        )
    if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
        raise InvalidVectorError("a vector must be finite and not all zeros")


def validate_terms(sparse: SparseVector) -> None:
    """Refuse terms whose weights cannot be ranked."""
    if len(sparse.terms) != len(sparse.weights) or not all(map(math.isfinite, sparse.weights)):
        raise InvalidVectorError("terms have one finite weight each")


def in_batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Cut a sequence into batches; none of them is empty."""
    return (items[start : start + size] for start in range(0, len(items), size))
