"""What the tests of Qdrant share: a fresh collection for each test, and a folder in memory."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.adapters.qdrant.server_process import Server, drop
from tests.adapters.starting import Start, starting

IN_MEMORY = Path("/dev/shm")
IN_MEMORY_BYTES_MIN = 2 * 2**30


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """Give an empty folder in memory where there is room, for what killed processes leave: a disk adds only its waits.

    What a power cut leaves is not to be seen there.
    """
    if not IN_MEMORY.is_dir() or shutil.disk_usage(IN_MEMORY).free < IN_MEMORY_BYTES_MIN:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="recollect-test-", dir=IN_MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def collection(qdrant_server: Server) -> Iterator[str]:
    """Give a name of a collection that is not there, and remove the collection afterwards."""
    name = f"test-{uuid4().hex}"
    yield name
    drop(qdrant_server, name)


@pytest.fixture
def start_program() -> Iterator[Start]:
    """Start `edge_programs.py` with arguments; see `starting`."""
    with starting(sys.executable, "-m", "tests.adapters.qdrant.edge_programs", cwd=Path(__file__).parents[3]) as start:
        yield start
