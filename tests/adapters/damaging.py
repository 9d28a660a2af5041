"""What the tests of damaged stores share: a store with a little of everything, all that it answers, and a verdict."""

import asyncio
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

from recollect.adapters.errors import StorageError, StoreDamagedError
from recollect.adapters.port import ById, ByKey, Projection, ProvenanceStorageAdapter, Scan, Selector, SimilarityQuery
from recollect.adapters.testing.values import (
    EVERYTHING,
    NEWEST,
    PROFILE,
    a_commit,
    a_full_version,
    a_version,
    as_plain,
    axis,
    collected,
    memory_id,
    revision_of,
    terms,
    tombstone_of,
    toward,
    windows,
)

DEADLINE_S = 60


async def fill(adapter: ProvenanceStorageAdapter) -> None:
    first = a_version(1, vectors=windows(axis(0), axis(1)), sparse=terms({1: 0.5}))
    await adapter.commit(a_commit(first, a_full_version(2), a_version(3, key="a key", vectors=windows(toward(0.8)))))
    await adapter.commit(a_commit(revision_of(first, content="another text")))
    await adapter.commit(a_commit(a_version(4), tombstone_of(a_version(3, key="a key"))))
    await adapter.commit(a_commit(revision_of(a_full_version(2), branch="draft")))


async def filled(adapter: ProvenanceStorageAdapter) -> list[Any]:
    """Make a store and close it; return all that it answers."""
    await adapter.open(PROFILE)
    await fill(adapter)
    answers = await all_answers(adapter)
    await adapter.close()
    return answers


async def all_answers(adapter: ProvenanceStorageAdapter) -> list[Any]:
    """Return all that the store answers, as plain values."""
    everything = await collected(adapter.scan(Scan(read_point=None, namespaces=None, projection=EVERYTHING)))
    answers: list[Any] = [as_plain(version) for version in everything]
    for dense, sparse in ((axis(0), None), (None, terms({1: 1.0, 3: 1.0})), (toward(0.6), terms({3: 1.0}))):
        query = SimilarityQuery(read_point=NEWEST, dense=dense, sparse=sparse, limit=None)
        answers += [(match.version.memory_id, match.score) for match in await collected(adapter.find_similar(query))]
    selectors: list[Selector] = [*(ById(memory_id(number)) for number in range(1, 6)), ByKey("projects", "key 2")]
    answers += [as_plain(version) for version in await adapter.get(selectors, NEWEST, Projection(content=True))]
    answers += [as_plain(version) for version in await collected(adapter.history(memory_id(1), NEWEST, EVERYTHING))]
    return [*answers, await adapter.count(NEWEST)]


async def verdict_on(adapter: ProvenanceStorageAdapter, expected: list[Any]) -> str:
    """Open a store that may be damaged, and say what came of it."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            await adapter.open()
            report = await adapter.check()
            if report.findings:
                assert all(finding.place and finding.problem and finding.remedy for finding in report.findings)
                return "reported by check"
            return "harmless" if await all_answers(adapter) == expected else "SILENTLY WRONG"
    except StoreDamagedError:
        return "reported as damage"
    except StorageError:
        return "reported"
    finally:
        await adapter.close()


def regions(content: bytes, count: int, chance: random.Random) -> list[int]:
    """Choose bytes to flip: a few of each stretch that is not empty."""
    held = [at for at, byte in enumerate(content) if byte] or [0]
    return sorted(chance.sample(held, min(count, len(held)))) + chance.sample(range(len(content)), min(3, len(content)))


def copied(sound: Path, copy: Path) -> Path:
    """Copy a store in the place of an earlier copy; holes in its files stay holes."""
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(["cp", "--archive", "--sparse=always", str(sound), str(copy)], check=True)
    return copy


def flip(path: Path, at: int, bit: int) -> None:
    """Turn one bit over."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ (1 << bit)]))
