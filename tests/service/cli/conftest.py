"""Commands run in this process, straight on a store and through a real service."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner, Result

from recollect.service.cli.main import app


class Cli:
    """Runs commands; `place` says what they work on."""

    def __init__(self, *place: str) -> None:
        self.place = place

    def run(self, *arguments: str, input_: str | bytes | None = None, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(app, [*arguments, *self.place], input=input_)
        assert result.exit_code == exit_code, result.output
        assert "Traceback" not in result.output
        return result

    def json(self, *arguments: str, input_: str | bytes | None = None) -> Any:
        return json.loads(self.run(*arguments, "--json", input_=input_).stdout)

    def lines(self, *arguments: str) -> list[Any]:
        return [json.loads(line) for line in self.run(*arguments, "--json").stdout.splitlines()]

    def problem(self, *arguments: str, exit_code: int, input_: str | bytes | None = None) -> Any:
        result = self.run(*arguments, "--json", exit_code=exit_code, input_=input_)
        assert result.stdout == ""
        return json.loads(result.stderr)


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RECOLLECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RECOLLECT_MODEL", "hash")
    monkeypatch.delenv("COLUMNS", raising=False)  # tables as wide as in a file


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """A command sets up the logs of its process, which here is the tests' own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def service_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service of its own in another process; tests keep apart by their namespaces."""
    folder = tmp_path_factory.mktemp("service")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "recollect.service.cli", "serve", "--port", "0", "--model", "hash"],
            env={**os.environ, "RECOLLECT_STORAGE": f"file:{folder / 'store'}"},
            stdout=subprocess.PIPE,
            stderr=log,
        )
        assert process.stdout is not None
        try:
            url = process.stdout.readline().decode().split()[-1]
            yield url
            process.terminate()
            assert process.wait(30) == 0, (folder / "log").read_text()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"file:{tmp_path / 'store'}"


@pytest.fixture
def cli_of() -> type[Cli]:
    """Commands that work on a place of the test's own."""
    return Cli


@pytest.fixture
def local(storage: str) -> Cli:
    return Cli("--storage", storage)


@pytest.fixture(params=["store", "service"])
def cli(request: pytest.FixtureRequest) -> Cli:
    """Commands, once straight on a store and once through a service: the same must come out."""
    if request.param == "store":
        return Cli("--storage", request.getfixturevalue("storage"))
    return Cli("--url", request.getfixturevalue("service_url"))


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    return f"test-{abs(hash(request.node.nodeid))}"
