"""What tests of backends share: the suite run from within a test, to see what fails, and a disk of a test's own."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from recollect.adapters.testing import ModelAdapter
from tests.adapters.disks import Disk

SUITE = """
import pytest
from recollect.adapters.testing import ConformanceSuite, ModelStorage

class TestMutant(ConformanceSuite):
    @pytest.fixture
    def make_adapter(self, mutant):
        storage = ModelStorage()
        return lambda: mutant(storage)
"""
OPTIONS = ("-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function")


@dataclass
class Harness:
    """A pytest plugin that gives the suite its backend, and keeps which tests failed and passed."""

    adapter_class: type[ModelAdapter]
    failed: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)

    @pytest.fixture
    def mutant(self) -> type[ModelAdapter]:
        return self.adapter_class

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.split("::")[-1].split("[")[0]
        if report.failed:
            self.failed.add(name)
        elif report.when == "call":
            self.passed.add(name)


@pytest.fixture
def suite_failures(pytester: pytest.Pytester) -> Callable[[type[ModelAdapter], str], set[str]]:
    """Return which tests of the suite, of those whose name holds a text, fail on a backend and pass on the model."""

    def failures(mutant: type[ModelAdapter], name: str) -> set[str]:
        pytester.makepyfile(SUITE)
        sound, broken = Harness(ModelAdapter), Harness(mutant)
        for harness in (sound, broken):
            pytester.inline_run(*OPTIONS, "-k", name, plugins=[harness])
        return broken.failed & (sound.passed - sound.failed)

    return failures


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("a file system of a test's own takes root and mkfs.ext4")
    try:
        disk = Disk(tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no file system in an image can be mounted here: {error.stderr!r}")
    yield disk
    # Lazily: a test that failed may have left a store open on it.
    disk.unmount("--lazy")
