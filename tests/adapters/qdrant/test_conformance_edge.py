"""The embedded engine keeps every promise of the port."""

from pathlib import Path

import pytest

from recollect.adapters.qdrant.edge.adapter import EdgeAdapter
from recollect.adapters.testing import AdapterFactory, ConformanceSuite, StorageMachine


@pytest.mark.requirement("A5")
class TestEdge(ConformanceSuite):
    @pytest.fixture
    def make_adapter(self, tmp_path: Path) -> AdapterFactory:
        return lambda: EdgeAdapter(tmp_path / "store")


class EdgeMachine(StorageMachine):
    def new_storage(self, folder: Path) -> AdapterFactory:
        return lambda: EdgeAdapter(folder / "store")


TestEdgeMachine = EdgeMachine.TestCase
