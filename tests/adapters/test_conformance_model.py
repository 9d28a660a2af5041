"""The model keeps every promise of the port, so it may judge other backends."""

import pytest

from recollect.adapters.testing import AdapterFactory, ConformanceSuite, ModelAdapter, ModelStorage


class TestModel(ConformanceSuite):
    @pytest.fixture
    def make_adapter(self) -> AdapterFactory:
        storage = ModelStorage()
        return lambda: ModelAdapter(storage)
