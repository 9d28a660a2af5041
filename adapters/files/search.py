"""Answers that look at many versions: scan, count and search, as iterators that worker threads advance."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from itertools import repeat
from pathlib import Path
from threading import Event
from typing import Literal, TypeVar
from uuid import UUID

import numpy as np

from recollect.adapters.errors import InvalidRequestError, InvalidVectorError
from recollect.adapters.files.columns import Columns, Snapshot
from recollect.adapters.files.lookups import RowReader
from recollect.adapters.files.metadata import MetadataColumns
from recollect.adapters.files.ordering import MICRO, Indexes, by_score, joined, micro_scores, scan_order
from recollect.adapters.files.records import check_sparse, check_vectors, cut_matches, encode_matches
from recollect.adapters.files.selection import Mask, Selection
from recollect.adapters.files.shown import ShownPack
from recollect.adapters.files.similarity import DenseRanking
from recollect.adapters.files.sparse import SparseIndex, sparse_scores
from recollect.adapters.files.vectors import VectorPacks
from recollect.adapters.filters import Filter
from recollect.adapters.fusion import candidates_of, reciprocal_rank_fusion
from recollect.adapters.port import EncodedMatches, Match, ReadPoint, Scan, SimilarityQuery
from recollect.adapters.versions import SparseVector, Vector, Version

CHUNK_ROWS = 1_024
"""How many versions are read from the catalog at a time, once a consumer has taken the first batch."""

RELEASE_ROWS = 32_768
"""After so many rows a stream lets go of the memory that their heads were read into."""

_T = TypeVar("_T")
ReaderOfThread = Callable[[], RowReader]
"""Gives the calling thread its reader: each turn of an iterator may come from another worker."""

Runs = Iterator[tuple[Indexes, Indexes]]


class AbandonedError(Exception):
    """The consumer of a stream has gone; ends the work for it and leaves no module."""


class Searcher:
    """The columns, indexes and packs of one open store, shared by all searches."""

    def __init__(self, folder: Path, vectors: VectorPacks, dimension: int, helpers: Executor) -> None:
        self._vectors = vectors
        self._helpers = helpers
        self._dimension = dimension
        self._shown = ShownPack(folder)
        self._columns = Columns(self._shown)
        self._metadata = MetadataColumns()
        self._sparse = SparseIndex()
        self._newest: Snapshot | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is degraded, as sentences."""
        return () if self._shown.problem is None else (self._shown.problem,)

    def close(self) -> None:
        """Give back what the searches held; none runs any more."""
        self._newest = None
        self._shown.close()

    def snapshot(self, reader: ReaderOfThread) -> Snapshot:
        """Return the newest committed state."""
        asking = reader()
        with self._columns.lock:
            state = asking.state_seen()
            if self._newest is None or asking.columns_as_of != state:
                self._newest = None  # what it holds of columns that grow can go
                self._newest = self._refreshed(asking.connection)
                asking.columns_as_of = state
            return self._newest

    def _refreshed(self, connection: sqlite3.Connection) -> Snapshot:
        # One state: the rows of a commit and those that it erased are seen together.
        connection.execute("BEGIN")
        try:
            erased = self._columns.refresh(connection)
        finally:
            connection.execute("COMMIT")
        if erased:
            self._metadata.forget()
        return self._columns.snapshot()

    def _select(
        self,
        reader: ReaderOfThread,
        snapshot: Snapshot,
        read_point: ReadPoint | None,
        namespaces: Sequence[str] | None,
        condition: Filter | None,
    ) -> Mask:
        return Selection(snapshot, self._metadata, reader().connection).select(read_point, namespaces, condition)

    def count(
        self, reader: ReaderOfThread, read_point: ReadPoint, namespaces: Sequence[str] | None, condition: Filter | None
    ) -> int:
        """Count the visible versions that are meant."""
        snapshot = self.snapshot(reader)
        return int(np.count_nonzero(self._select(reader, snapshot, read_point, namespaces, condition)))

    def scan(self, reader: ReaderOfThread, scan: Scan, gone: Event) -> Iterator[list[list[Version]]]:
        """Yield groups of batches of a scan; a group is what one turn of a worker reads."""
        snapshot = self.snapshot(reader)
        mask = self._select(reader, snapshot, scan.read_point, scan.namespaces, scan.filter)
        if scan.segments is not None:
            mask &= Selection(snapshot, self._metadata, reader().connection).written_on(scan.segments)
        order = scan_order(snapshot, mask, scan)
        for part in _parts(iter([order]), scan.batch_size):
            _check(gone)
            yield split(reader().versions((part + 1).tolist(), scan.projection), scan.batch_size)

    def find_similar(self, reader: ReaderOfThread, query: SimilarityQuery, gone: Event) -> Iterator[list[list[Match]]]:
        """Yield groups of batches of matches, best first.

        Raises:
            InvalidVectorError: The vector cannot be compared with those of the store.
            InvalidRequestError: The query has neither a dense vector nor terms.
        """
        dense = None if query.dense is None else check_query(query.dense, self._dimension)
        terms = None if query.sparse is None else check_sparse(query.sparse)
        if dense is None and terms is None:
            raise InvalidRequestError("a search needs a dense vector, terms, or both")
        snapshot = self.snapshot(reader)
        mask = self._select(reader, snapshot, query.read_point, query.namespaces, query.filter)
        if query.limit is not None and query.limit <= 0:
            return
        if dense is not None and terms is not None:
            matches = self._fused(reader, snapshot, mask, query, dense, terms, gone)
        elif dense is not None:
            first = query.batch_size if query.limit is None else query.limit
            runs = self._meanings(snapshot, mask, dense, first, gone)
            matches = self._single(reader, runs, query, "dense")
        else:
            runs = self._terms(reader, snapshot, mask, terms)
            matches = self._single(reader, runs, query, "sparse")
        for group in matches:
            _check(gone)
            yield split(group, query.batch_size)

    def find_similar_encoded(
        self, reader: ReaderOfThread, query: SimilarityQuery, gone: Event
    ) -> Iterator[list[EncodedMatches]]:
        """Yield what `find_similar` does, as JSON; a search by meaning alone makes no objects for it."""
        if query.dense is None or query.sparse is not None:
            for group in self.find_similar(reader, query, gone):
                found = [match for batch in group for match in batch]
                scores = np.array([match.score for match in found])
                yield [encoded_batches(encode_matches([m.version for m in found], scores), query.batch_size)]
            return
        dense = check_query(query.dense, self._dimension)
        snapshot = self.snapshot(reader)
        mask = self._select(reader, snapshot, query.read_point, query.namespaces, query.filter)
        first = query.batch_size if query.limit is None else max(query.limit, 0)
        runs = limited(self._meanings(snapshot, mask, dense, first, gone), query.limit, query.threshold)
        unreleased = 0
        for rows, micro in _parts_scored(runs, query.batch_size):
            _check(gone)
            scores = micro / MICRO
            if snapshot.shown is None:
                heads = reader().heads((rows + 1).tolist())
                yield [encoded_batches(cut_matches(heads, scores), query.batch_size)]
                continue
            yield [EncodedMatches(snapshot.shown.batches(rows, scores, query.batch_size), len(rows))]
            unreleased += len(rows)
            if unreleased > RELEASE_ROWS:
                snapshot.shown.release()
                unreleased = 0

    def _meanings(self, snapshot: Snapshot, mask: Mask, dense: Vector, first: int, gone: Event) -> Runs:
        return DenseRanking(snapshot, self._vectors, dense, lambda: _check(gone), self._helpers).runs(mask, first)

    def _terms(self, reader: ReaderOfThread, snapshot: Snapshot, mask: Mask, terms: SparseVector | None) -> Runs:
        if terms is None or len(terms.terms) == 0:
            return
        rows, scores = sparse_scores(self._sparse.refresh(reader().connection, snapshot.rows), terms, mask)
        micro = micro_scores(scores)
        order = by_score(snapshot, rows, micro)
        yield rows[order], micro[order]

    def _single(
        self,
        reader: ReaderOfThread,
        runs: Runs,
        query: SimilarityQuery,
        part: Literal["dense", "sparse"],
    ) -> Iterator[list[Match]]:
        for rows, micro in _parts_scored(limited(runs, query.limit, query.threshold), query.batch_size):
            versions = reader().versions((rows + 1).tolist(), query.projection)
            scores = (micro / MICRO).tolist()
            parts = (scores,) if part == "dense" else (repeat(None), scores)
            yield list(map(Match, versions, scores, *parts))

    def _fused(
        self,
        reader: ReaderOfThread,
        snapshot: Snapshot,
        mask: Mask,
        query: SimilarityQuery,
        dense: Vector,
        terms: SparseVector,
        gone: Event,
    ) -> Iterator[list[Match]]:
        depth = candidates_of(query.limit, query.candidates)
        first = CHUNK_ROWS if depth is None else max(depth, 1)
        by_dense = self._meanings(snapshot, mask, dense, first, gone)
        rows_of: dict[str, int] = {}
        rankings: list[dict[str, float]] = []
        for runs in (by_dense, self._terms(reader, snapshot, mask, terms)):
            ranking: dict[str, float] = {}
            for rows, micro in limited(runs, depth, None):
                names = memory_ids(snapshot, rows)
                ranking.update(zip(names, (micro / MICRO).tolist(), strict=True))
                rows_of.update(zip(names, rows.tolist(), strict=True))
            rankings.append(ranking)
        by_meaning, by_terms = rankings
        fused = reciprocal_rank_fusion(by_meaning, by_terms, query.limit)
        if query.threshold is not None:
            fused = [(name, score) for name, score in fused if score >= query.threshold]
        for part in split(fused, max(CHUNK_ROWS, query.batch_size)):
            versions = reader().versions([rows_of[name] + 1 for name, _ in part], query.projection)
            yield [
                Match(version, score, by_meaning.get(name), by_terms.get(name))
                for version, (name, score) in zip(versions, part, strict=True)
            ]


