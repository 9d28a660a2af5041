"""What does the embedded engine cost beside its bare parts? Commits, searches, and the wait of the caller's event loop.

`python -m benchmarks.edge [--memories 100000] [--without-local-mode]`. Figures are medians of one run. The bare engine
is asked in a process of its own, on the same shard, once the store is closed.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import cycle
from pathlib import Path
from uuid import uuid4

import numpy as np
import qdrant_edge as bare_engine
from matplotlib.figure import Figure

from benchmarks.report import Report, median
from benchmarks.storage import DIMENSION, NEWEST, PROFILE, Memories, a_commit, percentile
from recollect.adapters.filters import parse_filter
from recollect.adapters.port import Scan, SimilarityQuery
from recollect.adapters.qdrant.conditions import select
from recollect.adapters.qdrant.edge.adapter import EdgeAdapter
from recollect.adapters.qdrant.edge.journal import records_after
from recollect.adapters.qdrant.edge_conditions import edge_filter
from recollect.adapters.qdrant.fields import DENSE, HEAD
from recollect.adapters.qdrant.folder import shard_in
from recollect.adapters.versions import Vector

FILTER = {"metadata.percent": 7}
LIMIT = 10
SEARCHES = 300
COMMITS = 400
WRITERS = 16
STALL_MEMORIES = 20_000
HEARTBEAT_S = 0.001


def unit_rows(count: int, seed: int) -> Vector:
    """Return vectors of length 1 to ask for."""
    rows: Vector = np.random.default_rng(seed).standard_normal((count, DIMENSION), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def query_for(row: Vector, *, filtered: bool) -> SimilarityQuery:
    """Return a search for the ten nearest."""
    return SimilarityQuery(read_point=NEWEST, dense=row, filter=parse_filter(FILTER) if filtered else None, limit=LIMIT)


async def found(adapter: EdgeAdapter, query: SimilarityQuery) -> list[str]:
    """Return the ids that a search finds."""
    return [match.version.memory_id async for batch in adapter.find_similar(query) for match in batch]


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
    rates = {writers: [await rate(adapter, memories, writers) for _ in range(5)] for writers in (1, WRITERS)}
    for writers, found_rates in rates.items():
        report.add_row(what=f"durable commits a second, {writers} writers", per_s=median(found_rates))
    report.add_goal("16 writers, times one", median(rates[WRITERS]) / median(rates[1]), at_least=5)
    await adapter.close()


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


# --- Searching ---------------------------------------------------------------------------------------------


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


async def fill(adapter: EdgeAdapter, memories: Memories, count: int) -> Vector:
    """Write memories in commits of a hundred, wait for the index, and return their vectors."""
    rows = []
    for _ in range(0, count, 100):
        made = memories.make(100)
        rows += [version.vectors for version in made if version.vectors is not None]
        await adapter.commit(a_commit(made))
    while (await adapter.status()).notes:  # noqa: ASYNC110 - a store says so only when it is asked
        await asyncio.sleep(0.2)
    return np.concatenate(rows)


async def measure_stall(report: Report, folder: Path) -> None:
    """Measure how long the caller's event loop waits while memories are written and their index is built."""
    adapter = EdgeAdapter(folder / "stall")
    await adapter.open(PROFILE)
    async with worst_stall() as worst:
        await fill(adapter, Memories(), STALL_MEMORIES)
    report.add_row(what="longest stall of the event loop, 20,000 written and indexed", ms=worst[0])
    report.add_goal("longest stall of the event loop, ms", worst[0], at_most=30)
    await adapter.close()


async def measure_searches(report: Report, folder: Path, count: int) -> float:
    """Measure searches by meaning, compare them with the bare engine and with exact search; return the median in ms."""
    adapter = EdgeAdapter(folder / "searches")
    await adapter.open(PROFILE)
    rows, queries = await fill(adapter, Memories(), count), unit_rows(SEARCHES, 3)
    times: dict[bool, list[float]] = {True: [], False: []}
    hits = 0
    names = [name async for name in all_ids(adapter)]
    for row in queries:
        ids: dict[bool, list[str]] = {}
        for filtered, taken in times.items():
            start = time.perf_counter()
            ids[filtered] = await found(adapter, query_for(row, filtered=filtered))
            taken.append((time.perf_counter() - start) * 1e3)
        exact = np.argpartition(-(rows @ row), LIMIT)[:LIMIT]
        hits += len({names[at] for at in exact} & set(ids[False]))
    newest = (await adapter.status()).last_position
    await adapter.close()
    bare = bare_times(shard_in(folder / "searches"), newest)
    for filtered, name in ((True, "filtered to 1 %"), (False, "unfiltered")):
        ours, theirs = times[filtered], bare[str(filtered)]
        report.add_row(what=f"top 10, {name}", ms=median(ours), p95_ms=percentile(ours, 0.95))
        report.add_row(what=f"bare engine, {name}", ms=median(theirs), p95_ms=percentile(theirs, 0.95))
    report.add_goal("filtered top 10, times the bare engine", median(times[True]) / median(bare["True"]), at_most=2)
    report.add_goal("filtered top 10, p95 in ms", percentile(times[True], 0.95), at_most=5)
    report.add_goal("recall@10 against exact search", hits / (LIMIT * len(queries)), at_least=0.99)
    return median(times[True])


