"""Damaged bytes are reported, or harmless: never a wrong answer without a word."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recollect.adapters.errors import StoreDamagedError
from recollect.adapters.files import FileAdapter
from recollect.adapters.port import ById, Projection
from recollect.adapters.testing.values import (
    NEWEST,
    PROFILE,
    memory_id,
)
from tests.adapters.damaging import all_answers, copied, fill, filled, flip, regions, verdict_on


async def _closed(folder: Path) -> list[Any]:
    return await filled(FileAdapter(folder))


async def _as_after_a_kill(folder: Path) -> list[Any]:
    """Make a store whose commits are in the log only: the copy of an open store is what a kill leaves."""
    live = folder.with_name("live")
    adapter = FileAdapter(live)
    await adapter.open(PROFILE)
    await fill(adapter)
    shutil.copytree(live, folder)
    answers = await all_answers(adapter)
    await adapter.close()
    return answers


@pytest.mark.requirement("B11")
@pytest.mark.parametrize("make", [_closed, _as_after_a_kill])
@pytest.mark.parametrize("flips", [12, pytest.param(400, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
async def test_a_flipped_bit_is_reported_or_harmless(tmp_path: Path, make: Callable[..., Any], flips: int) -> None:
    sound = tmp_path / "sound"
    expected = await make(sound)
    assert await verdict_on(FileAdapter(copied(sound, tmp_path / "copy")), expected) == "harmless"
    chance = random.Random(7)
    seen: dict[str, set[str]] = {}
    for path in sorted(sound.iterdir()):
        content = path.read_bytes()
        for at in regions(content, flips, chance):
            copy = copied(sound, tmp_path / "copy")
            flip(copy / path.name, at, chance.randrange(8))
            verdict = await verdict_on(FileAdapter(copy), expected)
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
            copy = copied(sound, tmp_path / "copy")
            (copy / path.name).write_bytes(path.read_bytes()[:kept])
            assert await verdict_on(FileAdapter(copy), expected) != "SILENTLY WRONG", f"{path.name} cut to {kept} bytes"


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
    assert await all_answers(adapter) == expected
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
        assert await all_answers(adapter) == expected
        assert path.read_bytes() == whole
        await adapter.close()


async def test_packs_without_a_catalog_are_no_empty_store(folder: Path) -> None:
    await _closed(folder)
    (folder / "catalog.sqlite3").unlink()
    with pytest.raises(StoreDamagedError, match="missing"):
        await FileAdapter(folder).open(PROFILE)
