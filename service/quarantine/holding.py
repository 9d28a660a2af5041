"""The use cases of tracing, quarantine and release.

A quarantined memory has a tombstone as its newest version on each branch that showed it: so it is out of every recall
at once, at no cost to searches, and its versions, provenance and past stay. Releasing writes the version that was
hidden anew. Both are one commit, however many memories they touch.
"""

from collections.abc import AsyncIterator

import msgspec
from msgspec import Struct

from recollect.adapters.clock import now_ms
from recollect.adapters.errors import ConflictError
from recollect.adapters.filters import Equals, Filter
from recollect.adapters.port import (
    FULL,
    ById,
    ByKey,
    ByRef,
    Commit,
    Projection,
    Put,
    ReadPoint,
    Scan,
    Selector,
    VersionIs,
)
from recollect.adapters.versions import MAIN, Action, Provenance, Version, VersionRef
from recollect.service.branching import records
from recollect.service.branching.erasures import none_since_now
from recollect.service.errors import QuarantineNotFoundError, QuarantineStateError, VersionConflictError
from recollect.service.forgetting import QUARANTINED_TAG, tombstone
from recollect.service.parts import Parts
from recollect.service.presenting import moment
from recollect.service.provenance.derivations import descendants
from recollect.service.quarantine.answers import Quarantine, TraceAnswer, TracedVersion
from recollect.service.quarantine.requests import NewQuarantine, ReleaseRequest, TraceRequest
from recollect.service.remember import ATTEMPTS_MAX

NAMESPACE = "_quarantine"
_NOWHERE = ReadPoint(())
_WHOLE = Projection(content=True, provenance=True, vectors=True)


class _Entry(Struct, frozen=True):
    """A memory on a branch: the version that was hidden, and the number of the tombstone that hides it."""

    hidden: VersionRef
    branch: str
    tombstone: int


class _Stored(Struct, frozen=True, kw_only=True):
    time_ms: int
    by: str
    reason: str | None
    entries: tuple[_Entry, ...]
    released_ms: int | None = None
    released_by: str | None = None
    release_reason: str | None = None
    left_out: tuple[str, ...] = ()


