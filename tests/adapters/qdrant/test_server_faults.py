"""Servers that hang, reset and restart, and cut connections: a clear error, nothing lost, nothing twice."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path

import pytest

from recollect.adapters.errors import ConflictError, StorageError, StoreUnavailableError
from recollect.adapters.port import ById, ProvenanceStorageAdapter, Put
from recollect.adapters.qdrant.server import from_url
from recollect.adapters.testing.values import (
    EVERYTHING,
    NEWEST,
    PROFILE,
    a_commit,
    a_version,
    axis,
    ids,
    memory_id,
    revision_of,
    windows,
)
from recollect.adapters.versions import Version
from tests.adapters.qdrant.proxy import Way, proxy_to
from tests.adapters.qdrant.server_process import Server, ServerMissingError, new_server, url_of

PATIENCE_S = 60


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[ProvenanceStorageAdapter]:
    adapter = from_url(url)
    await adapter.open(PROFILE)
    try:
        yield adapter
    finally:
        await adapter.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """Give a server that a test may end."""
    try:
        server = new_server(tmp_path / "server")
        server.start()
    except ServerMissingError as missing:
        pytest.skip(f"no Qdrant server to test against: {missing}")
    yield server
    server.stop()


async def again(adapter: ProvenanceStorageAdapter) -> int:
    """Count until the store answers again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await adapter.count(NEWEST)
            except StoreUnavailableError:
                await asyncio.sleep(0.05)


@pytest.mark.requirement("B10")
@pytest.mark.parametrize("way", ["requests", "answers"])
async def test_a_commit_whose_connection_is_cut_at_any_moment_is_there_wholly_or_not_at_all(
    qdrant_server: Server, collection: str, way: Way
) -> None:
    steps, outcomes = 0, set[str]()
    async with opened(url_of(qdrant_server, collection)) as direct, proxy_to(qdrant_server.grpc_port) as proxy:
        short = {"grpc_port": proxy.port, "timeout_s": 0.25, "commit_timeout_s": 0.25}
        for attempt in count():
            base = 100 * attempt
            held = a_version(base, vectors=windows(axis(0)))
            await direct.commit(a_commit(held))
            puts = _puts(held, base)
            async with opened(url_of(qdrant_server, collection, **short)) as cut:
                proxy.cut_after(steps, way)
                try:
                    await cut.commit(a_commit(*puts))
                    outcome = "acknowledged"
                except StoreUnavailableError:
                    outcome = "refused"
                has_cut = proxy.has_cut
                proxy.mend()
            await _all_or_nothing(direct, base)
            outcomes.add(outcome)
            if has_cut:
                steps += 1
            elif outcome == "acknowledged":
                break  # nothing was left to cut off; a commit refused without a cut was only slow, and is done again
        assert (await direct.check()).findings == ()
    assert steps > 3
    assert outcomes == {"acknowledged", "refused"}


def _puts(held: Version, base: int) -> list[Version | Put]:
    """Return what each commit writes: a revision and eight new memories."""
    return [revision_of(held), *(a_version(base + number, vectors=windows(axis(1))) for number in range(1, 9))]


async def _all_or_nothing(adapter: ProvenanceStorageAdapter, base: int) -> None:
    """See that the commit is whole or absent, and that sending it again makes it whole and nothing double."""
    names = ids(*range(base, base + 9))
    held = a_version(base, vectors=windows(axis(0)))
    # Any commit finishes what is left of the one before.
    await adapter.commit(a_commit(a_version(base + 50)))
    before = [version and version.number for version in await adapter.get([ById(one) for one in names], NEWEST)]
    assert before in ([1, *[None] * 8], [2, *[1] * 8])
    try:
        await adapter.commit(a_commit(*_puts(held, base)))
    except ConflictError:
        assert before == [2, *[1] * 8]
    found = await adapter.get([ById(one) for one in names], NEWEST, EVERYTHING)
    assert [version and version.number for version in found] == [2, *[1] * 8]


@pytest.mark.requirement("B10")
async def test_a_server_that_hangs_is_a_clear_error_and_then_works_again(
    qdrant_server: Server, collection: str
) -> None:
    async with opened(url_of(qdrant_server, collection, timeout_s=0.3, commit_timeout_s=0.3)) as adapter:
        await adapter.commit(a_commit(a_version(1)))
        qdrant_server.pause()
        said = ""
        try:
            async with asyncio.timeout(PATIENCE_S):
                for number in range(2, 8):
                    with pytest.raises(StoreUnavailableError) as caught:
                        await adapter.commit(a_commit(a_version(number)))
                    said = str(caught.value)
        finally:
            qdrant_server.resume()
        assert "tried again in" in said
        assert await again(adapter) >= 1
        for number in range(2, 8):
            with suppress(ConflictError):
                await adapter.commit(a_commit(a_version(number)))
        assert await adapter.count(NEWEST) == 7
        assert (await adapter.check()).findings == ()


@pytest.mark.requirement("B10")
async def test_a_server_that_crashes_and_comes_back_loses_nothing_and_doubles_nothing(own_server: Server) -> None:
    async with opened(url_of(own_server, "memories", timeout_s=20, commit_timeout_s=60)) as adapter:
        await adapter.commit(a_commit(a_version(0)))
        acknowledged: set[int] = set()

        async def write(first: int) -> None:
            for number in range(first, first + 15):
                try:
                    await adapter.commit(a_commit(a_version(number), a_version(number + 1000)))
                except (StoreUnavailableError, ConflictError):
                    continue
                acknowledged.add(number)

        writers = [asyncio.ensure_future(write(first)) for first in (100, 200, 300, 400)]
        for _ in range(3):
            await asyncio.sleep(0.03)
            await asyncio.to_thread(own_server.kill)
            await asyncio.to_thread(own_server.start)
        await asyncio.gather(*writers)
        names = [memory_id(number + more) for number in acknowledged for more in (0, 1000)]
        found = await adapter.get([ById(name) for name in names], NEWEST)
        assert acknowledged
        assert None not in found
        assert (await adapter.check()).findings == ()
        assert await adapter.count(NEWEST) % 2 == 1


async def test_a_server_that_is_not_there_is_named(collection: str) -> None:
    adapter = from_url(f"qdrant://127.0.0.1:1/{collection}?timeout_s=0.3")
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:1"):
        await adapter.open(PROFILE)
    await adapter.close()
