"""backup and restore: a whole store, copied while it is in use, and taken back."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.leftovers import files_that_hold

if TYPE_CHECKING:
    from tests.service.cli.conftest import Cli

pytestmark = pytest.mark.requirement("B11")
WORD = "Zanzibar"


@pytest.fixture
def cli(cli_of: "type[Cli]") -> "Cli":
    return cli_of()


@pytest.fixture(params=["file", pytest.param("edge", marks=pytest.mark.slow)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}:{tmp_path / 'store'}"


@contextmanager
def serving(storage: str, folder: Path) -> Iterator[httpx.Client]:
    """Run a service on a store, in a process of its own."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "recollect.service.cli", "serve", "--port", "0", "--model", "hash"],
            env={**os.environ, "RECOLLECT_STORAGE": storage},
            stdout=subprocess.PIPE,
            stderr=log,
        )
        assert process.stdout is not None
        try:
            url = process.stdout.readline().decode().split()[-1]
            with httpx.Client(base_url=url, timeout=60) as client:
                yield client
            process.terminate()
            assert process.wait(30) == 0, (folder / "log").read_text()
        finally:
            process.kill()
            process.stdout.close()


def remember(client: httpx.Client, content: str, **fields: Any) -> str:
    answer = client.post("/v1/memories", json={"content": content, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def restored(cli: "Cli", backup: str, tmp_path: Path) -> list[str]:
    """Restore a backup into a new store and return the ids of its memories."""
    place = f"file:{tmp_path / 'restored'}"
    cli.json("restore", backup, "--storage", place)
    return [item["id"] for item in cli.lines("export", "-", "--storage", place)]


def test_a_backup_that_is_taken_while_a_service_writes_holds_all_that_was_acknowledged_before(
    cli: "Cli", storage: str, tmp_path: Path
) -> None:
    backup, stop = str(tmp_path / "backup"), Event()
    with serving(storage, tmp_path) as client, ThreadPoolExecutor(1) as pool:

        def write() -> list[str]:
            written: list[str] = []
            while not stop.is_set():
                written.append(remember(client, f"written meanwhile {len(written)}"))
            return written

        before = [remember(client, f"written before {i}") for i in range(5)]
        writing = pool.submit(write)
        try:
            first = cli.json("backup", backup, "--storage", storage)
            again = cli.json("backup", backup, "--storage", storage)
        finally:
            stop.set()
        meanwhile = writing.result()
        last = cli.json("backup", backup, "--storage", storage)

    assert again["copied"]["resumed_at"] == first["copied"]["up_to"]
    assert last["compared"]["versions"] >= len(before) + len(meanwhile)
    assert sorted(restored(cli, backup, tmp_path)) == sorted([*before, *meanwhile])


def test_what_was_erased_since_is_in_no_file_of_the_backup_after_the_next(
    cli: "Cli", storage: str, tmp_path: Path
) -> None:
    backup = str(tmp_path / "backup")
    with serving(storage, tmp_path) as client:
        kept = remember(client, "The sea was calm.")
        remember(client, f"The {WORD} plan.", key="plan")
        cli.run("backup", backup, "--storage", storage)
        assert files_that_hold(Path(backup), WORD.encode())
        cli.run("erase", "--key", "plan", "--yes", "--url", str(client.base_url))

        told = cli.run("backup", backup, "--storage", storage).stdout

    assert "erased: 1 version, as in the source" in told
    assert files_that_hold(Path(backup), WORD.encode()) == []
    assert restored(cli, backup, tmp_path) == [kept]


def test_a_service_that_runs_on_an_empty_store_answers_from_what_is_restored_into_it(
    cli: "Cli", storage: str, tmp_path: Path
) -> None:
    backup, old = str(tmp_path / "backup"), f"file:{tmp_path / 'old'}"
    cli.run("remember", "The night train is late.", "--storage", old)
    cli.run("backup", backup, "--storage", old)

    with serving(storage, tmp_path) as client:
        cli.run("restore", backup, "--storage", storage)
        found = client.post("/v1/search", json={"text": "The night train is late."}).json()

    assert [hit["summary"] for hit in found["hits"]] == ["The night train is late."]


def test_a_restore_over_other_memories_is_refused_and_changes_nothing(cli: "Cli", tmp_path: Path) -> None:
    one, other = (f"file:{tmp_path / name}" for name in ("one", "other"))
    for place in (one, other):
        cli.run("remember", f"in {place[-3:]}", "--storage", place)
    cli.run("backup", str(tmp_path / "backup"), "--storage", one)
    before = cli.run("export", "-", "--storage", other).stdout

    assert "new target" in cli.problem("restore", str(tmp_path / "backup"), "--storage", other, exit_code=4)["detail"]
    assert cli.run("export", "-", "--storage", other).stdout == before


def test_a_backup_goes_to_any_backend_by_its_url(cli: "Cli", tmp_path: Path) -> None:
    storage, backup = f"file:{tmp_path / 'store'}", f"edge:{tmp_path / 'backup'}"
    cli.run("remember", "The sea was calm.", "--storage", storage)

    assert cli.json("backup", backup, "--storage", storage)["target"] == str(tmp_path / "backup")
    assert len(restored(cli, backup, tmp_path)) == 1