def check_query(query: Vector, dimension: int) -> Vector:
    """Return a query's vector as a contiguous array.

    Raises:
        InvalidVectorError: It has another shape than (dimension,), is not finite, or is all zeros.
    """
    if np.ndim(query) != 1:
        raise InvalidVectorError(f"a query is one vector of {dimension} numbers, not of shape {np.shape(query)}")
    return np.asarray(check_vectors(np.asarray(query)[None, :], dimension)[0])


def limited(runs: Runs, limit: int | None, threshold: float | None) -> Runs:
    """Cut a ranking at a limit and below a threshold."""
    left = limit
    for rows, micro in runs:
        count = len(rows)
        if threshold is not None:
            # The comparison of the numbers that are given out, so that a score may be used as a threshold.
            count = int(np.count_nonzero(micro / MICRO >= threshold))
        if left is not None:
            count = min(count, left)
            left -= count
        if count:
            yield rows[:count], micro[:count]
        if count < len(rows) or left == 0:
            return


def _parts_scored(runs: Runs, batch_size: int) -> Runs:
    """Cut runs into parts that one turn reads: at first one batch, then more, in whole batches."""
    size = batch_size
    rows, micro = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    for more_rows, more_micro in runs:
        rows, micro = joined((rows, micro), (more_rows, more_micro))
        while len(rows) >= size:
            yield rows[:size], micro[:size]
            rows, micro = rows[size:], micro[size:]
            size = max(1, CHUNK_ROWS // batch_size) * batch_size
    if len(rows):
        yield rows, micro


def _parts(runs: Iterator[Indexes], batch_size: int) -> Iterator[Indexes]:
    yield from (rows for rows, _ in _parts_scored(((rows, rows) for rows in runs), batch_size))


def encoded_batches(matches: Sequence[bytes], batch_size: int) -> EncodedMatches:
    """Return matches, each a JSON object, as batches of them."""
    starts = range(0, len(matches), batch_size)
    return EncodedMatches(tuple(b",".join(matches[start : start + batch_size]) for start in starts), len(matches))


def split(items: list[_T], size: int) -> list[list[_T]]:
    """Cut a list into batches."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def memory_ids(snapshot: Snapshot, rows: Indexes) -> list[str]:
    """Return the memory ids of versions as text."""
    halves = np.stack([snapshot["high"][rows], snapshot["low"][rows]], axis=1).astype(">u8").tobytes()
    return [str(UUID(bytes=halves[start : start + 16])) for start in range(0, len(halves), 16)]


def _check(gone: Event) -> None:
    if gone.is_set():
        raise AbandonedError
