"""What all tests share: how much Hypothesis tries, that slow tests are asked for by `--slow`, and a Qdrant server."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.adapters.qdrant.server_process import Server, ServerMissingError, new_server

# Time limits on single examples would make a busy machine fail; a whole run has pytest's limit.
settings.register_profile(
    "quick",
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("slow", settings.get_profile("quick"), max_examples=400, stateful_step_count=60)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run slow tests too, and let Hypothesis try more")
    parser.addoption("--data", metavar="FOLDER", help="real text for the tests that compare backends, see there")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("slow" if config.getoption("--slow") else "quick")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]
    config.stash[_SLOW_LEFT_OUT] = len(slow)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Have a process that runs a share of the tests tell the one that reports of them."""
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["slow_left_out"] = session.config.stash.get(_SLOW_LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    # Each of them has collected all tests.
    node.config.stash[_SLOW_LEFT_OUT] = getattr(node, "workeroutput", {}).get("slow_left_out", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash.get(_SLOW_LEFT_OUT, 0):
        terminalreporter.write_line(f"{left_out} slow tests were left out; add --slow to run them")


_SLOW_LEFT_OUT = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def qdrant_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server that runs; where none can be started the tests that need one are skipped."""
    try:
        server = new_server(tmp_path_factory.mktemp("qdrant"))
        server.start()
    except ServerMissingError as missing:
        pytest.skip(f"no Qdrant server to test against: {missing}")
    yield server
    server.stop()
