"""The order of a scan, and the order of a ranking: all ties are broken, so every answer has one order."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from recollect.adapters.files.columns import Snapshot
from recollect.adapters.files.records import memory_key
from recollect.adapters.files.selection import Mask
from recollect.adapters.fusion import SCORE_DECIMALS
from recollect.adapters.port import Cursor, Order, Scan

Indexes = NDArray[np.int64]
MICRO = 10**SCORE_DECIMALS
"""Scores are compared as whole numbers of this fraction."""

SLACK = 1e-5
"""More than two float32 sums of products of unit vectors can differ by, for the same two vectors."""

RUN_ROWS = 4_096
FIRST_EXTRA = 32


def scan_order(snapshot: Snapshot, mask: Mask, scan: Scan) -> Indexes:
    """Return the indexes of a scan's versions in its order, from its cursor on, at most as many as its limit."""
    found = np.flatnonzero(mask)
    column = snapshot["created" if scan.order is Order.CREATED_AT else "position"]
    if scan.after is not None:
        found = found[_after(snapshot, found, column, scan.after, descending=scan.descending)]
    if scan.limit is not None and len(found) > 4 * scan.limit > 0:
        # Only what can be among the first needs sorting.
        values = -column[found] if scan.descending else column[found]
        found = found[values <= np.partition(values, scan.limit - 1)[scan.limit - 1]]
    keys = [snapshot["low"][found], snapshot["high"][found], column[found]]
    if scan.read_point is None:
        keys = [snapshot["number"][found], _branch_ranks(snapshot)[snapshot["branch"][found]], *keys]
    order = found[np.lexsort(keys)]
    if scan.descending:
        order = order[::-1]
    return order if scan.limit is None else order[: max(scan.limit, 0)]


def _branch_ranks(snapshot: Snapshot) -> Indexes:
    names = list(snapshot.columns.branches.of)
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return ranks


def _after(snapshot: Snapshot, found: Indexes, column: Indexes, cursor: Cursor, *, descending: bool) -> Mask:
    names = np.array(list(snapshot.columns.branches.of), dtype=object)
    key = memory_key(cursor.memory_id) or bytes(16)
    high, low = (np.uint64(int.from_bytes(half, "big")) for half in (key[:8], key[8:]))
    ties: list[tuple[Mask, Mask]] = []
    for values, bound in (
        (column[found], cursor.value),
        (snapshot["high"][found], high),
        (snapshot["low"][found], low),
    ):
        ties.append((values < bound if descending else values > bound, values == bound))
    later_name = np.array([name < cursor.branch if descending else name > cursor.branch for name in names], dtype=bool)
    same_name = np.array([name == cursor.branch for name in names], dtype=bool)
    branch = snapshot["branch"][found]
    ties.append((later_name[branch], same_name[branch]))
    number = snapshot["number"][found]
    after = number < cursor.number if descending else number > cursor.number
    for later, same in reversed(ties):
        after = later | (same & after)
    return np.asarray(after)


def micro_scores(scores: NDArray[np.float64]) -> Indexes:
    """Return scores as whole millionths, by which they are compared."""
    return np.asarray(np.rint(scores * MICRO), dtype=np.int64)


def by_score(snapshot: Snapshot, rows: Indexes, micro: Indexes) -> Indexes:
    """Return the order of rows by score, best first, ties by memory id."""
    return np.asarray(np.lexsort((snapshot["low"][rows], snapshot["high"][rows], -micro)))


def joined(first: tuple[Indexes, Indexes], second: tuple[Indexes, Indexes]) -> tuple[Indexes, Indexes]:
    """Return two stretches of rows and scores as one; without a copy where the first is empty, as it mostly is."""
    if not len(first[0]):
        return second
    return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])


def ranked_runs(
    snapshot: Snapshot,
    best: NDArray[np.float32],
    first: int,
    refine: Callable[[Indexes], tuple[Indexes, NDArray[np.float64]]],
) -> Iterator[tuple[Indexes, Indexes]]:
    """Yield rows and their scores in millionths, best first, the first ones as soon as they are known.

    The order by float32 is only a guide: in which way its last digits are rounded depends on the machine. Runs of it
    are computed anew in float64, and a row is given out once nothing that follows can come before it.

    Args:
        snapshot: Whose ids break ties.
        best: The float32 score of each candidate; minus infinity for those not selected.
        first: How many are wanted soon.
        refine: Turns indexes of candidates into rows and exact scores.
    """
    held_rows, held_micro = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    for run, bound in _guided(best, first + FIRST_EXTRA):
        rows, exact = refine(run)
        held_rows, held_micro = joined((held_rows, held_micro), (rows, micro_scores(exact)))
        order = by_score(snapshot, held_rows, held_micro)
        held_rows, held_micro = held_rows[order], held_micro[order]
        safe = int(np.count_nonzero(held_micro > (bound + SLACK) * MICRO))
        if safe:
            yield held_rows[:safe], held_micro[:safe]
        held_rows, held_micro = held_rows[safe:], held_micro[safe:]


def _guided(best: NDArray[np.float32], first: int) -> Iterator[tuple[Indexes, float]]:
    """Yield indexes in runs of falling score, each with a bound that no later one exceeds."""
    limit = top_bound(best, first)
    selected = np.flatnonzero(best >= limit) if limit > -np.inf else np.flatnonzero(best > -np.inf)
    yield selected, float(limit)
    if limit == -np.inf:
        return
    rest = np.flatnonzero((best < limit) & (best > -np.inf))
    rest = rest[np.argsort(-best[rest])]
    for start in range(0, len(rest), RUN_ROWS):
        end = start + RUN_ROWS
        yield rest[start:end], float(best[rest[end]]) if end < len(rest) else -np.inf


def top_bound(best: NDArray[np.float32], count: int) -> float:
    """Return a score that the best `count` candidates reach; minus infinity if there are fewer."""
    if len(best) <= count:
        return -np.inf
    # Every 16th first: what the best of those leave out needs no partition.
    sample = best[:: max(1, min(16, len(best) // (8 * count)))]
    if len(sample) > count:
        guess = np.partition(sample, len(sample) - count)[len(sample) - count]
        if guess > -np.inf:
            best = best[best >= guess]
    return float(np.partition(best, len(best) - count)[len(best) - count])
