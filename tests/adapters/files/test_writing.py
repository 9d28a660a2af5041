"""How the file backend writes: shared syncs, commits that fail alone, files of its own."""

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest

from recollect.adapters.errors import (
    ConflictError,
    InvalidRequestError,
    ProfileMismatchError,
    StoreClosedError,
    StoreDamagedError,
    StoreUnavailableError,
)
from recollect.adapters.files import FileAdapter, from_url
from recollect.adapters.files import transaction as transactions
from recollect.adapters.files.store import OpenStore
from recollect.adapters.files.transaction import Transaction
from recollect.adapters.port import ById, HeadIs, KeyIs, Projection, Scan, SimilarityQuery, StoreProfile
from recollect.adapters.testing.values import (
    EVERYTHING,
    NEWEST,
    PROFILE,
    a_commit,
    a_version,
    axis,
    collected,
    memory_id,
    revision_of,
    windows,
)


def _store(adapter: FileAdapter) -> OpenStore:
    assert adapter._store is not None
    return adapter._store


def _modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def _name_of(handle: int) -> str:
    return Path(f"/proc/self/fd/{handle}").readlink().name


@pytest.mark.requirement("A4", "B1")
async def test_commits_that_wait_together_share_one_sync(adapter: FileAdapter) -> None:
    counters = _store(adapter).writer.counters
    await asyncio.gather(*(adapter.commit(a_commit(a_version(number))) for number in range(200)))
    assert counters.commits == 200
    assert counters.syncs < 50
    before = counters.syncs
    await adapter.commit(a_commit(*(a_version(number) for number in range(200, 210))))
    assert counters.syncs == before + 1


async def test_each_of_many_commits_at_once_has_its_own_place(adapter: FileAdapter) -> None:
    receipts = await asyncio.gather(*(adapter.commit(a_commit(a_version(number))) for number in range(50)))
    positions = [receipt.position for receipt in receipts]
    assert len(set(positions)) == 50
    found = await collected(adapter.scan(Scan(read_point=NEWEST)))
    assert [version.position for version in found] == sorted(positions)


async def test_one_of_two_rivals_in_one_group_wins(adapter: FileAdapter) -> None:
    free = KeyIs("longterm", "k", None)
    rivals = (a_commit(a_version(number, key="k"), preconditions=(free,)) for number in range(20))
    outcomes = await asyncio.gather(*map(adapter.commit, rivals), return_exceptions=True)
    assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == 19
    assert await adapter.count(NEWEST) == 1


@pytest.mark.requirement("A7")
async def test_a_commit_that_cannot_be_written_fails_alone(
    adapter: FileAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Transaction.add

    def fails_late(self: Transaction, prepared: object) -> int:
        position = original(self, prepared)  # type: ignore[arg-type]
        if any(put.key == "bad" for put in prepared.puts):  # type: ignore[attr-defined]
            raise OSError("the device failed")
        return position

    monkeypatch.setattr(Transaction, "add", fails_late)
    commits = [a_commit(a_version(number, key="bad" if number == 7 else None)) for number in range(20)]
    outcomes = await asyncio.gather(*map(adapter.commit, commits), return_exceptions=True)
    assert [at for at, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)] == [7]
    assert isinstance(outcomes[7], StoreUnavailableError)
    assert await adapter.count(NEWEST) == 19
    assert (await adapter.check()).findings == ()


async def test_a_relaxed_commit_is_not_synced_until_it_is_flushed(
    adapter: FileAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = _store(adapter).writer.counters
    receipt = await adapter.commit(a_commit(a_version(1), durability="relaxed"))
    assert (receipt.durable, counters.syncs) == (False, 0)
    synced: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda handle: synced.append(_name_of(handle)))
    await adapter.flush()
    assert "catalog.sqlite3-wal" in synced


@pytest.mark.requirement("A3")
async def test_provenance_is_not_read_unless_it_is_asked_for(adapter: FileAdapter) -> None:
    version = a_version(1, vectors=windows(axis(0)))
    await adapter.commit(a_commit(version))
    full = Projection(content=True, vectors=True)
    await adapter.get([ById(version.memory_id)], NEWEST, full)
    await collected(adapter.scan(Scan(read_point=NEWEST, projection=full)))
    await collected(adapter.history(version.memory_id, NEWEST, full))
    await collected(adapter.find_similar(SimilarityQuery(read_point=NEWEST, dense=axis(0), projection=full)))
    assert adapter.provenance_bytes_read == 0
    (found,) = await adapter.get([ById(version.memory_id)], NEWEST, Projection(provenance=True))
    assert found is not None
    assert found.provenance == version.provenance
    assert adapter.provenance_bytes_read > 0


@pytest.mark.requirement("A5", "A15")
async def test_provenance_lies_in_lines_of_json_that_say_their_schema(adapter: FileAdapter, folder: Path) -> None:
    first = a_version(1)
    receipt = await adapter.commit(a_commit(first))
    await adapter.commit(a_commit(revision_of(first)))
    lines = (folder / "provenance-000001.prov").read_text().splitlines()
    one, two = map(json.loads, lines)
    assert (one["memory_id"], one["branch"], one["version"]) == (first.memory_id, "main", 1)
    assert one["position"] == receipt.position
    assert one["provenance"]["actor"] == "ada"
    assert one["provenance"]["schema_version"] == 1
    assert two["version"] == 2


