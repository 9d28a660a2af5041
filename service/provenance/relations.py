"""Relations between memories, and insights drawn from several."""

from typing import Literal

import msgspec
from msgspec import Struct
from uuid_utils import uuid7

from recollect.adapters.clock import now_ms
from recollect.adapters.errors import ConflictError
from recollect.adapters.filters import And, Equals, Filter
from recollect.adapters.port import FULL, ById, ByKey, Commit, KeyIs, Put, ReadPoint, Scan, VersionIs
from recollect.adapters.versions import Action, Provenance, Version
from recollect.service.answers import Remembered
from recollect.service.branches import Place, read_point, writable
from recollect.service.errors import MemoryNotFoundError, RelationNotFoundError, VersionConflictError
from recollect.service.forgetting import tombstone
from recollect.service.parts import Parts
from recollect.service.presenting import JSON_TYPE, moment
from recollect.service.provenance.answers import Relation
from recollect.service.provenance.requests import NewInsight, NewRelation
from recollect.service.remember import ATTEMPTS_MAX, Remembering
from recollect.service.requests import NewMemory

NAMESPACE = "_relations"
CRYSTAL = "crystal"
"""The kind of a memory that is pinned: as important as can be, and it never expires."""


class _Stored(Struct, frozen=True):
    origin: str
    to: str
    type: str
    note: str | None = None


class Relations:
    """The use cases of connecting memories and of drawing insights from several."""

    def __init__(self, parts: Parts, remembering: Remembering) -> None:
        self._parts = parts
        self._remembering = remembering

    async def connect(self, request: NewRelation) -> Relation:
        """Relate two memories; the same relation again is answered as it is.

        Raises:
            MemoryNotFoundError: One of them is not there.
            BranchNotFoundError: There is no such branch.
            StorageError: It could not be stored.
        """
        store = self._parts.store
        key = f"{request.from_} {request.type} {request.to}"
        with self._parts.telemetry.operation("connect"):
            place = await writable(store, request.branch)
            for _ in range(ATTEMPTS_MAX):
                (known,) = await store.get([ByKey(NAMESPACE, key)], place.point, FULL)
                if known is not None:
                    return relation_of(known)
                version = await self._version(request, key, place)
                commit = Commit(
                    puts=(Put(version),),
                    preconditions=(KeyIs(NAMESPACE, key, None), *place.guards),
                    read_point=place.point,
                )
                try:
                    receipt = await store.commit(commit)
                except ConflictError:
                    continue  # another caller related them meanwhile
                return relation_of(msgspec.structs.replace(version, position=receipt.position))
        raise VersionConflictError(f"other writers changed this relation {ATTEMPTS_MAX} times meanwhile; try again")

    async def _version(self, request: NewRelation, key: str, place: Place) -> Version:
        ends = await self._parts.store.get([ById(request.from_), ById(request.to)], place.point)
        for memory_id, end in zip((request.from_, request.to), ends, strict=True):
            if end is None or end.namespace.startswith("_"):
                raise MemoryNotFoundError(
                    f"there is no memory {memory_id!r} on branch {request.branch!r} to relate; store it first"
                )
        now = now_ms()
        actor = request.actor or self._parts.settings.default_actor
        stored = _Stored(request.from_, request.to, request.type, request.note)
        return Version(
            memory_id=str(uuid7()),
            branch=place.branch,
            namespace=NAMESPACE,
            key=key,
            kind=request.type,
            tags=tuple(sorted({request.from_, request.to})),
            created_at_ms=now,
            updated_at_ms=now,
            actor=actor,
            content=msgspec.json.encode(stored).decode(),
            content_type=JSON_TYPE,
            metadata={},
            provenance=Provenance(
                action=Action.CONNECTED,
                actor=actor,
                time_ms=now,
                note=request.note,
                derived_from=tuple(end.ref for end in ends if end is not None),
            ),
        )

    async def of(
        self,
        memory_id: str,
        *,
        direction: Literal["out", "in", "both"] = "both",
        relation_type: str | None = None,
        branch: str = "main",
    ) -> list[Relation]:
        """Return the relations of a memory, in the order they were made; of an unknown one none.

        Args:
            memory_id: The memory.
            direction: Those that lead from it, to it, or both.
            relation_type: Only those of this type.
            branch: The branch to look from.
        """
        with self._parts.telemetry.operation("relations"):
            return await relations_of(
                self._parts, memory_id, await read_point(self._parts.store, branch), direction, relation_type
            )

    async def disconnect(self, relation_id: str, *, branch: str = "main", actor: str | None = None) -> Relation:
        """Remove a relation; that it was there stays in its history.

        Returns:
            The relation as it was.

        Raises:
            RelationNotFoundError: There is none with this id.
            StorageError: It could not be stored.
        """
        store = self._parts.store
        with self._parts.telemetry.operation("disconnect"):
            place = await writable(store, branch)
            for _ in range(ATTEMPTS_MAX):
                (known,) = await store.get([ById(relation_id)], place.point, FULL)
                if known is None or known.namespace != NAMESPACE:
                    raise RelationNotFoundError(f"there is no relation {relation_id!r}; list those of a memory first")
                record = Provenance(
                    action=Action.FORGOTTEN, actor=actor or self._parts.settings.default_actor, time_ms=now_ms()
                )
                gone = tombstone(known, branch=place.branch, provenance=record)
                unchanged = (VersionIs(relation_id, known.ref), *place.guards)
                try:
                    await store.commit(Commit(puts=(gone,), preconditions=unchanged, read_point=place.point))
                except ConflictError:
                    continue  # another caller removed it meanwhile
                return relation_of(known)
        raise VersionConflictError(f"other writers changed this relation {ATTEMPTS_MAX} times meanwhile; try again")

    async def crystallize(self, request: NewInsight, *, idempotency_key: str | None = None) -> Remembered:
        """Pin an insight drawn from several memories: as important as can be, and without an expiry.

        Returns:
            As `remember` does; `duplicate` where exactly this insight is pinned already.

        Raises:
            InvalidInputError: One of the memories is not there.
            IdempotencyConflictError, StorageError, EmbeddingError: As in `remember`.
        """
        said = _drawn_from(request)
        kind = said.kind if "kind" in said.model_fields_set else CRYSTAL
        pinned = said.model_copy(update={"kind": kind, "importance": 1.0, "expires_at": None})
        return await self._remembering.one(pinned, Action.CRYSTALLIZED, idempotency_key)

    async def synthesize(self, request: NewInsight, *, idempotency_key: str | None = None) -> Remembered:
        """Store a memory drawn from several others, as any other memory but for its lineage.

        Raises:
            InvalidInputError: One of the memories is not there.
            IdempotencyConflictError, StorageError, EmbeddingError: As in `remember`.
        """
        return await self._remembering.one(_drawn_from(request), Action.SYNTHESIZED, idempotency_key)


