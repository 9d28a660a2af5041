"""Import and export: nothing is lost, nothing is stored twice."""

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from recollect.service.answers import ImportReport
from recollect.service.cli.backend import open_backend
from recollect.service.cli.transfer import CHUNK_MEMORIES, import_records
from recollect.service.importers import ImportOptions, Record, open_importer

if TYPE_CHECKING:
    from tests.service.cli.conftest import Cli


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder of Markdown."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("# Trains\n\nNight trains.\n\n## Seats\n\nWindow seats.\n")
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with two commits."""
    folder = tmp_path / "repository"
    environment = {
        **os.environ, "GIT_AUTHOR_NAME": "Ana", "GIT_AUTHOR_EMAIL": "ana@example.org", "GIT_COMMITTER_NAME": "Ana",
        "GIT_COMMITTER_EMAIL": "ana@example.org", "GIT_CONFIG_GLOBAL": os.devnull,
    }  # fmt: skip
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    for number in (1, 2):
        command = ["git", "commit", "--quiet", "--allow-empty", "--message", f"Change {number}"]
        subprocess.run(command, cwd=folder, env=environment, check=True)
    return folder


def jsonl(path: Path, memories: list[dict[str, Any] | str]) -> Path:
    path.write_text("".join((memory if isinstance(memory, str) else json.dumps(memory)) + "\n" for memory in memories))
    return path


def counts(report: Any) -> tuple[int, int, int, int]:
    return tuple(report[name] for name in ("created", "revised", "duplicate", "refused"))


@pytest.mark.requirement("F4")
def test_importing_twice_changes_nothing(
    cli: "Cli", namespace: str, notes: Path, repository: Path, tmp_path: Path
) -> None:
    lines = jsonl(tmp_path / "x.jsonl", [{"content": "a"}, {"content": "b", "key": "k"}, {"content": "a"}])
    for path, created, repeated in ((notes, 2, 0), (repository, 2, 0), (lines, 2, 1)):
        first = cli.json("import", str(path), "--namespace", namespace)
        before = cli.json("status")["storage"]["versions"]
        again = cli.json("import", str(path), "--namespace", namespace)

        assert counts(first) == (created, 0, repeated, 0)
        assert counts(again) == (0, 0, created + repeated, 0)
        assert cli.json("status")["storage"]["versions"] == before


def test_what_changed_is_revised_and_the_rest_stays(cli: "Cli", namespace: str, notes: Path) -> None:
    cli.json("import", str(notes), "--namespace", namespace)
    (notes / "a.md").write_text("# Trains\n\nNight trains.\n\n## Seats\n\nAisle seats.\n")

    again = cli.json("import", str(notes), "--namespace", namespace)

    assert counts(again) == (0, 1, 1, 0)
    seats = cli.json("get", "--namespace", namespace, "--key", "notes/a.md#seats", "--view", "full")
    assert (seats["version"], seats["content"]) == (2, "Trains > Seats\n\nAisle seats.")


def test_a_section_says_from_which_file_and_heading_it_came(cli: "Cli", namespace: str, notes: Path) -> None:
    cli.json("import", str(notes), "--namespace", namespace, "--actor", "librarian", "--tag", "docs")

    seats = cli.json("get", "--namespace", namespace, "--key", "notes/a.md#seats", "--include", "provenance")

    assert seats["provenance"]["source"] == "file:a.md#seats"
    assert seats["provenance"]["action"] == "imported"
    assert seats["provenance"]["actor"] == "librarian"
    assert seats["tags"] == ["docs"]


def test_a_commit_says_who_made_it_and_when(cli: "Cli", namespace: str, repository: Path) -> None:
    sha = (
        subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, check=True)
        .stdout.decode()
        .strip()
    )

    cli.json("import", str(repository), "--namespace", namespace)
    commit = cli.json("get", "--namespace", namespace, "--key", f"commit:{sha}", "--include", "provenance")

    assert commit["summary"] == "Change 2"
    assert commit["provenance"]["actor"] == "Ana <ana@example.org>"
    assert commit["provenance"]["source"] == f"commit:{sha}"


def test_bad_records_are_told_by_their_line_and_do_not_stop_the_rest(cli: "Cli", tmp_path: Path) -> None:
    lines = jsonl(
        tmp_path / "x.jsonl",
        [
            {"content": "a"},
            "not json",
            {"content": "b", "namespace": "_audit"},
            {"content": "c", "branch": "none"},
            {"content": "d"},
        ],
    )

    report = json.loads(cli.run("import", str(lines), "--json", exit_code=1).stdout)

    assert report["refused"] == 3
    places = [problem["detail"].partition(":")[0] for problem in report["problems"]]
    assert sorted(places) == ["line 2", "line 3", "line 4"]
    assert report["created"] + report["duplicate"] == 2

    shown = cli.run("import", str(lines), exit_code=1)
    assert "line 2: this is not JSON" in shown.stderr
    assert "3 left out" in shown.stdout


class Interrupted:
    """An importer that fails after some records, as a killed program does."""

    def __init__(self, path: Path, after: int) -> None:
        self.importer = open_importer(str(path), None, ImportOptions())
        self.after = after
        self.what = "records"

    def count(self) -> int | None:
        return None

    def records(self) -> Iterator[Record]:
        for number, record in enumerate(self.importer.records()):
            if number == self.after:
                raise OSError("interrupted")
            yield record


def test_an_import_that_was_interrupted_goes_on_where_it_stopped(cli: "Cli", namespace: str, tmp_path: Path) -> None:
    total, after = CHUNK_MEMORIES * 3, CHUNK_MEMORIES + 10
    memories: list[dict[str, Any] | str] = [
        {"content": f"memory {number}", "key": str(number), "namespace": namespace} for number in range(total)
    ]
    path = jsonl(tmp_path / "x.jsonl", memories)

    async def begin() -> None:
        async with AsyncExitStack() as stack:
            place = dict(zip(cli.place[::2], cli.place[1::2], strict=True))
            backend = await stack.enter_async_context(open_backend(place.get("--url"), place.get("--storage")))
            with pytest.raises(OSError, match="interrupted"):
                await import_records(backend, Interrupted(path, after), lambda _: None)

    asyncio.run(begin())
    report = cli.json("import", str(path))

    assert report["duplicate"] == CHUNK_MEMORIES
    assert report["created"] == total - CHUNK_MEMORIES


def test_an_import_that_is_killed_loses_nothing_it_has_stored(local: "Cli", tmp_path: Path) -> None:
    total = CHUNK_MEMORIES * 8
    lines = [f'{{"content": "memory {number} {"x" * 1000}", "key": "{number}"}}' for number in range(total)]
    process = subprocess.Popen(
        [sys.executable, "-m", "recollect.service.cli", "import", "-", *local.place],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    # One chunk is read while the one before it is stored, and a pipe holds 64 KiB: when all of this is written, all
    # but the last few chunks are stored.
    process.stdin.write("\n".join(lines[: total // 2]).encode())
    process.kill()
    process.communicate()

    assert local.run("fsck").exit_code == 0
    stored = local.json("status")["storage"]["memories"]
    again = local.json("import", str(jsonl(tmp_path / "x.jsonl", [*lines])))

    assert CHUNK_MEMORIES <= stored <= total // 2
    assert counts(again) == (total - stored, 0, stored, 0)


@pytest.mark.requirement("F4")
def test_what_is_exported_can_be_imported_elsewhere_with_ids_and_provenance(
    cli: "Cli", namespace: str, tmp_path: Path
) -> None:
    base = cli.json("remember", "base", "--namespace", namespace)
    cli.json(
        "remember", "text", "--namespace", namespace, "--key", "k", "--tag", "t", "--metadata", '{"a": [1]}',
        "--actor", "ana", "--source", "message:1", "--track-provenance", "--note", "n", "--derived-from", base["id"],
    )  # fmt: skip
    exported = cli.run("export", "--namespace", namespace).stdout
    (tmp_path / "x.jsonl").write_text(exported)
    elsewhere = type(cli)("--storage", f"file:{tmp_path / 'elsewhere'}")

    report = elsewhere.json("import", str(tmp_path / "x.jsonl"))
    both = [
        place.json("get", "--namespace", namespace, "--key", "k", "--view", "full", "--include", "provenance")
        for place in (cli, elsewhere)
    ]

    assert counts(report) == (2, 0, 0, 0)
    for name in ("id", "content", "summary", "tags", "metadata", "created_at", "importance"):
        assert both[0][name] == both[1][name]
    for name in ("actor", "source", "note", "derived_from"):
        assert both[0]["provenance"][name] == both[1]["provenance"][name]
    assert both[1]["provenance"]["action"] == "imported"


def test_an_export_takes_namespaces_filters_and_moments(cli: "Cli", namespace: str) -> None:
    first = cli.json("remember", "one", "--namespace", namespace, "--tag", "t")
    cli.json("remember", "two", "--namespace", namespace)

    def contents(*arguments: str) -> list[str]:
        lines = cli.run("export", "--namespace", namespace, *arguments).stdout.splitlines()
        return [json.loads(line)["content"] for line in lines]

    assert contents() == ["one", "two"]
    assert contents("--filters", '{"tags": "t"}') == ["one"]
    assert contents("--as-of", str(first["position"])) == ["one"]


def test_an_exported_file_is_there_whole_or_not_at_all(
    local: "Cli", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.json("remember", "text")
    target = tmp_path / "out.jsonl"
    target.write_text("before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device", str(target))

    with monkeypatch.context() as patched:
        # Only the export's own file meets the full disk, not the store.
        patched.setattr("recollect.service.cli.transfer.os", SimpleNamespace(fsync=full, fdopen=os.fdopen))
        local.run("export", str(target), exit_code=7)
    assert target.read_text() == "before"

    local.run("export", str(target))
    assert json.loads(target.read_text())["content"] == "text"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_export_to_a_reader_that_leaves_ends_quietly(local: "Cli", tmp_path: Path) -> None:
    lines = jsonl(tmp_path / "x.jsonl", [{"content": f"memory {number} " + "x" * 900} for number in range(300)])
    local.json("import", str(lines))

    process = subprocess.Popen(
        [sys.executable, "-m", "recollect.service.cli", "export", *local.place],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    told = process.stderr.read()
    process.stderr.close()

    assert process.wait() == 1
    assert told == b""


def watched(*arguments: str) -> tuple[str, str]:
    """Run a command whose standard error is a terminal; return what stood there, and its output."""
    ours, theirs = pty.openpty()
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "recollect.service.cli", *arguments],
            stdout=printed,
            stderr=theirs,
            env={**os.environ, "COLUMNS": "120", "TERM": "xterm-256color"},
        )
        os.close(theirs)
        shown = b""
        # Linux ends the reading of a terminal that no one holds any more by an error.
        with suppress(OSError):
            while piece := os.read(ours, 65_536):
                shown += piece
        os.close(ours)
        assert process.wait() == 0, shown
        printed.seek(0)
        return shown.decode(), printed.read().decode()


@pytest.mark.requirement("F4")
def test_long_work_shows_how_far_it_is_how_fast_and_how_long_still(local: "Cli", tmp_path: Path) -> None:
    lines = jsonl(tmp_path / "x.jsonl", [{"content": f"memory {number}"} for number in range(CHUNK_MEMORIES * 3)])

    shown, printed = watched("import", str(lines), *local.place)

    assert "importing x.jsonl" in shown
    assert f"{CHUNK_MEMORIES * 3}/{CHUNK_MEMORIES * 3}" in shown
    assert re.search(r"[\d,]+/s", shown)
    assert re.search(r"\d:\d\d:\d\d", shown)
    assert printed == f"{CHUNK_MEMORIES * 3} created, 0 revised, 0 there already\n"

    shown, printed = watched("export", *local.place)
    assert f"{CHUNK_MEMORIES * 3}/{CHUNK_MEMORIES * 3}" in shown
    assert len(printed.splitlines()) == CHUNK_MEMORIES * 3

    shown, _ = watched("fsck", *local.place)
    assert "checking" in shown


def test_programs_see_no_progress(local: "Cli", tmp_path: Path) -> None:
    lines = jsonl(tmp_path / "x.jsonl", [{"content": "a"}])

    assert local.run("import", str(lines)).stderr == ""
    assert watched("import", str(lines), "--json", *local.place)[0] == ""


@pytest.mark.parametrize("path", ["missing", "."])
def test_what_cannot_be_imported_is_told(
    cli: "Cli", path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert cli.problem("import", path, exit_code=2)["code"] == "invalid_request"


def test_a_service_that_is_busy_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    httpx = pytest.importorskip("httpx")
    from recollect.service.cli.exits import CommandError
    from recollect.service.cli.remote import RemoteBackend
    from recollect.service.requests import NewMemory

    waited: list[float] = []
    problem = {"title": "busy", "status": 429, "code": "overloaded", "detail": "later"}
    report = {"created": 1}
    answers: list[Callable[[], Any]] = [
        lambda: httpx.Response(429, json=problem, headers={"Retry-After": "7"}),
        lambda: httpx.Response(503, text="a proxy speaks"),
        lambda: httpx.Response(200, json=report),
    ]

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("recollect.service.cli.remote.asyncio.sleep", wait)

    async def work() -> ImportReport:
        transport = httpx.MockTransport(lambda _: answers.pop(0)())
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await RemoteBackend(client).import_memories([NewMemory(content="x")])

    assert asyncio.run(work()).created == 1
    assert waited[0] == 7

    answers[:] = [lambda: httpx.Response(429, json=problem)] * 8
    with pytest.raises(CommandError, match="later"):
        asyncio.run(work())
