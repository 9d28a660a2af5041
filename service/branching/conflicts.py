"""Conflicts: listed, shown, and settled one by one or all together."""

import msgspec

from recollect.adapters.clock import now_ms
from recollect.adapters.errors import ConflictError
from recollect.adapters.filters import And, Equals
from recollect.adapters.port import (
    FULL,
    SUMMARY,
    BranchSpan,
    ById,
    ByRef,
    Commit,
    Order,
    Precondition,
    ReadPoint,
    Scan,
    Selector,
    VersionIs,
)
from recollect.adapters.versions import Action, Version, VersionRef
from recollect.service.branches import existing
from recollect.service.branching import answers, conflict_records
from recollect.service.branching.carrying import EVERYTHING, Signature, Step, puts_of
from recollect.service.branching.catalogue import read_cursor, write_cursor
from recollect.service.branching.comparing import clashes_of
from recollect.service.branching.conflict_records import ConflictRecord
from recollect.service.branching.erasures import none_since_now
from recollect.service.branching.requests import Resolution, ResolveAll
from recollect.service.branching.states import same, states
from recollect.service.errors import ConflictNotFoundError, InvalidInputError, VersionConflictError
from recollect.service.hashing import content_hash
from recollect.service.parts import Parts
from recollect.service.presenting import moment, name_of
from recollect.service.summaries import summarise

ATTEMPTS_MAX = 8
_BATCH = 100


