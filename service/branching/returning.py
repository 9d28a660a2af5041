"""Rollback and cherry-pick: an earlier state of a branch, or one memory's change on another, as a new commit."""

import asyncio
from contextlib import aclosing

from recollect.adapters.errors import ConflictError
from recollect.adapters.port import BranchSpan, Commit, HeadIs, ReadPoint, VersionIs
from recollect.adapters.versions import MAIN, Action, Version
from recollect.service.answers import Remembered, Status
from recollect.service.branches import existing
from recollect.service.branching import answers, records, tags
from recollect.service.branching.carrying import Signature, Step, counts_of, exact_preconditions, puts_of
from recollect.service.branching.comparing import clashes_of
from recollect.service.branching.erasures import none_since_now
from recollect.service.branching.origins import moment_of
from recollect.service.branching.records import Held
from recollect.service.branching.requests import CherryPick, RollbackRequest
from recollect.service.branching.states import beyond, bounds_of, head_of, newest, same, states, written
from recollect.service.errors import (
    InvalidInputError,
    MergeConflictError,
    ProtectedError,
    TagNotFoundError,
    VersionConflictError,
)
from recollect.service.parts import Parts
from recollect.service.planning import duplicate_of
from recollect.service.presenting import name_of
from recollect.service.revise import not_found

ATTEMPTS_MAX = 8
ATTEMPTS_BY_HEAD = 3


