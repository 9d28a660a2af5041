"""The server backend keeps every promise of the port, on a real server."""

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from recollect.adapters.qdrant.server import from_url
from recollect.adapters.testing import AdapterFactory, ConformanceSuite, StorageMachine
from tests.adapters.qdrant.server_process import Server, drop, url_of


@pytest.mark.requirement("A5")
class TestServer(ConformanceSuite):
    @pytest.fixture
    def make_adapter(self, qdrant_server: Server, collection: str) -> AdapterFactory:
        url = url_of(qdrant_server, collection)
        return lambda: from_url(url)


@pytest.mark.requirement("A5")
def test_the_server_backend_and_the_model_agree_on_whatever_is_done(qdrant_server: Server) -> None:
    class ServerMachine(StorageMachine):
        def new_storage(self, folder: Path) -> AdapterFactory:
            self._resources.callback(drop, qdrant_server, folder.name)
            url = url_of(qdrant_server, folder.name)
            return lambda: from_url(url)

    # Every step costs several calls, so a tenth of what the faster backends try.
    fewer = settings(max_examples=max(4, settings().max_examples // 10))
    run_state_machine_as_test(ServerMachine, settings=fewer)
