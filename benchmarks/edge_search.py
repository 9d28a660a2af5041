"""How long does the embedded engine take for a search beside its bare self, and what does it find?

The bare engine has a process of its own with a copy of the shard. Both are asked each question in turn, so that a busy
machine slows both, and both wait in between, as each does where it is used.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from itertools import cycle
from pathlib import Path
from uuid import uuid4

import numpy as np
import qdrant_edge as bare_engine
from msgspec.structs import replace

from benchmarks.report import Report, median
from benchmarks.storage import DIMENSION, NEWEST, PROFILE, Memories, a_commit, percentile
from recollect.adapters.filters import parse_filter
from recollect.adapters.port import SimilarityQuery
from recollect.adapters.qdrant.conditions import select
from recollect.adapters.qdrant.edge.adapter import EdgeAdapter
from recollect.adapters.qdrant.edge_conditions import edge_filter
from recollect.adapters.qdrant.engine import CANDIDATES
from recollect.adapters.qdrant.fields import DENSE, HEAD
from recollect.adapters.qdrant.folder import shard_in
from recollect.adapters.versions import Vector

FILTER = {"metadata.percent": 7}
LIMIT = 10
SEARCHES = 300
LOCAL_MODE_SEARCHES = 5
KINDS = {"filtered to 1 %": True, "unfiltered": False}


def query_for(row: Vector, *, filtered: bool) -> SimilarityQuery:
    """Return a search for the ten nearest."""
    return SimilarityQuery(read_point=NEWEST, dense=row, filter=parse_filter(FILTER) if filtered else None, limit=LIMIT)


async def found(adapter: EdgeAdapter, query: SimilarityQuery) -> list[str]:
    """Return the ids that a search finds."""
    return [match.version.memory_id async for batch in adapter.find_similar(query) for match in batch]


async def fill(adapter: EdgeAdapter, rows: Vector) -> list[str]:
    """Write a memory for each row in commits of a hundred, wait for the index, and return the memories' ids."""
    memories, names = Memories(), []
    for start in range(0, len(rows), 100):
        some = rows[start : start + 100]
        made = [replace(memory, vectors=some[at : at + 1]) for at, memory in enumerate(memories.make(len(some)))]
        names += [memory.memory_id for memory in made]
        await adapter.commit(a_commit(made))
    while (await adapter.status()).notes:  # noqa: ASYNC110 - a store says so only when it is asked
        await asyncio.sleep(0.2)
    return names