class Conflicts:
    """The use cases of conflicts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def page(
        self, *, target: str | None = None, state: str | None = "open", limit: int = 50, cursor: str | None = None
    ) -> answers.ConflictPage:
        """Return some conflicts, oldest first.

        Args:
            target: Only those of merges into this branch.
            state: `open`, `resolved`, or None for all.
            limit: How many at most.
            cursor: `next_cursor` of the page before.

        Raises:
            InvalidCursorError: The cursor is none that a page gave.
        """
        tags = [*([state] if state else []), *([conflict_records.target_tag(target)] if target else [])]
        scan = Scan(
            read_point=ReadPoint.main(),
            namespaces=(conflict_records.NAMESPACE,),
            filter=And(tuple(Equals(("tags",), tag) for tag in tags)) if tags else None,
            order=Order.CREATED_AT,
            after=None if cursor is None else read_cursor(cursor),
            limit=limit + 1,
            projection=FULL,
        )
        found = [version async for batch in self._parts.store.scan(scan) for version in batch]
        items = [await self._shown(version, whole=False) for version in found[:limit]]
        following = write_cursor(found[limit - 1]) if len(found) > limit else None
        return answers.ConflictPage(items=items, next_cursor=following)

    async def get(self, conflict_id: str) -> answers.Conflict:
        """Return a conflict with the contents of its versions.

        Raises:
            ConflictNotFoundError: There is none of this id.
        """
        return await self._shown(await self._existing(conflict_id), whole=True)

    async def resolve(self, conflict_id: str, resolution: Resolution) -> answers.Conflict:
        """Settle a conflict, in one commit with what it makes of the memory. Doing it again changes nothing.

        Raises:
            ConflictNotFoundError: There is none of this id.
            BranchNotFoundError: The branch that was merged into is gone.
            InvalidInputError: It was settled in another way, or the version to take was erased.
            VersionConflictError: Others kept changing the memory meanwhile.
        """
        with self._parts.telemetry.operation("resolve"):
            for _ in range(ATTEMPTS_MAX):
                version = await self._existing(conflict_id)
                record = conflict_records.decode(version)
                if record.resolution is not None:
                    return await self._settled_before(version, record, resolution)
                try:
                    position, put = await self._settle(version, record, resolution)
                except ConflictError:
                    continue  # the memory or the conflict was changed meanwhile; look again
                return await self._shown(msgspec.structs.replace(put, position=position), whole=True)
        raise VersionConflictError(f"others changed the memory {ATTEMPTS_MAX} times meanwhile; resolve it again")

    async def resolve_all(self, request: ResolveAll) -> answers.Resolved:
        """Settle all open conflicts the same way, each in a commit of its own.

        Raises:
            BranchNotFoundError, InvalidInputError, VersionConflictError: As in `resolve`; what was settled stays so.
        """
        resolved: list[str] = []
        position: int | None = None
        one = Resolution(take=request.take, actor=request.actor, note=request.note)
        while True:
            page = await self.page(target=request.target, limit=_BATCH)
            if not page.items:
                return answers.Resolved(resolved=resolved, position=position)
            for conflict in page.items:
                position = (await self.resolve(conflict.id, one)).position
                resolved.append(conflict.id)

    # --- Settling --------------------------------------------------------------------------------

    async def _settled_before(
        self, version: Version, record: ConflictRecord, resolution: Resolution
    ) -> answers.Conflict:
        if resolution.take != record.resolution:
            raise InvalidInputError(
                f"conflict {version.memory_id} was settled by {record.resolution!r}; revise the memory to change it"
            )
        return await self._shown(version, whole=True)

    async def _settle(self, version: Version, record: ConflictRecord, resolution: Resolution) -> tuple[int, Version]:
        """Commit what a resolution makes of the memory, and the conflict as settled."""
        store = self._parts.store
        target = await existing(store, record.target)
        spans = target.record.spans()
        unerased = await none_since_now(store)
        signature = Signature(Action.MERGED, resolution.actor or self._parts.settings.default_actor, resolution.note)
        steps = await self._steps(record, resolution, spans)
        puts = await puts_of(store, steps, target.record.id, spans, signature)
        done = msgspec.structs.replace(record, resolution=resolution.take or "content")
        put = conflict_records.put_of(done, version, signature.record(()))
        preconditions: list[Precondition] = [
            VersionIs(step.memory_id, None if step.ours is None else step.ours.ref) for step in steps
        ]
        commit = Commit(
            puts=(*puts, put),
            preconditions=(*target.guards, unerased, *preconditions),
            read_point=ReadPoint(spans),
        )
        receipt = await store.commit(commit)
        self._parts.working.removed(step.ours for step in steps if step.ours is not None and step.forgets)
        return receipt.position, put.version

    async def _steps(self, record: ConflictRecord, resolution: Resolution, spans: tuple[BranchSpan, ...]) -> list[Step]:
        store = self._parts.store
        ours = await self._there(record, spans)
        of = tuple(ref for ref in (record.ours, record.theirs) if ref is not None)
        if resolution.take == "ours":
            return []
        if resolution.content is not None:
            return [await self._written(record, resolution, ours, of)]
        ref = record.theirs if resolution.take == "theirs" else record.base
        (wanted,) = await store.get([ByRef(ref)], ReadPoint(spans)) if ref is not None else (None,)
        if ref is not None and (wanted is None or wanted.forgotten):
            raise InvalidInputError(f"the version to take, {ref.number} on {ref.branch!r}, was erased; take another")
        if record.kind == "key" and wanted is None:
            raise InvalidInputError(
                "two memories have one key and no common past; take ours or theirs, or give content"
            )
        # In a clash of keys the memory that is taken comes in the place of the one that has the key.
        (mine,) = await states(store, [record.memory_id], spans)
        if same(mine, wanted):
            return []
        step = Step(record.memory_id, mine, wanted, of)
        clashes = await clashes_of(store, [step], spans)
        leaving = [Step(holder.memory_id, holder, None, of) for holder in clashes.values()]
        return [step, *leaving]

    async def _there(self, record: ConflictRecord, spans: tuple[BranchSpan, ...]) -> Version | None:
        """Return what the target holds now; in a clash of keys, the memory that had the key."""
        memory_id = record.ours.memory_id if record.kind == "key" and record.ours is not None else record.memory_id
        (version,) = await self._parts.store.get([ById(memory_id)], ReadPoint(spans), EVERYTHING)
        return version

    async def _written(
        self, record: ConflictRecord, resolution: Resolution, ours: Version | None, of: tuple[VersionRef, ...]
    ) -> Step:
        """Return the step that gives the memory a content of the caller's own, embedded anew."""
        drafter = self._parts.drafter
        shape = ours
        if shape is None:
            asked: list[Selector] = [ByRef(ref) for ref in (record.theirs, record.base) if ref is not None]
            found = await self._parts.store.get(asked, ReadPoint(()), EVERYTHING)
            shape = next((version for version in found if version is not None), None)
        if shape is None:
            raise InvalidInputError("neither side of the conflict is there any more; store a new memory instead")
        text, content_type = drafter.content_text(resolution.content)
        drafter.check_size(text, shape.metadata or {})
        (vectors,) = await self._parts.embedder.embed_documents([text])
        said = {
            "kind": shape.kind, "key": shape.key, "tags": list(shape.tags), "metadata": shape.metadata or {},
            "created_at_ms": None,
        }  # fmt: skip
        made = msgspec.structs.replace(
            shape,
            summary=summarise(text),
            content=text,
            content_type=content_type,
            content_hash=content_hash(resolution.content, said=said),
            updated_at_ms=now_ms(),
            vectors=vectors,
            sparse=None,
        )
        return Step(shape.memory_id, ours, None, of, made)

    # --- Showing ---------------------------------------------------------------------------------

    async def _existing(self, conflict_id: str) -> Version:
        (version,) = await self._parts.store.get([ById(conflict_id)], ReadPoint.main(), FULL)
        if version is None or version.namespace != conflict_records.NAMESPACE:
            raise ConflictNotFoundError(f"there is no conflict {conflict_id!r:.80}; list them (GET /v1/conflicts)")
        return version

    async def _shown(self, version: Version, *, whole: bool) -> answers.Conflict:
        record = conflict_records.decode(version)
        refs = {"base": record.base, "ours": record.ours, "theirs": record.theirs}
        asked: dict[str, Selector] = {side: ByRef(ref) for side, ref in refs.items() if ref is not None}
        loaded = await self._parts.store.get(list(asked.values()), ReadPoint(()), FULL if whole else SUMMARY)
        there = {side: found for side, found in zip(asked, loaded, strict=True) if found is not None}
        return answers.Conflict(
            id=version.memory_id,
            kind=record.kind,
            target=record.target,
            source=record.source,
            memory_id=record.memory_id,
            namespace=record.namespace,
            key=record.key,
            base=None if record.base is None else name_of(record.base),
            ours=None if record.ours is None else name_of(record.ours),
            theirs=None if record.theirs is None else name_of(record.theirs),
            summaries={side: found.summary for side, found in there.items()},
            contents={side: found.content or "" for side, found in there.items()} if whole else None,
            state="open" if record.resolution is None else "resolved",
            resolution=record.resolution,
            position=version.position,
            created_at=moment(version.created_at_ms),
        )
