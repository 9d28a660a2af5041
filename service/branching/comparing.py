"""The comparison behind a merge: what the source changed since the common past, and what the target made of it.

The common past is known from what each branch holds of the others: of those that it was forked from up to the fork,
and of those that were merged into it up to the merge. Where several pasts are common, as after merges in both
directions, the latest one is compared with; it holds the others, because merges happen one after the other.
"""

import asyncio
from collections.abc import Mapping

from msgspec import Struct

from recollect.adapters.clock import POSITION_MAX
from recollect.adapters.port import BranchSpan, ByKey, ProvenanceStorageAdapter, ReadPoint, Selector
from recollect.adapters.versions import Version
from recollect.service.branches import existing
from recollect.service.branching import records
from recollect.service.branching.carrying import Step
from recollect.service.branching.records import BranchRecord, Held
from recollect.service.branching.states import (
    any_written,
    beyond,
    bounds_of,
    common,
    head_of,
    same,
    states,
    up_to,
    written,
)
from recollect.service.errors import InvalidInputError


class Sides(Struct, frozen=True, eq=False):
    """Two branches as they stood when they were compared.

    Attributes:
        target: The branch that takes.
        target_head: The newest commit on it.
        source: The branch that gives, as of its head.
        source_head: Up to where it is taken.
        base: The lineage of the common past; empty where there is none.
        base_position: As of when.
        known: Up to where each branch is known to both.
        theirs_known: Up to where each branch is known to the source.
    """

    target: Held
    target_head: int
    source: BranchRecord
    source_head: int
    base: tuple[BranchSpan, ...]
    base_position: int
    known: Mapping[str, int]
    theirs_known: Mapping[str, int]

    @property
    def ours(self) -> tuple[BranchSpan, ...]:
        """From where the target is read."""
        return self.target.record.spans()

    @property
    def theirs(self) -> tuple[BranchSpan, ...]:
        """From where the source is read."""
        return up_to(self.source.spans(), self.source_head)

    def merged(self) -> dict[str, int]:
        """Return what the target holds of other branches after the merge."""
        target = self.target.record
        seen = bounds_of(target.lineage)
        held = dict(target.merged)
        for branch, position in self.theirs_known.items():
            if branch != target.id and position > max(seen.get(branch, 0), held.get(branch, 0)):
                held[branch] = position
        return held


class Both(Struct, frozen=True, eq=False):
    """A memory that both sides changed, in different ways.

    Attributes:
        memory_id: The memory; in a clash of keys, that of the source.
        base: Its version in the common past.
        ours: The target's; in a clash of keys, that of the memory that has the key there.
        theirs: The source's.
        is_clash: Whether two memories have one key.
    """

    memory_id: str
    base: Version | None
    ours: Version | None
    theirs: Version | None
    is_clash: bool = False


class Comparison(Struct, frozen=True, eq=False):
    """What a merge has to do.

    Attributes:
        steps: What only the source asks for.
        both: What both changed.
        is_news: Whether the source has written anything that the target does not hold.
    """

    steps: list[Step]
    both: list[Both]
    is_news: bool


async def sides_of(store: ProvenanceStorageAdapter, target: str, source: str) -> Sides:
    """Look at both branches and find their common past.

    Raises:
        BranchNotFoundError: One of them is not there.
        InvalidInputError: They are the same.
    """
    if target == source:
        raise InvalidInputError(f"{target!r:.120} cannot be merged into itself; name another source")
    ours, theirs = await existing(store, target), await existing(store, source)
    target_head = await head_of(store, ours.record.id)
    source_head = max(await head_of(store, theirs.record.id), theirs.record.fork)
    # What the source holds of other branches must be that of its head, and not of a merge that has just been made.
    as_of = await records.find(store, source, source_head)
    source_record = (as_of or theirs).record
    theirs_known = {**await _knowledge_of(store, source_record), source_record.id: source_head}
    known = common(await _knowledge_of(store, ours.record), theirs_known)
    branch = max(known, key=lambda name: (known[name], name), default=None)
    base: tuple[BranchSpan, ...] = ()
    if branch is not None:
        base = records.at_position(
            await _spans_of(store, branch, known[branch], ours.record, source_record), known[branch]
        )
    return Sides(
        target=ours,
        target_head=target_head,
        source=source_record,
        source_head=source_head,
        base=base,
        base_position=0 if branch is None else known[branch],
        known=known,
        theirs_known=theirs_known,
    )


