"""What does storing cost beside the disk, and searching beside the memory? The file backend against bare parts.

`python -m benchmarks.storage [--memories 100000] [--million] [--folder FOLDER]`. Every figure is a median; what is
compared runs in turn within one run, so that a busy machine slows both.
"""

import argparse
import asyncio
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import psutil
from matplotlib.figure import Figure
from msgspec.structs import replace

from benchmarks.report import Report, median
from recollect.adapters.files import FileAdapter
from recollect.adapters.files.durable import size_on_disk
from recollect.adapters.files.similarity import GATHER_SHARE
from recollect.adapters.filters import parse_filter
from recollect.adapters.port import (
    FULL,
    SUMMARY,
    ById,
    Commit,
    Projection,
    Put,
    ReadPoint,
    SimilarityQuery,
    StoreProfile,
)
from recollect.adapters.versions import Action, Provenance, Vector, Version

DIMENSION = 384
PROFILE = StoreProfile("benchmark", DIMENSION)
NEWEST = ReadPoint.main()
LARGE_SCAN = 10_000
"""So many vectors take longer to read than what every search costs beside."""
START_MS = 1_767_225_600_000
BATCH = 100
TEXT = "the tram to the harbour leaves at seven and the museum opens an hour later on most days of the year"


class Memories:
    """Memories as they come: ids that grow with time, texts of about 20 words, vectors of length 1."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(1)
        self._count = 0

    def make(self, count: int) -> list[Version]:
        """Return the next memories."""
        vectors = self._random.standard_normal((count, DIMENSION), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        made = [self._one(self._count + at, vectors[at : at + 1]) for at in range(count)]
        self._count += count
        return made

    def _one(self, number: int, vector: Vector) -> Version:
        words = self._random.permutation(TEXT.split(" ")).tolist()
        digest = self._random.bytes(32)
        return Version(
            memory_id=str(UUID(int=(START_MS + number) << 80 | 7 << 76 | 2 << 62 | int.from_bytes(digest[:7]))),
            namespace="longterm",
            kind=("episodic", "semantic")[number % 2],
            summary=" ".join(words[:12]),
            tags=(f"tag {number % 10}",),
            created_at_ms=START_MS + number,
            updated_at_ms=START_MS + number,
            content=" ".join(words),
            content_hash=digest.hex(),
            metadata={"percent": number % 100, "thread": f"thread {number // 50}"},
            actor="benchmark",
            provenance=Provenance(action=Action.CREATED, actor="benchmark", time_ms=START_MS + number),
            vectors=vector,
        )


class BareTable:
    """What storing the same bytes costs at least: one SQLite table, one insert a memory, WAL, synchronous=FULL."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._connection = sqlite3.connect(folder / "bare.sqlite3", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE memories (id INTEGER PRIMARY KEY, text TEXT, vector BLOB)")

    def commit(self, rows: list[tuple[str, bytes]]) -> None:
        """Insert texts and vectors in one transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO memories (text, vector) VALUES (?, ?)", rows)
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the table."""
        self._connection.close()


def as_row(version: Version) -> tuple[str, bytes]:
    """Return a memory as text and vector."""
    return as_json(version, with_vector=False), b"" if version.vectors is None else version.vectors.tobytes()


def as_json(version: Version, *, with_vector: bool) -> str:
    """Return a memory as one JSON document, the way a store of one file a memory keeps it."""
    fields: dict[str, Any] = {name: getattr(version, name) for name in version.__struct_fields__}
    vectors = fields.pop("vectors")
    fields["provenance"] = {"action": "created", "actor": "benchmark", "time_ms": version.created_at_ms}
    if with_vector:
        fields["embedding"] = vectors[0].tolist()
    return json.dumps(fields)


def a_commit(versions: list[Version]) -> Commit:
    """Return a durable commit."""
    return Commit(puts=tuple(map(Put, versions)), read_point=NEWEST)


