"""The file backend keeps every promise of the port."""

from pathlib import Path

import pytest

from recollect.adapters.files import FileAdapter
from recollect.adapters.testing import AdapterFactory, ConformanceSuite, StorageMachine


@pytest.mark.requirement("A5")
class TestFiles(ConformanceSuite):
    @pytest.fixture
    def make_adapter(self, tmp_path: Path) -> AdapterFactory:
        return lambda: FileAdapter(tmp_path / "store")


class FilesMachine(StorageMachine):
    def new_storage(self, folder: Path) -> AdapterFactory:
        return lambda: FileAdapter(folder / "store")


TestFilesMachine = FilesMachine.TestCase
