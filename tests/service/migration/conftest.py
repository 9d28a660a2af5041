"""Stores to copy, of each backend, and a source with all there is: branches, tombstones, stubs, system records."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from recollect.adapters.files import FileAdapter
from recollect.adapters.port import BranchSpan, ProvenanceStorageAdapter
from recollect.adapters.registry import create_adapter
from recollect.adapters.testing import ModelAdapter, ModelStorage
from recollect.adapters.testing.values import (
    PROFILE,
    a_commit,
    a_full_version,
    a_version,
    axis,
    revision_of,
    terms,
    tombstone_of,
    toward,
    windows,
)
from recollect.service.branching.records import AT_THIS_COMMIT, BranchRecord
from tests.adapters.qdrant.server_process import Server, drop, url_of

NewStore = Callable[[str], ProvenanceStorageAdapter]
"""From a store's name to a closed adapter of it; the same name means the same storage."""


def file_stores(folder: Path) -> NewStore:
    return lambda name: FileAdapter(folder / name)


def edge_stores(folder: Path) -> NewStore:
    return lambda name: create_adapter(f"edge:{folder / name}")


def model_stores(_folder: Path) -> NewStore:
    storages: dict[str, ModelStorage] = {}
    return lambda name: ModelAdapter(storages.setdefault(name, ModelStorage()))


def server_stores(server: Server, request: pytest.FixtureRequest) -> NewStore:
    """Make stores in collections that are removed after the test."""
    collections: dict[str, str] = {}

    def new_store(name: str) -> ProvenanceStorageAdapter:
        if name not in collections:
            collections[name] = f"migrate-{uuid4().hex}"
            request.addfinalizer(lambda: drop(server, collections[name]))
        return create_adapter(url_of(server, collections[name]))

    return new_store


DRAFT = msgspec.json.encode(
    BranchRecord(name="draft", id="draft", parent="main", lineage=(BranchSpan("main", AT_THIS_COMMIT),))
).decode()

BACKENDS = {"file": file_stores, "edge": edge_stores, "model": model_stores}
PAIRS = [
    ("file", "file"),
    ("file", "edge"),
    ("edge", "file"),
    ("file", "model"),
    pytest.param(("edge", "server"), marks=pytest.mark.slow),
    pytest.param(("server", "edge"), marks=pytest.mark.slow),
]


@pytest.fixture(params=PAIRS, ids="-to-".join)
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> NewStore:
    """Makes stores: `source` on one backend, all others on another."""

    def stores(backend: str) -> NewStore:
        if backend == "server":
            return server_stores(request.getfixturevalue("qdrant_server"), request)
        return BACKENDS[backend](tmp_path / backend)

    first, second = map(stores, request.param)
    return lambda name: (first if name == "source" else second)(name)


@pytest.fixture
async def source(new_store: NewStore) -> AsyncGenerator[ProvenanceStorageAdapter, None]:
    store = new_store("source")
    await store.open(PROFILE)
    await fill(store)
    yield store
    await store.close()


@pytest.fixture
async def target(new_store: NewStore) -> AsyncGenerator[ProvenanceStorageAdapter, None]:
    store = new_store("target")
    await store.open(PROFILE)
    yield store
    await store.close()


async def fill(store: ProvenanceStorageAdapter) -> None:
    """Write eight commits with twelve versions."""
    full, other, gone = a_full_version(1), a_version(2, vectors=windows(axis(3))), a_version(3, key="gone")
    await store.commit(a_commit(full, other, gone))
    revised = revision_of(full, content="again", metadata={"one": 1, "float": 1.0, "truth": True})
    await store.commit(a_commit(revised, a_version(10, namespace="_branches", key="draft", content=DRAFT)))
    await store.commit(a_commit(revision_of(other, branch="draft", vectors=windows(toward(0.3), axis(1)))))
    await store.commit(a_commit(tombstone_of(gone)))
    await store.commit(a_commit(revision_of(revised.version, branch="draft"), a_version(4, branch="draft")))
    await store.commit(a_commit(a_version(11, namespace="_receipts", content="[1, 2]")))
    secret = a_version(5, content="nobody may know this", vectors=windows(axis(5)), sparse=terms({9: 2.0}))
    await store.commit(a_commit(secret))
    await store.commit(a_commit(a_version(6), erases=(secret.ref,)))
