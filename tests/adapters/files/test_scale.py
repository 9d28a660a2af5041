"""How much room memories take, on disk and in memory."""

from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest

from recollect.adapters.files import FileAdapter
from recollect.adapters.port import Commit, Put, SimilarityQuery, StoreProfile
from recollect.adapters.testing.values import NEWEST, a_version
from recollect.adapters.versions import Action, Provenance, Vector, Version

DIMENSION = 384
PROFILE = StoreProfile("random", DIMENSION)
COMMIT_PUTS = 1000


def _vectors(first: int, count: int) -> Vector:
    drawn = np.random.default_rng(first).standard_normal((count, DIMENSION)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def _versions(first: int, count: int) -> list[Version]:
    provenance = Provenance(action=Action.CREATED, actor="ana", time_ms=1_767_225_600_000, source="message:7")
    return [
        a_version(
            number,
            content=f"what was said in turn {number} of a longer talk about the sea and the sky",
            metadata={"turn": number, "speaker": "ana"},
            tags=("talk",),
            provenance=provenance,
            vectors=vector[None, :],
        )
        for number, vector in enumerate(_vectors(first, count), first)
    ]


async def _fill(adapter: FileAdapter, first: int, count: int) -> None:
    for start in range(first, first + count, COMMIT_PUTS):
        puts = tuple(Put(version) for version in _versions(start, COMMIT_PUTS))
        await adapter.commit(Commit(puts=puts, read_point=NEWEST, durability="relaxed"))


def _as_json_file(version: Version) -> bytes:
    told = {name: getattr(version, name) for name in version.__struct_fields__ if name not in ("vectors", "sparse")}
    assert version.vectors is not None
    return msgspec.json.encode({**told, "embedding": version.vectors[0].tolist()})


def _kinds_of_files(folder: Path) -> set[str]:
    return {path.suffix for path in folder.iterdir() if path.suffix not in {".mark", ".sqlite3-shm", ".sqlite3-wal"}}


def _bytes_on_disk(folder: Path) -> int:
    """Return what the files take: packs are longer than what is written of them."""
    return sum(512 * path.stat().st_blocks for path in folder.iterdir())


def _own_bytes() -> int:
    """Return the memory that is this process's own: what it maps from files, the system can take back."""
    memory = psutil.Process().memory_info()
    return int(memory.rss - memory.shared)


@pytest.mark.requirement("B4")
async def test_a_store_is_at_least_a_third_smaller_than_a_json_file_for_each_memory(folder: Path) -> None:
    adapter = FileAdapter(folder)
    await adapter.open(PROFILE)
    await _fill(adapter, 0, 2 * COMMIT_PUTS)
    await adapter.close()
    stored = _bytes_on_disk(folder)
    as_files = sum(len(_as_json_file(version)) for version in _versions(0, COMMIT_PUTS)) * 2
    assert stored < as_files / 1.5
    assert _kinds_of_files(folder) == {".pack", ".prov", ".sqlite3"}


@pytest.mark.slow  # fills a store with a hundred thousand memories
@pytest.mark.requirement("B10")
async def test_a_hundred_thousand_memories_are_searched_in_little_memory(folder: Path) -> None:
    adapter = FileAdapter(folder)
    await adapter.open(PROFILE)
    await _fill(adapter, 0, COMMIT_PUTS)
    before = _own_bytes()
    await _fill(adapter, COMMIT_PUTS, 99 * COMMIT_PUTS)
    wanted = _vectors(50_000, COMMIT_PUTS)[7]
    async for matches in adapter.find_similar(SimilarityQuery(read_point=NEWEST, dense=wanted, limit=3)):
        assert matches[0].version.metadata is None
        assert matches[0].version.memory_id == a_version(50_007).memory_id
    grown = _own_bytes() - before
    await adapter.close()
    # 100,000 vectors alone are 146 MiB; they stay in the files that are mapped.
    assert grown < 64 * 2**20
