"""What the tests of the file backend share: a store in a folder, and programs that use it from outside."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from recollect.adapters.files import FileAdapter
from recollect.adapters.testing.values import PROFILE

Program = subprocess.Popen[str]


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
def start_program() -> Iterator[Callable[..., Program]]:
    """Start `programs.py` with arguments, its standard input and output piped; it is killed at the end."""
    programs: list[Program] = []

    def start(*arguments: str) -> Program:
        path = Path(__file__).with_name("programs.py")
        program = subprocess.Popen(
            [sys.executable, str(path), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        programs.append(program)
        return program

    yield start
    for program in programs:
        program.kill()
        program.communicate()
