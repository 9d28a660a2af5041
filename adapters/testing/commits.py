"""Commits: all or nothing, in order, and only where their preconditions hold."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from msgspec.structs import replace

from recollect.adapters.clock import now_ms, position_ms
from recollect.adapters.errors import ConflictError, InvalidRequestError, InvalidVectorError
from recollect.adapters.port import (
    ById,
    ByRef,
    CommitReceipt,
    ContentIsNew,
    HeadIs,
    KeyIs,
    Precondition,
    ProvenanceStorageAdapter,
    ReadPoint,
    Scan,
    Selector,
    VersionIs,
)
from recollect.adapters.testing.base import ConformanceBase
from recollect.adapters.testing.strategies import HOSTILE_VECTORS
from recollect.adapters.testing.values import (
    EVERYTHING,
    NEWEST,
    NOW_MS,
    a_commit,
    a_full_version,
    a_version,
    as_plain,
    axis,
    branch_point,
    collected,
    content_hash,
    ids,
    memory_id,
    refs,
    revision_of,
    terms,
    tombstone_of,
    windows,
)
from recollect.adapters.versions import MAIN, SparseVector, Vector, Version, VersionRef

HELD = a_version(1, key="k", content="held")
"""What is stored before each precondition below is tried."""

FAILING: dict[str, tuple[Precondition, Callable[[int], VersionRef | str | int | None]]] = {
    "another_version": (VersionIs(HELD.memory_id, VersionRef(HELD.memory_id, MAIN, 2)), lambda _: HELD.ref),
    "no_version": (VersionIs(HELD.memory_id, None), lambda _: HELD.ref),
    "a_version_of_an_unknown_memory": (VersionIs(memory_id(9), VersionRef(memory_id(9), MAIN, 1)), lambda _: None),
    "a_free_key": (KeyIs("longterm", "k", None), lambda _: HELD.memory_id),
    "a_key_of_another_memory": (KeyIs("longterm", "k", memory_id(9)), lambda _: HELD.memory_id),
    "a_key_that_nobody_has": (KeyIs("longterm", "unused", HELD.memory_id), lambda _: None),
    "new_content": (ContentIsNew("longterm", content_hash("held")), lambda _: HELD.ref),
    "an_empty_branch": (HeadIs(MAIN, 0), lambda position: position),
    "another_head": (HeadIs(MAIN, 12), lambda position: position),
    "a_head_of_an_empty_branch": (HeadIs("draft", 12), lambda _: 0),
}
HOLDING: dict[str, Callable[[int], Precondition]] = {
    "the_version": lambda _: VersionIs(HELD.memory_id, HELD.ref),
    "no_version_of_an_unknown_memory": lambda _: VersionIs(memory_id(9), None),
    "the_key": lambda _: KeyIs("longterm", "k", HELD.memory_id),
    "a_free_key": lambda _: KeyIs("longterm", "unused", None),
    "a_key_free_in_this_namespace": lambda _: KeyIs("projects", "k", None),
    "content_new_in_this_namespace": lambda _: ContentIsNew("projects", content_hash("held")),
    "the_head": lambda position: HeadIs(MAIN, position),
    "an_empty_branch": lambda _: HeadIs("draft", 0),
}


async def all_refs(adapter: ProvenanceStorageAdapter) -> list[VersionRef]:
    """Return what the store holds in user namespaces, visible or not, in the order of commits."""
    return refs(await collected(adapter.scan(Scan(read_point=None))))


async def settled(
    *commits: asyncio.Future[CommitReceipt] | asyncio.Task[CommitReceipt],
) -> tuple[list[CommitReceipt], list[ConflictError]]:
    """Wait for commits, and return what succeeded and what conflicted; anything else is raised."""
    receipts, conflicts = [], []
    for outcome in await asyncio.gather(*commits, return_exceptions=True):
        if isinstance(outcome, CommitReceipt):
            receipts.append(outcome)
        elif isinstance(outcome, ConflictError):
            conflicts.append(outcome)
        else:
            raise outcome
    return receipts, conflicts


class CommitTests(ConformanceBase):
    """What a commit promises."""

    async def test_a_version_comes_back_with_every_field_as_it_was_written(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        version = a_full_version()
        receipt = await adapter.commit(a_commit(version))
        [found] = await adapter.get([ById(version.memory_id)], NEWEST, EVERYTHING)
        assert as_plain(found) == as_plain(replace(version, position=receipt.position))

    async def test_all_puts_of_a_commit_stand_at_its_position(self, adapter: ProvenanceStorageAdapter) -> None:
        receipt = await adapter.commit(a_commit(a_version(1), a_version(2), a_version(3)))
        found = await collected(adapter.scan(Scan(read_point=NEWEST)))
        assert [(version.memory_id, version.position) for version in found] == [
            (name, receipt.position) for name in ids(1, 2, 3)
        ]

    async def test_positions_rise_from_commit_to_commit(
        self, adapter: ProvenanceStorageAdapter, other_adapter: ProvenanceStorageAdapter
    ) -> None:
        positions = [
            (await writer.commit(a_commit(a_version(2 * turn + which)))).position
            for turn in range(5)
            for which, writer in enumerate((adapter, other_adapter))
        ]
        assert positions == sorted(set(positions))

    async def test_a_position_is_at_the_wall_clock_or_ahead(self, adapter: ProvenanceStorageAdapter) -> None:
        before_ms = now_ms()
        receipt = await adapter.commit(a_commit(a_version()))
        assert position_ms(receipt.position) >= before_ms

    async def test_a_commit_may_write_to_several_branches(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(a_version(1), a_version(1, branch="draft"), a_version(2, branch="draft")))
        assert await adapter.count(NEWEST) == 1
        assert await adapter.count(branch_point("draft")) == 2

    async def test_a_durable_commit_says_that_it_is_durable(self, adapter: ProvenanceStorageAdapter) -> None:
        assert (await adapter.commit(a_commit(a_version()))).durable

    async def test_what_the_caller_changes_afterwards_changes_nothing_stored(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        vectors, metadata = windows(axis(0)), {"list": [1]}
        version = a_version(vectors=vectors, metadata=metadata)
        await adapter.commit(a_commit(version))
        vectors[:] = 9.0
        metadata["list"].append(2)
        [found] = await adapter.get([ById(version.memory_id)], NEWEST, EVERYTHING)
        assert found is not None
        assert found.vectors is not None
        assert found.metadata is not None
        assert found.metadata == {"list": [1]}
        assert np.allclose(found.vectors, windows(axis(0)))
        found.metadata["list"].append(3)
        [again] = await adapter.get([ById(version.memory_id)], NEWEST, EVERYTHING)
        assert again is not None
        assert again.metadata == {"list": [1]}


class AtomicityTests(ConformanceBase):
    """A commit that fails leaves nothing."""

    async def test_a_ref_that_is_there_already_conflicts_and_nothing_is_written(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        await adapter.commit(a_commit(a_version(1)))
        with pytest.raises(ConflictError) as caught:
            await adapter.commit(a_commit(a_version(2), a_version(3), a_version(1, content="other"), a_version(4)))
        assert (caught.value.precondition, caught.value.found) == (None, a_version(1).ref)
        assert await all_refs(adapter) == [a_version(1).ref]
        [found] = await adapter.get([ById(memory_id(1))], NEWEST, EVERYTHING)
        assert found is not None
        assert found.content == "memory 1"

    @pytest.mark.parametrize("expected", FAILING)
    async def test_a_commit_that_expects_what_is_not_so_conflicts_and_writes_nothing(
        self, adapter: ProvenanceStorageAdapter, expected: str
    ) -> None:
        precondition, found = FAILING[expected]
        receipt = await adapter.commit(a_commit(HELD))
        holding = VersionIs(memory_id(50), None)
        with pytest.raises(ConflictError) as caught:
            await adapter.commit(
                a_commit(*map(a_version, range(2, 9)), revision_of(HELD), preconditions=(holding, precondition))
            )
        assert caught.value.precondition == precondition
        assert caught.value.found == found(receipt.position)
        assert await all_refs(adapter) == [HELD.ref]
        [still] = await adapter.get([ById(HELD.memory_id)], NEWEST)
        assert still is not None
        assert still.number == 1

    @pytest.mark.parametrize("expected", HOLDING)
    async def test_a_commit_that_expects_what_is_so_is_written(
        self, adapter: ProvenanceStorageAdapter, expected: str
    ) -> None:
        receipt = await adapter.commit(a_commit(HELD))
        await adapter.commit(a_commit(a_version(2), preconditions=(HOLDING[expected](receipt.position),)))
        assert await all_refs(adapter) == [HELD.ref, a_version(2).ref]

    async def test_two_puts_for_one_memory_on_one_branch_are_refused(self, adapter: ProvenanceStorageAdapter) -> None:
        with pytest.raises(InvalidRequestError):
            await adapter.commit(a_commit(a_version(2), a_version(1), revision_of(a_version(1))))
        assert await all_refs(adapter) == []

    @pytest.mark.parametrize("name", HOSTILE_VECTORS)
    async def test_a_vector_that_cannot_be_ranked_is_refused_and_nothing_is_written(
        self, adapter: ProvenanceStorageAdapter, name: str
    ) -> None:
        bad: Vector = HOSTILE_VECTORS[name]
        with pytest.raises(InvalidVectorError):
            await adapter.commit(a_commit(a_version(1, vectors=windows(axis(0))), a_version(2, vectors=bad)))
        assert await all_refs(adapter) == []

    @pytest.mark.parametrize("weight", [float("nan"), float("inf")])
    async def test_a_weight_that_cannot_be_ranked_is_refused_and_nothing_is_written(
        self, adapter: ProvenanceStorageAdapter, weight: float
    ) -> None:
        sparse: SparseVector = terms({1: 1.0, 2: weight})
        with pytest.raises(InvalidVectorError):
            await adapter.commit(a_commit(a_version(1), a_version(2, sparse=sparse)))
        assert await all_refs(adapter) == []

    async def test_a_commit_without_puts_only_checks_its_preconditions(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(HELD))
        await adapter.commit(a_commit(preconditions=(VersionIs(HELD.memory_id, HELD.ref),)))
        with pytest.raises(ConflictError):
            await adapter.commit(a_commit(preconditions=(VersionIs(HELD.memory_id, None),)))
        assert await all_refs(adapter) == [HELD.ref]


class PreconditionTests(ConformanceBase):
    """From where a precondition looks."""

    async def test_a_precondition_looks_from_the_read_point_of_its_commit(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        fork = (await adapter.commit(a_commit(HELD))).position
        await adapter.commit(a_commit(revision_of(HELD)))
        draft = branch_point("draft", (MAIN, fork))
        unforked = branch_point("other")
        expects_first = VersionIs(HELD.memory_id, HELD.ref)
        await adapter.commit(a_commit(a_version(2), preconditions=(expects_first,), read_point=draft))
        for read_point in (NEWEST, unforked):
            with pytest.raises(ConflictError):
                await adapter.commit(a_commit(a_version(3), preconditions=(expects_first,), read_point=read_point))

    @pytest.mark.parametrize("how", ["forgotten", "expired"])
    async def test_a_memory_that_is_gone_frees_its_key_and_its_content(
        self, adapter: ProvenanceStorageAdapter, how: str
    ) -> None:
        held = replace(HELD, expires_at_ms=NOW_MS + 10)
        await adapter.commit(a_commit(held))
        if how == "forgotten":
            await adapter.commit(a_commit(tombstone_of(held)))
        now = ReadPoint.main(at_ms=NOW_MS + (10 if how == "expired" else 0))
        gone = (
            KeyIs("longterm", "k", None),
            ContentIsNew("longterm", held.content_hash),
            VersionIs(memory_id(1), None),
        )
        await adapter.commit(a_commit(a_version(2, key="k", content="held"), preconditions=gone, read_point=now))
        assert await adapter.count(now) == 1

    async def test_a_tombstone_is_the_head_of_its_branch(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(HELD))
        head = (await adapter.commit(a_commit(tombstone_of(HELD)))).position
        await adapter.commit(a_commit(a_version(2, branch="draft"), preconditions=(HeadIs(MAIN, head),)))
        with pytest.raises(ConflictError) as caught:
            await adapter.commit(a_commit(a_version(3), preconditions=(HeadIs("draft", head),)))
        assert caught.value.found > head


class ConcurrencyTests(ConformanceBase):
    """Commits that run at the same time, on one adapter and on two."""

    async def test_of_commits_with_the_same_precondition_exactly_one_succeeds(
        self, adapter: ProvenanceStorageAdapter, other_adapter: ProvenanceStorageAdapter
    ) -> None:
        writers = (adapter, other_adapter)
        free = KeyIs("longterm", "k", None)
        receipts, conflicts = await settled(
            *(
                asyncio.ensure_future(
                    writers[number % 2].commit(a_commit(a_version(number, key="k"), preconditions=(free,)))
                )
                for number in range(12)
            )
        )
        assert (len(receipts), len(conflicts)) == (1, 11)
        [winner] = await collected(adapter.scan(Scan(read_point=NEWEST)))
        assert winner.position == receipts[0].position
        assert {(error.precondition, error.found) for error in conflicts} == {(free, winner.memory_id)}

    async def test_of_concurrent_revisions_exactly_one_succeeds(
        self, adapter: ProvenanceStorageAdapter, other_adapter: ProvenanceStorageAdapter
    ) -> None:
        await adapter.commit(a_commit(HELD))
        writers = (adapter, other_adapter)
        receipts, conflicts = await settled(
            *(
                asyncio.ensure_future(writers[turn % 2].commit(a_commit(revision_of(HELD, content=f"turn {turn}"))))
                for turn in range(8)
            )
        )
        assert (len(receipts), len(conflicts)) == (1, 7)
        assert len(await all_refs(adapter)) == 2

    async def test_concurrent_commits_that_do_not_conflict_all_succeed_in_one_order(
        self, adapter: ProvenanceStorageAdapter, other_adapter: ProvenanceStorageAdapter
    ) -> None:
        writers = (adapter, other_adapter)
        receipts, conflicts = await settled(
            *(
                asyncio.ensure_future(writers[number % 2].commit(a_commit(a_version(number), a_version(100 + number))))
                for number in range(20)
            )
        )
        assert conflicts == []
        assert len({receipt.position for receipt in receipts}) == 20
        assert await adapter.count(NEWEST) == 40

    async def test_whoever_was_told_that_a_memory_is_kept_finds_it_at_once_beside_other_writers(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        lost: list[int] = []

        async def write(first: int) -> None:
            for number in range(first, first + 12):
                await adapter.commit(a_commit(a_version(number)))
                [found] = await adapter.get([ById(memory_id(number))], NEWEST)
                if found is None:
                    lost.append(number)

        await asyncio.gather(*(write(100 * writer) for writer in range(1, 9)))
        assert lost == []

    @pytest.mark.parametrize("turns", [0, 1, 2, 5, 20])
    async def test_a_cancelled_commit_is_there_wholly_or_not_at_all(
        self, adapter: ProvenanceStorageAdapter, turns: int
    ) -> None:
        puts = [a_version(number) for number in range(6)]
        waiting = [asyncio.ensure_future(adapter.commit(a_commit(a_version(50 + number)))) for number in range(4)]
        cancelled = asyncio.ensure_future(adapter.commit(a_commit(*puts)))
        for _ in range(turns):
            await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        selectors: list[Selector] = [ByRef(version.ref) for version in puts]
        found = await adapter.get(selectors, NEWEST)
        assert found.count(None) in (0, 6)
        assert len((await settled(*waiting))[0]) == 4

        await settled(asyncio.ensure_future(adapter.commit(a_commit(*puts))))
        retried = await adapter.get(selectors, NEWEST)
        assert [version and version.ref for version in retried] == refs(puts)


class TombstoneTests(ConformanceBase):
    """Forgetting."""

    async def test_a_forgotten_memory_is_not_found_by_any_name_but_its_refs(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        await adapter.commit(a_commit(HELD))
        tombstone = tombstone_of(HELD)
        await adapter.commit(a_commit(tombstone))
        found = await adapter.get([ById(HELD.memory_id), ByRef(HELD.ref), ByRef(tombstone.version.ref)], NEWEST)
        assert [version and (version.number, version.forgotten) for version in found] == [None, (1, False), (2, True)]

    async def test_a_forgotten_memory_can_come_back(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(HELD))
        await adapter.commit(a_commit(tombstone_of(HELD)))
        back: Version = replace(HELD, number=3)
        await adapter.commit(a_commit(back, preconditions=(VersionIs(HELD.memory_id, None),)))
        [found] = await adapter.get([ById(HELD.memory_id)], NEWEST)
        assert found is not None
        assert found.number == 3
