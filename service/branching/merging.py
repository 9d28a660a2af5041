"""Merging one branch into another: one commit, however many memories it touches."""

from typing import Any
from uuid import uuid4

import msgspec
from msgspec import Struct

from recollect.adapters.errors import ConflictError
from recollect.adapters.port import (
    BranchSpan,
    ByRef,
    Commit,
    HeadIs,
    KeyIs,
    Precondition,
    Put,
    ReadPoint,
    Selector,
)
from recollect.adapters.versions import MAIN, Action, Version
from recollect.service.branching import answers, conflict_records, records
from recollect.service.branching.carrying import EVERYTHING, Signature, Step, counts_of, exact_preconditions, puts_of
from recollect.service.branching.catalogue import forked
from recollect.service.branching.comparing import Both, Comparison, Sides, clashes_of, compare, is_behind, sides_of
from recollect.service.branching.erasures import none_since_now
from recollect.service.branching.origins import Origin
from recollect.service.branching.records import AT_THIS_COMMIT
from recollect.service.branching.requests import MergeRequest
from recollect.service.branching.states import newest
from recollect.service.branching.union import union_of
from recollect.service.errors import VersionConflictError
from recollect.service.parts import Parts

ATTEMPTS_MAX = 8
ATTEMPTS_BY_HEAD = 3
"""After so many the commit asks only that the memories it touches are as they were, not the whole branch."""
CONFLICTS_TOLD_MAX = 100


class _Plan(Struct, frozen=True, eq=False):
    """What a merge comes to before it is written."""

    sides: Sides
    steps: list[Step]
    open: list[Both]
    settled: int
    fast_forward: bool
    is_news: bool
    unerased: HeadIs


