"""The file backend keeps every promise of the port."""

from pathlib import Path

import pytest

from recollect.adapters.files import FileAdapter
from recollect.adapters.testing import AdapterFactory, ConformanceSuite


class TestFiles(ConformanceSuite):
    @pytest.fixture
    def make_adapter(self, tmp_path: Path) -> AdapterFactory:
        return lambda: FileAdapter(tmp_path / "store")
