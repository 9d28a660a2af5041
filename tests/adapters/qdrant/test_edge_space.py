"""A full disk refuses commits whole, keeps what is there, and keeps nobody from reading."""

import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from recollect.adapters.errors import StoreFullError
from recollect.adapters.port import Scan
from recollect.adapters.qdrant.edge.adapter import EdgeAdapter
from recollect.adapters.qdrant.edge.keeper import Keeper, Waiting
from recollect.adapters.qdrant.folder import SPACE_BYTES_MIN
from recollect.adapters.testing.values import EVERYTHING, NEWEST, PROFILE, a_commit, a_version, axis, collected, windows
from recollect.adapters.versions import Version
from tests.adapters.disks import Disk

CHANCE = random.Random(5)


@pytest.fixture
def folder(disk: Disk) -> Path:
    return disk.path / "store"


@pytest_asyncio.fixture
async def adapter(folder: Path) -> AsyncIterator[EdgeAdapter]:
    adapter = EdgeAdapter(folder)
    await adapter.open(PROFILE)
    yield adapter
    await adapter.close()


def a_pair(number: int) -> tuple[Version, Version]:
    """Return two versions with texts that no engine makes smaller."""
    first, second = (
        a_version(2 * number + at, content=CHANCE.randbytes(30_000).hex(), vectors=windows(axis(at))) for at in (0, 1)
    )
    return first, second


async def fill(adapter: EdgeAdapter, disk: Disk) -> int:
    """Write pairs until the disk takes no more, and return how many."""
    disk.fill(SPACE_BYTES_MIN + 2**21)
    for number in range(1_000):
        try:
            await adapter.commit(a_commit(*a_pair(number)))
        except StoreFullError:
            return number
    raise AssertionError("the disk never became full")


async def sound_versions(adapter: EdgeAdapter) -> int:
    assert (await adapter.check()).findings == ()
    return len(await collected(adapter.scan(Scan(read_point=NEWEST, projection=EVERYTHING))))


@pytest.mark.requirement("B7")
async def test_commits_are_refused_whole_reads_go_on_and_commits_too_once_there_is_room(
    adapter: EdgeAdapter, disk: Disk
) -> None:
    commits = await fill(adapter, disk)
    assert commits > 3
    engine = adapter.engine_pid
    disk.fill()
    with pytest.raises(StoreFullError, match="no space left"):
        await adapter.commit(a_commit(*a_pair(2_000)))
    assert await sound_versions(adapter) == 2 * commits
    assert adapter.engine_pid == engine
    disk.make_room()
    await adapter.commit(a_commit(*a_pair(3_000)))
    await adapter.close()
    await adapter.open()
    assert await sound_versions(adapter) == 2 * commits + 2


@pytest.mark.slow
@pytest.mark.requirement("B7")
async def test_a_store_on_a_full_disk_can_be_opened_and_read(adapter: EdgeAdapter, disk: Disk) -> None:
    commits = await fill(adapter, disk)
    await adapter.close()
    disk.fill()
    await adapter.open()
    assert await sound_versions(adapter) == 2 * commits


@pytest.mark.slow
@pytest.mark.requirement("B7")
@pytest.mark.parametrize("reserve", [True, False])
async def test_an_engine_that_dies_on_a_full_disk_loses_nothing(
    adapter: EdgeAdapter, folder: Path, disk: Disk, *, reserve: bool
) -> None:
    commits = await fill(adapter, disk)
    if not reserve:
        (folder / "reserve").unlink()
    disk.fill()
    os.kill(adapter.engine_pid, signal.SIGKILL)
    if reserve:
        assert await sound_versions(adapter) == 2 * commits
    else:
        with pytest.raises(StoreFullError, match=r"free some .* nothing is lost"):
            await adapter.count(NEWEST)
    disk.make_room()
    assert await sound_versions(adapter) == 2 * commits


@pytest.mark.slow
async def test_no_store_is_begun_where_there_is_no_room_for_one(folder: Path, disk: Disk) -> None:
    disk.fill(SPACE_BYTES_MIN - 2**20)
    adapter = EdgeAdapter(folder)
    with pytest.raises(StoreFullError, match="no space left"):
        await adapter.open(PROFILE)
    disk.make_room()
    await adapter.open(PROFILE)
    assert await adapter.count(NEWEST) == 0
    await adapter.close()


@pytest.mark.parametrize("noted", [True, False])
def test_what_was_flushed_is_not_applied_again_after_a_kill(tmp_path: Path, *, noted: bool) -> None:
    answers: list[object] = []
    keeper = Keeper(tmp_path, PROFILE)
    keeper.commit([Waiting(bytes(16), a_commit(a_version(1)), answers.append)])
    keeper.flush()
    # As a kill leaves it: the journal still holds the last commit.
    keeper.store.close()
    keeper._journal.close()
    if not noted:
        (tmp_path / "flushed").write_bytes((tmp_path / "flushed").read_bytes().replace(b"2", b"3"))

    applied: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "recollect.adapters.qdrant.shard.ShardStore.apply", lambda _, mutations: applied.append(mutations)
        )
        again = Keeper(tmp_path, None)
    assert len(applied) == (0 if noted else 1)
    again.commit([Waiting(bytes(16), a_commit(a_version(1)), answers.append)])
    assert answers[0] == answers[1]
    again.close()
