"""What does the adapter for servers cost beside the bare client? Writes alone, in batches and at once, and searches.

`python -m benchmarks.server [--memories 20000] [--wordnet FOLDER] [--cache FOLDER]`. A real server is started, by
Docker or from the pinned build that the tests use. Both sides write the same points, with the same payload, vectors
and indexes, by gRPC, with `wait` and the default ordering; what is compared takes turns, and every other turn the
other side begins.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from msgspec.structs import replace
from qdrant_client import AsyncQdrantClient, models
from tests.adapters.qdrant.server_process import HOST, Server, new_server, url_of

from benchmarks.edge import CACHE, unit_rows
from benchmarks.edge_search import recall
from benchmarks.real_text import FOLDER, real_vectors
from benchmarks.report import Report, median
from benchmarks.storage import NEWEST, PROFILE, Memories, a_commit, percentile
from recollect.adapters.filters import Filter, parse_filter
from recollect.adapters.port import SimilarityQuery
from recollect.adapters.qdrant.client_conditions import client_filter
from recollect.adapters.qdrant.conditions import select
from recollect.adapters.qdrant.fields import DENSE, HEAD
from recollect.adapters.qdrant.mutations import PointWrite
from recollect.adapters.qdrant.points import write_of
from recollect.adapters.qdrant.server.adapter import ServerAdapter
from recollect.adapters.qdrant.server.address import parse_address
from recollect.adapters.qdrant.server.connection import GRPC_OPTIONS
from recollect.adapters.qdrant.server.stored import client_point
from recollect.adapters.versions import Vector, Version

OURS, THEIRS = "recollect", "bare"
BATCH = 100
SINGLES = 200
BATCHES = 40
WRITERS = 16
ROUNDS = 7
SEARCHES = 300
LIMIT = 10
FILTER = parse_filter({"metadata.percent": 7})
OVERHEAD_MAX = 1.3
QUIET_DEADLINE_S = 120

Times = dict[str, list[float]]
Work = Callable[[], Awaitable[Any]]


NOTES = (
    (
        "Adapter: a commit is all or nothing, is compared with what is there (is its id new, what does it replace), has"
        " one place in an order that all writers share, and is seen as a whole. It is a read, a move of the head that "
        "carries all that is to be written, a read of the head, and a write of the points. Commits that wait are one."
    ),
    (
        "Bare client: one upsert of the same points, which replaces what has the same id and is seen point by point. "
        "The points are made ready before; their payloads and vectors become the client's models within the time."
    ),
    (
        "A search of the adapter reads the head in the same call, filters by branch, class and position besides, and "
        "checks what it found. The bare client filters by the field alone, or not at all, and gets the same payload."
    ),
)


class Bare:
    """The client alone, over a collection made like the adapter's, and nothing else in it.

    An upsert is acknowledged when the server has logged and applied it. It asks for no precondition, has no place in an
    order, replaces what has the same id, and is seen by readers point by point.
    """

    def __init__(self, server: Server) -> None:
        self._client = AsyncQdrantClient(
            host=HOST,
            port=server.http_port,
            grpc_port=server.grpc_port,
            prefer_grpc=True,
            timeout=60,
            grpc_options=dict(GRPC_OPTIONS),
            pool_size=1,
            check_compatibility=False,
        )

    async def upsert(self, writes: Sequence[PointWrite]) -> None:
        """Write points, from payloads and vectors as a program has them."""
        points = [client_point(write, PROFILE.dimension) for write in writes]
        await self._client.upsert(THEIRS, points, wait=True)

    async def search(self, row: Vector, condition: models.Filter | None) -> list[str]:
        """Return the ids of the ten nearest, with what a hit shows."""
        answer = await self._client.query_points(
            THEIRS, row.tolist(), using=DENSE, query_filter=condition, limit=LIMIT, with_payload=[HEAD]
        )
        return [str(point.id) for point in answer.points]

    async def wait_until_quiet(self) -> None:
        """Wait until the server optimizes neither collection."""
        async with asyncio.timeout(QUIET_DEADLINE_S):
            for name in (OURS, THEIRS):
                while await self._is_busy(name):  # noqa: ASYNC110 - a server says so only when it is asked
                    await asyncio.sleep(0.2)

    async def _is_busy(self, name: str) -> bool:
        return (await self._client.get_collection(name)).status != models.CollectionStatus.GREEN

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()


async def in_turn(times: Times, turn: int, ours: Work, theirs: Work) -> None:
    """Do the same on both sides, every other turn the other one first, and add how long each took, in ms."""
    sides = [(OURS, ours), (THEIRS, theirs)]
    for name, work in sides if turn % 2 else reversed(sides):
        start = time.perf_counter()
        await work()
        times.setdefault(name, []).append((time.perf_counter() - start) * 1e3)


def tell(report: Report, what: str, times: Times, memories: int = 1, *, goal: bool = True) -> None:
    """Add a row for each side, and how many times the bare client's median the adapter's is."""
    ours, theirs = times[OURS], times[THEIRS]
    share = median(ours) / median(theirs)
    for name, taken, more in ((what, ours, {"times": share}), (f"bare client, {what}", theirs, {})):
        rate = {"memories_per_s": memories * 1e3 / median(taken)} if memories > 1 else {}
        report.add_row(what=name, ms=median(taken), **more, p95_ms=percentile(taken, 0.95), **rate)
    if goal:
        report.add_goal(f"{what}, times the bare client", share, at_most=OVERHEAD_MAX)


def points_of(memories: Sequence[Version], position: int = 1) -> list[PointWrite]:
    """Return memories as the points that the adapter makes of them."""
    return [write_of(replace(memory, position=position), position) for memory in memories]


class Bench:
    """Both sides, and memories for them."""

    def __init__(self, report: Report, adapter: ServerAdapter, bare: Bare) -> None:
        self._report, self._adapter, self._bare = report, adapter, bare
        self._memories = Memories()

    async def _write(self, times: Times, turn: int, made: list[Version]) -> None:
        commit, points = a_commit(made), points_of(made)
        await in_turn(times, turn, lambda: self._adapter.commit(commit), lambda: self._bare.upsert(points))

    async def fill(self, rows: Vector) -> list[str]:
        """Write a memory for each row, a hundred at a time, on both sides, wait for the indexes, and return the ids."""
        times: Times = {}
        names: list[str] = []
        for turn, start in enumerate(range(0, len(rows), BATCH)):
            some = rows[start : start + BATCH]
            made = self._memories.make(len(some))
            names += [memory.memory_id for memory in made]
            await self._write(times, turn, [replace(one, vectors=some[at : at + 1]) for at, one in enumerate(made)])
        tell(self._report, f"commit of {BATCH}, while {len(rows):,} are written and indexed", times, BATCH, goal=False)
        await self._bare.wait_until_quiet()
        return names

    async def measure_searches(self, asked: Vector) -> None:
        """Measure the ten nearest, filtered to a hundredth and not, one search after the other."""
        for name, matching in (("filtered to 1 %", FILTER), ("unfiltered", None)):
            # A program that knows nothing of branches, namespaces and positions asks for the field alone.
            plain = None if matching is None else client_filter(select(None, None, matching, everywhere=True).condition)
            times: Times = {}
            for turn, row in enumerate(asked):
                await in_turn(
                    times, turn, partial(found, self._adapter, row, matching), partial(self._bare.search, row, plain)
                )
            tell(self._report, f"top {LIMIT}, {name}", times, goal=matching is not None)

    async def measure_recall(self, names: list[str], stored: Vector, asked: Vector, kind: str) -> None:
        """Measure which share of the ten nearest is found; the memories have an index by then."""
        answers = [await found(self._adapter, row, None) for row in asked]
        share = recall(names, answers, stored, asked)
        self._report.add_goal(f"recall@{LIMIT} among {len(stored):,}, {kind}", share, at_least=0.99)

    async def measure_writes(self) -> None:
        """Measure commits one after the other: of one memory, and of a hundred."""
        for count, rounds in ((1, SINGLES), (BATCH, BATCHES)):
            times: Times = {}
            for turn in range(rounds):
                await self._write(times, turn, self._memories.make(count))
            tell(self._report, f"commit of {count}", times, count)

    async def measure_writers(self) -> None:
        """Measure many writers at once, each of which waits for its commit before the next."""
        for count, each in ((1, 20), (BATCH, 1)):
            times: Times = {}
            commits = WRITERS * each
            for turn in range(ROUNDS):
                parts = [self._memories.make(count) for _ in range(commits)]
                await in_turn(
                    times,
                    turn,
                    partial(at_once, self._adapter.commit, [a_commit(part) for part in parts]),
                    partial(at_once, self._bare.upsert, [points_of(part) for part in parts]),
                )
            tell(self._report, f"{commits} commits of {count} by {WRITERS} writers", times, commits * count)


async def found(adapter: ServerAdapter, row: Vector, matching: Filter | None) -> list[str]:
    """Return the ids that a search finds."""
    query = SimilarityQuery(read_point=NEWEST, dense=row, filter=matching, limit=LIMIT)
    return [match.version.memory_id async for batch in adapter.find_similar(query) for match in batch]


async def at_once(write: Callable[[Any], Awaitable[Any]], parts: Sequence[Any]) -> None:
    """Let many writers share what is to be written."""
    waiting = iter(parts)

    async def writer() -> None:
        for part in waiting:
            await write(part)

    await asyncio.gather(*(writer() for _ in range(WRITERS)))


def plot(report: Report, figure: Figure) -> None:
    """Draw what took how long."""
    axes = figure.subplots()
    axes.barh([str(row["what"]) for row in report.rows], [float(row["ms"]) for row in report.rows])
    axes.set_xscale("log")
    axes.set_xlabel("ms, median")


async def measure(report: Report, server: Server, rows: Vector, kind: str) -> None:
    """Measure everything."""
    adapters = [ServerAdapter(parse_address(url_of(server, name))) for name in (OURS, THEIRS)]
    for adapter in adapters:
        await adapter.open(PROFILE)
    # Its collection is made as the adapter's is; only the bare client writes to it.
    await adapters[1].close()
    bare = Bare(server)
    bench = Bench(report, adapters[0], bare)
    stored, asked = rows[:-SEARCHES], rows[-SEARCHES:]
    names = await bench.fill(stored)
    await bench.measure_searches(asked)
    await bench.measure_recall(names, stored, asked, kind)
    await bench.measure_writes()
    await bench.measure_writers()
    await adapters[0].close()
    await bare.close()


def main() -> None:
    """Measure everything and write the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memories", type=int, default=20_000)
    parser.add_argument("--wordnet", type=Path, default=FOLDER)
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the vectors are kept between runs")
    arguments = parser.parse_args()
    wanted = arguments.memories + SEARCHES
    kind = "real sentences"
    if (arguments.wordnet / "data.noun").exists():
        rows = real_vectors(arguments.wordnet, arguments.cache.expanduser())[:wanted]
    else:
        rows, kind = unit_rows(wanted, 3), "noise"
    report = Report("server", "What does the adapter for servers cost beside the bare client?")
    report.add_note(
        f"The first {arguments.memories:,} vectors are those of {kind} (benchmarks/real_text.py says of which), "
        "the questions too; what is written when they have been searched is noise."
    )
    for note in NOTES:
        report.add_note(note)
    with tempfile.TemporaryDirectory() as name:
        server = new_server(Path(name) / "server")
        server.start()
        try:
            asyncio.run(measure(report, server, rows, kind))
        finally:
            server.stop()
    report.write(lambda figure: plot(report, figure))


if __name__ == "__main__":
    main()