class Quarantines:
    """Traces what came of a source, takes it out of recall, and brings it back."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def trace(self, request: TraceRequest) -> TraceAnswer:
        """Return everything that descends from a source, an actor or memories, on all branches."""
        with self._parts.telemetry.operation("trace"):
            named, found = await self._traced(request)
            refs = {version.ref for version in named}
            items = [
                TracedVersion(
                    id=version.memory_id,
                    version=version.number,
                    branch=records.name_of_id(version.branch),
                    namespace=version.namespace,
                    reason="named" if version.ref in refs else "descends",
                    forgotten=version.forgotten,
                    summary=version.summary,
                )
                for version in (*named, *found)
            ]
            return TraceAnswer(memories=len({item.id for item in items}), items=items)

    async def quarantine(self, request: NewQuarantine) -> Quarantine:
        """Take everything that a trace finds out of recall, on every branch, in one commit.

        Raises:
            VersionConflictError: Others wrote these memories again and again meanwhile.
            StorageError: It could not be stored.
        """
        with self._parts.telemetry.operation("quarantine"):
            by = request.by or self._parts.settings.default_actor
            for _ in range(ATTEMPTS_MAX):
                named, found = await self._traced(request)
                traced = {version.ref for version in (*named, *found)}
                hidden = [pair async for pair in self._shown(traced)]
                now = now_ms()
                record = Provenance(action=Action.FORGOTTEN, actor=by, time_ms=now, note=request.reason)
                puts = [_hiding(version, branch, record) for branch, version in hidden]
                entries = tuple(
                    _Entry(version.ref, branch, put.version.number)
                    for (branch, version), put in zip(hidden, puts, strict=True)
                )
                stored = _Stored(time_ms=now, by=by, reason=request.reason, entries=entries)
                kept = records.system_put(NAMESPACE, _encoded(stored), record, kind="quarantine")
                expected = [VersionIs(v.memory_id, v.ref) for branch, v in hidden if branch == MAIN]
                commit = Commit(puts=(kept, *puts), preconditions=tuple(expected), read_point=ReadPoint.main())
                try:
                    receipt = await self._parts.store.commit(commit)
                except ConflictError:
                    continue  # one of them was revised meanwhile; the revision descends from it, too
                self._parts.working.removed([version for _, version in hidden])
                return _answer(msgspec.structs.replace(kept.version, position=receipt.position))
        raise VersionConflictError(f"other writers changed these memories {ATTEMPTS_MAX} times meanwhile; try again")

    async def release(self, quarantine_id: str, request: ReleaseRequest) -> Quarantine:
        """Bring back what a quarantine took out, in one commit.

        What was written anew or erased since, or whose key was taken, is left as it is, and named in the answer.

        Raises:
            QuarantineNotFoundError: There is none with this id.
            QuarantineStateError: It was released before.
            VersionConflictError: Others wrote these memories again and again meanwhile.
            StorageError: It could not be stored.
        """
        with self._parts.telemetry.operation("release"):
            by = request.by or self._parts.settings.default_actor
            for _ in range(ATTEMPTS_MAX):
                unerased = await none_since_now(self._parts.store)
                held = await self._held(quarantine_id)
                stored = msgspec.json.decode(held.content or "", type=_Stored)
                if stored.released_ms is not None:
                    raise QuarantineStateError(
                        f"the quarantine {quarantine_id} was released before, by {stored.released_by}"
                    )
                now = now_ms()
                record = Provenance(action=Action.REVISED, actor=by, time_ms=now, note=request.reason)
                back = [await self._restored(entry, record) for entry in stored.entries]
                left = {e.hidden.memory_id for e, put in zip(stored.entries, back, strict=True) if put is None}
                released = msgspec.structs.replace(
                    stored, released_ms=now, released_by=by, release_reason=request.reason, left_out=tuple(sorted(left))
                )
                kept = records.system_put(NAMESPACE, _encoded(released), record, kind="quarantine", held=held)
                puts = [put for put in back if put is not None]
                expected = [VersionIs(put.version.memory_id, None) for put in puts if put.version.branch == MAIN]
                commit = Commit(
                    puts=(kept, *puts),
                    preconditions=(unerased, VersionIs(quarantine_id, held.ref), *expected),
                    read_point=ReadPoint.main(),
                )
                try:
                    receipt = await self._parts.store.commit(commit)
                except ConflictError:
                    continue
                self._parts.working.added([put.version for put in puts])
                return _answer(msgspec.structs.replace(kept.version, position=receipt.position))
        raise VersionConflictError(f"other writers changed these memories {ATTEMPTS_MAX} times meanwhile; try again")

    async def all(self, limit: int = 100) -> list[Quarantine]:
        """Return quarantines, newest first, the released ones too."""
        scan = Scan(read_point=ReadPoint.main(), namespaces=(NAMESPACE,), descending=True, limit=limit, projection=FULL)
        return [_answer(version) async for batch in self._parts.store.scan(scan) for version in batch]

    async def get(self, quarantine_id: str) -> Quarantine:
        """Return one quarantine.

        Raises:
            QuarantineNotFoundError: There is none with this id.
        """
        return _answer(await self._held(quarantine_id))

    # --- What they are made of ------------------------------------------------------------------------

    async def _held(self, quarantine_id: str) -> Version:
        (held,) = await self._parts.store.get([ById(quarantine_id)], ReadPoint.main(), FULL)
        if held is None or held.namespace != NAMESPACE:
            raise QuarantineNotFoundError(
                f"there is no quarantine {quarantine_id!r:.60}; list them (GET /v1/quarantines)"
            )
        return held

    async def _traced(self, request: TraceRequest) -> tuple[list[Version], list[Version]]:
        store = self._parts.store
        named: list[Version] = []
        if request.ids is not None:
            for memory_id in dict.fromkeys(request.ids):
                async for batch in store.history(memory_id, None):
                    named += batch
        else:
            field, value = ("source", request.source) if request.source is not None else ("actor", request.actor)
            condition: Filter = Equals((field,), value or "")
            async for batch in store.scan(Scan(read_point=None, filter=condition)):
                named += batch
        named = [version for version in named if not version.erased and not version.namespace.startswith("_")]
        refs = await descendants(store, [version.ref for version in named])
        versions = await store.get([ByRef(ref) for ref in refs], _NOWHERE) if refs else []
        found = [v for v in versions if v is not None and not v.erased and not v.namespace.startswith("_")]
        return named, found

    async def _branches(self) -> AsyncIterator[tuple[str, ReadPoint]]:
        """Yield each branch that is there: its id, and the point from where it is read."""
        yield MAIN, ReadPoint.main()
        scan = Scan(read_point=ReadPoint.main(), namespaces=(records.NAMESPACE,), projection=FULL)
        async for batch in self._parts.store.scan(scan):
            for version in batch:
                if version.kind == "branch" and version.content:
                    record = records.decode(version)
                    if not record.deleted and record.id != MAIN:
                        yield record.id, ReadPoint(record.spans())

    async def _shown(self, traced: set[VersionRef]) -> AsyncIterator[tuple[str, Version]]:
        """Yield, for each branch, the versions that it shows and that were traced."""
        selectors: list[Selector] = [ById(name) for name in dict.fromkeys(ref.memory_id for ref in traced)]
        async for branch, point in self._branches():
            for version in await self._parts.store.get(selectors, point, FULL) if selectors else []:
                if version is not None and version.ref in traced:
                    yield branch, version

    async def _restored(self, entry: _Entry, record: Provenance) -> Put | None:
        """Return the write that brings a memory back on a branch; None where it must be left as it is."""
        store = self._parts.store
        hiding = VersionRef(entry.hidden.memory_id, entry.branch, entry.tombstone)
        following = msgspec.structs.replace(hiding, number=entry.tombstone + 1)
        selectors: list[Selector] = [ByRef(ref) for ref in (entry.hidden, hiding, following)]
        original, there, later = await store.get(selectors, _NOWHERE, _WHOLE)
        if original is None or original.erased or there is None or there.erased or later is not None:
            return None
        if original.key is not None:
            point = next(iter([p async for name, p in self._branches() if name == entry.branch]), None)
            taken = await store.get([ByKey(original.namespace, original.key)], point) if point else [original]
            if taken != [None]:
                return None
        was = original.provenance
        told = msgspec.structs.replace(
            record, source=was.source if was else None, derived_from=was.derived_from if was else ()
        )
        version = msgspec.structs.replace(
            original, branch=entry.branch, number=entry.tombstone + 1, position=0, provenance=told
        )
        return Put(version, supersedes=hiding)


def _hiding(version: Version, branch: str, record: Provenance) -> Put:
    put = tombstone(version, branch=branch, provenance=record)
    return Put(msgspec.structs.replace(put.version, tags=(QUARANTINED_TAG,)), supersedes=put.supersedes)


def _encoded(stored: _Stored) -> str:
    return msgspec.json.encode(stored).decode()


def _answer(version: Version) -> Quarantine:
    stored = msgspec.json.decode(version.content or "", type=_Stored)
    return Quarantine(
        id=version.memory_id,
        state="active" if stored.released_ms is None else "released",
        time=moment(stored.time_ms),
        by=stored.by,
        reason=stored.reason,
        memories=sorted({entry.hidden.memory_id for entry in stored.entries}),
        released_at=None if stored.released_ms is None else moment(stored.released_ms),
        released_by=stored.released_by,
        release_reason=stored.release_reason,
        left_out=list(stored.left_out),
        position=version.position,
    )
