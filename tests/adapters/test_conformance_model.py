"""The model keeps every promise of the port, so it may judge other backends."""

from pathlib import Path

import pytest

from recollect.adapters.testing import AdapterFactory, ConformanceSuite, ModelAdapter, ModelStorage, StorageMachine


class TestModel(ConformanceSuite):
    @pytest.fixture
    def make_adapter(self) -> AdapterFactory:
        storage = ModelStorage()
        return lambda: ModelAdapter(storage)


class ModelMachine(StorageMachine):
    def new_storage(self, folder: Path) -> AdapterFactory:  # noqa: ARG002 - the model needs no folder
        storage = ModelStorage()
        return lambda: ModelAdapter(storage)


TestModelMachine = ModelMachine.TestCase
