"""What was derived from what: found downwards without reading provenance, and upwards to the roots."""

from collections.abc import Sequence

import pytest

from recollect.adapters.versions import VersionRef
from recollect.service import MemoryService, NewMemory, ProvenanceInput
from recollect.service.provenance.derivations import ancestors, children_of, descendants
from recollect.service.requests import Revision, VersionReference

pytestmark = [pytest.mark.requirement("A11"), pytest.mark.every_backend]


async def store(memory: MemoryService, content: str, parents: Sequence[str] = ()) -> str:
    given = ProvenanceInput(actor="ana", derived_from=list(parents))
    return (await memory.remember(NewMemory(content=content, provenance=given))).id


def ref(memory_id: str, number: int = 1) -> VersionRef:
    return VersionRef(memory_id, "main", number)


async def test_children_are_found_from_each_of_their_parents(memory: MemoryService) -> None:
    left, right = await store(memory, "left"), await store(memory, "right")
    child = await store(memory, "both", [left, right])
    for parent in (left, right):
        (found,) = await children_of(memory._store, [ref(parent)])
        assert found.child == ref(child)
        assert set(found.parents) == {ref(left), ref(right)}
    assert await children_of(memory._store, [ref(child)]) == []


async def test_only_what_was_made_of_this_very_version_is_its_child(memory: MemoryService) -> None:
    root = await store(memory, "first")
    early = await store(memory, "from the first", [root])
    await memory.revise(root, Revision(content="second"))
    late = await store(memory, "from the second", [root])
    assert [found.child for found in await children_of(memory._store, [ref(root, 1)])] == [ref(early)]
    assert [found.child for found in await children_of(memory._store, [ref(root, 2)])] == [ref(late)]


async def test_descendants_come_by_derivation_and_by_revision_in_turn(memory: MemoryService) -> None:
    root = await store(memory, "root")
    child = await store(memory, "child", [root])
    await memory.revise(child, Revision(content="child, revised"))
    grandchild = await store(memory, "grandchild", [child])
    await store(memory, "a stranger")
    assert await descendants(memory._store, [ref(root)]) == [ref(child), ref(child, 2), ref(grandchild)]


async def test_ancestors_lead_to_the_roots_by_derivation_and_by_revision(memory: MemoryService) -> None:
    root = await store(memory, "root")
    await memory.revise(root, Revision(content="root, revised"))
    child = await store(memory, "child", [root])
    grandchild = await store(memory, "grandchild", [child])
    assert await ancestors(memory._store, [ref(grandchild)]) == [ref(child), ref(root, 2), ref(root, 1)]


async def test_a_circle_of_derivations_ends(memory: MemoryService) -> None:
    first = await store(memory, "first")
    second = await store(memory, "second", [first])
    circle = ProvenanceInput(derived_from=[VersionReference(id=second, version=1)])
    await memory.revise(first, Revision(content="first, again", provenance=circle))
    third = await store(memory, "third", [first])
    assert set(await descendants(memory._store, [ref(first)])) == {ref(second), ref(first, 2), ref(third)}
    assert set(await ancestors(memory._store, [ref(third)])) == {ref(first, 2), ref(first, 1), ref(second)}


@pytest.mark.requirement("A1")
async def test_what_leads_downwards_is_hidden_from_users(memory: MemoryService) -> None:
    root = await store(memory, "root")
    await store(memory, "child", [root])
    lines = [line async for batch in memory.export() for line in batch]
    assert len(lines) == 2
    assert (await memory.status()).storage.memories == 2