async def _knowledge_of(store: ProvenanceStorageAdapter, record: BranchRecord) -> dict[str, int]:
    """Return up to where a branch holds others: of what it was forked from, what that held, and what it merged."""
    known = record.knows()
    for span in record.lineage:
        parent = await records.find(store, records.name_of_id(span.branch), span.up_to)
        if parent is not None and parent.record.id == span.branch:
            for branch, position in parent.record.merged.items():
                known[branch] = max(position, known.get(branch, 0))
    return known


async def _spans_of(
    store: ProvenanceStorageAdapter, branch: str, position: int, *records_at_hand: BranchRecord
) -> tuple[BranchSpan, ...]:
    """Return the lineage of a branch: the end of one that holds it, or what its record says."""
    for record in records_at_hand:
        spans = record.spans()
        for at, span in enumerate(spans):
            if span.branch == branch:
                return (BranchSpan(branch, POSITION_MAX), *spans[at + 1 :])
    held = await records.find(store, records.name_of_id(branch), position)
    return () if held is None else held.record.spans()


async def is_behind(store: ProvenanceStorageAdapter, sides: Sides) -> bool:
    """Say whether the target has no changes of its own since the common past."""
    return not await any_written(store, beyond(sides.ours, sides.known))


async def compare(store: ProvenanceStorageAdapter, sides: Sides) -> Comparison:
    """Compare both sides with their common past, memory by memory."""
    steps: list[Step] = []
    both: list[Both] = []
    is_news = False
    async for memory_ids in written(store, beyond(sides.theirs, sides.known)):
        is_news = True
        base, ours, theirs = await asyncio.gather(
            states(store, memory_ids, sides.base),
            states(store, memory_ids, sides.ours),
            states(store, memory_ids, sides.theirs),
        )
        for memory_id, was, mine, other in zip(memory_ids, base, ours, theirs, strict=True):
            if same(other, was) or same(other, mine):
                continue
            if same(mine, was):
                of = tuple(version.ref for version in (mine, other) if version is not None)
                steps.append(Step(memory_id, mine, other, of))
            else:
                both.append(Both(memory_id, was, mine, other))
    return await _without_clashes(store, sides, Comparison(steps, both, is_news))


async def _without_clashes(store: ProvenanceStorageAdapter, sides: Sides, found: Comparison) -> Comparison:
    """Take out the memories whose key another memory has on the target."""
    clashes = await clashes_of(store, found.steps, sides.ours)
    if not clashes:
        return found
    steps = [step for step in found.steps if step.memory_id not in clashes]
    both = [
        Both(step.memory_id, None, clashes[step.memory_id], step.wanted, is_clash=True)
        for step in found.steps
        if step.memory_id in clashes
    ]
    return Comparison(steps, [*found.both, *both], found.is_news)


async def clashes_of(
    store: ProvenanceStorageAdapter, steps: list[Step], spans: tuple[BranchSpan, ...]
) -> dict[str, Version]:
    """Return, by the id of a memory that would be added, the version of another one that has its key there."""
    leaving = {step.memory_id for step in steps if step.forgets}
    coming = [step for step in steps if step.ours is None and step.wanted is not None and step.wanted.key is not None]
    asked: list[Selector] = [
        ByKey(step.wanted.namespace, step.wanted.key)
        for step in coming
        if step.wanted is not None and step.wanted.key is not None
    ]
    holders = await store.get(asked, ReadPoint(spans)) if asked else []
    return {
        step.memory_id: holder
        for step, holder in zip(coming, holders, strict=True)
        if holder is not None and holder.memory_id != step.memory_id and holder.memory_id not in leaving
    }
