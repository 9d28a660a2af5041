"""migrate-store: a whole store goes to another backend, and works there as it did."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from recollect.service import MemoryService, NewMemory, Settings, create_memory_service
from recollect.service.branching.requests import MergeRequest, NewBranch, NewTag
from recollect.service.requests import Revision, SearchRequest
from tests.adapters.qdrant.server_process import Server, drop
from tests.adapters.qdrant.server_process import url_of as server_url

if TYPE_CHECKING:
    from tests.service.cli.conftest import Cli

Result = TypeVar("Result")
PEANUTS = NewMemory(content="Ben is allergic to peanuts.")
KILLED = """
import os, signal, sys
from recollect.adapters.registry import create_adapter
from recollect.service.cli.main import app

Adapter = type(create_adapter(sys.argv[-1]))
commit, left = Adapter.commit, int(sys.argv.pop(1))

async def commit_or_die(self, one):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return await commit(self, one)

Adapter.commit = commit_or_die
app()
"""


PAIRS = ["edge-to-server", "server-to-edge", "file-to-server", "server-to-file", "server-to-server"]


@pytest.fixture(params=["file-to-file", *(pytest.param(pair, marks=pytest.mark.slow) for pair in PAIRS)])
def url_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Gives URLs of stores: of `source` on one backend, of all others on another."""
    first, _, second = str(request.param).partition("-to-")

    def url(name: str) -> str:
        backend = first if name == "source" else second
        if backend != "server":
            return f"{backend}:{tmp_path / name}"
        server: Server = request.getfixturevalue("qdrant_server")
        collection = f"{tmp_path.name}-{name}"
        request.addfinalizer(lambda: drop(server, collection))
        return server_url(server, collection)

    return url


@pytest.fixture
def cli(cli_of: "type[Cli]") -> "Cli":
    """The command names its stores itself."""
    return cli_of()


def on(url: str, work: Callable[[MemoryService], Awaitable[Result]]) -> Result:
    """Do something with the service on a store; commands have loops of their own."""

    async def opened() -> Result:
        async with await create_memory_service(Settings(storage=url, model="hash")) as memory:
            return await work(memory)

    return asyncio.run(opened())


@pytest.fixture
def source(url_of: Callable[[str], str]) -> str:
    """A store with branches, a merge, a tag, something forgotten and an idempotency key."""

    async def fill(memory: MemoryService) -> None:
        first = await memory.remember(NewMemory(content="The sea was calm.", key="sea", tags=["coast"]))
        await memory.remember(PEANUTS, idempotency_key="once")
        await memory.branches.create(NewBranch(name="draft"))
        await memory.revise(first.id, Revision(content="The sea was rough.", branch="draft"))
        await memory.branches.tags.create(NewTag(name="before"))
        await memory.branches.merge("main", MergeRequest(source="draft"))
        gone = await memory.remember("This will be forgotten.")
        await memory.forget(gone.id)

    on(url_of("source"), fill)
    return url_of("source")


@pytest.mark.requirement("F4")
def test_a_migrated_store_answers_as_the_one_it_came_from(
    cli: "Cli", source: str, url_of: Callable[[str], str]
) -> None:
    report = migrate(cli, source, url_of("target"))

    async def look(memory: MemoryService) -> None:
        again = await memory.remember(PEANUTS, idempotency_key="once")
        assert (again.status, again.version) == ("created", 1)
        assert {branch.name for branch in (await memory.branches.page()).items} == {"main", "draft"}
        assert [tag.name for tag in (await memory.branches.tags.all()).items] == ["before"]
        hits = (await memory.search(SearchRequest(text="The sea was rough.", limit=1))).hits
        assert hits[0].summary == "The sea was rough."

    on(url_of("target"), look)
    assert report["copied"]["versions"] == report["compared"]["versions"] > 6


def test_it_tells_people_what_was_copied_and_that_both_are_the_same(
    cli: "Cli", source: str, url_of: Callable[[str], str]
) -> None:
    told = cli.run("migrate-store", source, url_of("target")).stdout

    assert told.startswith("copied: ")
    assert "the same" in told
    assert migrate(cli, source, url_of("target"), "--verify-only")["compared"]["checksum"] in told


def test_verify_only_copies_nothing_and_needs_a_target(cli: "Cli", source: str, url_of: Callable[[str], str]) -> None:
    problem = cli.problem("migrate-store", source, url_of("nowhere"), "--verify-only", exit_code=6)
    assert "store" in problem["detail"]

    migrate(cli, source, url_of("target"))
    on(source, lambda memory: memory.remember("Written later."))

    difference = cli.problem("migrate-store", source, url_of("target"), "--verify-only", exit_code=1)
    assert difference["code"] == "stores_differ"
    assert "lacks the commit" in difference["detail"]
    assert migrate(cli, source, url_of("target"))["copied"]["commits"] == 1


def test_a_store_is_not_migrated_into_itself(cli: "Cli", source: str) -> None:
    assert "same store" in cli.problem("migrate-store", source, source, exit_code=4)["detail"]


def test_a_source_that_is_not_there_is_told_and_no_target_made(
    cli: "Cli", url_of: Callable[[str], str], tmp_path: Path
) -> None:
    cli.problem("migrate-store", url_of("nowhere"), url_of("target"), exit_code=6)

    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("commits", [1, 4])
def test_a_migration_that_is_killed_goes_on_where_it_stopped(
    cli: "Cli", source: str, url_of: Callable[[str], str], commits: int
) -> None:
    arguments = [sys.executable, "-c", KILLED, str(commits), "migrate-store", source, url_of("target")]
    killed = subprocess.run(arguments, env=dict(os.environ), capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL

    report = migrate(cli, source, url_of("target"))

    assert report["copied"]["resumed_at"] > 0
    assert report["copied"]["commits"] == report["compared"]["commits"] - commits


def migrate(cli: "Cli", *arguments: str) -> Any:
    return cli.json("migrate-store", *arguments)
