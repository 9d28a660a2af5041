from pathlib import Path
from typing import Any

import pytest

from recollect.adapters.errors import ProfileMismatchError, UnknownBackendError
from recollect.embeddings.errors import ModelLoadError
from recollect.service import MemoryService, NewMemory, SearchRequest, Settings, create_memory_service


@pytest.mark.requirement("F3")
async def test_a_program_opens_a_store_uses_it_and_finds_it_again(tmp_path: Path) -> None:
    settings = Settings(model="hash")
    async with await create_memory_service(settings, storage=f"file:{tmp_path}") as memory:
        stored = await memory.remember(NewMemory(content="the key is under the mat"))
    async with await create_memory_service(settings, storage=f"file:{tmp_path}") as memory:
        (hit,) = (await memory.search(SearchRequest(text="the key is under the mat"))).hits
    assert hit.id == stored.id


@pytest.mark.requirement("A6")
async def test_callers_of_a_plain_store_go_on_unchanged(memory: MemoryService) -> None:
    memory_id = await memory.store("simple")
    document_id = await memory.store({"any": ["json"]}, tags=["t"])
    assert await memory.retrieve(memory_id) == "simple"
    assert await memory.retrieve(document_id) == {"any": ["json"]}
    assert await memory.retrieve("11111111-2222-3333-4444-555555555555") is None


async def test_closing_twice_does_nothing(memory: MemoryService) -> None:
    await memory.close()
    await memory.close()


@pytest.mark.requirement("B7")
async def test_what_was_acknowledged_is_there_after_reopening(make_service: Any) -> None:
    memory = await make_service()
    ids = [(await memory.remember(f"fact {i}")).id for i in range(20)]
    relaxed = await memory.remember(NewMemory(content="relaxed", durability="relaxed"))
    await memory.save_all()
    await memory.close()
    again = await make_service()
    for memory_id in [*ids, relaxed.id]:
        assert (await again.get(memory_id)).version == 1


async def test_another_model_is_refused_before_anything_is_mixed(make_service: Any) -> None:
    memory = await make_service(model="hash:64")
    await memory.remember("x")
    await memory.close()
    with pytest.raises(ProfileMismatchError):
        await make_service(model="hash:32")


async def test_an_unknown_backend_names_those_that_are_known(make_service: Any) -> None:
    with pytest.raises(UnknownBackendError, match="file:"):
        await make_service(storage="carrier-pigeon:coop")


async def test_a_model_that_is_not_there_is_a_clear_error(make_service: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError):
        await make_service(model=str(tmp_path / "no-such-model"))
