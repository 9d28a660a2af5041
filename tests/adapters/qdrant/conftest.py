"""What the tests of Qdrant share: a server for the whole run, and a fresh collection for each test."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.adapters.qdrant.server_process import Server, ServerMissingError, drop, new_server


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


@pytest.fixture
def collection(qdrant_server: Server) -> Iterator[str]:
    """Give a name of a collection that is not there, and remove the collection afterwards."""
    name = f"test-{uuid4().hex}"
    yield name
    drop(qdrant_server, name)
