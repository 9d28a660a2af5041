"""Provenance costs nothing where nobody asks for it; the file backend counts what it reads of it."""

from collections.abc import Awaitable, Callable

import pytest

from recollect.adapters.files import FileAdapter
from recollect.adapters.versions import VersionRef
from recollect.service import MemoryService, ReadOptions, SearchRequest
from recollect.service.provenance.derivations import descendants
from recollect.service.provenance.requests import ReceiptsRequest, VersionOptions
from recollect.service.requests import ListRequest, ProvenanceInput, Revision

Derive = Callable[..., Awaitable[str]]


@pytest.mark.requirement("A3")
async def test_no_byte_of_provenance_is_read_unless_it_is_asked_for(memory: MemoryService, derive: Derive) -> None:
    root = await derive("root", source="message:1")
    await memory.revise(root, Revision(content="root, revised", provenance=ProvenanceInput(actor="ben")))
    leaf = await derive("leaf", [root])
    adapter = memory._store._store
    assert isinstance(adapter, FileAdapter)
    before = adapter.provenance_bytes_read
    await memory.get(leaf)
    await memory.get(leaf, ReadOptions(view="full"))
    await memory.search(SearchRequest(text="root"))
    assert [frame async for frame in memory.find_similar_encoded(SearchRequest(text="root", limit=None))]
    await memory.list_memories(ListRequest(view="full"))
    await memory.history(root)
    await memory.provenance.receipts(ReceiptsRequest())
    await memory.relations.of(leaf)
    assert adapter.provenance_bytes_read == before
    await memory.provenance.record(leaf, VersionOptions())
    assert adapter.provenance_bytes_read > before


@pytest.mark.requirement("A3")
async def test_the_way_down_reads_no_provenance(memory: MemoryService, derive: Derive) -> None:
    root = await derive("root")
    await derive("child", [root])
    adapter = memory._store._store
    assert isinstance(adapter, FileAdapter)
    before = adapter.provenance_bytes_read
    assert len(await descendants(memory._store, [VersionRef(root, "main", 1)])) == 1
    assert adapter.provenance_bytes_read == before
