"""What do branches cost? Forks, searches on branches and in the past, merges and differences, at one size.

`python -m benchmarks.branches [--memories 100000] [--branches 1000] [--changed 10000] [--folder FOLDER]`. The file
backend with vectors given; every figure is a median, and searches that are compared run in turn.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from benchmarks.report import Report, median, ratio
from benchmarks.storage import PROFILE, Memories, a_commit
from recollect.adapters.files import FileAdapter
from recollect.adapters.port import Commit, Put, ReadPoint
from recollect.adapters.versions import Action, Provenance, Version
from recollect.embeddings import HashEmbedder
from recollect.service import MemoryService, Settings, create_memory_service
from recollect.service.branching.answers import ChangesFrame
from recollect.service.branching.requests import MergeRequest, NewBranch
from recollect.service.requests import SearchRequest

ROUNDS = 15
BATCH = 500


async def elapsed_ms(work: Callable[[], Awaitable[Any]]) -> float:
    """Return how long some work took, in milliseconds."""
    started = time.perf_counter()
    await work()
    return 1000 * (time.perf_counter() - started)


async def fill(adapter: FileAdapter, memories: Memories, count: int) -> list[Version]:
    """Store memories on main and return them."""
    made: list[Version] = []
    for start in range(0, count, BATCH):
        part = memories.make(min(BATCH, count - start))
        await adapter.commit(a_commit(part))
        made += part
    return made


async def revise_on(adapter: FileAdapter, branch: str, versions: Sequence[Version], source: Memories) -> None:
    """Store another version of some memories on a branch, straight through the port."""
    for start in range(0, len(versions), BATCH):
        part = versions[start : start + BATCH]
        new = source.make(len(part))
        puts = [
            Put(
                replace(
                    version,
                    branch=branch,
                    number=2,
                    content=f"{version.content} on {branch}",
                    content_hash=f"{start + at:064x}",
                    vectors=new[at].vectors,
                    provenance=Provenance(action=Action.REVISED, actor="benchmark", time_ms=version.created_at_ms),
                ),
                version.ref,
            )
            for at, version in enumerate(part)
        ]
        await adapter.commit(Commit(puts=tuple(puts), read_point=ReadPoint.main()))


async def searches_ms(
    service: MemoryService, vector: list[float], places: dict[str, dict[str, Any]]
) -> dict[str, list[float]]:
    """Return the times of the same search from several places, in turn."""
    times: dict[str, list[float]] = {name: [] for name in places}
    for turn in range(ROUNDS + 2):
        for name, place in places.items():
            request = SearchRequest(vector=vector, limit=10, **place)
            took = await elapsed_ms(lambda request=request: service.search(request))  # type: ignore[misc]
            if turn >= 2:
                times[name].append(took)
    return times


async def first_row_ms(service: MemoryService, first: str, second: str) -> float:
    """Return how long a diff takes to its first changes."""
    started = time.perf_counter()
    async with aclosing(service.branches.diff(first, second)) as frames:
        async for frame in frames:
            if isinstance(frame, ChangesFrame):
                return 1000 * (time.perf_counter() - started)
    raise RuntimeError("the branches do not differ")


async def forks_ms(service: MemoryService, prefix: str, count: int) -> list[float]:
    """Return the time of each of some forks of main."""
    return [
        await elapsed_ms(lambda at=at: service.branches.create(NewBranch(name=f"{prefix}-{at}")))  # type: ignore[misc]
        for at in range(count)
    ]


async def measure(folder: Path, memories: int, branches: int, changed: int) -> Report:
    """Fill a store and measure."""
    report = Report("branches", f"What do branches cost among {memories:,} memories on the file backend?")
    settings = Settings(storage=f"file:{folder / 'store'}", model="hash")
    embedder = HashEmbedder(PROFILE.dimension)
    profile = replace(PROFILE, model_id=embedder.model_id)
    source = Memories()
    adapter = FileAdapter(folder / "store")
    await adapter.open(profile)
    stored = await fill(adapter, source, memories)
    vector = source.make(1)[0].vectors
    assert vector is not None
    service = await create_memory_service(settings, embedder=embedder)
    async with service:
        past = (await service.status()).storage.last_position
        forks = await forks_ms(service, "fork", ROUNDS)
        await service.branches.create(NewBranch(name="draft"))
        await revise_on(adapter, "draft", stored[:changed], source)
        await service.branches.create(NewBranch(name="deep", origin="draft"))
        await revise_on(adapter, "deep", stored[changed : changed + 1000], source)
        report.add_row(what="fork", ms=median(forks))
        report.add_goal("fork, ms", median(forks), at_most=5)
        times = await searches_ms(
            service,
            vector[0].tolist(),
            {"main": {}, "main as of a past commit": {"as_of": past}, "a branch of a branch": {"branch": "deep"}},
        )
        for name, took in times.items():
            report.add_row(what=f"search on {name}", ms=median(took))
        for name in ("main as of a past commit", "a branch of a branch"):
            report.add_goal(f"search on {name}, beside main", ratio(times[name], times["main"]), at_most=1.3)
        await forks_ms(service, "many", branches)
        # By the fastest of each, as the two cannot be measured in turn and the machine may be busy with others.
        many = await searches_ms(service, vector[0].tolist(), {"main": {}})
        report.add_row(what=f"search on main, {branches:,} branches", ms=median(many["main"]))
        beside = min(many["main"]) / min(times["main"])
        report.add_goal(f"search among {branches:,} branches, beside a few", beside, at_most=1.2)
        rows = [await first_row_ms(service, "main", "draft") for _ in range(5)]
        report.add_row(what=f"diff of {changed:,} changes, first row", ms=median(rows))
        report.add_goal("diff, first row, ms", median(rows), at_most=50)
        plan = await elapsed_ms(lambda: service.branches.merge("main", MergeRequest(source="draft", dry_run=True)))
        report.add_row(what=f"merge of {changed:,} changes, dry run", ms=plan)
        merge = await elapsed_ms(lambda: service.branches.merge("main", MergeRequest(source="draft")))
        report.add_row(what=f"merge of {changed:,} changes", ms=merge)
        report.add_goal(f"merge of {changed:,} changed memories, s", merge / 1000, at_most=5)
    await adapter.close()
    return report


def main(arguments: list[str]) -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memories", type=int, default=100_000)
    parser.add_argument("--branches", type=int, default=1000)
    parser.add_argument("--changed", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=None, help="where to keep the stores meanwhile")
    chosen = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="branches-", dir=chosen.folder))
    try:
        asyncio.run(measure(folder, chosen.memories, chosen.branches, chosen.changed)).write()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
