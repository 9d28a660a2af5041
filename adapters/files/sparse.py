"""Search by terms: an inverted index in memory, built at the first such search and kept up after that."""

import sqlite3
from threading import Lock
from zlib import crc32

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from recollect.adapters.files.ordering import Indexes
from recollect.adapters.files.records import damaged
from recollect.adapters.files.selection import Mask
from recollect.adapters.versions import SparseVector

LOAD_ROWS = 8_192
_SPARSE = (
    "SELECT row, sparse, sparse_crc FROM parts WHERE row > ? AND row <= ? AND sparse IS NOT NULL ORDER BY row LIMIT ?"
)


class Segment(Struct, frozen=True, eq=False):
    """The postings of some versions, sorted by term and then by row.

    Attributes:
        terms: uint32, each term once.
        starts: Where the postings of each term begin, and one more for the end.
        rows: int32, indexes of versions.
        weights: float32, the weight of the term in the version.
    """

    terms: NDArray[np.uint32]
    starts: Indexes
    rows: NDArray[np.int32]
    weights: NDArray[np.float32]


def make_segment(terms: NDArray[np.uint32], rows: NDArray[np.int32], weights: NDArray[np.float32]) -> Segment:
    """Return a segment of postings given in the order of their rows."""
    order = np.argsort(terms, kind="stable")
    ordered = terms[order]
    unique, starts = np.unique(ordered, return_index=True)
    return Segment(unique, np.append(starts, len(ordered)), rows[order], weights[order])


def merge(left: Segment, right: Segment) -> Segment:
    """Return one segment of two, of which the left holds the lower rows."""
    return make_segment(
        np.concatenate([np.repeat(part.terms, np.diff(part.starts)) for part in (left, right)]),
        np.concatenate([left.rows, right.rows]),
        np.concatenate([left.weights, right.weights]),
    )


class SparseIndex:
    """The inverted index of one open store.

    It is a list of segments, each at least twice as long as the next, so that taking up new versions costs little and
    a search looks into few of them.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._segments: list[Segment] = []
        self._row = 0

    def refresh(self, connection: sqlite3.Connection, rows: int) -> list[Segment]:
        """Take up the versions up to a row and return the segments.

        Raises:
            StoreDamagedError: The terms of a version differ from their checksum.
        """
        with self._lock:
            while self._row < rows:
                found = connection.execute(_SPARSE, (self._row, rows, LOAD_ROWS)).fetchall()
                if found:
                    self._add(found)
                self._row = found[-1][0] if len(found) == LOAD_ROWS else rows
            return list(self._segments)

    def _add(self, found: list[tuple[int, bytes, int]]) -> None:
        for row, content, crc in found:
            if crc32(content) != crc:
                raise damaged(row, "terms", None)
        counts = [len(content) // 8 for _, content, _ in found]
        halves = [(content[: len(content) // 2], content[len(content) // 2 :]) for _, content, _ in found]
        rows = np.repeat(np.array([row - 1 for row, _, _ in found], dtype=np.int32), counts)
        terms = np.frombuffer(b"".join(terms for terms, _ in halves), dtype="<u4")
        weights = np.frombuffer(b"".join(weights for _, weights in halves), dtype="<f4")
        segments = [*self._segments, make_segment(terms, rows, weights)]
        while len(segments) > 1 and len(segments[-2].rows) < 2 * len(segments[-1].rows):
            segments[-2:] = [merge(segments[-2], segments[-1])]
        self._segments = segments


def sparse_scores(segments: list[Segment], query: SparseVector, mask: Mask) -> tuple[Indexes, NDArray[np.float64]]:
    """Return the selected versions that share a term with the query, and the dot products with it."""
    rows: list[NDArray[np.int32]] = []
    parts: list[NDArray[np.float64]] = []
    for segment in segments:
        places = np.searchsorted(segment.terms, query.terms)
        for place, term, weight in zip(places.tolist(), query.terms.tolist(), query.weights.tolist(), strict=True):
            if place < len(segment.terms) and segment.terms[place] == term:
                at = slice(segment.starts[place], segment.starts[place + 1])
                rows.append(segment.rows[at])
                parts.append(segment.weights[at] * np.float64(weight))
    if not rows:
        return np.empty(0, dtype=np.int64), np.empty(0)
    touched = np.concatenate(rows)
    # A segment may hold versions that are newer than the snapshot.
    size = max(len(mask), int(touched.max()) + 1)
    sums = np.bincount(touched, weights=np.concatenate(parts), minlength=size)[: len(mask)]
    shared = np.zeros(size, dtype=bool)
    shared[touched] = True
    found = np.flatnonzero(shared[: len(mask)] & mask)
    return found, np.asarray(sums[found], dtype=np.float64)
