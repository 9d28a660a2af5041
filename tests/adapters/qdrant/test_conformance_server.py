"""The server backend keeps every promise of the port, on a real server.

It takes minutes, and runs with the slow tests.
"""

from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from recollect.adapters.errors import StoreUnavailableError
from recollect.adapters.port import ById, Commit, ProvenanceStorageAdapter
from recollect.adapters.qdrant.server import from_url
from recollect.adapters.testing import AdapterFactory, ConformanceSuite, StorageMachine
from recollect.adapters.testing.values import NEWEST, a_commit, a_version, ids
from recollect.adapters.versions import VersionRef
from tests.adapters.qdrant.server_process import Server, drop, url_of

pytestmark = pytest.mark.slow


@pytest.mark.requirement("A5")
class TestServer(ConformanceSuite):
    @pytest.fixture
    def make_adapter(self, qdrant_server: Server, collection: str) -> AdapterFactory:
        url = url_of(qdrant_server, collection)
        return lambda: from_url(url)

    async def test_what_is_erased_stays_so_through_compaction_and_reopening(
        self, adapter: ProvenanceStorageAdapter, make_adapter: AdapterFactory
    ) -> None:
        """A server's files are its own: what is erased is out of every read, and compaction says what else to do."""
        (memory_id,) = ids(1)
        await adapter.commit(a_commit(a_version(1)))
        await adapter.compact()
        erased = VersionRef(memory_id, "main", 1)
        await adapter.commit(Commit(puts=(), erases=(erased,), read_point=NEWEST))
        assert await adapter.get([ById(memory_id)], NEWEST) == [None]
        with pytest.raises(StoreUnavailableError, match="copy the store into a new collection"):
            await adapter.compact()
        again = make_adapter()
        await again.open()
        assert await again.get([ById(memory_id)], NEWEST) == [None]
        await again.close()


@pytest.mark.requirement("A5")
@pytest.mark.timeout(900)
def test_the_server_backend_and_the_model_agree_on_whatever_is_done(qdrant_server: Server) -> None:
    class ServerMachine(StorageMachine):
        compacts = False

        def new_storage(self, folder: Path) -> AdapterFactory:
            self._resources.callback(drop, qdrant_server, folder.name)
            url = url_of(qdrant_server, folder.name)
            return lambda: from_url(url)

    # Every step costs several calls, so few of what the faster backends try, and no minutes of making an example small.
    fewer = settings(max_examples=6, stateful_step_count=20, phases=[Phase.generate])
    run_state_machine_as_test(ServerMachine, settings=fewer)