class Merging:
    """The use case of merging."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def merge(self, target: str, request: MergeRequest) -> answers.Merged:
        """Take the changes of a branch into another.

        Raises:
            BranchNotFoundError: One of them is not there.
            InvalidInputError: They are the same.
            VersionConflictError: Others kept changing the target meanwhile.
        """
        with self._parts.telemetry.operation("merge") as operation:
            for attempt in range(ATTEMPTS_MAX):
                plan = await self._plan(target, request)
                operation.part("compare")
                if request.dry_run:
                    return _told(plan, request, None, [], None)
                try:
                    done = await self._write(plan, request, exact=attempt >= ATTEMPTS_BY_HEAD)
                except ConflictError:
                    continue  # another writer was faster; what it wrote is compared too
                operation.part("commit")
                return done
        raise VersionConflictError(
            f"others changed the branch {target!r:.120} {ATTEMPTS_MAX} times meanwhile; merge again"
        )

    async def _plan(self, target: str, request: MergeRequest) -> _Plan:
        store = self._parts.store
        unerased = await none_since_now(store)
        sides = await sides_of(store, target, request.source)
        found = await compare(store, sides)
        fast_forward = not found.both and await is_behind(store, sides)
        if request.strategy == "conflict":
            return _Plan(sides, found.steps, found.both, 0, fast_forward, found.is_news, unerased)
        # A clash of keys and what its other side did may name one memory twice; that it leaves decides.
        settled = sorted(await self._settled(found, sides, request.strategy), key=lambda step: step.forgets)
        steps = {step.memory_id: step for step in [*found.steps, *settled]}
        plan = _Plan(sides, list(steps.values()), [], len(found.both), fast_forward, found.is_news, unerased)
        return await self._without_new_clashes(plan, request.strategy)

    async def _without_new_clashes(self, plan: _Plan, strategy: str) -> _Plan:
        """Leave out what a settled memory would bring back under a key that another one has by now."""
        clashes = await clashes_of(self._parts.store, plan.steps, plan.sides.ours)
        if not clashes:
            return plan
        steps = {step.memory_id: step for step in plan.steps if step.memory_id not in clashes}
        if strategy in {"theirs", "newest"}:
            # The key goes to the source's memory: the one that has it leaves.
            steps = {step.memory_id: step for step in plan.steps}
            for holder in clashes.values():
                steps[holder.memory_id] = Step(holder.memory_id, holder, None, (holder.ref,))
        return msgspec.structs.replace(plan, steps=list(steps.values()))

    # --- Strategies ------------------------------------------------------------------------------

    async def _settled(self, found: Comparison, sides: Sides, strategy: str) -> list[Step]:
        """Return the steps by which a strategy settles what both sides changed."""
        if strategy == "ours":
            return []
        steps: list[Step] = []
        unions: list[Both] = []
        for both in found.both:
            if strategy == "union" and both.ours is not None and both.theirs is not None:
                unions.append(both)
            elif strategy == "theirs" or await self._theirs_goes(both, sides, strategy):
                steps += _taking_theirs(both)
        return [*steps, *await self._unions(unions)]

    async def _theirs_goes(self, both: Both, sides: Sides, strategy: str) -> bool:
        """Say whether the source's side is taken: by `newest` if it is later, by `union` if the target forgot it."""
        if strategy == "union":
            return both.ours is None
        ours = both.ours or await newest(self._parts.store, both.memory_id, sides.ours)
        theirs = both.theirs or await newest(self._parts.store, both.memory_id, sides.theirs)
        return theirs is not None and (ours is None or theirs.updated_at_ms > ours.updated_at_ms)

    async def _unions(self, found: list[Both]) -> list[Step]:
        """Return the steps that join both texts; the new texts are embedded, all others keep their vectors."""
        made: list[tuple[Both, Version, bool]] = []
        for both in found:
            base, ours, theirs = await self._whole(both)
            if ours is not None and theirs is not None:
                version = union_of(base, ours, theirs)
                made.append((both, version, version.content != ours.content))
        texts = [version.content or "" for _, version, is_new in made if is_new]
        vectors = iter(await self._parts.embedder.embed_documents(texts) if texts else [])
        steps: list[Step] = []
        for both, version, is_new in made:
            ready = msgspec.structs.replace(version, vectors=next(vectors), sparse=None) if is_new else version
            of = tuple(side.ref for side in (both.ours, both.theirs) if side is not None)
            steps.append(Step(version.memory_id, both.ours, None, of, ready))
        return steps

    async def _whole(self, both: Both) -> list[Version | None]:
        versions = (both.base, both.ours, both.theirs)
        asked: list[Selector] = [ByRef(version.ref) for version in versions if version is not None]
        loaded = iter(await self._parts.store.get(asked, ReadPoint(()), EVERYTHING))
        return [None if version is None else next(loaded) for version in versions]

    # --- Writing ---------------------------------------------------------------------------------

    async def _write(self, plan: _Plan, request: MergeRequest, *, exact: bool) -> answers.Merged:
        sides = plan.sides
        target = sides.target.record
        if not plan.is_news:
            return _told(plan, request, None, [], None)
        signature = Signature(Action.MERGED, request.actor or self._parts.settings.default_actor, request.note)
        puts = await puts_of(self._parts.store, plan.steps, target.id, sides.ours, signature)
        record = msgspec.structs.replace(target, merged=sides.merged())
        noted = [records.put_of(record, sides.target.version, signature.record(()))]
        conflicts = [
            conflict_records.put_of(conflict_records.record_of(both, sides), None, signature.record(_refs(both)))
            for both in plan.open
        ]
        aside, name = await self._aside(plan, request, signature)
        commit = Commit(
            puts=(*puts, *noted, *conflicts, *aside),
            preconditions=self._preconditions(plan, exact=exact),
            read_point=ReadPoint(sides.ours),
        )
        receipt = await self._parts.store.commit(commit)
        self._parts.working.removed(step.ours for step in plan.steps if step.ours is not None and step.forgets)
        self._parts.working.added(put.version for put in puts if not put.version.forgotten)
        ids = [put.version.memory_id for put in conflicts[:CONFLICTS_TOLD_MAX]]
        return _told(plan, request, receipt.position, ids, name)

    @staticmethod
    def _preconditions(plan: _Plan, *, exact: bool) -> tuple[Precondition, ...]:
        """Return what must hold. Two merges into one branch always meet on the number of its record's version."""
        target = plan.sides.target
        found: list[Precondition] = [*target.guards, plan.unerased]
        if target.record.id == MAIN and target.version is None:
            found.append(KeyIs(records.NAMESPACE, MAIN, None))
        if exact:
            return (*found, *exact_preconditions(plan.steps))
        return (*found, HeadIs(target.record.id, plan.sides.target_head))

    async def _aside(self, plan: _Plan, request: MergeRequest, signature: Signature) -> tuple[list[Put], str | None]:
        """Return the writes that put the source's side of all conflicts on a branch of its own."""
        if request.on_conflict != "branch" or not plan.open:
            return [], None
        sides = plan.sides
        target = sides.target.record
        name = f"conflict-{sides.source.name[:60]}-{uuid4().hex[:12]}"
        lineage = (BranchSpan(target.id, AT_THIS_COMMIT), *target.lineage)
        origin = Origin(target.id, AT_THIS_COMMIT, lineage)
        note = f"what {sides.source.name} says where {target.name} says otherwise"
        record = forked(name, 1, origin, actor=signature.actor, note=note)
        steps = [step for both in plan.open for step in _taking_theirs(both)]
        puts = await puts_of(self._parts.store, steps, record.id, sides.ours, signature)
        return [records.put_of(record, None, signature.record(())), *puts], name


def _taking_theirs(both: Both) -> list[Step]:
    """Return the steps that give the target the source's side."""
    theirs = Step(both.memory_id, None if both.is_clash else both.ours, both.theirs, _refs(both))
    if not both.is_clash or both.ours is None:
        return [theirs]
    return [theirs, Step(both.ours.memory_id, both.ours, None, _refs(both))]


def _refs(both: Both) -> tuple[Any, ...]:
    return tuple(version.ref for version in (both.ours, both.theirs) if version is not None)


def _told(
    plan: _Plan, request: MergeRequest, position: int | None, conflict_ids: list[str], branch: str | None
) -> answers.Merged:
    return answers.Merged(
        target=plan.sides.target.record.name,
        source=plan.sides.source.name,
        strategy=request.strategy,
        dry_run=request.dry_run,
        fast_forward=plan.fast_forward,
        base=plan.sides.base_position,
        up_to=plan.sides.source_head,
        position=position,
        conflicts=len(plan.open),
        settled=plan.settled,
        conflict_ids=conflict_ids,
        conflict_branch=branch,
        **counts_of(plan.steps),
    )
