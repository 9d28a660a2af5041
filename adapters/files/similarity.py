"""Exact search: the query times the mapped vectors, in blocks, filters first.

A block of which much is selected is multiplied where it lies, at the speed of memory; of the others the selected rows
are gathered into a buffer that stays in the cache. Threads that are free help with a large search, block by block; none
waits for another, as the threads of BLAS do: its matrix-vector product over all cores is fast alone, but ten times
slower when two searches run at once or another program has a core.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, wait
from threading import Lock

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

HELPED_BLOCKS = 4
"""A smaller search ends before a helper has woken up."""

GATHER_SLOTS = 512
GATHER_SHARE = 0.2
"""Below this share of selected rows a block is gathered: reading all of it would take longer."""


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
        if snapshot.one_slot_each:
            self._rows, selected = None, mask
        else:
            self._rows = np.flatnonzero(snapshot["slots"])
            selected = np.repeat(mask[self._rows], snapshot["slots"][self._rows])
        best = self._scores(selected)
        if snapshot.any_windows and len(best):
            best = np.maximum.reduceat(best, snapshot["first_slot"][self._rows])
        yield from ranked_runs(snapshot, best, first, self._refine)

    def _scores(self, selected: Mask) -> NDArray[np.float32]:
        scores = np.full(len(selected), -np.inf, dtype=np.float32)
        places = [
            (first + start, rows[start : start + BLOCK_SLOTS])
            for first, rows in self._segments
            for start in range(0, len(rows), BLOCK_SLOTS)
        ]
        left, lock = iter(places), Lock()

        def work() -> None:
            buffer = np.empty((GATHER_SLOTS, len(self._query)), dtype=np.float32)
            while True:
                self._check()
                with lock:
                    first, block = next(left, (0, None))
                if block is None:
                    return
                at = slice(first, first + len(block))
                self._score_block(block, selected[at], scores[at], buffer)

        helpers = [self._helpers.submit(work) for _ in range(HELPERS if len(places) >= HELPED_BLOCKS else 0)]
        try:
            work()
        finally:
            running = [helper for helper in helpers if not helper.cancel()]
            wait(running)
        for helper in running:
            helper.result()
        return scores

    def _score_block(self, block: Vector, selected: Mask, out: NDArray[np.float32], buffer: Vector) -> None:
        count = int(np.count_nonzero(selected))
        if count > GATHER_SHARE * len(block):
            np.vecdot(block, self._query, out=out)
            if count < len(block):
                np.copyto(out, -np.inf, where=~selected)
            return
        wanted = np.flatnonzero(selected)
        for start in range(0, count, GATHER_SLOTS):
            part = wanted[start : start + GATHER_SLOTS]
            gathered = np.take(block, part, axis=0, out=buffer[: len(part)], mode="clip")
            out[part] = np.vecdot(gathered, self._query)

    def _refine(self, candidates: Indexes) -> tuple[Indexes, NDArray[np.float64]]:
        """Return the rows of candidates and the scores of their best windows in float64."""
        self._check()
        rows = candidates if self._rows is None else self._rows[candidates]
        if len(rows) == 0:
            return rows, np.empty(0)
        counts = self._snapshot["slots"][rows].astype(np.int64)
        ends = np.cumsum(counts)
        offsets = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
        slots = np.repeat(self._snapshot["first_slot"][rows], counts) + offsets
        exact = self._exact(slots)
        return rows, np.maximum.reduceat(exact, ends - counts) if len(slots) > len(rows) else exact

    def _exact(self, slots: Indexes) -> NDArray[np.float64]:
        query = self._query.astype(np.float64)
        exact = np.empty(len(slots))
        packs = slots // self._pack_rows
        for pack in np.unique(packs).tolist():
            at = np.flatnonzero(packs == pack)
            for start in range(0, len(at), GATHER_SLOTS):
                part = at[start : start + GATHER_SLOTS]
                rows = self._segments[pack][1][slots[part] - pack * self._pack_rows]
                exact[part] = np.vecdot(rows.astype(np.float64), query)
        return exact
