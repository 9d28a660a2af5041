"""Storing memories: looked up, embedded, and committed together."""

from collections.abc import Sequence
from contextlib import suppress

import msgspec
from msgspec import Struct
from pydantic import ValidationError

from recollect.adapters.errors import ConflictError, InvalidRequestError
from recollect.adapters.port import Commit, ContentIsNew, KeyIs, Precondition, Put, VersionIs
from recollect.adapters.versions import MAIN, Action, Vector, Version
from recollect.service.answers import Refused, Remembered
from recollect.service.branches import Place, read_point, writable
from recollect.service.drafts import Draft
from recollect.service.errors import (
    BatchRefusedError,
    BranchNotFoundError,
    InvalidInputError,
    ServiceError,
    VersionConflictError,
    problem_of,
)
from recollect.service.forgetting import tombstone
from recollect.service.idempotency import IdempotentRequest
from recollect.service.parts import Parts
from recollect.service.planning import Known, New, Outcome, Rejected, Revises, Twin, duplicate_of, plan
from recollect.service.requests import Durability, InvalidMemory, NewMemory
from recollect.service.telemetry import Operation

_APART = (
    "its key or id stands in the batch twice, or it is for another branch than the first; one commit cannot hold both"
)
ATTEMPTS_MAX = 8
"""How often a write that meets another one on the same memory is planned anew."""


class _Write(Struct, frozen=True, eq=False):
    """What a plan comes to: the commit, and the answers but for its position."""

    commit: Commit
    answers: list[Remembered | Refused]
    leaving: list[Version]


class _Keeping(Struct, frozen=True, eq=False):
    """What is kept under an idempotency key: the answers so far, and the places of those to come."""

    request: IdempotentRequest
    answers: dict[int, Remembered | Refused]
    places: list[int]

    def record(self, coming: Sequence[Remembered | Refused], branch: str) -> tuple[Put, KeyIs]:
        whole = self.answers | dict(zip(self.places, coming, strict=True))
        return self.request.record([whole[index] for index in sorted(whole)], branch)


