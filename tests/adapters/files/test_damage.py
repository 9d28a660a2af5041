"""Damaged bytes are reported, or harmless: never a wrong answer without a word."""

import asyncio
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recollect.adapters.errors import StorageError, StoreDamagedError
from recollect.adapters.files import FileAdapter
from recollect.adapters.port import ById, ByKey, Projection, Scan, Selector, SimilarityQuery
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


async def _fill(adapter: FileAdapter) -> None:
    first = a_version(1, vectors=windows(axis(0), axis(1)), sparse=terms({1: 0.5}))
    await adapter.commit(a_commit(first, a_full_version(2), a_version(3, key="a key", vectors=windows(toward(0.8)))))
    await adapter.commit(a_commit(revision_of(first, content="another text")))
    await adapter.commit(a_commit(a_version(4), tombstone_of(a_version(3, key="a key"))))
    await adapter.commit(a_commit(revision_of(a_full_version(2), branch="draft")))


async def _answers(adapter: FileAdapter) -> list[Any]:
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


async def _verdict(folder: Path, expected: list[Any]) -> str:
    """Open a store that may be damaged, and say what came of it."""
    adapter = FileAdapter(folder)
    try:
        async with asyncio.timeout(DEADLINE_S):
            await adapter.open()
            report = await adapter.check()
            if report.findings:
                assert all(finding.place and finding.problem and finding.remedy for finding in report.findings)
                return "reported by check"
            return "harmless" if await _answers(adapter) == expected else "SILENTLY WRONG"
    except StoreDamagedError:
        return "reported as damage"
    except StorageError:
        return "reported"
    finally:
        await adapter.close()


async def _closed(folder: Path) -> list[Any]:
    adapter = FileAdapter(folder)
    await adapter.open(PROFILE)
    await _fill(adapter)
    answers = await _answers(adapter)
    await adapter.close()
    return answers


async def _as_after_a_kill(folder: Path) -> list[Any]:
    """Make a store whose commits are in the log only: the copy of an open store is what a kill leaves."""
    live = folder.with_name("live")
    adapter = FileAdapter(live)
    await adapter.open(PROFILE)
    await _fill(adapter)
    shutil.copytree(live, folder)
    answers = await _answers(adapter)
    await adapter.close()
    return answers


def _regions(content: bytes, count: int, chance: random.Random) -> list[int]:
    """Choose bytes to flip: a few of each stretch that is not empty."""
    held = [at for at, byte in enumerate(content) if byte] or [0]
    return sorted(chance.sample(held, min(count, len(held)))) + chance.sample(range(len(content)), min(3, len(content)))


@pytest.mark.requirement("B11")
@pytest.mark.parametrize("make", [_closed, _as_after_a_kill])
@pytest.mark.parametrize("flips", [12, pytest.param(400, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
async def test_a_flipped_bit_is_reported_or_harmless(tmp_path: Path, make: Callable[..., Any], flips: int) -> None:
    sound = tmp_path / "sound"
    expected = await make(sound)
    assert await _verdict(_copied(sound, tmp_path / "copy"), expected) == "harmless"
    chance = random.Random(7)
    seen: dict[str, set[str]] = {}
    for path in sorted(sound.iterdir()):
        content = path.read_bytes()
        for at in _regions(content, flips, chance):
            copy = _copied(sound, tmp_path / "copy")
            flipped = bytes([content[at] ^ (1 << chance.randrange(8))])
            (copy / path.name).write_bytes(content[:at] + flipped + content[at + 1 :])
            verdict = await _verdict(copy, expected)
            assert verdict != "SILENTLY WRONG", f"{path.name}, byte {at}"
            seen.setdefault(path.name, set()).add(verdict)
    # The test must be able to see damage. (After a kill, packs that were not synced yet are written anew.)
    names = ("catalog.sqlite3", "provenance-000001.prov", "vectors-000000.pack")
    for name in names if make is _closed else ("catalog.sqlite3-wal", "acknowledged.mark"):
        assert any(verdict.startswith("reported") for verdict in seen[name]), seen


@pytest.mark.requirement("B11")
@pytest.mark.parametrize("make", [_closed, _as_after_a_kill])
async def test_a_file_that_is_cut_is_reported_or_repaired(tmp_path: Path, make: Callable[..., Any]) -> None:
    sound = tmp_path / "sound"
    expected = await make(sound)
    for path in sorted(sound.iterdir()):
        size = path.stat().st_size
        for kept in {0, 1, size // 2, size - 1}:
            copy = _copied(sound, tmp_path / "copy")
            (copy / path.name).write_bytes(path.read_bytes()[:kept])
            assert await _verdict(copy, expected) != "SILENTLY WRONG", f"{path.name} cut to {kept} bytes"


def _copied(sound: Path, copy: Path) -> Path:
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(sound, copy)
    return copy


async def test_damage_is_named_with_the_memory_that_it_hit(folder: Path) -> None:
    await _closed(folder)
    path = folder / "catalog.sqlite3"
    path.write_bytes(path.read_bytes().replace(b"another text", b"another texT"))
    adapter = FileAdapter(folder)
    await adapter.open()
    (finding, *_) = (await adapter.check()).findings
    assert finding.ref is not None
    assert finding.ref.memory_id == memory_id(1)
    assert "row 4" in finding.place
    with pytest.raises(StoreDamagedError, match=memory_id(1)):
        await adapter.get([ById(memory_id(1))], NEWEST, Projection(content=True))
    assert (await adapter.get([ById(memory_id(4))], NEWEST, Projection(content=True)))[0] is not None
    await adapter.close()


@pytest.mark.requirement("B7")
async def test_a_log_that_is_removed_after_a_crash_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "sound"
    await _as_after_a_kill(folder)
    (folder / "catalog.sqlite3-wal").unlink()
    adapter = FileAdapter(folder)
    with pytest.raises(StoreDamagedError, match="acknowledged"):
        await adapter.open()
    (folder / "acknowledged.mark").unlink()
    await adapter.open()
    assert await adapter.count(NEWEST) == 0
    await adapter.close()


@pytest.mark.requirement("B7")
@pytest.mark.parametrize("name", ["vectors-000000.pack", "provenance-000001.prov"])
@pytest.mark.parametrize("make", [_closed, _as_after_a_kill])
async def test_a_lost_pack_is_made_anew_from_the_catalog(tmp_path: Path, make: Callable[..., Any], name: str) -> None:
    folder = tmp_path / "sound"
    expected = await make(folder)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    adapter = FileAdapter(folder)
    await adapter.open()
    if make is _closed:
        assert any(name in note for note in (await adapter.status()).notes)
    assert await _answers(adapter) == expected
    assert (await adapter.check()).findings == ()
    await adapter.close()
    assert (folder / name).read_bytes() == content


@pytest.mark.requirement("B7")
async def test_half_a_line_of_provenance_is_cut_and_whole_ones_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "sound"
    expected = await _as_after_a_kill(folder)
    path = folder / "provenance-000001.prov"
    whole = path.read_bytes()
    for torn in (whole + b'{"memory_id":"0000', whole[:-20], whole[:-20] + b"\0" * 20):
        path.write_bytes(torn)
        adapter = FileAdapter(folder)
        await adapter.open()
        assert await _answers(adapter) == expected
        assert path.read_bytes() == whole
        await adapter.close()


async def test_packs_without_a_catalog_are_no_empty_store(folder: Path) -> None:
    await _closed(folder)
    (folder / "catalog.sqlite3").unlink()
    with pytest.raises(StoreDamagedError, match="missing"):
        await FileAdapter(folder).open(PROFILE)