class BareEngine:
    """The engine alone, in a process of its own."""

    def __init__(self, shard: Path, newest: int) -> None:
        program = [sys.executable, "-m", "benchmarks.edge_search", str(shard), str(newest)]
        self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, row: Vector, *, filtered: bool) -> float:
        """Return how long it takes for the ten nearest, in ms, as measured there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([row.tolist(), filtered]) + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()


def serve_bare(shard: Path, newest: int) -> None:
    """Ask the bare engine what the adapter asks it, and print how long each question took."""
    engine = bare_engine.EdgeShard.load(str(shard))
    filters = {
        filtered: edge_filter(select(NEWEST, None, parse_filter(FILTER) if filtered else None, newest=newest).condition)
        for filtered in (True, False)
    }
    for line in sys.stdin:
        row, filtered = json.loads(line)
        start = time.perf_counter()
        engine.query(
            bare_engine.QueryRequest(
                limit=LIMIT,
                query=bare_engine.Query.Nearest(row, using=DENSE),
                filter=filters[filtered],
                params=bare_engine.SearchParams(hnsw_ef=CANDIDATES),
                with_payload=bare_engine.PayloadSelector.Include([HEAD]),
            )
        )
        print((time.perf_counter() - start) * 1e3, flush=True)


async def measure_searches(report: Report, folder: Path, rows: Vector, kind: str) -> float:
    """Measure searches by meaning beside the bare engine and exact search; return the median of filtered ones in ms.

    Args:
        report: Where the figures go.
        folder: Where the store may lie.
        rows: Vectors to write, and `SEARCHES` more to ask for.
        kind: What the vectors are of.
    """
    stored, asked = rows[:-SEARCHES], rows[-SEARCHES:]
    adapter = EdgeAdapter(folder / "searches")
    await adapter.open(PROFILE)
    names = await fill(adapter, stored)
    newest = (await adapter.status()).last_position
    await adapter.close()
    start = time.perf_counter()
    await adapter.open(PROFILE)
    report.add_row(what=f"opening a store of {len(stored):,} memories", ms=(time.perf_counter() - start) * 1e3)
    shutil.copytree(shard_in(folder / "searches"), folder / "bare-shard")
    bare = BareEngine(folder / "bare-shard", newest)
    ours: dict[str, list[float]] = {name: [] for name in KINDS}
    theirs: dict[str, list[float]] = {name: [] for name in KINDS}
    answers: list[list[str]] = []
    for turn in range(2):  # The first warms both up.
        for name, filtered in KINDS.items():
            ours[name], theirs[name] = [], []
            for row in asked:
                query = query_for(row, filtered=filtered)
                start = time.perf_counter()
                ids = await found(adapter, query)
                ours[name].append((time.perf_counter() - start) * 1e3)
                theirs[name].append(bare.ask(row, filtered=filtered))
                if turn and not filtered:
                    answers.append(ids)
    bare.stop()
    await adapter.close()
    shutil.rmtree(folder / "bare-shard")
    for name in KINDS:
        report.add_row(what=f"top 10, {name}", ms=median(ours[name]), p95_ms=percentile(ours[name], 0.95))
        report.add_row(what=f"bare engine, {name}", ms=median(theirs[name]), p95_ms=percentile(theirs[name], 0.95))
    filtered_ms = ours["filtered to 1 %"]
    report.add_goal(
        "filtered top 10, times the bare engine", median(filtered_ms) / median(theirs["filtered to 1 %"]), at_most=2
    )
    report.add_goal("filtered top 10, p95 in ms", percentile(filtered_ms, 0.95), at_most=5)
    report.add_goal(f"recall@10 against exact search, {kind}", recall(names, answers, stored, asked), at_least=0.99)
    return median(filtered_ms)


def recall(names: list[str], answers: list[list[str]], stored: Vector, asked: Vector) -> float:
    """Return which share of the ten nearest was found."""
    hits = 0
    for row, ids in zip(asked, answers, strict=True):
        exact = np.argpartition(-(stored @ row), LIMIT)[:LIMIT]
        hits += len({names[at] for at in exact} & set(ids))
    return hits / (LIMIT * len(asked))


async def measure_reads_beside_a_rebuild(report: Report, folder: Path, rows: Vector) -> None:
    """Measure how long reads wait while memories are written, their index is built, and taken into use."""
    adapter = EdgeAdapter(folder / "reads")
    await adapter.open(PROFILE)
    times: list[float] = []

    async def read() -> AsyncIterator[float]:
        for row in cycle(rows):
            start = time.perf_counter()
            await found(adapter, query_for(row, filtered=False))
            yield (time.perf_counter() - start) * 1e3

    filling = asyncio.create_task(fill(adapter, rows))
    async for taken in read():
        times.append(taken)
        if filling.done():
            break
        await asyncio.sleep(0.01)
    await filling
    await adapter.close()
    name = f"search beside writing and indexing {len(rows):,} memories"
    report.add_row(what=name, ms=median(times), p95_ms=percentile(times, 0.95), worst_ms=max(times))


def measure_local_mode(report: Report, rows: Vector, ours_ms: float) -> None:
    """Measure the same filtered search in the client's own local mode, which is written in Python."""
    from qdrant_client import QdrantClient, models  # noqa: PLC0415

    client = QdrantClient(":memory:")
    vectors = models.VectorParams(size=DIMENSION, distance=models.Distance.DOT)
    client.create_collection("memories", vectors_config=vectors)
    for start in range(0, len(rows) - SEARCHES, 1_000):
        points = [
            models.PointStruct(id=str(uuid4()), vector=row.tolist(), payload={"percent": percent})
            for row, percent in zip(rows[start : start + 1_000], cycle(range(100)), strict=False)
        ]
        client.upsert("memories", points)
    seventh = models.Filter(must=[models.FieldCondition(key="percent", match=models.MatchValue(value=7))])
    times: list[float] = []
    for row in rows[-LOCAL_MODE_SEARCHES:]:
        start_s = time.perf_counter()
        client.query_points("memories", query=row.tolist(), query_filter=seventh, limit=LIMIT)
        times.append((time.perf_counter() - start_s) * 1e3)
    report.add_row(what="qdrant-client's local mode, filtered to 1 %", ms=median(times))
    report.add_goal("local mode, times the embedded engine", median(times) / ours_ms, at_least=20)


if __name__ == "__main__":
    serve_bare(Path(sys.argv[1]), int(sys.argv[2]))
