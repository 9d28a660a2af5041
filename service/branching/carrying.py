"""The writes that give a memory, on a branch, a state that it has or had elsewhere. Vectors are taken along."""

import asyncio
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from recollect.adapters.clock import now_ms
from recollect.adapters.port import (
    BranchSpan,
    ByRef,
    KeyIs,
    Precondition,
    Projection,
    ProvenanceStorageAdapter,
    Put,
    ReadPoint,
    Selector,
    VersionIs,
)
from recollect.adapters.versions import Action, Provenance, Version, VersionRef
from recollect.service.branching.states import BATCH_MEMORIES, newest
from recollect.service.forgetting import tombstone

EVERYTHING = Projection(content=True, vectors=True)
LOOKUPS_AT_ONCE = 64


class Step(Struct, frozen=True, eq=False):
    """What is to become of one memory on a branch.

    Attributes:
        memory_id: The memory.
        ours: Its version there now; None if it is not there.
        wanted: The version whose state it gets; None if it is to be forgotten.
        of: What it comes from.
        made: A version that is ready to be written in the place of `wanted`, as a union is.
    """

    memory_id: str
    ours: Version | None
    wanted: Version | None
    of: tuple[VersionRef, ...]
    made: Version | None = None

    @property
    def forgets(self) -> bool:
        """Whether the memory is not there afterwards."""
        return self.wanted is None and self.made is None


class Signature(Struct, frozen=True):
    """Who does something and why."""

    action: Action
    actor: str
    note: str | None

    def record(self, of: tuple[VersionRef, ...], source: str | None = None) -> Provenance:
        """Return the provenance of one version."""
        return Provenance(
            action=self.action,
            actor=self.actor,
            time_ms=now_ms(),
            source=source,
            derived_from=of,
            note=self.note,
        )


async def puts_of(
    store: ProvenanceStorageAdapter,
    steps: Sequence[Step],
    branch: str,
    spans: tuple[BranchSpan, ...],
    signature: Signature,
) -> list[Put]:
    """Return the writes of some steps, in their order.

    Args:
        store: Where the states are.
        steps: At most one for each memory.
        branch: The id of the branch that is written.
        spans: Its lineage.
        signature: Who does it.
    """
    puts: list[Put] = []
    for start in range(0, len(steps), BATCH_MEMORIES):
        part = steps[start : start + BATCH_MEMORIES]
        numbers = await _numbers(store, part, spans)
        asked: list[Selector] = [ByRef(step.wanted.ref) for step in part if step.wanted is not None]
        loaded = iter(await store.get(asked, ReadPoint(spans), EVERYTHING) if asked else ())
        for step, number in zip(part, numbers, strict=True):
            whole = next(loaded) if step.wanted is not None else None
            if step.ours is None and step.made is None and (whole is None or whole.forgotten):
                continue  # it was erased meanwhile, so there is nothing to bring
            puts.append(_put(step, step.made or whole, number, branch, signature))
    return puts


def _put(step: Step, whole: Version | None, number: int, branch: str, signature: Signature) -> Put:
    if whole is None or whole.forgotten:
        assert step.ours is not None  # noqa: S101 - what is not there is not forgotten
        record = signature.record(step.of)
        return tombstone(step.ours, branch=branch, provenance=record)
    record = signature.record(step.of, whole.source)
    version = msgspec.structs.replace(
        whole, branch=branch, number=number, position=0, actor=record.actor, provenance=record
    )
    return Put(version, None if step.ours is None else step.ours.ref)


async def _numbers(store: ProvenanceStorageAdapter, steps: Sequence[Step], spans: tuple[BranchSpan, ...]) -> list[int]:
    """Return the number of each step's version: one more than the last along the line, tombstones too; 1 for none."""
    numbers = [1 if step.ours is None else step.ours.number + 1 for step in steps]
    absent = [at for at, step in enumerate(steps) if step.ours is None]
    for start in range(0, len(absent), LOOKUPS_AT_ONCE):
        part = absent[start : start + LOOKUPS_AT_ONCE]
        last = await asyncio.gather(*(newest(store, steps[at].memory_id, spans) for at in part))
        for at, version in zip(part, last, strict=True):
            numbers[at] = 1 if version is None else version.number + 1
    return numbers


def exact_preconditions(steps: Sequence[Step]) -> list[Precondition]:
    """Return that each memory is still as it was seen, and each key still free where a memory comes with one."""
    found: list[Precondition] = [
        VersionIs(step.memory_id, None if step.ours is None else step.ours.ref) for step in steps
    ]
    leaving = {(step.ours.namespace, step.ours.key) for step in steps if step.ours is not None and step.forgets}
    for step in steps:
        coming = step.made or step.wanted
        if coming is None or coming.key is None or step.ours is not None:
            continue
        if (coming.namespace, coming.key) not in leaving:
            found.append(KeyIs(coming.namespace, coming.key, None))
    return found


def counts_of(steps: Sequence[Step]) -> dict[str, int]:
    """Return how many memories steps add, revise and forget."""
    forgotten = sum(step.forgets for step in steps)
    added = sum(step.ours is None for step in steps)
    return {"added": added, "revised": len(steps) - added - forgotten, "forgotten": forgotten}
