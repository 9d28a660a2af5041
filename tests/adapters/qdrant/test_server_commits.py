"""Writers that race, stall and die in the middle of a commit leave a store that is whole."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recollect.adapters.errors import ConflictError
from recollect.adapters.port import ById, Scan
from recollect.adapters.qdrant.server import heads, intents
from recollect.adapters.qdrant.server.adapter import ServerAdapter
from recollect.adapters.qdrant.server.address import parse_address
from recollect.adapters.testing.values import (
    EVERYTHING,
    NEWEST,
    PROFILE,
    a_commit,
    a_version,
    as_plain,
    axis,
    branch_point,
    collected,
    ids,
    memory_id,
    revision_of,
    tombstone_of,
    windows,
)
from tests.adapters.qdrant.server_process import Server, url_of
from tests.adapters.starting import Program, Start, starting


@pytest.fixture
def url(qdrant_server: Server, collection: str) -> str:
    return url_of(qdrant_server, collection)


@pytest.fixture
def start_program() -> Iterator[Start]:
    """Start `server_programs.py` with arguments; it is killed at the end."""
    with starting(sys.executable, str(Path(__file__).with_name("server_programs.py"))) as start:
        yield start


async def an_adapter(url: str) -> ServerAdapter:
    adapter = ServerAdapter(parse_address(url))
    await adapter.open(PROFILE)
    return adapter


# --- Writers that stall ----------------------------------------------------------------------------------------------


@pytest.mark.requirement("A17")
async def test_a_writer_that_stalls_after_its_commit_is_finished_by_another_and_harms_nothing_when_it_goes_on(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = await an_adapter(url), await an_adapter(url)
    first = a_version(1, vectors=windows(axis(0)))
    await slow.commit(a_commit(first, a_version(2)))
    apply, stalled, go_on = intents.apply, asyncio.Event(), asyncio.Event()

    async def stall(connection: Any, *rest: Any) -> None:
        if slow._store is not None and connection is slow._store.connection:
            stalled.set()
            await go_on.wait()
        await apply(connection, *rest)

    monkeypatch.setattr(intents, "apply", stall)
    second = revision_of(first, content="second")
    late = asyncio.ensure_future(
        slow.commit(a_commit(second, revision_of(first, branch="draft"), tombstone_of(a_version(2)), a_version(3)))
    )
    await stalled.wait()
    assert await quick.count(NEWEST) == 2, "what is not acknowledged is not seen"
    third = revision_of(second.version, content="third")
    await quick.commit(a_commit(third, revision_of(first, branch="other"), a_version(4)))
    before = [
        as_plain(version) for version in await collected(quick.scan(Scan(read_point=None, projection=EVERYTHING)))
    ]
    go_on.set()
    await late
    for adapter in (slow, quick):
        after = await collected(adapter.scan(Scan(read_point=None, projection=EVERYTHING)))
        assert [as_plain(version) for version in after] == before
        [newest] = await adapter.get([ById(memory_id(1))], NEWEST)
        assert newest is not None
        assert newest.summary == third.version.summary
        assert await adapter.count(NEWEST) == 3
        for branch in ("draft", "other"):
            [found] = await adapter.get([ById(memory_id(1))], branch_point(branch, "main"))
            assert found is not None
            assert found.branch == branch
        assert (await adapter.check()).findings == ()
        await adapter.close()


@pytest.mark.requirement("A17")
async def test_a_writer_that_stalls_before_its_commit_begins_again_where_another_was_faster(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = await an_adapter(url), await an_adapter(url)
    await slow.commit(a_commit(a_version(1)))
    move, stalled, go_on = heads.move, asyncio.Event(), asyncio.Event()

    async def stall(connection: Any, *rest: Any, **options: Any) -> heads.Head:
        if slow._store is not None and connection is slow._store.connection:
            stalled.set()
            await go_on.wait()
        return await move(connection, *rest, **options)

    monkeypatch.setattr(heads, "move", stall)
    revision = asyncio.ensure_future(slow.commit(a_commit(revision_of(a_version(1), content="late"))))
    await stalled.wait()
    other = asyncio.ensure_future(slow.commit(a_commit(a_version(2))))
    faster = await quick.commit(a_commit(revision_of(a_version(1), content="early")))
    go_on.set()
    with pytest.raises(ConflictError):
        await revision
    assert (await other).position > faster.position
    assert (await quick.check()).findings == ()
    assert [version.number for version in await collected(quick.history(memory_id(1), NEWEST))] == [2, 1]
    await slow.close()
    await quick.close()


@pytest.mark.requirement("A17")
async def test_a_writer_that_only_erases_begins_again_where_another_was_faster(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = await an_adapter(url), await an_adapter(url)
    await slow.commit(a_commit(a_version(1), a_version(2)))
    move, stalled, go_on = heads.move, asyncio.Event(), asyncio.Event()

    async def stall(connection: Any, *rest: Any, **options: Any) -> heads.Head:
        if slow._store is not None and connection is slow._store.connection:
            stalled.set()
            await go_on.wait()
        return await move(connection, *rest, **options)

    monkeypatch.setattr(heads, "move", stall)
    erasure = asyncio.ensure_future(slow.commit(a_commit(erases=(a_version(1).ref,))))
    await stalled.wait()
    faster = await quick.commit(a_commit(a_version(3)))
    go_on.set()
    assert (await erasure).position > faster.position
    assert await quick.get([ById(name) for name in ids(1)], NEWEST) == [None]
    assert await quick.count(NEWEST) == 2
    await slow.close()
    await quick.close()


async def test_intents_that_are_too_large_for_the_head_lie_beside_it_and_leave_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "INLINE_BYTES_MAX", 1_000)
    monkeypatch.setattr(heads, "PART_BYTES", 1_000)
    monkeypatch.setattr(intents, "POINTS_PER_CALL", 3)
    adapter = await an_adapter(url)
    await adapter.commit(a_commit(*(a_version(number, vectors=windows(axis(0))) for number in range(20))))
    assert await adapter.count(NEWEST) == 20
    assert (await adapter.check()).findings == ()
    assert adapter._store is not None
    connection = adapter._store.connection
    left = await connection.call("counting", lambda client: client.count(connection.name))
    assert left.count == 20 + 2, "the versions, the head and the profile"
    await adapter.close()


# --- Processes -------------------------------------------------------------------------------------------------------


def _line(program: Program) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


@pytest.mark.requirement("A17")
async def test_of_two_processes_that_revise_one_memory_one_succeeds_and_one_conflicts(
    url: str, start_program: Start
) -> None:
    rounds = 10
    adapter = await an_adapter(url)
    await adapter.commit(a_commit(*(a_version(number) for number in range(rounds))))
    programs = [start_program("revise", url, str(rounds)) for _ in range(2)]
    for program in programs:
        assert await asyncio.to_thread(_line, program) == "ready"
    outcomes: list[list[str]] = []
    for number in range(rounds):
        for program in programs:
            assert program.stdin is not None
            program.stdin.write(f"{number}\n")
            program.stdin.flush()
        outcomes.append(sorted([await asyncio.to_thread(_line, program) for program in programs]))
    assert outcomes == [["conflict", "success"]] * rounds
    for name in ids(*range(rounds)):
        assert [version.number for version in await collected(adapter.history(name, NEWEST))] == [2, 1]
    assert (await adapter.check()).findings == ()
    await adapter.close()


@pytest.mark.requirement("A7", "A17")
async def test_processes_that_write_together_lose_nothing(url: str, start_program: Start) -> None:
    adapter = await an_adapter(url)
    programs = [start_program("write_many", url, str(1000 * number), "20") for number in (1, 2, 3)]
    for program in programs:
        assert await asyncio.to_thread(_line, program) == "done"
    names = ids(*(1000 * number + step for number in (1, 2, 3) for step in range(60)))
    assert None not in await adapter.get([ById(name) for name in names], NEWEST)
    assert await adapter.count(NEWEST) == 180
    assert (await adapter.check()).findings == ()
    await adapter.close()


@pytest.mark.slow
@pytest.mark.requirement("A7")
async def test_a_process_killed_at_any_step_of_a_commit_leaves_all_of_it_or_nothing(
    url: str, start_program: Start
) -> None:
    adapter = await an_adapter(url)
    outcomes = set[int]()
    step = 0
    while True:
        base = 100 * step
        await adapter.commit(a_commit(a_version(base)))
        program = start_program("commit_and_die", url, str(base), str(step))
        line = await asyncio.to_thread(_line, program)
        await asyncio.to_thread(program.wait)
        again = await an_adapter(url)
        found = await again.get([ById(name) for name in ids(*range(base, base + 9))], NEWEST)
        numbers = [version and version.number for version in found]
        assert numbers in ([1, *[None] * 8], [2, *[1] * 8])
        outcomes.add(numbers[0] or 0)
        assert (await again.check()).findings == ()
        await again.close()
        if line == "acknowledged":
            assert numbers[0] == 2
            break
        step += 1
    assert step > 8
    assert outcomes == {1, 2}
    await adapter.close()
