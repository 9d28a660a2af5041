"""One export and one loaded model for the whole session: making them takes seconds, using them does not."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Read when the hub's library is imported; no test may reach for a network.
os.environ["HF_HUB_OFFLINE"] = "1"

from recollect.embeddings import Embedder, EmbedderSettings, create_embedder


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of exported models; RECOLLECT_CACHE names one to keep between runs."""
    kept = os.environ.get("RECOLLECT_CACHE")
    return Path(kept) if kept else tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def bundled(model_cache: Path) -> Iterator[Embedder]:
    """Return the default embedder, exported once."""
    embedder = create_embedder(EmbedderSettings(cache_folder=model_cache))
    yield embedder
    asyncio.run(embedder.aclose())


@pytest.fixture(scope="session")
def reference() -> Iterator[Embedder]:
    """Return the same model in torch float32."""
    embedder = create_embedder(EmbedderSettings(runtime="torch"))
    yield embedder
    asyncio.run(embedder.aclose())
