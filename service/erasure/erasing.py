"""The use case of erasing: planned, confirmed, carried out in one commit, and taken out of every file."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, repeat

import msgspec
import structlog
from msgspec import Struct
from uuid_utils import uuid7

from recollect.adapters.clock import now_ms
from recollect.adapters.errors import ConflictError, StorageError, StoreBusyError, StoreFullError
from recollect.adapters.port import FULL, ById, Commit, Precondition, Projection, Put, ReadPoint, Scan
from recollect.adapters.versions import Action, Provenance, Version, VersionRef
from recollect.embeddings.caching import QueryCachingEmbedder
from recollect.service.branching.erasures import NAMESPACE, mark, marks, none_since_now
from recollect.service.branching.records import system_put
from recollect.service.erasure.answers import Erased, ErasurePlan, ErasureReceipt
from recollect.service.erasure.planning import Plan, digest_of, plan_of, versions_of, without
from recollect.service.erasure.requests import SELECTORS, ErasureRequest
from recollect.service.errors import ErasureNotFoundError, InvalidInputError, PlanChangedError, VersionConflictError
from recollect.service.hashing import canonical_json, sha256_hex
from recollect.service.parts import Parts
from recollect.service.presenting import moment
from recollect.service.remember import ATTEMPTS_MAX

FLAG = "source-erased"
"""The tag of a memory that was made of something that is erased."""
CLEAN_PAUSES_S = (0.2, 1.0, 5.0, 30.0)
"""Between tries to clean files that a reader holds; the last one from then on."""
_PASSING = (StoreBusyError, StoreFullError)
"""What keeps files from being cleaned for a while only."""
_WHOLE = Projection(content=True, provenance=True, vectors=True)
logger = structlog.get_logger("recollect")


class _Stored(Struct, frozen=True):
    time_ms: int
    requested_by: str
    plan_digest: str
    request_digest: str
    policy: str
    versions: int
    memories: int
    flagged: int
    records: int
    version_digests: tuple[str, ...]


class Erasing:
    """Plans erasures, carries them out, and keeps their receipts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._cleaning = asyncio.Lock()
        self._background: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._trouble: str | None = None

    async def plan(self, request: ErasureRequest) -> ErasurePlan:
        """Return what an erasure would take; nothing is changed.

        Raises:
            FilterError, ReservedNamespaceError: The request is not valid.
        """
        with self._parts.telemetry.operation("plan_erasure"):
            return (await plan_of(self._parts.store, request)).answer

    async def erase(self, request: ErasureRequest) -> Erased:
        """Carry out a plan that was confirmed by its digest.

        All of it goes in one commit, together with the receipt. What other writers made of it meanwhile goes too, in
        commits of its own. Done again, after an interruption, it finishes what is left to do.

        Raises:
            InvalidInputError: The request confirms no plan.
            PlanChangedError: It would be another plan now; `found` is its digest. Nothing was erased.
            VersionConflictError: Others kept writing of the same; the message says what is erased already.
            StorageError: It could not be stored.
        """
        if request.confirm is None:
            raise InvalidInputError("an erasure needs a plan: ask for one, read it, and send its digest as confirm")
        with self._parts.telemetry.operation("erase"):
            await self._parts.receipts.flush()
            receipt, erased = await self._carry_out(request, request.confirm)
            try:
                await self._erase_what_came_meanwhile(request, erased)
            finally:
                self._drop_caches()
                compacted, note = await self._clean_for(request)
            return Erased(receipt=receipt, compacted=compacted, note=note)

    async def receipts(self, limit: int = 100) -> list[ErasureReceipt]:
        """Return the receipts of erasures, newest first."""
        scan = Scan(read_point=ReadPoint.main(), namespaces=(NAMESPACE,), descending=True, limit=limit, projection=FULL)
        return [_receipt_of(version) async for batch in self._parts.store.scan(scan) for version in batch]

    async def receipt(self, erasure_id: str) -> ErasureReceipt:
        """Return one receipt.

        Raises:
            ErasureNotFoundError: There is none with this id.
        """
        (version,) = await self._parts.store.get([ById(erasure_id)], ReadPoint.main(), FULL)
        if version is None or version.namespace != NAMESPACE:
            raise ErasureNotFoundError(f"there is no erasure {erasure_id!r:.60}; list them (GET /v1/erasures)")
        return _receipt_of(version)

    def notes(self) -> list[str]:
        """Return what the status says: that files may still hold erased words, as long as they may."""
        if self._trouble is None:
            return []
        return [f"the store's files may still hold words that were erased: {self._trouble}"]

    def resume(self) -> None:
        """Clean the files, in the background, where an earlier process erased and ended before it had done so."""
        self._clean_in_background()

    async def close(self) -> None:
        """Wait for the cleaning that goes on; what is still to be cleaned then is left to the next start."""
        self._closing.set()
        if self._background is not None:
            await asyncio.wait((self._background,))

    # --- Carrying out ---------------------------------------------------------------------------------

    async def _carry_out(self, request: ErasureRequest, confirmed: str) -> tuple[ErasureReceipt, Sequence[Version]]:
        store = self._parts.store
        for _ in range(ATTEMPTS_MAX):
            unerased = await none_since_now(store)
            plan = await plan_of(store, request)
            if plan.answer.digest != confirmed:
                raise PlanChangedError(
                    "what would be erased is not what was confirmed: memories have changed since, or the request is "
                    "another; read the new plan and confirm that",
                    found={"digest": plan.answer.digest},
                )
            flags = await self._flags(plan) if request.derived == "flag" else []
            put = self._receipt(request, plan, len(flags))
            try:
                position = await self._commit(plan, (put, *flags), unerased)
            except ConflictError:
                continue  # something that is flagged or cleaned was revised or erased meanwhile; plan again
            receipt = msgspec.structs.replace(_receipt_of(put.version), position=position)
            return receipt, plan.versions
        raise VersionConflictError(f"other writers were faster {ATTEMPTS_MAX} times; try again. Nothing was erased")

    async def _commit(self, plan: Plan, puts: Sequence[Put], unerased: Precondition) -> int:
        """Erase what a plan names, with what is written along, in one commit; return its position."""
        record = Provenance(
            action=Action.FORGOTTEN, actor=self._parts.settings.default_actor, time_ms=now_ms(), level="minimal"
        )
        refs = dict.fromkeys(version.ref for version in (*plan.versions, *plan.records))
        commit = Commit(
            puts=(*puts, *_cleaned(plan), mark(record)),
            erases=tuple(refs),
            preconditions=(unerased,),
            read_point=ReadPoint.main(),
        )
        done = await self._parts.store.commit(commit)
        self._parts.working.removed(plan.versions)
        return done.position

    async def _erase_what_came_meanwhile(self, request: ErasureRequest, erased: Sequence[Version]) -> None:
        """Erase what was written by the same name, or made of what is erased, while that was planned."""
        if not erased:
            return
        await self._parts.receipts.flush()  # recalls that were answered meanwhile
        gone = [version.ref for version in erased]
        ids = sorted({ref.memory_id for ref in gone}) if request.ids or request.key else None
        again = request if ids is None else ErasureRequest(ids=ids, derived=request.derived)
        for _ in range(ATTEMPTS_MAX):
            unerased = await none_since_now(self._parts.store)
            plan = await plan_of(self._parts.store, again, gone)
            flags = await self._flags(plan) if request.derived == "flag" else []
            if not (plan.versions or plan.records or flags):
                return
            try:
                await self._commit(plan, flags, unerased)
            except ConflictError:
                continue  # yet another writer
            gone += [version.ref for version in plan.versions]
        raise VersionConflictError(
            "what was confirmed is erased, but others kept writing versions that are made of it; send the request "
            "again, with a new plan, to erase those too"
        )

    async def _flags(self, plan: Plan) -> list[Put]:
        """Return the next version, with the flag, of each line whose newest version was made of what goes."""
        newest: dict[tuple[str, str], VersionRef] = {}
        for version in plan.derived:
            ref = version.ref
            newest[ref.memory_id, ref.branch] = max(ref, newest.get((ref.memory_id, ref.branch), ref))
        flags: list[Put] = []
        for version in await versions_of(self._parts.store, list(newest.values()), _WHOLE):
            last = await self._is_last(version)
            if version.forgotten or FLAG in version.tags or not last:
                continue
            now = now_ms()
            actor = self._parts.settings.default_actor
            record = Provenance(
                action=Action.REVISED, actor=actor, time_ms=now, note="something that it was made of was erased"
            )
            changed = msgspec.structs.replace(
                version,
                number=version.number + 1,
                position=0,
                tags=tuple(sorted({*version.tags, FLAG})),
                updated_at_ms=now,
                actor=actor,
                provenance=record,
            )
            flags.append(Put(changed, supersedes=version.ref))
        return flags

    async def _is_last(self, version: Version) -> bool:
        async for batch in self._parts.store.history(version.memory_id, None):
            return not any(one.branch == version.branch and one.number > version.number for one in batch)
        return False

    def _receipt(self, request: ErasureRequest, plan: Plan, flagged: int) -> Put:
        now = now_ms()
        actor = request.requested_by or self._parts.settings.default_actor
        asked = request.model_dump(mode="json", include={*SELECTORS, "namespace"}, exclude_none=True)
        stored = _Stored(
            time_ms=now,
            requested_by=actor,
            plan_digest=plan.answer.digest,
            request_digest=sha256_hex(canonical_json(asked)),
            policy=request.derived,
            versions=plan.answer.versions,
            memories=plan.answer.memories,
            flagged=flagged,
            records=plan.answer.records,
            version_digests=tuple(sorted(digest_of(version.ref) for version in plan.versions)),
        )
        record = Provenance(action=Action.FORGOTTEN, actor=actor, time_ms=now, level="minimal")
        return system_put(NAMESPACE, msgspec.json.encode(stored).decode(), record, kind="erasure")

    def _drop_caches(self) -> None:
        if isinstance(self._parts.embedder, QueryCachingEmbedder):
            self._parts.embedder.forget_queries()

    # --- Cleaning the files ---------------------------------------------------------------------------

    async def _clean_for(self, request: ErasureRequest) -> tuple[bool, str | None]:
        if request.compact == "later":
            self._clean_in_background()
            return False, None
        try:
            await self._clean()
        except StorageError as error:
            # The erasure stands; only the files still hold it. Failing now would hide that from the caller.
            self._trouble = str(error)
            if not isinstance(error, _PASSING):
                return False, str(error)
            self._clean_in_background()
            return False, f"{error}. It is tried again in the background; the status says so as long as it is not done"
        return True, None

    async def _clean(self) -> None:
        """Take what was erased out of the store's files, and then the marks that say that this is to be done."""
        async with self._cleaning:
            pending = await marks(self._parts.store)
            await self._parts.store.compact()
            if pending:
                await self._parts.store.commit(Commit(puts=(), erases=pending, read_point=ReadPoint.main()))
            self._trouble = None

    def _clean_in_background(self) -> None:
        if self._background is None or self._background.done():
            self._background = asyncio.create_task(self._clean_until_done())

    async def _clean_until_done(self) -> None:
        for pause_s in chain(CLEAN_PAUSES_S, repeat(CLEAN_PAUSES_S[-1])):
            try:
                if not await marks(self._parts.store):
                    self._trouble = None  # another process was faster
                    return
                await self._clean()
            except StorageError as error:
                self._trouble = str(error)
                if not isinstance(error, _PASSING):
                    return  # nothing that trying again would change; the status says so
                logger.warning("the store's files may still hold words that were erased", reason=str(error))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), pause_s)
            if self._closing.is_set():
                return


def _cleaned(plan: Plan) -> tuple[Put, ...]:
    """Return receipts of recalls in place of those that go, without what names erased memories."""
    puts: list[Put] = []
    for record in plan.records:
        content = without(record, plan.memories) if record.namespace == "_receipts" and not record.forgotten else None
        if content is not None:
            cleaned = msgspec.structs.replace(
                record,
                memory_id=str(uuid7()),
                number=1,
                position=0,
                content=content,
                tags=tuple(tag for tag in record.tags if tag not in plan.memories),
                provenance=Provenance(
                    action=Action.RECALLED, actor=record.actor, time_ms=record.updated_at_ms, level="minimal"
                ),
            )
            puts.append(Put(cleaned))
    return tuple(puts)


def _receipt_of(version: Version) -> ErasureReceipt:
    held = msgspec.json.decode(version.content or "", type=_Stored)
    fields = {
        name: getattr(held, name) for name in held.__struct_fields__ if name not in ("time_ms", "version_digests")
    }
    return ErasureReceipt(
        id=version.memory_id,
        time=moment(held.time_ms),
        version_digests=list(held.version_digests),
        position=version.position,
        **fields,
    )
