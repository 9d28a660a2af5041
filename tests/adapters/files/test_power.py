"""A power cut loses nothing acknowledged: tried on a file system that drops all that was not synced."""

import random
from collections.abc import Callable
from subprocess import Popen

import pytest

from recollect.adapters.files import FileAdapter, durable
from recollect.adapters.port import ById, Scan
from recollect.adapters.testing.values import EVERYTHING, NEWEST, PROFILE, a_commit, a_version, axis, collected, windows
from tests.adapters.disks import Disk


@pytest.mark.requirement("A5", "B3", "B7")
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 20))])
async def test_a_power_cut_loses_no_acknowledged_commit(
    disk: Disk, start_program: Callable[..., Popen[str]], seed: int
) -> None:
    folder = disk.path / "store"
    adapter = FileAdapter(folder)
    await adapter.open(PROFILE)
    await adapter.close()
    chance = random.Random(seed)
    acknowledged: list[str] = []
    for _ in range(2):
        program = start_program("write_many", str(folder), "100000", "2")
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.stdin.write("go\n")
        program.stdin.flush()
        acknowledged += [program.stdout.readline() for _ in range(chance.randrange(1, 150))]
        disk.cut()
        program.kill()
        program.wait()
        disk.power_up()
        adapter = FileAdapter(folder)
        await adapter.open()
        names = [name for line in acknowledged for name in line.split()]
        found = await adapter.get([ById(name) for name in names], NEWEST, EVERYTHING)
        assert all(version is not None and version.provenance is not None for version in found)
        stored = await collected(adapter.scan(Scan(read_point=NEWEST)))
        assert len(stored) % 2 == 0
        assert (await adapter.check()).findings == ()
        await adapter.close()


async def test_packs_that_were_noted_as_synced_are_whole_after_a_power_cut(disk: Disk) -> None:
    folder = disk.path / "store"
    adapter = FileAdapter(folder)
    await adapter.open(PROFILE)
    await adapter.commit(a_commit(*(a_version(number, vectors=windows(axis(number % 8))) for number in range(500))))
    assert adapter._store is not None
    adapter._store.maintenance.turn()
    await adapter.commit(a_commit(a_version(999)))
    disk.cut()
    adapter._store.maintenance.stop()
    adapter._store._take_apart()
    disk.power_up()
    again = FileAdapter(folder)
    await again.open()
    assert (await again.status()).notes == ()
    assert (await again.check()).findings == ()
    await again.close()


async def test_a_new_store_is_there_after_a_power_cut(disk: Disk) -> None:
    adapter = FileAdapter(disk.path / "new" / "store")
    await adapter.open(PROFILE)
    await adapter.commit(a_commit(a_version(1)))
    disk.cut()
    assert adapter._store is not None
    # The device is gone: there is nothing that closing could still write.
    adapter._store.maintenance.stop()
    adapter._store._take_apart()
    disk.power_up()
    again = FileAdapter(disk.path / "new" / "store")
    await again.open()
    assert await again.count(NEWEST) == 1
    await again.close()


@pytest.mark.requirement("B3")
def test_a_new_file_is_whole_right_after_it_was_made(disk: Disk) -> None:
    path = disk.path / "one" / "two" / "file"
    durable.create_folder(path.parent)
    assert durable.create_file(path, b"content")
    disk.cut()
    disk.power_up()
    assert path.read_bytes() == b"content"
