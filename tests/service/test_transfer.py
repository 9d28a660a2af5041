from collections.abc import AsyncGenerator, Iterable
from typing import Any

import msgspec
import pytest

from recollect.service import ListRequest, MemoryService, NewMemory, ProvenanceInput, ReadOptions
from recollect.service.answers import Memory

pytestmark = pytest.mark.requirement("F4")
WHOLE = ListRequest(view="full", include_provenance=True, limit=100)


async def _each(lines: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    for line in lines:
        yield line


async def _export(memory: MemoryService) -> list[bytes]:
    return [line async for batch in memory.export() for line in batch]


def _said(memory: Memory) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(memory)
    for name in ("position", "updated_at", "content_hash"):
        del told[name]
    for name in ("time", "action"):
        del told["provenance"][name]
    return told


async def _fill(memory: MemoryService) -> None:
    root = await memory.remember(NewMemory(content="root", provenance=ProvenanceInput(actor="ana", source="message:1")))
    await memory.remember(
        NewMemory(
            content={"json": [1, None]},
            key="leaf",
            tags=["t"],
            metadata={"n": 1.5},
            kind="ghost",
            provenance=ProvenanceInput(actor="ben", derived_from=[root.id], note="drawn from root", confidence=0.5),
        )
    )
    await memory.remember(NewMemory(content="plain", namespace="session"))
    gone = await memory.remember("gone")
    await memory.forget(gone.id)


async def test_what_is_exported_comes_back_as_it_was(make_service: Any, tmp_path: Any) -> None:
    memory = await make_service()
    await _fill(memory)
    lines = await _export(memory)
    copy = await make_service(storage=f"file:{tmp_path / 'copy'}")
    report = await copy.import_lines(_each(lines))
    assert (report.created, report.refused) == (3, 0)
    before = [_said(item) for item in (await memory.list_memories(WHOLE)).items]
    after = [_said(item) for item in (await copy.list_memories(WHOLE)).items]
    assert sorted(after, key=lambda item: item["id"]) == sorted(before, key=lambda item: item["id"])


async def test_an_import_again_changes_nothing(memory: MemoryService) -> None:
    await _fill(memory)
    lines = await _export(memory)
    versions = (await memory.status()).storage.versions
    report = await memory.import_lines(_each(lines))
    assert (report.created, report.revised, report.duplicate, report.refused) == (0, 0, 3, 0)
    assert (await memory.status()).storage.versions == versions


async def test_a_forgotten_memory_comes_back_from_an_export_under_its_id(memory: MemoryService) -> None:
    stored = await memory.remember("keep a copy")
    lines = await _export(memory)
    await memory.forget(stored.id)
    report = await memory.import_lines(_each(lines))
    assert report.created == 1
    assert (await memory.get(stored.id)).version == 3


async def test_an_imported_memory_says_so(memory: MemoryService) -> None:
    await memory.import_lines(_each([b'{"content": "from elsewhere", "provenance": {"source": "file:notes.md"}}\n']))
    (item,) = (await memory.list_memories(WHOLE)).items
    assert item.provenance
    assert (item.provenance.action, item.provenance.source) == ("imported", "file:notes.md")


async def test_a_bad_line_is_counted_and_named_and_the_others_are_stored(memory: MemoryService) -> None:
    lines = [b'{"content": "one"}\n', b"not json\n", b"\n", b'{"content": ""}\n', b'{"content": "two"}\n']
    report = await memory.import_lines(_each(lines))
    assert (report.created, report.refused) == (2, 2)
    assert [problem.code for problem in report.problems] == ["invalid_json", "invalid_request"]
    assert report.problems[0].detail.startswith("record 2:")


async def test_progress_counts_every_record(make_service: Any) -> None:
    memory = await make_service(batch_memories_max=10)
    seen: list[int] = []
    await memory.import_lines(_each(b'{"content": "m%d"}\n' % i for i in range(25)), progress=seen.append)
    assert sum(seen) == 25
    assert len(seen) == 3


async def test_an_export_of_a_namespace_leaves_the_others_out(memory: MemoryService) -> None:
    await _fill(memory)
    lines = [line async for batch in memory.export(namespaces=["session"]) for line in batch]
    assert [msgspec.json.decode(line)["content"] for line in lines] == ["plain"]


async def test_an_interrupted_import_goes_on_where_it_was(make_service: Any) -> None:
    memory = await make_service(batch_memories_max=5)
    lines = [b'{"content": "m%d", "key": "k%d"}\n' % (i, i) for i in range(20)]

    async def broken() -> AsyncGenerator[bytes, None]:
        for line in lines[:12]:
            yield line
        raise ConnectionError("the reader went away")

    with pytest.raises(ConnectionError):
        await memory.import_lines(broken())
    report = await memory.import_lines(_each(lines))
    assert report.created + report.duplicate == 20
    assert report.duplicate == 10
    assert (await memory.get_by_key("longterm", "k19", ReadOptions())).version == 1
