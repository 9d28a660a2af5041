"""A plain service that is wrapped goes on as before, and can say where its memories came from."""

import asyncio
from typing import Any

import pytest

from recollect.service import MemoryService, ProvenanceMemoryService


class Plain:
    """A service as others have it, sync."""

    colour = "blue"

    def __init__(self) -> None:
        self.held: dict[int, str] = {}

    def store(self, content: str, *, twice: bool = False) -> int:
        if not content:
            raise ValueError("empty")
        self.held[len(self.held)] = content * (1 + twice)
        return len(self.held) - 1

    def retrieve(self, memory_id: int) -> str | None:
        return self.held.get(memory_id)


class KeyValue:
    """A service that is given the name and returns nothing, async."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}

    async def store(self, key: str, value: Any) -> None:
        self.held[key] = value

    async def retrieve(self, key: str) -> Any:
        return self.held[key]


def told(service: ProvenanceMemoryService[Any], memory_id: Any) -> list[tuple[str, str, str | None]]:
    return [(record.action, record.actor, record.source) for record in service.provenance_of(memory_id)]


@pytest.mark.requirement("A6")
@pytest.mark.parametrize("tracking", [True, False])
def test_calls_results_exceptions_and_attributes_are_those_of_the_wrapped_service(*, tracking: bool) -> None:
    plain = Plain()
    service = ProvenanceMemoryService(plain, tracking=tracking)
    assert service.store("one") == 0
    assert service.store("two", twice=True) == 1
    assert service.retrieve(1) == "twotwo"
    assert service.retrieve(9) is None
    assert (service.colour, service.held) == ("blue", plain.held)
    with pytest.raises(ValueError, match="empty"):
        service.store("")
    with pytest.raises(TypeError):
        service.store()
    with pytest.raises(AttributeError):
        _ = service.nothing_of_this_name
    assert bool(service.provenance_of(0)) == tracking


@pytest.mark.requirement("A6")
def test_a_memory_can_say_who_stored_it_from_what_and_who_read_it() -> None:
    service = ProvenanceMemoryService(Plain())
    with service.acting(actor="ana", source="message:1"):
        memory_id = service.store("one")
    with service.acting(actor="ben"):
        service.retrieve(memory_id)
    service.retrieve(memory_id)
    assert told(service, memory_id) == [
        ("created", "ana", "message:1"),
        ("recalled", "ben", None),
        ("recalled", "anonymous", None),
    ]
    assert service.provenance_of("unknown") == ()


async def test_an_async_service_stays_one_and_concurrent_callers_are_told_apart() -> None:
    service = ProvenanceMemoryService(KeyValue())

    async def write(actor: str) -> None:
        with service.acting(actor=actor):
            assert await service.store(actor, [1]) is None
            assert await service.store(actor, [2]) is None

    await asyncio.gather(write("ana"), write("ben"))
    assert await service.retrieve("ana") == [2]
    assert told(service, "ana") == [("created", "ana", None), ("revised", "ana", None), ("recalled", "anonymous", None)]
    assert [actor for _, actor, _ in told(service, "ben")] == ["ben", "ben"]
    with pytest.raises(KeyError):
        await service.retrieve("nobody")


async def test_this_service_itself_can_be_wrapped(memory: MemoryService) -> None:
    service = ProvenanceMemoryService(memory)
    with service.acting(actor="ana"):
        memory_id = await service.store("one")
    assert await service.retrieve(memory_id) == "one"
    assert told(service, memory_id)[0] == ("created", "ana", None)
    assert (await service.status()).status == "healthy"


def test_what_is_kept_is_bounded() -> None:
    service = ProvenanceMemoryService(Plain(), memories_max=2)
    names = [service.store(text) for text in ("a", "b", "c")]
    for _ in range(200):
        service.retrieve(names[2])
    assert service.provenance_of(names[0]) == ()
    records = service.provenance_of(names[2])
    assert (len(records), records[0].action) == (100, "created")
