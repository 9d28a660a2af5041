"""The embedded engine: one shard in a folder, with points as this package speaks of them.

It is called from one thread. Whatever the engine raises leaves here as an error of the store.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from struct import pack
from typing import Any, TypeVar

import numpy as np
import qdrant_edge as edge
from msgspec import Struct
from numpy.typing import NDArray

from recollect.adapters.errors import InvalidRequestError, StorageError, StoreFullError, StoreUnavailableError
from recollect.adapters.port import Finding, Projection
from recollect.adapters.qdrant.conditions import Condition
from recollect.adapters.qdrant.edge_conditions import edge_filter
from recollect.adapters.qdrant.edge_indexes import index_findings
from recollect.adapters.qdrant.fields import (
    BODY,
    BRANCH,
    CHECKSUMS,
    CREATED,
    DENSE,
    HEAD,
    KEYWORD_INDEXES,
    LIVE,
    MEMORY,
    NAMESPACE,
    NUMBER,
    NUMBER_INDEXES,
    POSITION,
    PROVENANCE,
    TERMS,
    TOKENS,
    UUID_INDEXES,
    WINDOWS,
)
from recollect.adapters.qdrant.mutations import Mutations, PointWrite
from recollect.adapters.qdrant.points import StoredVersion, read_terms, stored_of

Answer = TypeVar("Answer")

READ_POINTS = 1_024
"""How many points one call reads of those that are read one after the other."""

WRITE_POINTS = 512
"""How many points one call writes: the engine holds them all at once."""

CANDIDATES = 200
"""How many points a walk through an index keeps in view. Of the ten nearest among 100,000 vectors of real sentences it
finds 0.996 with so many, and 0.991 with the engine's own 100 in two thirds of the time."""

_NO_SPACE = f"os error {errno.ENOSPC}"
"""What the engine's messages say of a full disk; its exceptions are all of one type."""

_PLACE = (MEMORY, BRANCH, NUMBER, POSITION, CREATED)
_VECTORS = (DENSE, WINDOWS, TERMS)


class Parts(Struct, frozen=True):
    """Which parts of points a read loads: what a projection asks for, and perhaps the vectors to rank by."""

    content: bool = False
    provenance: bool = False
    rows: bool = False
    terms: bool = False

    @classmethod
    def of(cls, projection: Projection) -> "Parts":
        """Return what a projection asks for."""
        return cls(projection.content, projection.provenance, projection.vectors, projection.vectors)

    def __or__(self, other: "Parts") -> "Parts":
        """Return the parts of both."""
        return Parts(
            self.content or other.content,
            self.provenance or other.provenance,
            self.rows or other.rows,
            self.terms or other.terms,
        )


class Found(Struct, frozen=True, eq=False):
    """A point that a read found, with the parts it loaded."""

    identity: object
    payload: dict[str, Any]
    rows: bytes | None = None
    terms: bytes | None = None

    @property
    def point_id(self) -> str:
        """Return its id as text, which takes longer to make than all else of a point that nobody asks for by its id."""
        return str(self.identity)

    def stored(self, parts: Parts) -> StoredVersion:
        """Return the version in it, with no more than these parts.

        Raises:
            StoreDamagedError: A part differs from its checksum.
        """
        whole = stored_of(self.identity, self.payload, self.rows, self.terms)
        return StoredVersion(
            whole.head,
            whole.body if parts.content else None,
            whole.provenance if parts.provenance else None,
            whole.rows if parts.rows else None,
            whole.terms if parts.terms else None,
        )