class Remembering:
    """The use case of storing memories."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def one(self, memory: NewMemory, action: Action, idempotency_key: str | None) -> Remembered:
        """Store one memory; see `MemoryService.remember`."""
        with self._parts.telemetry.operation("remember") as operation:
            request = self._idempotent(idempotency_key, [memory])
            (answer,) = await self._all([memory], action, request, operation, atomic=True)
        if isinstance(answer, Refused):  # an atomic write raises instead
            raise InvalidInputError(answer.error.detail)
        return answer

    async def many(
        self,
        memories: Sequence[NewMemory | InvalidMemory],
        action: Action,
        idempotency_key: str | None,
        *,
        atomic: bool,
    ) -> list[Remembered | Refused]:
        """Store several memories; see `MemoryService.remember_many`."""
        with self._parts.telemetry.operation("remember_many") as operation:
            if len(memories) > self._parts.settings.batch_memories_max:
                raise InvalidInputError(
                    f"the batch holds {len(memories):,} memories; at most {self._parts.settings.batch_memories_max:,} "
                    "are taken: split it, or raise batch_memories_max"
                )
            request = self._idempotent(idempotency_key, memories)
            return await self._all(memories, action, request, operation, atomic=atomic)

    async def _all(
        self,
        memories: Sequence[NewMemory | InvalidMemory],
        action: Action,
        request: IdempotentRequest | None,
        operation: Operation,
        *,
        atomic: bool,
    ) -> list[Remembered | Refused]:
        """Store memories in as few commits as they allow: one, unless a key stands among them twice."""
        branches = list(dict.fromkeys(memory.branch for memory in memories if isinstance(memory, NewMemory))) or [MAIN]
        if request is not None and (answered := await self._answered(request, branches)) is not None:
            return answered
        answers: dict[int, Remembered | Refused] = {}
        drafts = await self._drafts(memories, answers, atomic=atomic)
        while drafts:
            places = _distinct(drafts)
            if atomic and len(places) < len(drafts):
                raise _refused(min(drafts.keys() - places), InvalidInputError(_APART))
            batch = [drafts.pop(place) for place in places]
            # The last commit keeps the answer to the whole request.
            keep = None if request is None or drafts else _Keeping(request, answers, places)
            stored = await self._store(batch, action, keep, operation, atomic=atomic)
            if stored is None:
                return await self._all(memories, action, request, operation, atomic=atomic)
            answers.update(zip(places, stored, strict=True))
        return [answers[index] for index in range(len(memories))]

    async def _drafts(
        self, memories: Sequence[NewMemory | InvalidMemory], answers: dict[int, Remembered | Refused], *, atomic: bool
    ) -> dict[int, Draft]:
        drafts: dict[int, Draft] = {}
        known = {MAIN}
        for index, memory in enumerate(memories):
            try:
                if isinstance(memory, InvalidMemory):
                    raise memory.mistakes
                if memory.branch not in known:  # an unknown branch is this memory's mistake, not the batch's
                    await read_point(self._parts.store, memory.branch)
                    known.add(memory.branch)
                drafts[index] = self._parts.drafter.draft(memory)
            except (ServiceError, InvalidRequestError, ValidationError) as error:
                if atomic and len(memories) == 1:
                    raise
                if atomic:
                    raise _refused(index, error) from error
                answers[index] = Refused(error=problem_of(error))
        return drafts

    async def _answered(self, request: IdempotentRequest, branches: Sequence[str]) -> list[Remembered | Refused] | None:
        """Return the answer that was given. It lies on the branch of the last commit, which is one of these."""
        for branch in branches:
            with suppress(BranchNotFoundError):
                point = await read_point(self._parts.store, branch)
                if (answered := await request.answered(self._parts.store, point)) is not None:
                    return answered
        return None

    def _idempotent(self, key: str | None, memories: Sequence[NewMemory | InvalidMemory]) -> IdempotentRequest | None:
        if key is None:
            return None
        said = [
            memory.mistakes.json(include_url=False)
            if isinstance(memory, InvalidMemory)
            else memory.model_dump(mode="json")
            for memory in memories
        ]
        return IdempotentRequest.of(key, said, self._parts.settings.idempotency_ttl_s)

    async def _store(
        self,
        drafts: Sequence[Draft],
        action: Action,
        keep: "_Keeping | None",
        operation: Operation,
        *,
        atomic: bool,
    ) -> list[Remembered | Refused] | None:
        """Store drafts in one commit; None where another call with the same idempotency key was faster."""
        branch = drafts[0].request.branch
        vectors: dict[int, Vector] = {i: draft.vectors for i, draft in enumerate(drafts) if draft.vectors is not None}
        for attempt in range(ATTEMPTS_MAX):
            place = await writable(self._parts.store, branch)
            look = attempt > 0 or len(vectors) < len(drafts)
            outcomes = await plan(self._parts, drafts, place.point, look=look, again=attempt > 0)
            operation.part("look up")
            # What is there by now may be what another call with this key stored a moment ago.
            met = attempt > 0 or not all(isinstance(outcome, New) for outcome in outcomes)
            if met and keep is not None and await keep.request.answered(self._parts.store, place.point) is not None:
                return None
            _raise_refusals(outcomes, atomic=atomic)
            await self._embed(drafts, outcomes, vectors)
            operation.part("embed")
            write = await self._write(drafts, outcomes, vectors, action, keep, place)
            if not write.commit.puts:
                return write.answers
            try:
                receipt = await self._parts.store.commit(write.commit)
            except ConflictError:
                continue  # another writer was faster; what it wrote decides
            operation.part("commit")
            self._parts.working.removed(write.leaving)
            self._parts.working.added(put.version for put in write.commit.puts if not put.version.forgotten)
            durability: Durability = "durable" if receipt.durable else "relaxed"
            return [_placed(answer, receipt.position, durability) for answer in write.answers]
        raise VersionConflictError(
            f"other writers changed the same memories {ATTEMPTS_MAX} times meanwhile; try again, or write them in turn"
        )

    async def _embed(self, drafts: Sequence[Draft], outcomes: Sequence[Outcome], vectors: dict[int, Vector]) -> None:
        missing = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, New | Revises) and i not in vectors]
        if missing:
            embedded = await self._parts.embedder.embed_documents([drafts[i].text for i in missing])
            vectors.update(zip(missing, embedded, strict=True))

    async def _write(
        self,
        drafts: Sequence[Draft],
        outcomes: Sequence[Outcome],
        vectors: dict[int, Vector],
        action: Action,
        keep: "_Keeping | None",
        place: Place,
    ) -> _Write:
        puts: list[Put] = []
        preconditions: list[Precondition] = list(place.guards)
        answers: list[Remembered | Refused] = []
        for index, (draft, outcome) in enumerate(zip(drafts, outcomes, strict=True)):
            match outcome:
                case Known(current):
                    answers.append(duplicate_of(current))
                case Twin(earlier):
                    answers.append(_twin_of(answers[earlier]))
                case Rejected(error):
                    answers.append(Refused(error=problem_of(error)))
                case New() | Revises():
                    put = self._put(draft, outcome, vectors[index], action, place.branch)
                    puts.append(put)
                    preconditions.append(_precondition(draft, outcome))
                    answers.append(_answer_to(put))
        leaving = await self._parts.working.leaving([put.version for put in puts], place.point)
        for version in leaving:
            puts.append(tombstone(version, note="working memory is bounded", branch=place.branch))
            preconditions.append(VersionIs(version.memory_id, version.ref))
        if keep is not None and puts:
            record, unused = keep.record(answers, place.branch)
            puts.append(record)
            preconditions.append(unused)
        relaxed = bool(drafts) and all(draft.request.durability == "relaxed" for draft in drafts)
        commit = Commit(
            puts=tuple(puts),
            preconditions=tuple(preconditions),
            read_point=place.point,
            durability="relaxed" if relaxed else "durable",
        )
        return _Write(commit, answers, leaving)

    def _put(self, draft: Draft, outcome: New | Revises, vectors: Vector, action: Action, branch: str) -> Put:
        version = msgspec.structs.replace(draft.version, branch=branch)
        done = action
        if isinstance(outcome, New) and outcome.last is not None:
            version = msgspec.structs.replace(version, number=outcome.last.number + 1)
        if isinstance(outcome, Revises):
            current = outcome.current
            done = Action.REVISED if action is Action.CREATED else action
            version = msgspec.structs.replace(
                version,
                memory_id=current.memory_id,
                number=current.number + 1,
                created_at_ms=current.created_at_ms if draft.request.created_at is None else version.created_at_ms,
            )
        provenance = self._parts.drafter.provenance(
            draft.request.provenance, done, outcome.derived_from, version.updated_at_ms, keeps_full=draft.keeps_full
        )
        stored = msgspec.structs.replace(version, vectors=vectors, provenance=provenance)
        return Put(stored, outcome.current.ref if isinstance(outcome, Revises) else None)


def _distinct(drafts: dict[int, Draft]) -> list[int]:
    """Return the drafts that one commit can take: the first of each key and id, on the first one's branch."""
    branch = next(iter(drafts.values())).version.branch
    taken: set[tuple[str, str]] = set()
    chosen: list[int] = []
    for index, draft in drafts.items():
        version = draft.version
        names = {("", version.memory_id)} | ({(version.namespace, version.key)} if version.key else set())
        if version.branch == branch and not names & taken:
            chosen.append(index)
        taken |= names
    return chosen