async def all_ids(adapter: EdgeAdapter) -> AsyncIterator[str]:
    """Yield the ids of all memories in the order in which they were written."""
    # Ids grow with time, so a commit's memories lie in the order of their vectors.
    async for batch in adapter.scan(Scan(read_point=NEWEST)):
        for version in batch:
            yield version.memory_id


def bare_times(shard: Path, newest: int) -> dict[str, list[float]]:
    """Return how long the bare engine takes in its own process, in ms, filtered and not."""
    program = [sys.executable, "-m", "benchmarks.edge", "--bare", str(shard), "--newest", str(newest)]
    answer: dict[str, list[float]] = json.loads(subprocess.run(program, check=True, capture_output=True).stdout)
    return answer


def ask_bare(shard: Path, newest: int) -> None:
    """Ask the bare engine what the adapter asks it, and print how long each question took."""
    engine = bare_engine.EdgeShard.load(str(shard))
    times: dict[str, list[float]] = {"True": [], "False": []}
    for row in unit_rows(SEARCHES, 3):
        for filtered in (True, False):
            chosen = select(NEWEST, None, parse_filter(FILTER) if filtered else None, newest=newest)
            request = bare_engine.QueryRequest(
                limit=LIMIT,
                query=bare_engine.Query.Nearest(row.tolist(), using=DENSE),
                filter=edge_filter(chosen.condition),
                with_payload=bare_engine.PayloadSelector.Include([HEAD]),
            )
            start = time.perf_counter()
            engine.query(request)
            times[str(filtered)].append((time.perf_counter() - start) * 1e3)
    print(json.dumps(times))


def measure_local_mode(report: Report, count: int, ours_ms: float) -> None:
    """Measure the same filtered search in the client's own local mode, which is written in Python."""
    from qdrant_client import QdrantClient, models  # noqa: PLC0415

    client = QdrantClient(":memory:")
    vectors = models.VectorParams(size=DIMENSION, distance=models.Distance.DOT)
    client.create_collection("memories", vectors_config=vectors)
    for start in range(0, count, 1_000):
        rows = unit_rows(1_000, start)
        points = [
            models.PointStruct(id=str(uuid4()), vector=row.tolist(), payload={"percent": percent})
            for row, percent in zip(rows, cycle(range(100)), strict=False)
        ]
        client.upsert("memories", points)
    seventh = models.Filter(must=[models.FieldCondition(key="percent", match=models.MatchValue(value=7))])
    times = []
    for row in unit_rows(5, 3):
        start_s = time.perf_counter()
        client.query_points("memories", query=row.tolist(), query_filter=seventh, limit=LIMIT)
        times.append((time.perf_counter() - start_s) * 1e3)
    report.add_row(what="qdrant-client's local mode, filtered to 1 %", ms=median(times))
    report.add_goal("local mode, times the embedded engine", median(times) / ours_ms, at_least=20)


def plot(report: Report, figure: Figure) -> None:
    """Draw what took how long."""
    rows = [row for row in report.rows if "ms" in row]
    axes = figure.subplots()
    axes.barh([str(row["what"]) for row in rows], [float(row["ms"]) for row in rows])
    axes.set_xscale("log")
    axes.set_xlabel("ms, median")


async def main() -> None:
    """Measure everything and write the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memories", type=int, default=100_000)
    parser.add_argument("--without-local-mode", action="store_true")
    parser.add_argument("--bare", type=Path)
    parser.add_argument("--newest", type=int)
    arguments = parser.parse_args()
    if arguments.bare is not None:
        ask_bare(arguments.bare, arguments.newest)
        return
    report = Report("edge", "What does the embedded engine cost beside its bare parts?")
    with tempfile.TemporaryDirectory() as name:
        await measure_commits(report, Path(name))
        await measure_stall(report, Path(name))
        ours_ms = await measure_searches(report, Path(name), arguments.memories)
    if not arguments.without_local_mode:
        measure_local_mode(report, arguments.memories, ours_ms)
    report.write(lambda figure: plot(report, figure))


if __name__ == "__main__":
    asyncio.run(main())
