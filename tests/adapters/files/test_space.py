"""A full disk refuses commits whole and keeps what is there."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recollect.adapters.errors import StoreFullError
from recollect.adapters.files import FileAdapter
from recollect.adapters.files import writer as writing
from recollect.adapters.port import Scan
from recollect.adapters.testing.values import EVERYTHING, NEWEST, PROFILE, a_commit, a_version, axis, collected, windows
from recollect.adapters.versions import Version


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 3 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(path)], check=False, capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small file system takes root and is not allowed everywhere")
    yield path
    # Lazily: a test that failed may have left a store open on it.
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def _pair(number: int) -> tuple[Version, Version]:
    first, second = (a_version(2 * number + at, content="text " * 400, vectors=windows(axis(at))) for at in (0, 1))
    return first, second


def _make_room(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=12m", str(disk)], check=True)


async def _fill(adapter: FileAdapter) -> int:
    for number in range(10_000):
        try:
            await adapter.commit(a_commit(*_pair(number)))
        except StoreFullError:
            return number
    raise AssertionError("the disk never became full")


@pytest.mark.parametrize("reserve", ["checked before writing", "met while writing"])
async def test_a_full_disk_refuses_commits_whole_and_reads_go_on(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, reserve: str
) -> None:
    if reserve == "met while writing":
        monkeypatch.setattr(writing.Writer, "_check_space", lambda *_: None)
    adapter = FileAdapter(small_disk / "store")
    await adapter.open(PROFILE)
    commits = await _fill(adapter)
    assert commits > 10
    with pytest.raises(StoreFullError, match="space"):
        await adapter.commit(a_commit(*_pair(20_000)))
    stored = await collected(adapter.scan(Scan(read_point=NEWEST, projection=EVERYTHING)))
    assert len(stored) == 2 * commits
    assert (await adapter.check()).findings == ()
    _make_room(small_disk)
    await adapter.commit(a_commit(*_pair(30_000)))
    assert await adapter.count(NEWEST) == 2 * commits + 2
    await adapter.close()
    await adapter.open()
    assert await adapter.count(NEWEST) == 2 * commits + 2
    assert (await adapter.check()).findings == ()
    await adapter.close()


async def test_a_store_on_a_full_disk_can_be_opened_and_read(small_disk: Path) -> None:
    adapter = FileAdapter(small_disk / "store")
    await adapter.open(PROFILE)
    commits = await _fill(adapter)
    await adapter.close()
    await adapter.open()
    assert await adapter.count(NEWEST) == 2 * commits
    await adapter.close()