@pytest.mark.requirement("B7")
async def test_what_a_dead_writer_left_in_a_pack_is_written_over(adapter: FileAdapter, folder: Path) -> None:
    await adapter.commit(a_commit(a_version(1)))
    with (folder / "provenance-000001.prov").open("ab") as pack:
        pack.write(b'{"memory_id":"never committed"}\n' * 50)
    await adapter.commit(a_commit(a_version(2)))
    lines = (folder / "provenance-000001.prov").read_text().splitlines()
    assert [json.loads(line)["memory_id"] for line in lines] == [memory_id(1), memory_id(2)]


async def test_provenance_goes_on_in_a_new_pack(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "ROTATE_BYTES", 500)
    adapter = FileAdapter(folder)
    await adapter.open(PROFILE)
    for number in range(12):
        provenance = None if number in {3, 4, 7} else a_version(number).provenance
        await adapter.commit(a_commit(a_version(number, provenance=provenance)))
    packs = [name for name in sorted(_modes(folder)) if name.endswith(".prov")]
    assert packs[0] == "provenance-000001.prov"
    assert len(packs) > 2
    await adapter.close()
    (folder / packs[1]).unlink()
    await adapter.open()
    stored = await collected(adapter.scan(Scan(read_point=NEWEST, projection=EVERYTHING)))
    assert [version.provenance is None for version in stored] == [number in {3, 4, 7} for number in range(12)]
    assert (await adapter.check()).findings == ()
    await adapter.close()


async def test_a_branch_head_is_known_before_and_after_upkeep(adapter: FileAdapter) -> None:
    head = 0
    for number in range(4):
        condition = HeadIs("draft", head)
        receipt = await adapter.commit(a_commit(a_version(number, branch="draft"), preconditions=(condition,)))
        await adapter.commit(a_commit(a_version(number + 10)))
        with pytest.raises(ConflictError) as conflict:
            await adapter.commit(a_commit(a_version(99), preconditions=(condition,)))
        head = receipt.position
        assert conflict.value.found == head
        if number % 2:
            _store(adapter).maintenance.turn()


@pytest.mark.requirement("B3")
async def test_files_are_the_owners_alone(adapter: FileAdapter, folder: Path) -> None:
    await adapter.commit(a_commit(a_version(1, vectors=windows(axis(0)))))
    assert _modes(folder.parent)[folder.name] == 0o700
    modes = _modes(folder)
    assert set(modes.values()) == {0o600}, modes
    assert not any(name.startswith(".") for name in modes)


@pytest.mark.parametrize("name", ["a b", "q?mode=ro#x", "100%25", 'it\'s "quoted"', "ünï\U0001f9e0", "-rf", "a&b=c;d"])
async def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    adapter = from_url(f"file:{tmp_path / name}")
    await adapter.open(PROFILE)
    await adapter.commit(a_commit(a_version(1)))
    await adapter.close()
    assert "catalog.sqlite3" in _modes(tmp_path / name)
    assert list(_modes(tmp_path)) == [name]


@pytest.mark.parametrize("url", ["file:", "file:a\0b", "edge:/tmp/x"])
def test_a_url_that_names_no_folder_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="file:PATH"):
        from_url(url)


async def test_what_is_no_store_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "catalog.sqlite3").write_bytes(b"not a database" * 100)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "catalog.sqlite3").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailableError):
        await FileAdapter(tmp_path / "file").open(PROFILE)
    with pytest.raises(StoreDamagedError):
        await FileAdapter(tmp_path / "other").open(PROFILE)
    with pytest.raises(StoreUnavailableError, match="link"):
        await FileAdapter(tmp_path / "link").open(PROFILE)
    with pytest.raises(StoreUnavailableError, match="profile"):
        await FileAdapter(tmp_path / "nothing").open()
    assert not (tmp_path / "nothing").exists()


async def test_a_store_keeps_its_profile(folder: Path, adapter: FileAdapter) -> None:
    await adapter.commit(a_commit(a_version(1)))
    other = FileAdapter(folder)
    with pytest.raises(ProfileMismatchError, match="unit-vectors"):
        await other.open(StoreProfile("another model", PROFILE.dimension))
    with pytest.raises(StoreClosedError):
        await other.get([ById(memory_id(1))], NEWEST)
    assert await other.open() == PROFILE
    with pytest.raises(StoreUnavailableError, match="already"):
        await other.open()
    await other.close()


async def test_many_versions_of_one_memory_stay_one_memory(adapter: FileAdapter) -> None:
    version = a_version(1, key="k")
    await adapter.commit(a_commit(version))
    for _ in range(30):
        put = revision_of(version, content="same text")
        await adapter.commit(a_commit(put))
        version = put.version
    assert await adapter.count(NEWEST) == 1
    rows = _store(adapter).reader().connection.execute("SELECT count(*) FROM versions WHERE fresh & 1").fetchone()
    assert rows == (1,)
    assert (await adapter.check()).findings == ()
