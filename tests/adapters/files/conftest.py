"""What the tests of the file backend share: a store in a folder, and programs that use it from outside."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from recollect.adapters.files import FileAdapter
from recollect.adapters.testing.values import PROFILE
from tests.adapters.starting import Start, starting


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest_asyncio.fixture
async def adapter(folder: Path) -> AsyncIterator[FileAdapter]:
    adapter = FileAdapter(folder)
    await adapter.open(PROFILE)
    yield adapter
    await adapter.close()


@pytest.fixture
def start_program() -> Iterator[Start]:
    """Start `programs.py` with arguments; see `starting`."""
    with starting(sys.executable, str(Path(__file__).with_name("programs.py"))) as start:
        yield start
