"""What does provenance cost? Tracked against untracked writes, reads with and without it, and why along a long chain.

`python -m benchmarks.provenance [--memories 100000] [--folder FOLDER]`. Every figure is a median over the whole service
in one process, vectors given; what is compared runs in turn within one run, so that a busy machine slows both.
"""

import argparse
import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.report import Report, median
from recollect.service import MemoryService, NewMemory, ProvenanceInput, ReadOptions, SearchRequest, Settings
from recollect.service.answers import Remembered
from recollect.service.memory_service import create_memory_service
from recollect.service.provenance.requests import LineageRequest, WhyRequest

DIMENSION = 64
"""That of the hash embedder, which stands for the store's model: the vectors are given and nothing is embedded."""
ROUNDS = 300
CHAIN = 50
BATCH = 1000
TEXT = "the tram to the harbour leaves at seven and the museum opens an hour later on most days of the year"

Work = Callable[[], Awaitable[Any]]


class Writing:
    """Makes memories that differ, with vectors of length 1."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(1)
        self._count = 0

    def memory(self, provenance: ProvenanceInput | None = None, *, tracked: bool = False) -> NewMemory:
        """Return the next memory."""
        self._count += 1
        vector = self._random.standard_normal(DIMENSION)
        words = " ".join(self._random.permutation(TEXT.split(" ")).tolist())
        return NewMemory(
            content=f"{self._count} {words}",
            namespace="session",
            vector=(vector / np.linalg.norm(vector)).tolist(),
            track_provenance=tracked,
            provenance=provenance or ProvenanceInput(actor="benchmark"),
        )


async def in_turn(works: dict[str, Work], rounds: int) -> dict[str, float]:
    """Return the median time of each work in milliseconds; each round runs all of them, in an order of its own."""
    times: dict[str, list[float]] = {name: [] for name in works}
    order = np.random.default_rng(3)
    for _ in range(rounds):
        for name in order.permutation(list(works)).tolist():
            start = time.perf_counter()
            await works[name]()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: median(found) for name, found in times.items()}


async def measure(service: MemoryService, without_receipts: MemoryService, memories: int) -> dict[str, float]:
    """Return the median of each operation in milliseconds."""
    writing = Writing()
    ids: list[str] = []
    source = ProvenanceInput(
        actor="benchmark", source="document:handbook#12", note="said in the meeting", confidence=0.9
    )
    for start in range(0, memories, BATCH):
        batch = [writing.memory(source, tracked=True) for _ in range(min(BATCH, memories - start))]
        stored = await service.remember_many(batch)
        ids += [done.id for done in stored if isinstance(done, Remembered)]
    derived = source.model_copy(update={"derived_from": [ids[0]]})
    picked = iter(np.random.default_rng(2).permutation(ids).tolist() * 10)
    plain, with_provenance = ReadOptions(), ReadOptions(include_provenance=True)
    figures = await in_turn(
        {
            "store, untracked": lambda: service.remember(writing.memory()),
            "store, tracked": lambda: service.remember(writing.memory(source, tracked=True)),
            "store, tracked and derived": lambda: service.remember(writing.memory(derived, tracked=True)),
            "get": lambda: service.get(next(picked), plain),
            "get with provenance": lambda: service.get(next(picked), with_provenance),
        },
        ROUNDS,
    )
    last = ids[1]
    for _ in range(CHAIN):
        link = writing.memory(source.model_copy(update={"derived_from": [last]}), tracked=True)
        last = (await service.remember(link)).id
    figures |= await in_turn(
        {
            f"why, a chain of {CHAIN}": lambda: service.provenance.why(last, WhyRequest()),
            f"lineage down, a chain of {CHAIN}": lambda: service.provenance.lineage(
                ids[1], LineageRequest(direction="down")
            ),
            "blame": lambda: service.provenance.blame(last, LineageRequest()),
        },
        20,
    )
    vector = writing.memory().vector
    noted = SearchRequest(vector=vector, namespaces=["session"])
    figures |= await in_turn(
        {
            "search with receipts": lambda: service.search(noted),
            "search without receipts": lambda: without_receipts.search(noted),
        },
        100,
    )
    return figures


async def run(memories: int, folder: Path) -> None:
    """Measure, and write the report."""
    settings = Settings(storage=f"file:{folder / 'store'}", model="hash", receipts_namespaces=("session",))
    service = await create_memory_service(settings)
    without_receipts = await create_memory_service(settings.model_copy(update={"receipts_namespaces": ()}))
    try:
        figures = await measure(service, without_receipts, memories)
    finally:
        await without_receipts.close()
        await service.close()
    report = Report("provenance", f"What does provenance cost in a store of {memories:,} memories?")
    for name, value in figures.items():
        report.add_row(operation=name, median_ms=round(value, 3))
    store, tracked = figures["store, untracked"], figures["store, tracked"]
    get, with_provenance = figures["get"], figures["get with provenance"]
    report.add_goal("a tracked store against an untracked one", round(tracked / store, 2), at_most=1.3)
    report.add_goal("a tracked store, ms", round(tracked, 3), at_most=2)
    report.add_goal("a get with provenance against one without", round(with_provenance / get, 2), at_most=2)
    report.add_goal("a get with provenance, ms", round(with_provenance, 3), at_most=5)
    report.add_goal("a get without provenance, ms", round(get, 3), at_most=1)
    report.add_goal(f"why on a chain of {CHAIN}, ms", round(figures[f"why, a chain of {CHAIN}"], 2), at_most=20)
    report.add_note(
        "A derived write carries a second record, by which the way down is found; it stands in its own row."
    )
    report.write(lambda figure: _draw(figure, figures))


def _draw(figure: Figure, figures: dict[str, float]) -> None:
    axes = figure.subplots()
    names = list(figures)[::-1]
    axes.barh(names, [figures[name] for name in names])
    axes.set_xscale("log")
    axes.set_xlabel("median, ms")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memories", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the stores are made; a temporary folder by default")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        asyncio.run(run(arguments.memories, folder))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
