"""Nothing is left of what is erased: not in a file, not in another process, and whatever dies meanwhile."""

import json
import sqlite3
from collections.abc import Callable
from itertools import count
from pathlib import Path
from subprocess import Popen

import pytest
from msgspec.structs import replace

from recollect.adapters.errors import StoreBusyError
from recollect.adapters.files import FileAdapter
from recollect.adapters.port import ById, ByRef, Commit, Put, Scan, SimilarityQuery
from recollect.adapters.testing.values import (
    EVERYTHING,
    NEWEST,
    PROFILE,
    a_commit,
    a_full_version,
    a_version,
    axis,
    collected,
    found_ids,
    ids,
    revision_of,
    terms,
    toward,
    windows,
)
from recollect.adapters.versions import Action, Provenance, Version
from tests.leftovers import files_that_hold

Start = Callable[..., Popen[str]]
MARK = "quokka"
"""A word that stands in every text of what is erased, and nowhere else."""


def marked(number: int) -> Version:
    """Return a version in which each text holds the mark, long enough to spill over pages."""
    full = a_full_version(number)
    return replace(
        full,
        key=f"{MARK} key {number}",
        summary=f"{MARK} summary",
        tags=(f"{MARK}-tag",),
        actor=f"{MARK} actor",
        source=f"message:{MARK}",
        content=f"{MARK} {number} " * 700,
        metadata={MARK: {"deep": [f"{MARK} value"] * 40}},
        provenance=Provenance(
            action=Action.CREATED,
            actor=f"{MARK} actor",
            time_ms=5,
            source=f"message:{MARK}",
            note=f"a {MARK} note",
        ),
        vectors=windows(toward(0.123456), toward(0.654321)),
        sparse=terms({3_333_333: 0.777}),
    )


def traces_of(version: Version) -> tuple[bytes, ...]:
    assert version.vectors is not None
    assert version.sparse is not None
    rows = [row.astype("<f4").tobytes() for row in version.vectors]
    return (MARK.encode(), version.content_hash.encode(), version.sparse.weights.astype("<f4").tobytes(), *rows)


@pytest.mark.requirement("B3")
@pytest.mark.parametrize("updated_before", [False, True])
async def test_no_byte_of_an_erased_version_is_left_in_any_file_after_compaction(
    adapter: FileAdapter, folder: Path, *, updated_before: bool
) -> None:
    kept = [a_version(number, content=f"kept {number} " * 50) for number in range(100, 160)]
    erased = [marked(number) for number in range(20)]
    for one, other in zip(kept, erased * 3, strict=False):
        puts = [Put(one)] + ([Put(other)] if kept.index(one) < len(erased) else [])
        await adapter.commit(Commit(puts=tuple(puts), read_point=NEWEST))
    if updated_before:
        # Pages that were copied into the catalog and split since hold parts of rows in places that nobody looks at.
        await adapter.close()
        await adapter.open()
        await adapter.commit(a_commit(*(revision_of(version, summary="other") for version in kept)))
    await collected(adapter.scan(Scan(read_point=None)))
    held = files_that_hold(folder, *traces_of(erased[0]))
    assert {"vectors-000000.pack", "provenance-000001.prov"} < set(held)
    await adapter.commit(a_commit(erases=tuple(version.ref for version in erased)))
    await adapter.compact()
    for version in erased:
        assert files_that_hold(folder, *traces_of(version)) == []
    assert (await adapter.check()).findings == ()
    assert await adapter.count(NEWEST) == len(kept)
    await adapter.close()
    assert files_that_hold(folder, *traces_of(erased[0])) == []


async def test_provenance_of_an_erased_version_stays_a_line_of_json(adapter: FileAdapter, folder: Path) -> None:
    await adapter.commit(a_commit(marked(1), a_version(2)))
    await adapter.commit(a_commit(erases=(marked(1).ref,)))
    lines = (folder / "provenance-000001.prov").read_text("utf-8").splitlines()
    first, second = map(json.loads, lines)
    assert (first["memory_id"], first["erased"]) == (marked(1).memory_id, True)
    assert second["provenance"]["actor"] == "ada"


