"""Connecting memories, and drawing insights from several."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import ValidationError

from recollect.service import MemoryService, ReadOptions
from recollect.service.answers import ProvenanceRecord
from recollect.service.errors import InvalidInputError, MemoryNotFoundError, RelationNotFoundError
from recollect.service.provenance.requests import LineageRequest, NewInsight, NewRelation

Derive = Callable[..., Awaitable[str]]
NOWHERE = "0198f0c2-a7d3-7c1e-9d5b-8f6a7e4c3b21"
pytestmark = [pytest.mark.requirement("A12"), pytest.mark.every_backend]


def relation(origin: str, to: str, kind: str = "supports", **said: Any) -> NewRelation:
    return NewRelation.model_validate({"from": origin, "to": to, "type": kind, **said})


async def test_a_relation_is_listed_at_both_its_ends(memory: MemoryService, derive: Derive) -> None:
    left, right = await derive("left"), await derive("right")
    made = await memory.relations.connect(relation(left, right, note="so", actor="ben"))
    assert (made.origin, made.to, made.type, made.note, made.actor) == (left, right, "supports", "so", "ben")
    assert await memory.relations.of(left) == await memory.relations.of(right) == [made]
    assert await memory.relations.of(left, direction="in") == []
    assert await memory.relations.of(right, direction="in") == [made]
    assert await memory.relations.of(left, relation_type="contradicts") == []


async def test_the_same_relation_again_is_the_one_that_is_there(memory: MemoryService, derive: Derive) -> None:
    left, right = await derive("left"), await derive("right")
    made = await memory.relations.connect(relation(left, right))
    assert await memory.relations.connect(relation(left, right)) == made
    assert await memory.relations.connect(relation(right, left)) != made
    assert await memory.relations.connect(relation(left, right, "contradicts")) != made
    assert len(await memory.relations.of(left)) == 3


async def test_a_relation_can_be_removed_and_made_anew(memory: MemoryService, derive: Derive) -> None:
    left, right = await derive("left"), await derive("right")
    made = await memory.relations.connect(relation(left, right))
    assert await memory.relations.disconnect(made.id) == made
    assert await memory.relations.of(left) == []
    with pytest.raises(RelationNotFoundError):
        await memory.relations.disconnect(made.id)
    assert (await memory.relations.connect(relation(left, right))).id != made.id


async def test_only_memories_that_are_there_are_related(memory: MemoryService, derive: Derive) -> None:
    left = await derive("left")
    for ends in ((left, NOWHERE), (NOWHERE, left)):
        with pytest.raises(MemoryNotFoundError, match=NOWHERE):
            await memory.relations.connect(relation(*ends))
    with pytest.raises(RelationNotFoundError):
        await memory.relations.disconnect(left)
    with pytest.raises(ValidationError):
        relation(left, left, "two words")


@pytest.mark.requirement("A1")
async def test_relations_are_not_among_the_memories(memory: MemoryService, derive: Derive) -> None:
    left, right = await derive("left"), await derive("right")
    made = await memory.relations.connect(relation(left, right))
    assert (await memory.status()).storage.memories == 2
    with pytest.raises(MemoryNotFoundError):
        await memory.get(made.id)


@pytest.mark.requirement("A11")
@pytest.mark.parametrize(
    ("way", "kind", "importance"), [("crystallize", "crystal", 1.0), ("synthesize", "semantic", 0.5)]
)
async def test_an_insight_is_one_memory_with_the_lineage_of_all_it_was_drawn_from(
    memory: MemoryService, derive: Derive, way: str, kind: str, importance: float
) -> None:
    parts = [await derive(f"part {number}", namespace="session") for number in range(3)]
    request = NewInsight.model_validate({"content": "the whole", "memories": parts, "namespace": "session"})
    done = await getattr(memory.relations, way)(request)
    stored = await memory.get(done.id, ReadOptions(include_provenance=True))
    assert (stored.kind, stored.importance, stored.expires_at) == (kind, importance, None)
    assert isinstance(stored.provenance, ProvenanceRecord)
    assert stored.provenance.action == ("crystallized" if way == "crystallize" else "synthesized")
    assert [name.id for name in stored.provenance.derived_from] == parts
    down = await memory.provenance.lineage(parts[0], LineageRequest(direction="down"))
    assert [node.memory_id for node in down.nodes] == [parts[0], done.id]


async def test_a_crystal_never_expires_and_is_as_important_as_can_be(memory: MemoryService, derive: Derive) -> None:
    part = await derive("part")
    said = {"content": "pinned", "memories": [part], "importance": 0.1, "expires_at": "2999-01-01T00:00:00Z"}
    done = await memory.relations.crystallize(NewInsight.model_validate(said))
    stored = await memory.get(done.id)
    assert (stored.importance, stored.expires_at) == (1.0, None)


async def test_an_insight_from_what_is_not_there_is_refused(memory: MemoryService) -> None:
    request = NewInsight.model_validate({"content": "from nothing", "memories": [NOWHERE]})
    with pytest.raises(InvalidInputError, match=NOWHERE):
        await memory.relations.synthesize(request)
    with pytest.raises(ValidationError):
        NewInsight.model_validate({"content": "from nothing", "memories": []})
