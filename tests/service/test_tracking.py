from typing import Any

import pytest

from recollect.service import MemoryService, NewMemory, ProvenanceInput, ReadOptions
from recollect.service.answers import ProvenanceRecord

pytestmark = pytest.mark.requirement("A2")
ACTOR = ProvenanceInput(actor="ana")
SOURCED = ProvenanceInput(actor="ana", source="message:7")


async def _record(memory: MemoryService, **fields: Any) -> ProvenanceRecord:
    stored = await memory.remember(NewMemory(content="x", **fields))
    record = (await memory.get(stored.id, ReadOptions(include_provenance=True))).provenance
    assert isinstance(record, ProvenanceRecord)
    return record


@pytest.mark.parametrize(
    ("preset", "fields", "level"),
    [
        ("interactive", {"namespace": "longterm", "provenance": ACTOR}, "full"),
        ("interactive", {"namespace": "shared", "provenance": ACTOR}, "full"),
        ("interactive", {"namespace": "session", "provenance": ACTOR}, "minimal"),
        ("interactive", {"namespace": "session", "provenance": SOURCED}, "full"),
        ("interactive", {"namespace": "session", "track_provenance": True}, "full"),
        ("interactive", {"namespace": "longterm", "provenance": SOURCED, "track_provenance": False}, "minimal"),
        ("background", {"namespace": "session", "provenance": ACTOR}, "full"),
        ("background", {"namespace": "session", "track_provenance": False}, "minimal"),
        ("minimal", {"namespace": "longterm", "provenance": SOURCED}, "minimal"),
        ("minimal", {"namespace": "longterm", "provenance": SOURCED, "track_provenance": True}, "full"),
    ],
)
async def test_a_preset_and_a_write_decide_how_much_is_kept(
    make_service: Any, preset: str, fields: dict[str, Any], level: str
) -> None:
    memory = await make_service(preset=preset)
    record = await _record(memory, **fields)
    assert record.level == level
    assert (record.source is None) == (
        level == "minimal" or "provenance" not in fields or fields["provenance"] is ACTOR
    )


async def test_the_namespaces_with_full_tracking_can_be_set(make_service: Any) -> None:
    memory = await make_service(track_full_namespaces=("projects",))
    assert (await _record(memory, namespace="projects")).level == "full"
    assert (await _record(memory, namespace="longterm")).level == "minimal"


async def test_a_minimal_record_holds_actor_action_and_time_alone(memory: MemoryService) -> None:
    record = await _record(memory, namespace="session", track_provenance=False, provenance=SOURCED)
    assert (record.actor, record.action, record.source, record.note, record.derived_from) == (
        "ana",
        "created",
        None,
        None,
        [],
    )


@pytest.mark.requirement("A15")
async def test_a_record_says_which_schema_it_has(memory: MemoryService) -> None:
    assert (await _record(memory)).schema_version == 1


async def test_who_does_not_say_who_they_are_is_the_default_actor(make_service: Any) -> None:
    memory = await make_service(default_actor="night-shift")
    assert (await _record(memory)).actor == "night-shift"
