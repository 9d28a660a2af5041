"""Damaged bytes of an embedded store are reported, or harmless: never a wrong answer without a word."""

import asyncio
import random
import re
from pathlib import Path
from typing import Any

import pytest

from recollect.adapters.port import ById, Scan
from recollect.adapters.qdrant.edge import adapter as adapters
from recollect.adapters.qdrant.edge.adapter import EdgeAdapter
from recollect.adapters.testing.values import NEWEST, PROFILE, collected, memory_id
from tests.adapters.damaging import copied, fill, filled, flip, regions, verdict_on

FLIPS = 2
LIMIT_S = 5.0
DAMAGED = (
    "class-map/page_0.dat",
    "memory-map/page_0.dat",
    "mutable_id_tracker.mappings",
    "payload_storage/page_0.dat",
    "vector_storage-dense/vectors/chunk_0.mmap",
    "vector_storage-terms/store/page_0.dat",
)
"""Files of the engine that are damaged in each run. The others are too, with the slow tests."""

LIKE_OTHERS = re.compile(
    r"payload_index/[^/]*-(?!class)[^/]*/.*(?<!page_0.dat)$"  # each kind of file of an index once
    r"|payload_index/[^/]*-(?:created|updated|expires|importan|confiden|namespac|branch|branches|windowed)-"
    r"|vector_storage-windows/.*(?<!chunk_0.mmap)$"
)
"""Files that are like others, and are left out."""


@pytest.fixture(autouse=True)
def _an_engine_that_hangs_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some damage sends the engine into loops over sizes that were never meant."""
    monkeypatch.setattr(adapters, "OPEN_LIMIT_S", LIMIT_S)
    monkeypatch.setattr(adapters, "ANSWER_LIMIT_S", LIMIT_S)


def kind_of(path: Path) -> str:
    """Return the name of a file below the store without what is drawn by chance."""
    return re.sub(r"segments/[^/]*/|(?<=payload_index/)[0-9a-z]+-", "", str(path))


def files_of(sound: Path) -> list[Path]:
    paths = sorted(path.relative_to(sound) for path in sound.rglob("*") if path.is_file())
    return [path for path in paths if (sound / path).stat().st_size and not LIKE_OTHERS.search(str(path))]


def is_damaged_always(path: Path) -> bool:
    return kind_of(path).endswith(DAMAGED)


async def flipped(sound: Path, copy: Path, path: Path, expected: list[Any], flips: int) -> set[str]:
    """Turn over bits of a file, each in a copy of the store; return what came of it."""
    chance = random.Random(str(kind_of(path)))
    seen: set[str] = set()
    for at in regions((sound / path).read_bytes(), flips, chance)[:flips]:
        flip(copied(sound, copy) / path, at, chance.randrange(8))
        verdict = await verdict_on(EdgeAdapter(copy), expected)
        assert verdict != "SILENTLY WRONG", f"{path}, byte {at}"
        seen.add(verdict)
    return seen


@pytest.mark.requirement("B11")
async def test_a_flipped_bit_where_versions_and_indexes_lie_is_reported_or_harmless(tmp_path: Path) -> None:
    sound = tmp_path / "sound"
    expected = await filled(EdgeAdapter(sound))
    seen: set[str] = set()
    for path in filter(is_damaged_always, files_of(sound)):
        seen |= await flipped(sound, tmp_path / "copy", path, expected, FLIPS)
    assert any(verdict.startswith("reported") for verdict in seen), seen


@pytest.mark.slow
@pytest.mark.requirement("B11")
@pytest.mark.parametrize("part", range(4))
async def test_a_flipped_bit_or_a_lost_end_of_any_file_is_reported_or_harmless(tmp_path: Path, part: int) -> None:
    sound, copy = tmp_path / "sound", tmp_path / "copy"
    expected = await filled(EdgeAdapter(sound))
    assert await verdict_on(EdgeAdapter(copied(sound, copy)), expected) == "harmless"
    for path in files_of(sound)[part::4]:
        await flipped(sound, copy, path, expected, 1)
        for kept in {0, (sound / path).stat().st_size // 2}:
            with (copied(sound, copy) / path).open("r+b") as file:
                file.truncate(kept)
            assert await verdict_on(EdgeAdapter(copy), expected) != "SILENTLY WRONG", f"{path} cut to {kept} bytes"


@pytest.mark.requirement("B11")
async def test_a_version_that_an_index_leaves_out_is_named_with_the_index_and_the_remedy(tmp_path: Path) -> None:
    sound = tmp_path / "sound"
    await filled(EdgeAdapter(sound))
    (path,) = (path for path in files_of(sound) if kind_of(path).endswith("memory-map/page_0.dat"))
    content = (sound / path).read_bytes()
    held = [at for at, byte in enumerate(content) if byte]
    flip(sound / path, held[len(held) // 2], 2)
    adapter = EdgeAdapter(sound)
    await adapter.open()
    (finding,) = (await adapter.check()).findings
    assert finding.ref is not None
    assert "index of 'memory'" in finding.place
    assert "migrate-store" in finding.remedy
    # What it says is so: the version is there, and is not found by its id.
    versions = await collected(adapter.scan(Scan(read_point=None, namespaces=None)))
    assert finding.ref in {version.ref for version in versions}
    await adapter.close()


async def test_sound_indexes_have_no_findings_and_name_every_memory(tmp_path: Path) -> None:
    adapter = EdgeAdapter(tmp_path / "store")
    await adapter.open(PROFILE)
    await fill(adapter)
    report = await adapter.check()
    assert (report.findings, report.versions_checked) == ((), 7)
    found = await asyncio.gather(*(adapter.get([ById(memory_id(number))], NEWEST) for number in (1, 2, 4)))
    assert all(version is not None for (version,) in found)
    await adapter.close()
