"""Exact search: the query times the mapped vectors, filters first.

Where much is selected, blocks are multiplied where they lie, at the speed of memory; where little is, the selected
rows are gathered, as many at a time as stay in the cache. Threads that are free help with a large search, block by
block; none waits for another, as the threads of BLAS do: its matrix-vector product over all cores is fast alone, but
ten times slower when two searches run at once or another program has a core.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, wait
from threading import Lock
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from recollect.adapters.files.columns import Snapshot
from recollect.adapters.files.ordering import Indexes, ranked_runs
from recollect.adapters.files.selection import Mask
from recollect.adapters.files.vectors import VectorPacks
from recollect.adapters.versions import Vector

BLOCK_SLOTS = 16_384
HELPERS = max(1, min(4, (os.cpu_count() or 1) - 1))
"""How many threads help one search."""

HELPED_PLACES = 4
"""A smaller search ends before a helper has woken up."""

GATHER_SLOTS = 1024
EXACT_SLOTS = 128
"""So few rows are computed anew at a time: as float64 they take twice the room, and each thread of a long stream keeps
its own for the next turn."""

GATHER_SHARE = 0.2
"""Up to this share of selected rows they are gathered: reading all of them would take longer."""

_Place = TypeVar("_Place")


class DenseRanking:
    """One search: scores at once, then the ranking in runs."""

    def __init__(
        self, snapshot: Snapshot, packs: VectorPacks, query: Vector, check: Callable[[], None], helpers: Executor
    ) -> None:
        self._snapshot = snapshot
        self._segments = packs.segments(snapshot.slots)
        self._pack_rows = packs.pack_rows
        self._query = query
        self._check = check
        self._helpers = helpers

    def runs(self, mask: Mask, first: int) -> Iterator[tuple[Indexes, Indexes]]:
        """Yield indexes of versions and their scores in millionths, best first.

        Args:
            mask: The versions that are looked at.
            first: How many are wanted soon.
        """
        snapshot = self._snapshot
        if np.count_nonzero(mask) <= GATHER_SHARE * len(mask):
            rows = np.flatnonzero(mask & (snapshot["slots"] > 0))
            best = self._gathered(self._slots(rows))
        else:
            rows = np.flatnonzero(snapshot["slots"]) if not snapshot.one_slot_each else np.arange(snapshot.rows)
            best = self._scanned(mask if snapshot.one_slot_each else np.repeat(mask[rows], snapshot["slots"][rows]))
        if snapshot.any_windows and len(best):
            counts = snapshot["slots"][rows].astype(np.int64)
            best = np.maximum.reduceat(best, np.cumsum(counts) - counts)
        yield from ranked_runs(snapshot, best, first, lambda candidates: self._refine(rows[candidates]))

    def _slots(self, rows: Indexes) -> Indexes:
        """Return the slots of versions, those of each version side by side."""
        snapshot = self._snapshot
        if not snapshot.any_windows:
            return np.asarray(snapshot["first_slot"][rows])
        counts = snapshot["slots"][rows].astype(np.int64)
        if not len(rows):
            return counts
        ends = np.cumsum(counts)
        offsets = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
        return np.asarray(np.repeat(snapshot["first_slot"][rows], counts) + offsets)

    def _scanned(self, selected: Mask) -> NDArray[np.float32]:
        """Return the float32 score of every slot, minus infinity for those not selected."""
        scores = np.empty(len(selected), dtype=np.float32)
        places = [
            (first + start, rows[start : start + BLOCK_SLOTS])
            for first, rows in self._segments
            for start in range(0, len(rows), BLOCK_SLOTS)
        ]

        def score(place: tuple[int, Vector]) -> None:
            first, block = place
            np.vecdot(block, self._query, out=scores[first : first + len(block)])

        self._share_out(places, score)
        if not selected.all():
            np.copyto(scores, -np.inf, where=~selected)
        return scores

    def _gathered(self, slots: Indexes) -> NDArray[np.float32]:
        """Return the float32 score of each of these slots, which are in order."""
        scores = np.empty(len(slots), dtype=np.float32)
        ends = np.searchsorted(slots, [first + len(rows) for first, rows in self._segments]).tolist()
        places = [
            (first, rows, slice(start, min(start + GATHER_SLOTS, end)))
            for (first, rows), begin, end in zip(self._segments, [0, *ends], ends, strict=False)
            for start in range(begin, end, GATHER_SLOTS)
        ]

        def score(place: tuple[int, Vector, slice]) -> None:
            first, rows, part = place
            np.vecdot(rows.take(slots[part] - first, axis=0, mode="clip"), self._query, out=scores[part])

        self._share_out(places, score)
        return scores

    def _share_out(self, places: Sequence[_Place], score: Callable[[_Place], None]) -> None:
        """Score all places, with helpers where it is much."""
        left, lock = iter(places), Lock()

        def work() -> None:
            while True:
                self._check()
                with lock:
                    place = next(left, None)
                if place is None:
                    return
                score(place)

        helpers = [self._helpers.submit(work) for _ in range(HELPERS if len(places) >= HELPED_PLACES else 0)]
        try:
            work()
        finally:
            running = [helper for helper in helpers if not helper.cancel()]
            wait(running)
        for helper in running:
            helper.result()

    def _refine(self, rows: Indexes) -> tuple[Indexes, NDArray[np.float64]]:
        """Return rows and the scores of their best windows in float64."""
        self._check()
        exact = self._exact(self._slots(rows))
        if self._snapshot.any_windows and len(rows):
            counts = self._snapshot["slots"][rows].astype(np.int64)
            exact = np.maximum.reduceat(exact, np.cumsum(counts) - counts)
        return rows, exact

    def _exact(self, slots: Indexes) -> NDArray[np.float64]:
        query = self._query.astype(np.float64)
        exact = np.empty(len(slots))
        packs = slots // self._pack_rows
        for pack in np.unique(packs).tolist():
            at = np.flatnonzero(packs == pack)
            for start in range(0, len(at), EXACT_SLOTS):
                part = at[start : start + EXACT_SLOTS]
                rows = self._segments[pack][1][slots[part] - pack * self._pack_rows]
                exact[part] = np.vecdot(rows.astype(np.float64), query)
        return exact
