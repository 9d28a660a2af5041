"""The command as a whole: its help, its exit codes, its signals."""

import json
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from recollect.service.answers import Problem
from recollect.service.cli.exits import MEANINGS, ExitCode, exit_code_of
from recollect.service.cli.main import app
from recollect.service.requests import ListRequest, NewMemory, ProvenanceInput, ReadOptions, Revision, SearchRequest

if TYPE_CHECKING:
    from tests.service.cli.conftest import Cli

COMMAND = [sys.executable, "-m", "recollect.service.cli"]
HEAVY = {"torch", "openvino", "transformers", "sentence_transformers", "fastapi", "uvicorn", "matplotlib", "sklearn"}
COMMANDS = (
    "serve", "remember", "revise", "forget", "recall", "get", "history", "list", "status", "import", "export", "fsck",
    "why", "lineage", "blame", "receipts", "connect", "relations", "disconnect", "crystallize", "synthesize",
    "erase", "erasures", "trace", "quarantine", "quarantines", "release",
)  # fmt: skip


def help_of(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "400", "NO_COLOR": "1"})
    assert result.exit_code == 0
    return result.output


def test_the_version_is_that_of_the_package() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"recollect {version('recollect')}\n"


def test_help_names_every_command_and_every_exit_code() -> None:
    shown = help_of()

    for name in COMMANDS:
        assert re.search(rf"^│ {name} ", shown, re.MULTILINE)
    for code, meaning in MEANINGS.items():
        assert f"{code.value:>3}  {meaning}" in shown
    assert set(MEANINGS) == set(ExitCode)


def test_help_loads_no_model_and_no_web_server() -> None:
    program = (
        "import sys\n"
        "from recollect.service.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit: pass\n"
        "print('loaded', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    loaded = {name.partition(".")[0] for name in done.stdout.rpartition("loaded ")[2].split()}

    assert loaded & HEAVY == set()
    assert "rich" in loaded


def test_fsck_loads_no_model_either(local: "Cli") -> None:
    local.json("remember", "text")
    program = (
        "import sys\n"
        "from recollect.service.cli.main import app\n"
        f"try:\n    app(['fsck', '--json', '--storage', {local.place[1]!r}])\nexcept SystemExit: pass\n"
        "print('loaded', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)

    assert '"findings":[]' in done.stdout
    assert {name.partition(".")[0] for name in done.stdout.rpartition("loaded ")[2].split()} & HEAVY == set()


@pytest.mark.parametrize(
    ("command", "models"),
    [
        ("remember", [NewMemory, ProvenanceInput]),
        ("revise", [Revision, ProvenanceInput]),
        ("recall", [SearchRequest]),
        ("list", [ListRequest]),
        ("get", [ReadOptions]),
        ("history", [ReadOptions]),
    ],
)
def test_a_command_has_an_option_for_each_field_of_its_request(command: str, models: list[type[BaseModel]]) -> None:
    shown = help_of(command)
    said_otherwise = {"content": "content", "text": "text", "provenance": "--actor", "include_provenance": "--include"}
    singular = {"tags": "--tag", "namespaces": "--namespace"}

    for model in models:
        for name in model.model_fields:
            flag = said_otherwise.get(name) or singular.get(name) or "--" + name.replace("_", "-")
            assert f"{flag} " in shown, name


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "invalid_json", ExitCode.USAGE),
        (413, "body_too_large", ExitCode.USAGE),
        (422, "invalid_request", ExitCode.USAGE),
        (404, "memory_not_found", ExitCode.NOT_FOUND),
        (409, "version_conflict", ExitCode.CONFLICT),
        (429, "overloaded", ExitCode.UNAVAILABLE),
        (503, "store_busy", ExitCode.UNAVAILABLE),
        (503, "profile_mismatch", ExitCode.FAILED),
        (507, "store_full", ExitCode.FULL),
        (500, "store_damaged", ExitCode.DAMAGED),
        (500, "internal_error", ExitCode.FAILED),
        (418, "something_new", ExitCode.FAILED),
    ],
)
def test_a_problem_has_an_exit_code_of_its_kind(status: int, code: str, exit_code: ExitCode) -> None:
    assert exit_code_of(Problem(title="t", status=status, code=code, detail="d")) is exit_code


def test_a_service_that_is_not_there_is_told_with_what_to_do(unused_url: str) -> None:
    result = CliRunner().invoke(app, ["status", "--url", unused_url])

    assert result.exit_code == ExitCode.UNAVAILABLE
    assert f"nothing answers at {unused_url}; start it with `recollect serve`" in result.stderr


@pytest.mark.parametrize("url", ["localhost:8300", "ftp://x", "http://", "http://host:port", "not a url"])
def test_a_url_that_is_none_is_told(url: str) -> None:
    result = CliRunner().invoke(app, ["status", "--url", url])

    assert result.exit_code == ExitCode.USAGE
    assert "give one such as http://127.0.0.1:8300" in " ".join(result.stderr.split())


def test_an_answer_of_something_else_is_told(service_url: str) -> None:
    result = CliRunner().invoke(app, ["status", "--url", f"{service_url}/elsewhere"])

    assert result.exit_code == ExitCode.NOT_FOUND


def test_url_and_storage_together_are_refused(storage: str) -> None:
    result = CliRunner().invoke(app, ["status", "--url", "http://127.0.0.1:1", "--storage", storage])

    assert result.exit_code == ExitCode.USAGE


def test_the_environment_names_the_service_and_an_option_wins_over_it(
    storage: str, unused_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECOLLECT_URL", unused_url)

    assert CliRunner().invoke(app, ["status"]).exit_code == ExitCode.UNAVAILABLE
    assert CliRunner().invoke(app, ["status", "--storage", storage]).exit_code == ExitCode.OK


def test_the_environment_names_the_store(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECOLLECT_STORAGE", storage)

    result = CliRunner().invoke(app, ["status", "--json"])

    assert json.loads(result.stdout)["storage"]["location"] == storage.removeprefix("file:")


def test_a_model_that_cannot_be_loaded_is_told_without_a_traceback(
    local: "Cli", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECOLLECT_MODEL", "/nowhere/a-model")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    assert "/nowhere/a-model" in local.problem("remember", "x", exit_code=6)["detail"]


def test_an_unexpected_error_is_told_without_a_traceback(local: "Cli", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recollect.service.cli.local.create_memory_service", lambda *_, **__: 1 / 0)

    problem = local.problem("status", exit_code=1)

    assert problem["detail"].startswith("unexpected ZeroDivisionError: division by zero")


def test_ctrl_c_stops_an_import_cleanly_and_keeps_what_is_stored(local: "Cli", tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "import", "-", *local.place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    lines = [json.dumps({"content": f"memory {number} {'x' * 1000}", "key": str(number)}) for number in range(1000)]
    # A pipe holds 64 KiB: when all of this is written, the import is under way.
    process.stdin.write("\n".join(lines).encode())
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()

    assert process.returncode == ExitCode.STOPPED
    assert told.decode().strip() == "stopped; what was acknowledged is stored"
    assert local.run("fsck").exit_code == 0
    assert local.json("status")["storage"]["memories"] > 0
    assert tmp_path.exists()


@pytest.fixture
def unused_url() -> str:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
