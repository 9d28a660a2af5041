"""From a store's URL to its adapter, of this package or of another that is installed."""

import sys
from pathlib import Path

import pytest

from recollect.adapters.errors import UnknownBackendError
from recollect.adapters.files import FileAdapter
from recollect.adapters.registry import backends, create_adapter
from recollect.adapters.testing import ModelAdapter
from recollect.adapters.testing.values import PROFILE


def install(folder: Path, scheme: str, target: str, module: str) -> None:
    """Lay down what a package of another author leaves on the path: a module, and metadata with an entry point."""
    information = folder / "another_backend-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: another-backend\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[recollect.adapters]\n{scheme} = {target}\n")
    (folder / "another_backend.py").write_text(module)


async def test_a_file_url_opens_a_folder(tmp_path: Path) -> None:
    adapter = create_adapter(f"file:{tmp_path / 'store'}")
    assert isinstance(adapter, FileAdapter)
    await adapter.open(PROFILE)
    await adapter.close()
    assert (tmp_path / "store").is_dir()


def test_the_backends_are_listed_with_their_places() -> None:
    assert backends()["file"] == "recollect.adapters.files:from_url"


@pytest.mark.parametrize(
    "url", ["sqlserver://host/db", "nothing", "", ":", "file", "FILE:/tmp", "/tmp/store", "x" * 5_000]
)
def test_an_unknown_backend_is_refused_with_those_that_are_known(url: str) -> None:
    with pytest.raises(UnknownBackendError, match=r"a store's URL starts with one of .*file:") as caught:
        create_adapter(url)
    assert len(str(caught.value)) < 500


def test_an_installed_package_adds_a_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = """
from recollect.adapters.testing import ModelAdapter, ModelStorage

urls = []

def from_url(url):
    urls.append(url)
    return ModelAdapter(ModelStorage())
"""
    install(tmp_path, "memory", "another_backend:from_url", module)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert backends()["memory"] == "another_backend:from_url"
        assert isinstance(create_adapter("memory:a?b=c"), ModelAdapter)
        assert sys.modules["another_backend"].urls == ["memory:a?b=c"]
    finally:
        sys.modules.pop("another_backend", None)
