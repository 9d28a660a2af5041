"""Old versions are dropped by policy, with a record; nothing that anything shows is."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from pydantic import ValidationError

from recollect.adapters.clock import position_ms
from recollect.service import MemoryService, ReadOptions, Settings
from recollect.service.branching.requests import MergeRequest, NewBranch, NewTag
from recollect.service.provenance.derivations import ancestors, line_of
from recollect.service.provenance.policies import Policy, parse_policies
from recollect.service.provenance.requests import LineageRequest
from recollect.service.provenance.retention import Pins, droppable
from recollect.service.requests import NewMemory, ProvenanceInput, Revision

MakeService = Callable[..., Awaitable[MemoryService]]
NO_PINS = Pins({}, frozenset())
pytestmark = [pytest.mark.requirement("A14"), pytest.mark.every_backend]


async def revised(memory: MemoryService, count: int, namespace: str = "longterm", branch: str = "main") -> str:
    """Store a memory and revise it until it has so many versions."""
    given = ProvenanceInput(actor="ana", source="message:1")
    stored = await memory.remember(NewMemory(content="text 1", namespace=namespace, provenance=given))
    for number in range(2, count + 1):
        await memory.revise(stored.id, Revision(content=f"text {number}", provenance=given, branch=branch))
    return stored.id


async def kept(memory: MemoryService, memory_id: str) -> list[int]:
    return [version.number for version in await line_of(memory._store, memory_id) if not version.erased]


async def test_by_count_the_newest_versions_are_kept_and_the_rest_is_recorded(make_service: MakeService) -> None:
    memory = await make_service(provenance_retention=("longterm=count:2",))
    long, short = await revised(memory, 5), await revised(memory, 2, "session")
    assert await memory.retention.squash() == 3
    assert (await kept(memory, long), await kept(memory, short)) == ([4, 5], [1, 2])
    (squash,) = await memory.retention.of(long)
    assert (squash.versions, squash.count, len(squash.digest)) == ([1, 2, 3], 3, 64)
    assert await memory.retention.squash() == 0
    assert await memory.retention.of(short) == []


async def test_a_dropped_version_says_nothing_but_its_place(make_service: MakeService) -> None:
    memory = await make_service(provenance_retention=("*=count:1",))
    stored = await revised(memory, 3)
    await memory.retention.squash()
    options = ReadOptions(view="full", include_provenance=True)
    newest, *old = (await memory.history(stored, options)).items
    assert newest.content == "text 3"
    assert [(item.version, item.content_hash, item.summary) for item in old] == [(2, "", ""), (1, "", "")]
    lineage = await memory.provenance.lineage(stored, LineageRequest())
    assert [node.forgotten for node in lineage.nodes if node.kind == "version"] == [False, True, True]
    refs = [version.ref for version in await line_of(memory._store, stored)]
    assert await ancestors(memory._store, refs[-1:]) == refs[-2::-1]


async def test_by_age_what_was_superseded_long_ago_is_dropped(memory: MemoryService) -> None:
    line = await line_of(memory._store, await revised(memory, 3))
    replaced = [position_ms(version.position) for version in line[1:]]
    day = Policy(age_ms=86_400_000)
    assert droppable(line, day, NO_PINS, replaced[-1] + 86_399_999 - (replaced[1] - replaced[0]) - 1) == []
    assert [version.number for version in droppable(line, day, NO_PINS, replaced[1] + 86_400_000)] == [1, 2]


async def test_for_ever_drops_nothing(make_service: MakeService) -> None:
    memory = await make_service(provenance_retention=("longterm=for-ever", "*=count:1"))
    stored, other = await revised(memory, 3), await revised(memory, 3, "session")
    assert await memory.retention.squash() == 2
    assert (await kept(memory, stored), await kept(memory, other)) == ([1, 2, 3], [3])


async def test_nothing_is_dropped_unless_it_is_asked_for(memory: MemoryService) -> None:
    stored = await revised(memory, 3)
    assert not memory.retention.enabled
    assert await memory.retention.squash() == 0
    assert await kept(memory, stored) == [1, 2, 3]


async def test_what_a_branch_or_a_tag_shows_is_kept(make_service: MakeService) -> None:
    memory = await make_service(provenance_retention=("*=count:1",))
    stored = await revised(memory, 2)
    await memory.branches.create(NewBranch(name="trip"))
    await memory.revise(stored, Revision(content="text 3"))
    await memory.branches.tags.create(NewTag(name="then"))
    for number in (4, 5):
        await memory.revise(stored, Revision(content=f"text {number}"))
    assert await memory.retention.squash() == 2
    assert await kept(memory, stored) == [2, 3, 5]
    on_trip = await memory.get(stored, ReadOptions(view="full", branch="trip"))
    assert on_trip.content == "text 2"
    await memory.revise(stored, Revision(content="text of the trip", branch="trip"))
    merged = await memory.branches.merge("main", MergeRequest(source="trip", strategy="theirs"))
    assert merged is not None
    assert (await memory.get(stored, ReadOptions(view="full"))).content == "text of the trip"


@pytest.mark.parametrize(
    "said", ["longterm", "longterm=", "=count:2", "longterm=count:0", "longterm=age:3", "_audit=count:2", "a=age:1y"]
)
def test_a_policy_that_is_none_is_refused_with_what_to_write(said: str) -> None:
    with pytest.raises(ValidationError, match="NAMESPACE=age:30d"):
        Settings(provenance_retention=(said,))


def test_policies_are_read_as_they_are_written() -> None:
    policies = parse_policies(["a=age:2h", "b=count:3", "*=age:1w", "c=for-ever"])
    assert policies.of("a") == Policy(age_ms=7_200_000)
    assert policies.of("b") == Policy(versions_max=3)
    assert policies.of("other") == Policy(age_ms=604_800_000)
    assert policies.of("c").keeps_all
    with pytest.raises(ValueError, match="two policies"):
        parse_policies(["a=count:1", "a=count:2"])


async def test_the_sweeper_squashes_when_it_is_time(make_service: MakeService) -> None:
    policy = ("*=count:1",)
    memory = await make_service(provenance_retention=policy, sweep_interval_s=0.001, retention_interval_s=0.001)
    stored = await revised(memory, 3)
    async with asyncio.timeout(20):
        while await kept(memory, stored) != [3]:
            await memory.sweep()  # each look gives the sweeper its turn
