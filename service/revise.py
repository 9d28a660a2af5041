"""Revising and forgetting a memory: a new version each, never a change to an old one."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from recollect.adapters.clock import now_ms
from recollect.adapters.errors import ConflictError
from recollect.adapters.port import ById, Commit, Projection, Put, ReadPoint, VersionIs
from recollect.adapters.versions import Action, Vector, Version
from recollect.service.answers import Remembered
from recollect.service.branches import Place, writable
from recollect.service.errors import InvalidInputError, MemoryNotFoundError, VersionConflictError
from recollect.service.forgetting import tombstone
from recollect.service.hashing import content_hash
from recollect.service.idempotency import IdempotentRequest
from recollect.service.parts import Parts
from recollect.service.planning import duplicate_of, references
from recollect.service.presenting import content_of, milliseconds_of
from recollect.service.remember import ATTEMPTS_MAX
from recollect.service.requests import ProvenanceInput, Revision
from recollect.service.summaries import summarise

_EVERYTHING = Projection(content=True, vectors=True)
_Change = Callable[[Version, Place], Awaitable[Put | None]]


class Revising:
    """The use cases of revising and forgetting."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def revise(
        self, memory_id: str, revision: Revision, expected_version: int | None, idempotency_key: str | None
    ) -> Remembered:
        """Store the next version of a memory; see `MemoryService.revise`."""
        with self._parts.telemetry.operation("revise"):
            said = [memory_id, expected_version, revision.model_dump(mode="json", exclude_unset=True)]
            request = IdempotentRequest.of(idempotency_key, said, self._parts.settings.idempotency_ttl_s)

            async def change(current: Version, place: Place) -> Put | None:
                return await self._revised(current, revision, place)

            return await self._change(
                memory_id, revision.branch, expected_version, change, revision.durability, request
            )

    async def forget(
        self, memory_id: str, branch: str, expected_version: int | None, given: ProvenanceInput
    ) -> Remembered:
        """Forget a memory; see `MemoryService.forget`."""
        with self._parts.telemetry.operation("forget"):

            async def change(current: Version, place: Place) -> Put:
                keeps_full = self._parts.drafter.keeps_full(current.namespace, None, given)
                derived = await self._derived_from(given, place) if keeps_full else ()
                record = self._parts.drafter.provenance(
                    given, Action.FORGOTTEN, derived, now_ms(), keeps_full=keeps_full
                )
                return tombstone(current, branch=place.branch, provenance=record)

            return await self._change(memory_id, branch, expected_version, change, "durable", None)

    async def _change(
        self,
        memory_id: str,
        branch: str,
        expected_version: int | None,
        change: _Change,
        durability: Any,
        request: IdempotentRequest | None,
    ) -> Remembered:
        store = self._parts.store
        for _ in range(ATTEMPTS_MAX):
            place = await writable(store, branch)
            point = place.point
            (current,) = await store.get([ById(memory_id)], point, _EVERYTHING)
            # Looked for last: another call with this key that comes between would else pass for a stranger
            if request is not None and (answered := await request.answered(store, point)) is not None:
                return next(answer for answer in answered if isinstance(answer, Remembered))
            if current is None or current.namespace.startswith("_"):
                raise not_found(memory_id, point)
            if expected_version is not None and current.number != expected_version:
                raise VersionConflictError(
                    f"memory {memory_id} is at version {current.number}, not {expected_version}: read it, decide anew",
                    found={"version": current.number},
                )
            put = await change(current, place)
            if put is None:
                return duplicate_of(current)
            answer = Remembered(
                id=memory_id,
                version=put.version.number,
                status="forgotten" if put.version.forgotten else "revised",
                namespace=current.namespace,
                branch=put.version.branch,
                position=0,
            )
            kept = [] if request is None else [request.record([answer], place.branch)]
            commit = Commit(
                puts=(put, *(record for record, _ in kept)),
                preconditions=(VersionIs(memory_id, current.ref), *place.guards, *(unused for _, unused in kept)),
                read_point=point,
                durability=durability,
            )
            try:
                receipt = await store.commit(commit)
            except ConflictError:
                continue  # another writer was faster; what it wrote decides
            self._note_working(current, put.version)
            said = "durable" if receipt.durable else "relaxed"
            return msgspec.structs.replace(answer, position=receipt.position, durability=said)
        raise VersionConflictError(
            f"other writers changed memory {memory_id} {ATTEMPTS_MAX} times meanwhile; try again, or write in turn"
        )

    def _note_working(self, before: Version, after: Version) -> None:
        if after.forgotten or after.kind != before.kind:
            self._parts.working.removed([before])
        if not after.forgotten:
            self._parts.working.added([after])

    async def _revised(self, current: Version, revision: Revision, place: Place) -> Put | None:
        """Return the next version, or None if it would say the same."""
        given = revision.model_fields_set
        drafter = self._parts.drafter
        content = revision.content if "content" in given else content_of(current)
        if content is None or (isinstance(content, str) and not content.strip()):
            raise InvalidInputError("content is empty; to remove a memory, forget it (DELETE)")
        text, content_type = drafter.content_text(content)
        metadata = revision.metadata if revision.metadata is not None else current.metadata or {}
        drafter.check_size(text, metadata)
        tags = sorted(set(revision.tags)) if revision.tags is not None else list(current.tags)
        kind = revision.kind or current.kind
        said = {"kind": kind, "key": current.key, "tags": tags, "metadata": metadata, "created_at_ms": None}
        keeps_full = drafter.keeps_full(current.namespace, revision.track_provenance, revision.provenance)
        derived = await self._derived_from(revision.provenance, place) if keeps_full else ()
        now = now_ms()
        changed = text != current.content
        record = drafter.provenance(revision.provenance, Action.REVISED, derived, now, keeps_full=keeps_full)
        version = msgspec.structs.replace(
            current,
            branch=place.branch,
            number=current.number + 1,
            position=0,
            kind=kind,
            summary=revision.summary or (summarise(text) if changed else current.summary),
            tags=tuple(tags),
            importance=current.importance if revision.importance is None else revision.importance,
            confidence=current.confidence if revision.confidence is None else revision.confidence,
            updated_at_ms=now,
            expires_at_ms=self._expiry_ms(current, revision),
            content_hash=content_hash(content, said=said),
            actor=record.actor,
            source=record.source,
            content=text,
            content_type=content_type,
            metadata=metadata,
            provenance=record,
        )
        if not changed and _says_the_same(version, current) and "vector" not in given:
            return None
        vectors = await self._vectors(current, version, revision, changed=changed)
        return Put(msgspec.structs.replace(version, vectors=vectors), supersedes=current.ref)

    async def _vectors(self, current: Version, version: Version, revision: Revision, *, changed: bool) -> Vector | None:
        if revision.vector is not None:
            return self._parts.drafter.unit_vector(revision.vector)[None, :]
        if not changed:
            return current.vectors
        (embedded,) = await self._parts.embedder.embed_documents([version.content or ""])
        return embedded

    async def _derived_from(self, given: ProvenanceInput, place: Place) -> tuple[Any, ...]:
        selectors = references(given.derived_from)
        found = await self._parts.store.get(selectors, place.point) if selectors else []
        for named, version in zip(given.derived_from, found, strict=True):
            if version is None:
                raise InvalidInputError(f"provenance.derived_from names {named}, which is not in this store")
        return tuple(version.ref for version in found if version is not None)

    @staticmethod
    def _expiry_ms(current: Version, revision: Revision) -> int | None:
        if "expires_at" not in revision.model_fields_set:
            return current.expires_at_ms
        return None if revision.expires_at is None else milliseconds_of(revision.expires_at)


def _says_the_same(version: Version, current: Version) -> bool:
    fields = ("kind", "summary", "tags", "importance", "confidence", "expires_at_ms", "metadata", "content_type")
    return all(getattr(version, name) == getattr(current, name) for name in fields)


def not_found(memory_id: str, point: ReadPoint) -> MemoryNotFoundError:
    """Return the error for a memory that is not visible from a point."""
    return MemoryNotFoundError(
        f"there is no memory {memory_id!r} on branch {point.lineage[0].branch!r}: it was never stored there, "
        "was forgotten, has expired, or came later than the moment asked for"
    )
