"""One embedded shard keeps every promise of the port, apart from those about processes and power."""

from pathlib import Path

import pytest

from recollect.adapters.testing import AdapterFactory, ConformanceSuite, StorageMachine
from tests.adapters.qdrant.in_process import ShardAdapter


class TestShard(ConformanceSuite):
    @pytest.fixture
    def make_adapter(self, tmp_path: Path) -> AdapterFactory:
        return lambda: ShardAdapter(tmp_path / "store")


class ShardMachine(StorageMachine):
    def new_storage(self, folder: Path) -> AdapterFactory:
        return lambda: ShardAdapter(folder / "store")


TestShardMachine = ShardMachine.TestCase