def _raise_refusals(outcomes: Sequence[Outcome], *, atomic: bool) -> None:
    for index, outcome in enumerate(outcomes):
        if atomic and isinstance(outcome, Rejected):
            raise outcome.error if len(outcomes) == 1 else _refused(index, outcome.error)


def _refused(index: int, error: Exception) -> BatchRefusedError:
    problem = problem_of(error)
    return BatchRefusedError(
        f"memory {index} of the batch: {problem.detail}; nothing of it was stored, because it is atomic", found=index
    )


def _precondition(draft: Draft, outcome: New | Revises) -> Precondition:
    version = draft.version
    if isinstance(outcome, Revises):
        return VersionIs(outcome.current.memory_id, outcome.current.ref)
    if draft.has_id:
        return VersionIs(version.memory_id, None)
    if version.key is not None:
        return KeyIs(version.namespace, version.key, None)
    return ContentIsNew(version.namespace, version.content_hash)


def _answer_to(put: Put) -> Remembered:
    version = put.version
    return Remembered(
        id=version.memory_id,
        version=version.number,
        status="created" if put.supersedes is None else "revised",
        namespace=version.namespace,
        branch=version.branch,
        position=0,
    )


def _twin_of(answer: Remembered | Refused) -> Remembered | Refused:
    return answer if isinstance(answer, Refused) else msgspec.structs.replace(answer, status="duplicate")


def _placed(answer: Remembered | Refused, position: int, durability: Durability) -> Remembered | Refused:
    if isinstance(answer, Refused) or answer.position:
        return answer
    return msgspec.structs.replace(answer, position=position, durability=durability)