class Returning:
    """The use cases of rollback and cherry-pick."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    # --- Rollback --------------------------------------------------------------------------------

    async def rollback(self, name: str, request: RollbackRequest) -> answers.RolledBack:
        """Give a branch the state that it had, by one new commit; what came in between stays in its history.

        Raises:
            BranchNotFoundError, TagNotFoundError: There is no such branch, or no such tag.
            ProtectedError: The branch is protected.
            InvalidInputError: The tag names a state of another branch.
            VersionConflictError: Others kept changing the branch meanwhile.
        """
        store = self._parts.store
        actor = request.actor or self._parts.settings.default_actor
        with self._parts.telemetry.operation("rollback") as operation:
            for attempt in range(ATTEMPTS_MAX):
                held = await existing(store, name)
                if held.record.protected and name != MAIN:
                    raise ProtectedError(f"the branch {name!r} is protected; take its protection away first")
                unerased = await none_since_now(store)
                head = await head_of(store, held.record.id)
                then = await self._then(held, request.to)
                position = max((span.up_to for span in then), default=0)
                steps = await self._steps_back(held, then)
                operation.part("compare")
                if request.dry_run or not steps:
                    return _told(name, position, request, None, steps)
                why = request.note or f"rolled back to position {position}"
                signature = Signature(Action.REVISED, actor, why)
                exact = attempt >= ATTEMPTS_BY_HEAD
                commit = Commit(
                    puts=tuple(await puts_of(store, steps, held.record.id, held.record.spans(), signature)),
                    preconditions=(
                        *held.guards,
                        unerased,
                        *(exact_preconditions(steps) if exact else (HeadIs(held.record.id, head),)),
                    ),
                    read_point=ReadPoint(held.record.spans()),
                )
                try:
                    receipt = await store.commit(commit)
                except ConflictError:
                    continue  # another writer was faster; what it wrote is taken back too
                self._parts.working.removed(step.ours for step in steps if step.ours is not None and step.forgets)
                return _told(name, position, request, receipt.position, steps)
        raise VersionConflictError(f"others changed the branch {name!r:.120} {ATTEMPTS_MAX} times meanwhile; try again")

    async def _then(self, held: Held, to: str | int) -> tuple[BranchSpan, ...]:
        """Return the lineage of the branch as of the moment that is meant."""
        spans = held.record.spans()
        moment = moment_of(to)
        if moment is not None:
            return records.at_position(spans, records.position_of(moment))
        tag = await tags.find(self._parts.store, str(to))
        if tag is None:
            raise TagNotFoundError(
                f"{to!r:.120} is no tag, time (RFC 3339) or commit position; the log of the branch lists its commits"
            )
        if bounds_of(spans).get(tag.branch, 0) < tag.position:
            raise InvalidInputError(
                f"the tag {tag.name!r} names a state of {records.name_of_id(tag.branch)!r} that "
                f"{held.record.name!r} never had; give a position, or merge that branch"
            )
        return records.at_position(spans, tag.position)

    async def _steps_back(self, held: Held, then: tuple[BranchSpan, ...]) -> list[Step]:
        store, spans = self._parts.store, held.record.spans()
        steps: list[Step] = []
        async for memory_ids in written(store, beyond(spans, bounds_of(then))):
            before, now = await asyncio.gather(states(store, memory_ids, then), states(store, memory_ids, spans))
            for memory_id, was, version in zip(memory_ids, before, now, strict=True):
                if not same(was, version):
                    of = tuple(side.ref for side in (was, version) if side is not None)
                    steps.append(Step(memory_id, version, was, of))
        return steps

    # --- Cherry-pick -----------------------------------------------------------------------------

    async def cherry_pick(self, target: str, pick: CherryPick) -> Remembered:
        """Take one memory's change over from another branch.

        Returns:
            `created`, `revised` or `forgotten`; `duplicate` where the target says the same already.

        Raises:
            BranchNotFoundError, MemoryNotFoundError: There is no such branch, or no such version there.
            MergeConflictError: The target has changed the memory itself; `found` is its version.
            VersionConflictError: Others kept changing the memory meanwhile.
        """
        store = self._parts.store
        actor = pick.actor or self._parts.settings.default_actor
        with self._parts.telemetry.operation("cherry_pick"):
            for _ in range(ATTEMPTS_MAX):
                held, source = await existing(store, target), await existing(store, pick.source)
                spans = held.record.spans()
                unerased = await none_since_now(store)
                before, picked = await self._picked(source, pick)
                (ours,) = await states(store, [pick.memory_id], spans)
                wanted = None if picked.forgotten else picked
                if same(ours, wanted):
                    return duplicate_of(ours or picked)
                await self._refuse_conflict(pick, before, ours, spans)
                of = tuple(side.ref for side in (ours, picked) if side is not None)
                step = Step(pick.memory_id, ours, wanted, of)
                clashes = await clashes_of(store, [step], spans)
                if clashes and pick.strategy == "conflict":
                    (holder,) = clashes.values()
                    raise MergeConflictError(
                        f"memory {holder.memory_id} has the key {holder.key!r:.80} on {target!r}; give the strategy "
                        "'theirs' to put the picked one in its place",
                        found=name_of(holder.ref),
                    )
                steps = [step, *(Step(other.memory_id, other, None, of) for other in clashes.values())]
                puts = await puts_of(store, steps, held.record.id, spans, Signature(Action.MERGED, actor, pick.note))
                commit = Commit(
                    puts=tuple(puts),
                    preconditions=(
                        *held.guards,
                        unerased,
                        *(VersionIs(one.memory_id, None if one.ours is None else one.ours.ref) for one in steps),
                    ),
                    read_point=ReadPoint(spans),
                )
                try:
                    receipt = await store.commit(commit)
                except ConflictError:
                    continue  # the memory was changed meanwhile; look again
                return _picked_answer(puts[0].version, ours, receipt.position)
        raise VersionConflictError(f"others changed memory {pick.memory_id} {ATTEMPTS_MAX} times meanwhile; try again")

    async def _picked(self, source: Held, pick: CherryPick) -> tuple[Version | None, Version]:
        """Return the version that is picked, and the one before it on its line."""
        point = ReadPoint(source.record.spans())
        line: list[Version] = []
        async with aclosing(self._parts.store.history(pick.memory_id, point)) as batches:
            async for batch in batches:
                line += [version for version in batch if not version.namespace.startswith("_")]
        for at, version in enumerate(line):
            if pick.version in (None, version.number) and pick.position in (None, version.position):
                before = line[at + 1] if at + 1 < len(line) else None
                return (None if before is None or before.forgotten else before), version
        raise not_found(pick.memory_id, point)

    async def _refuse_conflict(
        self, pick: CherryPick, before: Version | None, ours: Version | None, spans: tuple[BranchSpan, ...]
    ) -> None:
        """Raise unless the target's version is the one that the picked change was made to."""
        if pick.strategy == "theirs" or (ours is not None and same(ours, before)):
            return
        if ours is None and await newest(self._parts.store, pick.memory_id, spans) is None:
            return  # it never was there, so there is nothing to contradict
        raise MergeConflictError(
            f"memory {pick.memory_id} was {'revised' if ours else 'forgotten'} on the target too; give the strategy "
            "'theirs' to take the picked version, or merge the branches",
            found=None if ours is None else name_of(ours.ref),
        )


def _picked_answer(version: Version, ours: Version | None, position: int) -> Remembered:
    status: Status = "forgotten" if version.forgotten else "created" if ours is None else "revised"
    return Remembered(
        id=version.memory_id,
        version=version.number,
        status=status,
        namespace=version.namespace,
        branch=version.branch,
        position=position,
    )


def _told(name: str, to: int, request: RollbackRequest, position: int | None, steps: list[Step]) -> answers.RolledBack:
    return answers.RolledBack(branch=name, to=to, dry_run=request.dry_run, position=position, **counts_of(steps))