@pytest.mark.requirement("A7", "B7")
async def test_a_process_that_dies_at_any_step_of_an_erasure_leaves_a_sound_store_and_the_next_finishes_it(
    tmp_path: Path, start_program: Start, *, request: pytest.FixtureRequest
) -> None:
    stride = 1 if request.config.getoption("--slow") else 5
    erased = marked(1)
    outcomes: set[tuple[bool, bool]] = set()
    for step in count(1, stride):
        folder = tmp_path / f"store {step}"
        adapter = FileAdapter(folder)
        await adapter.open(PROFILE)
        await adapter.commit(a_commit(erased, a_version(2, vectors=windows(toward(0.5)))))
        await adapter.close()
        program = start_program("erase_and_compact", str(folder), str(step))
        said, _ = program.communicate(timeout=60)
        if program.returncode == 0:
            break
        outcomes.add(("erased" in said, "compacted" in said))
        await adapter.open()
        found, beside = await adapter.get([ByRef(erased.ref), ByRef(a_version(9).ref)], NEWEST, EVERYTHING)
        assert found is not None
        # Wholly erased beside the other put of its commit, or not at all.
        assert found.erased == (beside is not None)
        assert found.erased or "erased" not in said
        assert (await adapter.check()).findings == ()
        if not found.erased:
            assert found.content == erased.content
            await adapter.commit(a_commit(erases=(erased.ref,)))
        await adapter.compact()
        assert files_that_hold(folder, *traces_of(erased)) == []
        assert await found_ids(adapter, SimilarityQuery(read_point=NEWEST, dense=axis(0))) == ids(2)
        await adapter.close()
    assert {(False, False), (True, False)} <= outcomes


async def test_a_store_that_was_erased_from_by_another_process_shows_nothing_of_it(
    adapter: FileAdapter, folder: Path, start_program: Start
) -> None:
    erased = marked(1)
    await adapter.commit(a_commit(erased, a_version(2, vectors=windows(toward(0.5)))))
    query = SimilarityQuery(read_point=NEWEST, dense=axis(0))
    assert await found_ids(adapter, query) == ids(1, 2)
    program = start_program("erase_and_compact", str(folder), "0")
    program.communicate(timeout=60)
    assert program.returncode == 0
    assert await found_ids(adapter, query) == ids(2)
    encoded = b"".join([batch async for group in adapter.find_similar_encoded(query) for batch in group.batches])
    assert MARK.encode() not in encoded
    assert files_that_hold(folder, *traces_of(erased)) == []
    assert (await adapter.check()).findings == ()


async def test_processes_that_write_while_another_erases_and_compacts_lose_nothing(
    adapter: FileAdapter, folder: Path, start_program: Start
) -> None:
    await adapter.commit(a_commit(*map(marked, range(30))))
    program = start_program("write_many", str(folder), "60", "2")
    assert program.stdin is not None
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    program.stdin.write("go\n")
    program.stdin.flush()
    for number in range(30):
        await adapter.commit(a_commit(erases=(marked(number).ref,)))
        if number % 10 == 9:
            await adapter.compact()
    acknowledged = program.stdout.read().split()
    assert program.wait() == 0
    assert len(acknowledged) == 120
    found = await adapter.get([ById(name) for name in acknowledged], NEWEST, EVERYTHING)
    assert all(version is not None and version.provenance is not None for version in found)
    assert await adapter.count(NEWEST) == 120
    assert (await adapter.check()).findings == ()
    assert files_that_hold(folder, *traces_of(marked(0))) == []


async def test_compaction_that_a_reader_holds_up_says_so_and_the_next_one_does_it(
    adapter: FileAdapter, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recollect.adapters.files.catalog.BUSY_TIMEOUT_S", 0.05)
    await adapter.close()
    await adapter.open()
    await adapter.commit(a_commit(marked(1)))
    reader = sqlite3.connect(folder / "catalog.sqlite3", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM versions").fetchone()
    await adapter.commit(a_commit(erases=(marked(1).ref,)))
    with pytest.raises(StoreBusyError, match="reader"):
        await adapter.compact()
    reader.execute("COMMIT")
    reader.close()
    await adapter.compact()
    assert files_that_hold(folder, *traces_of(marked(1))) == []


async def test_a_stream_under_way_shows_each_version_as_it_was_or_its_stub(adapter: FileAdapter) -> None:
    await adapter.commit(a_commit(*map(marked, range(40))))
    stream = adapter.scan(Scan(read_point=NEWEST, namespaces=("projects",), batch_size=1))
    await anext(stream)
    await adapter.commit(a_commit(erases=tuple(marked(number).ref for number in range(40))))
    await adapter.compact()
    rest = await collected(stream)
    assert len(rest) == 39
    assert all(version.erased or version.summary == marked(1).summary for version in rest)


async def test_a_commit_without_puts_does_not_make_the_store_look_damaged(adapter: FileAdapter) -> None:
    await adapter.commit(a_commit(a_version(1)))
    await adapter.commit(a_commit(erases=(a_version(1).ref,)))
    await adapter.close()
    await adapter.open()
    assert await adapter.count(NEWEST) == 0