async def timed_ms(work: Callable[[], Awaitable[Any]], rounds: int) -> list[float]:
    """Return how long each round took, in milliseconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        await work()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def percentile(times: list[float], share: float) -> float:
    """Return the time that a share of the rounds did not exceed."""
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


async def fill(adapter: FileAdapter, memories: Memories, count: int) -> list[str]:
    """Add memories in commits of some size; return their ids."""
    names: list[str] = []
    for start in range(0, count, 1_000):
        made = memories.make(min(1_000, count - start))
        await adapter.commit(a_commit(made))
        names.extend(version.memory_id for version in made)
    return names


# --- Writing -----------------------------------------------------------------------------------------------


async def measure_commits(report: Report, folder: Path, adapter: FileAdapter, memories: Memories) -> None:
    """Compare durable commits of one and of a hundred with bare transactions, in turn."""
    bare = BareTable(folder / "bare")
    for puts, rounds in ((1, 600), (BATCH, 40)):
        ours, theirs = [], []
        for _ in range(rounds):
            commit, plain = a_commit(memories.make(puts)), list(map(as_row, memories.make(puts)))
            start = time.perf_counter()
            await adapter.commit(commit)
            ours.append((time.perf_counter() - start) * 1e3)
            start = time.perf_counter()
            bare.commit(plain)
            theirs.append((time.perf_counter() - start) * 1e3)
        share = median(ours) / median(theirs)
        report.add_row(what=f"durable commit of {puts}", ms=median(ours), p95_ms=percentile(ours, 0.95), times=share)
        report.add_row(what=f"bare SQLite transaction of {puts}", ms=median(theirs), p95_ms=percentile(theirs, 0.95))
        if puts == 1:
            report.add_goal("single durable commit, times a bare transaction", share, at_most=3)
        else:
            report.add_goal("commit of 100, ms a memory", median(ours) / BATCH, at_most=0.1)
    bare.close()


async def measure_concurrency(report: Report, adapter: FileAdapter, memories: Memories, names: list[str]) -> None:
    """Compare readers beside writers with the same work behind one lock."""
    rates = {}
    for name, lock in (("one global lock", asyncio.Lock()), ("readers beside writers", None)):
        rates[name] = await reads_per_second(adapter, memories, names, lock)
        report.add_row(what=f"gets a second, {name}", per_s=rates[name])
    share = rates["readers beside writers"] / rates["one global lock"]
    report.add_goal("gets a second beside writers, times a global lock", share, at_least=10)


async def reads_per_second(
    adapter: FileAdapter, memories: Memories, names: list[str], lock: asyncio.Lock | None, seconds: float = 3.0
) -> float:
    """Return how many gets succeed a second while 8 writers commit batches, with or without a lock around all."""
    made = [memories.make(BATCH) for _ in range(20)]
    end = time.perf_counter() + seconds
    reads = 0

    async def guarded(work: Awaitable[Any]) -> None:
        if lock is None:
            await work
            return
        async with lock:
            await work

    async def write() -> None:
        for batch in cycle(made):
            fresh = [replace(version, memory_id=str(uuid4())) for version in batch]
            await guarded(adapter.commit(a_commit(fresh)))
            if time.perf_counter() > end:
                return

    async def read(at: int) -> None:
        nonlocal reads
        while time.perf_counter() < end:
            await guarded(adapter.get([ById(names[(at * 7_919 + reads) % len(names)])], NEWEST))
            reads += 1

    await asyncio.gather(*(write() for _ in range(8)), *(read(at) for at in range(8)))
    return reads / seconds


# --- Reading -----------------------------------------------------------------------------------------------


async def measure_gets(report: Report, adapter: FileAdapter, names: list[str]) -> None:
    """Measure getting one memory by its id."""
    chance = np.random.default_rng(2)
    goals: tuple[tuple[str, Projection, float], ...] = (("summary", SUMMARY, 1.0), ("full", FULL, 2.0))
    for view, projection, goal_ms in goals:
        picks = chance.choice(names, 1_000).tolist()

        async def get(picks: list[str] = picks, projection: Projection = projection) -> None:
            await adapter.get([ById(picks.pop())], NEWEST, projection)

        times = await timed_ms(get, 1_000)
        report.add_row(what=f"get {view}", ms=median(times), p95_ms=percentile(times, 0.95))
        report.add_goal(f"get {view} at {len(names):,}, p95 ms", percentile(times, 0.95), at_most=goal_ms)


async def measure_search(report: Report, adapter: FileAdapter, count: int) -> float:
    """Compare exact search with the time that reading the bytes takes; return the unfiltered search's time."""
    chance = np.random.default_rng(3)
    query = chance.standard_normal(DIMENSION, dtype=np.float32)
    query /= np.linalg.norm(query)
    plain_ms = 0.0
    scanned = Scanned(count, query)
    for share in (1.0, 0.5, 0.1, 0.01):
        wanted = None if share == 1 else parse_filter({"metadata.percent": {"lt": round(100 * share)}})
        search = SimilarityQuery(read_point=NEWEST, dense=query, filter=wanted)

        async def find(search: SimilarityQuery = search) -> None:
            async for _ in adapter.find_similar(search):
                pass

        await find()
        ours: list[float] = []
        for _ in range(25):
            scanned.read(share)
            # The threads of BLAS spin for a while after their work, which would slow what runs next.
            await asyncio.sleep(0.05)
            ours += await timed_ms(find, 1)
        reading_ms = scanned.milliseconds()
        name = f"search of {count:,}" + ("" if share == 1 else f", filtered to {share:.0%}")
        report.add_row(what=name, ms=median(ours), p95_ms=percentile(ours, 0.95), times=median(ours) / reading_ms)
        report.add_row(what=f"reading what that scans, {scanned.megabytes(share):,.1f} MB", ms=reading_ms)
        if share * count >= LARGE_SCAN:
            report.add_goal(f"{name}, times reading what it scans", median(ours) / reading_ms, at_most=2)
        plain_ms = median(ours) if share == 1 else plain_ms
    report.add_note(
        "What a search scans: all vectors where a filter selects more than a fifth, else the selected rows where they "
        "lie; and, with a filter, the columns of what is visible and of the field. The reading is the faster of one "
        "core and all. A search that scans little takes as long as every search does (threads, a snapshot, "
        f"ten heads); under {LARGE_SCAN:,} vectors it is told and has no goal."
    )
    return plain_ms


