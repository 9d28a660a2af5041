"""Lineage, blame and why over forks and merges."""

from collections.abc import Awaitable, Callable

import pytest

from recollect.adapters.versions import VersionRef
from recollect.service import MemoryService
from recollect.service.branching.requests import MergeRequest, NewBranch
from recollect.service.provenance.derivations import descendants
from recollect.service.provenance.requests import LineageRequest, NewRelation, VersionOptions, WhyRequest
from recollect.service.requests import NewMemory, ProvenanceInput, Revision

Derive = Callable[..., Awaitable[str]]
pytestmark = [pytest.mark.requirement("A11"), pytest.mark.every_backend]


async def revise(memory: MemoryService, memory_id: str, content: str, actor: str, branch: str = "main") -> None:
    given = ProvenanceInput(actor=actor)
    await memory.revise(memory_id, Revision(content=content, branch=branch, provenance=given))


async def test_a_first_version_on_a_branch_revises_the_one_that_was_forked(
    memory: MemoryService, derive: Derive
) -> None:
    stored = await derive("one")
    await revise(memory, stored, "two", "ana")
    await memory.branches.create(NewBranch(name="trip"))
    await revise(memory, stored, "three on main", "ana")
    await revise(memory, stored, "three on the trip", "ben", "trip")
    await memory.branches.create(NewBranch(name="detour", origin="trip"))
    await revise(memory, stored, "four on the detour", "eve", "detour")
    answer = await memory.provenance.lineage(stored, LineageRequest(branch="detour"))
    assert [(edge.child, edge.parent) for edge in answer.edges] == [
        (f"{stored}@4/detour", f"{stored}@3/trip"),
        (f"{stored}@3/trip", f"{stored}@2"),
        (f"{stored}@2", f"{stored}@1"),
    ]


async def test_what_came_of_a_version_is_followed_through_a_merge(memory: MemoryService, derive: Derive) -> None:
    root = await derive("root")
    await memory.branches.create(NewBranch(name="trip"))
    given = ProvenanceInput(actor="ben", derived_from=[root])
    child = (await memory.remember(NewMemory(content="child", branch="trip", provenance=given))).id
    await memory.branches.merge("main", MergeRequest(source="trip"))
    grandchild = await derive("grandchild", [child])
    found = await descendants(memory._store, [VersionRef(root, "main", 1)])
    assert {ref.memory_id for ref in found} == {child, grandchild}
    assert {ref.branch for ref in found if ref.memory_id == child} == {"trip", "main"}
    down = await memory.provenance.lineage(root, LineageRequest(direction="down"))
    assert {node.memory_id for node in down.nodes} == {root, child, grandchild}
    assert {edge.kind for edge in down.edges} == {"derived_from", "merged_from"}


async def test_blame_names_the_branch_from_which_a_sentence_was_merged(memory: MemoryService, derive: Derive) -> None:
    stored = await derive("Trains are slow.")
    await memory.branches.create(NewBranch(name="trip"))
    await revise(memory, stored, "Trains are slow. The sea is near.", "ben", "trip")
    await memory.branches.merge("main", MergeRequest(source="trip"))
    answer = await memory.provenance.blame(stored, VersionOptions())
    assert [(item.text, item.actor) for item in answer.sentences] == [
        ("Trains are slow.", "ana"),
        ("The sea is near.", "ben"),
    ]


async def test_why_names_the_conflicts_that_are_open(memory: MemoryService, derive: Derive) -> None:
    stored = await derive("one")
    await memory.branches.create(NewBranch(name="trip"))
    await revise(memory, stored, "on main", "ana")
    await revise(memory, stored, "on the trip", "ben", "trip")
    await memory.branches.merge("main", MergeRequest(source="trip"))
    page = await memory.branches.conflicts.page()
    why = await memory.provenance.why(stored, WhyRequest())
    assert why.conflicts == [conflict.id for conflict in page.items]
    assert len(why.conflicts) == 1


@pytest.mark.requirement("A12")
async def test_relations_of_a_branch_stay_on_it(memory: MemoryService, derive: Derive) -> None:
    left, right = await derive("left"), await derive("right")
    await memory.branches.create(NewBranch(name="trip"))
    request = NewRelation.model_validate({"from": left, "to": right, "type": "supports", "branch": "trip"})
    made = await memory.relations.connect(request)
    assert await memory.relations.of(left, branch="trip") == [made]
    assert await memory.relations.of(left) == []