def _drawn_from(request: NewInsight) -> NewMemory:
    """Return the memory to store: what it was drawn from is its derivation, which is always kept."""
    said = {name: getattr(request, name) for name in request.model_fields_set - {"memories"}}
    derived = [*request.memories, *request.provenance.derived_from]
    said["provenance"] = request.provenance.model_copy(update={"derived_from": derived})
    said["track_provenance"] = True
    return NewMemory.model_construct(_fields_set=set(said), **said)


async def relations_of(
    parts: Parts,
    memory_id: str,
    point: ReadPoint,
    direction: Literal["out", "in", "both"] = "both",
    relation_type: str | None = None,
) -> list[Relation]:
    """Return the relations of a memory as seen from a point, in the order they were made."""
    conditions: list[Filter] = [Equals(("tags",), memory_id)]
    if relation_type is not None:
        conditions.append(Equals(("kind",), relation_type))
    scan = Scan(read_point=point, namespaces=(NAMESPACE,), filter=And(tuple(conditions)), projection=FULL)
    found = [relation_of(version) async for batch in parts.store.scan(scan) for version in batch if version.content]
    return [
        relation
        for relation in found
        if direction == "both" or (relation.origin if direction == "out" else relation.to) == memory_id
    ]


def relation_of(version: Version) -> Relation:
    """Return a stored relation as it is answered."""
    stored = msgspec.json.decode(version.content or "", type=_Stored)
    return Relation(
        id=version.memory_id,
        origin=stored.origin,
        to=stored.to,
        type=stored.type,
        note=stored.note,
        actor=version.actor,
        time=moment(version.updated_at_ms),
        position=version.position,
    )