class Engine:
    """One shard, whose vectors have `dimension` numbers."""

    def __init__(self, shard: edge.EdgeShard, dimension: int) -> None:
        self._shard = shard
        self._dimension = dimension

    @classmethod
    def create(cls, folder: Path, dimension: int) -> "Engine":
        """Make a shard in a folder that holds none.

        Raises:
            StoreUnavailableError: The engine cannot write there.
        """
        config = edge.EdgeConfig(
            vectors={
                DENSE: edge.EdgeVectorParams(dimension, edge.Distance.Dot),
                WINDOWS: edge.EdgeVectorParams(
                    dimension,
                    edge.Distance.Dot,
                    multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
                ),
            },
            sparse_vectors={TERMS: edge.EdgeSparseVectorParams()},
            # A journal stands in front of the shard; a second one behind it would write everything twice.
            wal_enabled=False,
        )
        folder.mkdir(parents=True, exist_ok=True)
        engine = cls(_translated(lambda: edge.EdgeShard.create(str(folder), config)), dimension)
        # An index of vectors can hold links of its own for the values of a field. That pays for namespaces; for every
        # token it would make building the index take many times as long. The large indexes are read from their files:
        # that halves the time to open, and leaves a sixth of the memory in use.
        large = edge.Memory.Cold
        indexes: tuple[tuple[str, Any], ...] = (
            *(
                (name, edge.KeywordIndexParams(enable_hnsw=name == NAMESPACE))
                for name in KEYWORD_INDEXES
                if name != TOKENS
            ),
            *((name, edge.KeywordIndexParams(enable_hnsw=False, memory=large)) for name in (TOKENS, LIVE)),
            *((name, edge.UuidIndexParams(enable_hnsw=False, memory=large)) for name in UUID_INDEXES),
            *((name, edge.FloatIndexParams(enable_hnsw=False)) for name in NUMBER_INDEXES),
        )
        for name, schema in indexes:
            engine._update(edge.UpdateOperation.create_field_index(name, schema))
        engine.flush()
        return engine

    @classmethod
    def load(cls, folder: Path, dimension: int) -> "Engine":
        """Open the shard in a folder.

        Raises:
            StoreUnavailableError: The engine cannot read it.
        """
        return cls(_translated(lambda: edge.EdgeShard.load(str(folder))), dimension)

    def flush(self) -> None:
        """Write everything to disk."""
        _translated(self._shard.flush)

    def close(self) -> None:
        """Flush and release the shard."""
        _translated(self._shard.close)

    def optimize(self) -> bool:
        """Build indexes and merge segments; return whether there was anything to do. It takes as long as it takes."""
        return _translated(self._shard.optimize)

    def points(self) -> int:
        """Return how many points there are."""
        return _translated(self._shard.info).points_count

    def unindexed_rows(self) -> int:
        """Return how many points have rows that no index covers yet."""
        having = [
            edge.CountRequest(exact=True, filter=edge.Filter(must=[edge.HasVectorCondition(name)])) for name in _VECTORS
        ]
        dense, windows, terms = (_translated(partial(self._shard.count, request)) for request in having)
        # Terms are indexed as they are written, and counted with the rows.
        indexed = _translated(self._shard.info).indexed_vectors_count - terms
        return max(0, dense + windows - max(0, indexed))

    # --- Writing ---

    def apply(self, mutations: Mutations) -> None:
        """Do what mutations say. They may have been done before."""
        for start in range(0, len(mutations.writes), WRITE_POINTS):
            points = [_point(write, self._dimension) for write in mutations.writes[start : start + WRITE_POINTS]]
            self._update(edge.UpdateOperation.upsert_points(points))
        for patch in mutations.patches:
            self._update(edge.UpdateOperation.set_payload(list(patch.point_ids), patch.payload))

    def _update(self, operation: edge.UpdateOperation) -> None:
        _translated(lambda: self._shard.update(operation))

    # --- Reading ---

    def retrieve(self, point_ids: Sequence[str], parts: Parts) -> dict[str, Found]:
        """Return the points that are there, by their ids."""
        records = _translated(
            lambda: self._shard.retrieve(list(point_ids), with_payload=_payload(parts), with_vector=_vectors(parts))
        )
        return {str(record.id): _found(record) for record in records}

    def retrieve_payloads(self, point_ids: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return some fields of the points that are there, by their ids."""
        selector = edge.PayloadSelector.Include(list(names))
        records = _translated(lambda: self._shard.retrieve(list(point_ids), with_payload=selector, with_vector=False))
        return {str(record.id): record.payload or {} for record in records}

    def in_order(self, condition: Condition, field: str, *, descending: bool, limit: int, parts: Parts) -> list[Found]:
        """Return the first points in the order of a field of numbers; those with the same number in any order."""
        request = edge.ScrollRequest(
            limit=limit,
            filter=edge_filter(condition),
            with_payload=_payload(parts),
            with_vector=_vectors(parts),
            order_by=edge.OrderBy(field, edge.Direction.Desc if descending else edge.Direction.Asc),
        )
        records, _ = _translated(lambda: self._shard.scroll(request))
        return [_found(record) for record in records]

    def each(self, condition: Condition, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the ids of points, in no order of meaning, with some fields."""
        selector = edge.PayloadSelector.Include(list(names))
        for records in self._pages(edge_filter(condition), selector, with_vector=False):
            for record in records:
                yield str(record.id), record.payload or {}

    def whole_points(self, batch_points: int) -> Iterator[list[PointWrite]]:
        """Yield every point as a whole, in batches."""
        for records in self._pages(None, with_payload=True, with_vector=True, limit=batch_points):
            yield [_whole(record) for record in records]

    def _pages(
        self,
        condition: edge.Filter | None,
        with_payload: "bool | edge.PayloadSelector",
        *,
        with_vector: bool,
        limit: int = READ_POINTS,
    ) -> Iterator[list[edge.Record]]:
        offset = None
        while True:
            request = edge.ScrollRequest(
                offset=offset, limit=limit, filter=condition, with_payload=with_payload, with_vector=with_vector
            )
            records, offset = _translated(partial(self._shard.scroll, request))
            if records:
                yield records
            if offset is None:
                return

    def count(self, condition: Condition) -> int:
        """Return how many points fulfil a condition, exactly."""
        request = edge.CountRequest(exact=True, filter=edge_filter(condition))
        return _translated(lambda: self._shard.count(request))

    def left_out(self, points: Sequence[PointWrite]) -> Iterator[Finding]:
        """Yield what indexes leave out of some points, which nobody may change meanwhile."""

        def count(condition: edge.Filter) -> int:
            return _translated(lambda: self._shard.count(edge.CountRequest(exact=True, filter=condition)))

        return index_findings(points, count)

    def nearest(
        self, query: "Nearest", condition: Condition, limit: int, parts: Parts, *, exact: bool
    ) -> list[tuple[Found, float]]:
        """Return the points nearest to a query with the engine's scores, best first.

        Args:
            query: What to look for.
            condition: What a point must fulfil.
            limit: At most so many.
            parts: What to load of them.
            exact: Whether to miss none, which takes a look at each; an index may miss some.
        """
        request = edge.QueryRequest(
            limit=limit,
            query=edge.Query.Nearest(query.vector, using=query.using),
            filter=edge_filter(condition),
            params=edge.SearchParams(exact=True) if exact else edge.SearchParams(hnsw_ef=CANDIDATES),
            with_payload=_payload(parts, place=(MEMORY,)),
            with_vector=_vectors(parts),
        )
        return [(_found(point), point.score) for point in _translated(partial(self._shard.query, request))]

    def all_nearest(self, query: "Nearest", condition: Condition) -> list[tuple[object, float]]:
        """Return the ids of all points that fulfil a condition, as text is made of them, with the engine's scores.

        They come best first, and none is missed.
        """
        request = edge.QueryRequest(
            limit=max(1, self.points()),
            query=edge.Query.Nearest(query.vector, using=query.using),
            filter=edge_filter(condition),
            params=edge.SearchParams(exact=True),
            with_payload=False,
            with_vector=False,
        )
        return [(point.id, point.score) for point in _translated(partial(self._shard.query, request))]


class Nearest(Struct, frozen=True, eq=False):
    """What a ranking looks for: a vector in the engine's form, and the name of the vectors it is compared with."""

    vector: Any
    using: str


def nearest_rows(vector: NDArray[np.float32]) -> tuple[Nearest, Nearest]:
    """Return the queries for versions with one row, and for those with several."""
    numbers = vector.tolist()
    return Nearest(numbers, DENSE), Nearest([numbers], WINDOWS)


def nearest_terms(terms: NDArray[np.uint32], weights: NDArray[np.float32]) -> Nearest:
    """Return the query for terms."""
    return Nearest(edge.SparseVector(terms.tolist(), weights.tolist()), TERMS)


def _translated(call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except StorageError:
        raise
    except UnicodeEncodeError as error:
        raise InvalidRequestError("a text holds half a surrogate pair, which is no UTF-8: no store holds it") from error
    except Exception as error:
        if _NO_SPACE in str(error):
            raise StoreFullError(f"no space left: {error}; free some and try again, nothing is lost") from error
        raise StoreUnavailableError(f"the embedded engine refused: {error}") from error
    except BaseException as error:
        # The engine's panics are no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise StoreUnavailableError(
            f"the embedded engine failed ({error}); check the store, and restore it from a backup if it is damaged"
        ) from error


def _payload(parts: Parts, place: Sequence[str] = _PLACE) -> Any:
    names = [HEAD, CHECKSUMS, *place]
    if parts.content:
        names.append(BODY)
    if parts.provenance:
        names.append(PROVENANCE)
    return edge.PayloadSelector.Include(names)


def _vectors(parts: Parts) -> bool | list[str]:
    names = [*((DENSE, WINDOWS) if parts.rows else ()), *((TERMS,) if parts.terms else ())]
    return names or False


def _found(record: "edge.Record | edge.ScoredPoint") -> Found:
    vectors: Any = record.vector
    if not vectors:
        return Found(record.id, record.payload or {})
    dense, windows, terms = map(vectors.get, _VECTORS)
    return Found(record.id, record.payload or {}, _rows(dense or windows), None if terms is None else _terms(terms))


def _rows(rows: Any) -> bytes | None:
    if not rows:
        return None
    numbers = rows if isinstance(rows[0], float) else list(chain.from_iterable(rows))
    return pack(f"<{len(numbers)}f", *numbers)


def _terms(terms: edge.SparseVector) -> bytes:
    return np.array(terms.indices, dtype="<u4").tobytes() + np.array(terms.values, dtype="<f4").tobytes()


def _whole(record: edge.Record) -> PointWrite:
    vectors: Any = record.vector or {}
    dense, windows, terms = map(vectors.get, _VECTORS)
    return PointWrite(
        str(record.id),
        record.payload or {},
        _rows(dense),
        _rows(windows),
        None if terms is None else _terms(terms),
    )


def _point(write: PointWrite, dimension: int) -> edge.Point:
    vectors: dict[str, Any] = {}
    if write.dense is not None:
        vectors[DENSE] = np.frombuffer(write.dense, dtype="<f4").tolist()
    if write.windows is not None:
        vectors[WINDOWS] = np.frombuffer(write.windows, dtype="<f4").reshape(-1, dimension).tolist()
    if write.terms is not None:
        sparse = read_terms(write.terms)
        vectors[TERMS] = edge.SparseVector(sparse.terms.tolist(), sparse.weights.tolist())
    return edge.Point(write.point_id, vectors, write.payload)
