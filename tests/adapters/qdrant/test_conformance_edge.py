"""The embedded engine keeps every promise of the port.

Each test starts a process and makes a store, a second's work; so the suite runs with the slow tests. What the engine
answers is proven in one process by `test_conformance_shard.py`, each time.
"""

from pathlib import Path

import pytest
from hypothesis import settings

from recollect.adapters.qdrant.edge.adapter import EdgeAdapter
from recollect.adapters.testing import AdapterFactory, ConformanceSuite, StorageMachine

pytestmark = pytest.mark.slow


@pytest.mark.requirement("A5")
class TestEdge(ConformanceSuite):
    @pytest.fixture
    def make_adapter(self, quick_path: Path) -> AdapterFactory:
        return lambda: EdgeAdapter(quick_path / "store")


class EdgeMachine(StorageMachine):
    def new_storage(self, folder: Path) -> AdapterFactory:
        return lambda: EdgeAdapter(folder / "store")


TestEdgeMachine = EdgeMachine.TestCase
TestEdgeMachine.settings = settings(max_examples=15, stateful_step_count=30)
