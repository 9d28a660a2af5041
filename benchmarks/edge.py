"""What does the embedded engine cost beside its bare parts? Commits, searches, and the wait of the caller's event loop.

`python -m benchmarks.edge [--memories 100000] [--wordnet FOLDER] [--cache FOLDER] [--without-local-mode]`. Figures are
medians of one run, and what is compared takes turns in it.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.edge_search import (
    SEARCHES,
    fill,
    measure_local_mode,
    measure_reads_beside_a_rebuild,
    measure_searches,
)
from benchmarks.real_text import FOLDER, real_vectors
from benchmarks.report import Report, median
from benchmarks.storage import DIMENSION, PROFILE, Memories, a_commit, percentile
from recollect.adapters.qdrant.edge.adapter import EdgeAdapter
from recollect.adapters.qdrant.edge.journal import records_after
from recollect.adapters.versions import Vector

COMMITS = 400
WRITERS = 16
STALL_MEMORIES = 20_000
HEARTBEAT_S = 0.001
SLOW_SYNC_S = 0.002
CACHE = Path("~/.cache/recollect/benchmarks")


def unit_rows(count: int, seed: int) -> Vector:
    """Return vectors of length 1 in all directions alike, in which nothing is near to anything."""
    rows: Vector = np.random.default_rng(seed).standard_normal((count, DIMENSION), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


# --- Writing -----------------------------------------------------------------------------------------------


async def measure_commits(report: Report, folder: Path) -> None:
    """Compare durable commits with appends of the same bytes, in turn; then many writers with one."""
    memories, adapter = Memories(), EdgeAdapter(folder / "commits")
    await adapter.open(PROFILE)
    bytes_each = journal_bytes_of_one(folder / "commits", await written(adapter, memories))
    handle = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT)
    ours, theirs = [], []
    for at in range(COMMITS):
        commit = a_commit(memories.make(1))
        start = time.perf_counter()
        await adapter.commit(commit)
        ours.append((time.perf_counter() - start) * 1e3)
        start = time.perf_counter()
        os.pwrite(handle, bytes(bytes_each), at * bytes_each)
        os.fdatasync(handle)
        theirs.append((time.perf_counter() - start) * 1e3)
    os.close(handle)
    report.add_row(what="durable commit of 1", ms=median(ours), p95_ms=percentile(ours, 0.95))
    report.add_row(what="append and fdatasync of as many bytes", ms=median(theirs), p95_ms=percentile(theirs, 0.95))
    report.add_goal("single durable commit, times a bare append", median(ours) / median(theirs), at_most=4)
    await measure_writers(report, adapter, memories)
    await adapter.close()
    with slow_sync(folder):
        adapter = EdgeAdapter(folder / "slow")
        await adapter.open(PROFILE)
        await measure_writers(report, adapter, memories, " where a sync takes 2 ms longer")
        await adapter.close()


async def measure_writers(report: Report, adapter: EdgeAdapter, memories: Memories, where: str = "") -> None:
    """Measure how many commits one writer and many do in a second, in turn."""
    rates: dict[int, list[float]] = {1: [], WRITERS: []}
    for _ in range(5):
        for writers, found in rates.items():
            found.append(await rate(adapter, memories, writers))
    for writers, found in rates.items():
        report.add_row(what=f"durable commits a second, writers: {writers}{where}", per_s=median(found))
    report.add_goal(f"16 writers, times one{where}", median(rates[WRITERS]) / median(rates[1]), at_least=5)


@contextmanager
def slow_sync(folder: Path) -> Iterator[None]:
    """Have processes that are started meanwhile wait after each sync, as on a disk of a cloud or one that turns."""
    program = (
        f"import os, time\nsync = os.fdatasync\nos.fdatasync = lambda file: (sync(file), time.sleep({SLOW_SYNC_S}))\n"
    )
    (folder / "start").mkdir()
    (folder / "start" / "sitecustomize.py").write_text(program)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder / "start"), before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


async def written(adapter: EdgeAdapter, memories: Memories) -> int:
    """Write some memories, one a commit, and return how many."""
    for memory in memories.make(20):
        await adapter.commit(a_commit([memory]))
    return 20


def journal_bytes_of_one(folder: Path, commits: int) -> int:
    """Return how many bytes a commit takes up in the journal."""
    first, *_ = sorted((folder / "journal").glob("*.journal"))
    *_, (_, (_, end)) = records_after(first.parent, (int(first.stem), 0))
    return end // commits


async def rate(adapter: EdgeAdapter, memories: Memories, writers: int) -> float:
    """Return how many commits of one memory a second some writers do."""
    commits = [a_commit([memory]) for memory in memories.make(COMMITS)]
    waiting = iter(commits)

    async def write() -> None:
        for commit in waiting:
            await adapter.commit(commit)

    start = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(writers)))
    return len(commits) / (time.perf_counter() - start)


# --- Waiting ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def worst_stall() -> AsyncIterator[list[float]]:
    """Give a list whose only item is the longest time, in ms, that the event loop was not free."""
    worst = [0.0]

    async def beat() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            now = time.perf_counter()
            worst[0] = max(worst[0], (now - last - HEARTBEAT_S) * 1e3)
            last = now

    task = asyncio.create_task(beat())
    yield worst
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def measure_stall(report: Report, folder: Path, rows: Vector) -> None:
    """Measure how long the caller's event loop waits while memories are written and their index is built."""
    adapter = EdgeAdapter(folder / "stall")
    await adapter.open(PROFILE)
    async with worst_stall() as worst:
        await fill(adapter, rows)
    report.add_row(what="longest stall of the event loop, 20,000 written and indexed", ms=worst[0])
    report.add_goal("longest stall of the event loop, ms", worst[0], at_most=30)
    await adapter.close()


def plot(report: Report, figure: Figure) -> None:
    """Draw what took how long."""
    rows = [row for row in report.rows if "ms" in row]
    axes = figure.subplots()
    axes.barh([str(row["what"]) for row in rows], [float(row["ms"]) for row in rows])
    axes.set_xscale("log")
    axes.set_xlabel("ms, median")


async def measure(report: Report, folder: Path, rows: Vector, kind: str) -> float:
    """Measure everything that takes a store of our own; return how long a filtered search takes, in ms."""
    await measure_commits(report, folder)
    await measure_stall(report, folder, rows[:STALL_MEMORIES])
    await measure_reads_beside_a_rebuild(report, folder, rows[:STALL_MEMORIES])
    return await measure_searches(report, folder, rows, kind)


def main() -> None:
    """Measure everything and write the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memories", type=int, default=100_000)
    parser.add_argument("--wordnet", type=Path, default=FOLDER)
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the vectors are kept between runs")
    parser.add_argument("--without-local-mode", action="store_true")
    arguments = parser.parse_args()
    wanted = arguments.memories + SEARCHES
    kind = "real sentences"
    if (arguments.wordnet / "data.noun").exists():
        rows = real_vectors(arguments.wordnet, arguments.cache.expanduser())[:wanted]
    else:
        rows, kind = unit_rows(wanted, 3), "noise"
    report = Report("edge", "What does the embedded engine cost beside its bare parts?")
    report.add_note(
        f"The vectors are those of {kind}: benchmarks/real_text.py says of which, and where they come from."
    )
    with tempfile.TemporaryDirectory() as name:
        ours_ms = asyncio.run(measure(report, Path(name), rows, kind))
    if not arguments.without_local_mode:
        measure_local_mode(report, rows, ours_ms)
    report.write(lambda figure: plot(report, figure))


if __name__ == "__main__":
    main()