class Scanned:
    """Reads the bytes that a search scans, and keeps how long that takes."""

    def __init__(self, count: int, query: Vector) -> None:
        self._vectors = np.ones((count, DIMENSION), dtype=np.float32)
        self._query = query
        self._out = np.empty(count, dtype=np.float32)
        # What selects: position, superseded, the row's branch, whether it is the system's, and the field.
        self._columns = [np.ones(count, dtype=name) for name in ("i8", "i8", "i4", "?", "f8")]
        self._rows = np.random.default_rng(4).permutation(count)
        self._seconds: dict[str, list[float]] = {}
        self._share = 0.0

    def megabytes(self, share: float) -> float:
        """Return how much a search scans that selects a share."""
        vectors = self._vectors.nbytes * (1 if share > GATHER_SHARE else share)
        return float(vectors + (sum(column.nbytes for column in self._columns) if share < 1 else 0)) / 1e6

    def read(self, share: float) -> None:
        """Read it once on one core, and once on all."""
        if share != self._share:
            self._seconds, self._share = {}, share
        rows = np.sort(self._rows[: int(share * len(self._rows))])
        for cores in ("one", "all"):
            start = time.perf_counter()
            if share < 1:
                for column in self._columns:
                    column.sum()
            if share > GATHER_SHARE:
                (np.vecdot if cores == "one" else np.dot)(self._vectors, self._query, out=self._out)
            else:
                for first in range(0, len(rows), 1024):
                    self._vectors.take(rows[first : first + 1024], axis=0)
            self._seconds.setdefault(cores, []).append(time.perf_counter() - start)

    def milliseconds(self) -> float:
        """Return the median of the faster way."""
        return 1e3 * min(map(median, self._seconds.values()))


async def measure_stream(report: Report, adapter: FileAdapter, count: int) -> None:
    """Measure streaming everything: how fast, and how much memory it takes beside keeping it all."""
    query = np.full(DIMENSION, DIMENSION**-0.5, dtype=np.float32)
    process = psutil.Process()

    async def stream(*, keep: bool) -> tuple[float, float, float]:
        kept: list[Any] = []
        before = peak = process.memory_info().rss
        first_ms = 0.0
        start = time.perf_counter()
        async for batch in adapter.find_similar(SimilarityQuery(read_point=NEWEST, dense=query, limit=None)):
            first_ms = first_ms or (time.perf_counter() - start) * 1e3
            peak = max(peak, process.memory_info().rss)
            if keep:
                kept.extend(batch)
        return count / (time.perf_counter() - start), (peak - before) / 2**20, first_ms

    await stream(keep=False)
    rate, growth, first_ms = await stream(keep=False)
    report.add_row(what=f"stream of {count:,} hits", per_s=rate, ms=first_ms, mib=growth)
    report.add_goal(f"resident memory growth while streaming {count:,} hits, MiB", growth, at_most=32)
    _, kept, _ = await stream(keep=True)
    report.add_row(what=f"the same, all kept in a list, {count:,} hits", mib=kept)
    report.add_note("The `ms` of a stream is the time to its first batch.")


def measure_size(report: Report, folder: Path, store: Path, stored: int) -> None:
    """Compare the space on disk with a JSON file for each memory."""
    plain = folder / "json"
    plain.mkdir()
    sample = Memories().make(2_000)
    for version in sample:
        (plain / f"{version.memory_id}.json").write_text(as_json(version, with_vector=True))
    json_bytes = sum(path.stat().st_size for path in plain.iterdir()) / len(sample)
    json_blocks = size_on_disk(plain) / len(sample)
    ours = size_on_disk(store) / stored
    report.add_row(what="bytes on disk a memory", bytes=ours)
    report.add_row(what="bytes a memory, one JSON file each", bytes=json_bytes)
    report.add_row(what="bytes on disk a memory, one JSON file each", bytes=json_blocks)
    report.add_goal("space saved against a JSON file for each memory, share", 1 - ours / json_bytes, at_least=0.3)
    shutil.rmtree(plain)


# --- All of it ---------------------------------------------------------------------------------------------


async def measure_costs(adapter: FileAdapter, memories: Memories, names: list[str]) -> dict[str, float]:
    """Return what one operation costs at the present size, in milliseconds."""
    commits = iter([a_commit(memories.make(1)) for _ in range(300)])
    picks = iter(np.random.default_rng(4).choice(names, 300).tolist())
    return {
        "durable commit of 1": median(await timed_ms(lambda: adapter.commit(next(commits)), 300)),
        "get summary": median(await timed_ms(lambda: adapter.get([ById(next(picks))], NEWEST), 300)),
    }


async def measure(folder: Path, count: int, report: Report) -> None:
    """Fill a store and measure everything at its sizes."""
    store = folder / "store"
    adapter = FileAdapter(store)
    await adapter.open(PROFILE)
    memories = Memories()
    small = max(1_000, count // 10)
    names = await fill(adapter, memories, small)
    costs = await measure_costs(adapter, memories, names)
    small_ms = await measure_search(Report("ignored", ""), adapter, small)
    names += await fill(adapter, memories, count - small)
    for what, before in costs.items():
        after = (await measure_costs(adapter, memories, names))[what]
        report.add_row(what=f"{what}, {small:,} to {count:,} memories", ms=after, times=after / before)
        report.add_goal(f"growth of {what}, {small:,} to {count:,}", after / before, at_most=1.3)
    await measure_gets(report, adapter, names)
    search_ms = await measure_search(report, adapter, count)
    report.add_goal(f"growth of search, {small:,} to {count:,}", search_ms / small_ms, at_most=count / small)
    await measure_stream(report, adapter, (await adapter.status()).versions)
    await measure_commits(report, folder, adapter, memories)
    await measure_concurrency(report, adapter, memories, names)
    stored = (await adapter.status()).versions
    await adapter.close()
    measure_size(report, folder, store, stored)
    start = time.perf_counter()
    await adapter.open()
    report.add_row(what=f"open, {stored:,} memories", ms=(time.perf_counter() - start) * 1e3)
    start = time.perf_counter()
    await adapter.count(NEWEST)
    report.add_row(what="first look at all of them", ms=(time.perf_counter() - start) * 1e3)
    await adapter.close()


async def measure_million(folder: Path, report: Report) -> None:
    """Measure search over a million memories."""
    adapter = FileAdapter(folder / "million")
    await adapter.open(PROFILE)
    await fill(adapter, Memories(), 1_000_000)
    await adapter.close()
    await adapter.open()
    start = time.perf_counter()
    await adapter.count(NEWEST)
    report.add_row(what="first look at a million", ms=(time.perf_counter() - start) * 1e3)
    await measure_search(report, adapter, 1_000_000)
    await adapter.close()


def plot(report: Report) -> Callable[[Figure], None]:
    """Draw searches beside the reading of their bytes."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        shown = [row for row in report.rows if str(row["what"]).startswith(("search of", "reading"))]
        axes.barh([str(row["what"]) for row in shown], [float(row["ms"]) for row in shown])
        axes.set_xlabel("milliseconds, median")
        axes.set_xscale("log")
        axes.invert_yaxis()

    return draw


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memories", type=int, default=100_000, help="how many memories the store holds")
    parser.add_argument("--million", action="store_true", help="search a million memories too; takes 8 GB of disk")
    parser.add_argument("--folder", type=Path, help="where the stores are made; a temporary folder if not given")
    arguments = parser.parse_args(sys.argv[1:])
    report = Report("storage", "Storage in files: what does it cost beside the disk and the memory it uses?")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        asyncio.run(measure(Path(folder), arguments.memories, report))
        if arguments.million:
            asyncio.run(measure_million(Path(folder), report))
    report.write(plot(report))


if __name__ == "__main__":
    main()
