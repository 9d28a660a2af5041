"""The use case of erasing: planned, confirmed, carried out in one commit, and taken out of every file."""

import asyncio
from collections.abc import Sequence

import msgspec
import structlog
from msgspec import Struct
from uuid_utils import uuid7

from recollect.adapters.clock import now_ms
from recollect.adapters.errors import ConflictError, StorageError
from recollect.adapters.port import FULL, ById, Commit, Projection, Put, ReadPoint, Scan
from recollect.adapters.versions import Action, Provenance, Version, VersionRef
from recollect.embeddings.caching import QueryCachingEmbedder
from recollect.service.branching.records import system_put
from recollect.service.erasure.answers import Erased, ErasurePlan, ErasureReceipt
from recollect.service.erasure.planning import Plan, digest_of, plan_of, versions_of, without
from recollect.service.erasure.requests import SELECTORS, ErasureRequest
from recollect.service.errors import ErasureNotFoundError, InvalidInputError, PlanChangedError, VersionConflictError
from recollect.service.hashing import canonical_json, sha256_hex
from recollect.service.parts import Parts
from recollect.service.presenting import moment
from recollect.service.remember import ATTEMPTS_MAX

NAMESPACE = "_erasures"
FLAG = "source-erased"
"""The tag of a memory that was made of something that is erased."""
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
        self._compacting: asyncio.Task[None] | None = None

    async def plan(self, request: ErasureRequest) -> ErasurePlan:
        """Return what an erasure would take; nothing is changed.

        Raises:
            FilterError, ReservedNamespaceError: The request is not valid.
        """
        with self._parts.telemetry.operation("plan_erasure"):
            return (await plan_of(self._parts.store, request)).answer

    async def erase(self, request: ErasureRequest) -> Erased:
        """Carry out a plan that was confirmed by its digest.

        All of it goes in one commit, together with the receipt. What was written meanwhile as a later version of the
        same goes too, in commits of its own. Done again, after an interruption, it finishes what is left to do.

        Raises:
            InvalidInputError: The request confirms no plan.
            PlanChangedError: It would be another plan now; `found` is its digest. Nothing was erased.
            StorageError: It could not be stored.
        """
        if request.confirm is None:
            raise InvalidInputError("an erasure needs a plan: ask for one, read it, and send its digest as confirm")
        with self._parts.telemetry.operation("erase"):
            await self._parts.receipts.flush()
            receipt, erased = await self._carry_out(request, request.confirm)
            await self._erase_later_versions(request, erased)
            self._drop_caches()
            compacted, note = await self._compact(request)
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

    async def close(self) -> None:
        """Wait for what goes on in the background."""
        if self._compacting is not None:
            await asyncio.wait((self._compacting,))

    # --- Carrying out ---------------------------------------------------------------------------------

    async def _carry_out(self, request: ErasureRequest, confirmed: str) -> tuple[ErasureReceipt, Sequence[Version]]:
        store = self._parts.store
        for _ in range(ATTEMPTS_MAX):
            plan = await plan_of(store, request)
            if plan.answer.digest != confirmed:
                raise PlanChangedError(
                    "what would be erased is not what was confirmed: memories have changed since, or the request is "
                    "another; read the new plan and confirm that",
                    found={"digest": plan.answer.digest},
                )
            flags = await self._flags(plan) if request.derived == "flag" else []
            put = self._receipt(request, plan, len(flags))
            refs = tuple(version.ref for version in (*plan.versions, *plan.records))
            commit = Commit(
                puts=(put, *flags, *_cleaned(plan)), erases=tuple(dict.fromkeys(refs)), read_point=ReadPoint.main()
            )
            try:
                done = await store.commit(commit)
            except ConflictError:
                continue  # a memory that is flagged was revised meanwhile; plan again
            self._parts.working.removed(plan.versions)
            receipt = msgspec.structs.replace(_receipt_of(put.version), position=done.position)
            return receipt, plan.versions
        raise VersionConflictError(f"other writers were faster {ATTEMPTS_MAX} times; try again. Nothing was erased")

    async def _erase_later_versions(self, request: ErasureRequest, erased: Sequence[Version]) -> None:
        """Erase what was written of the same memories, or by the same name, while the plan was carried out."""
        if not erased:
            return
        ids = sorted({version.memory_id for version in erased}) if request.ids or request.key else None
        again = request if ids is None else ErasureRequest(ids=ids, derived=request.derived)
        for _ in range(ATTEMPTS_MAX):
            plan = await plan_of(self._parts.store, again)
            refs = tuple(version.ref for version in (*plan.versions, *plan.records))
            if not refs:
                return
            commit = Commit(puts=_cleaned(plan), erases=tuple(dict.fromkeys(refs)), read_point=ReadPoint.main())
            await self._parts.store.commit(commit)

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

    async def _compact(self, request: ErasureRequest) -> tuple[bool, str | None]:
        if request.compact == "later":
            if self._compacting is None or self._compacting.done():
                self._compacting = asyncio.create_task(self._compact_later())
            return False, None
        try:
            await self._parts.store.compact()
        except StorageError as error:
            # The erasure stands; only the files still hold it. Failing now would hide that from the caller.
            return False, f"{error}. Send the request again, with a new plan, to clean the files"
        return True, None

    async def _compact_later(self) -> None:
        try:
            await self._parts.store.compact()
        except StorageError as error:
            logger.warning("compaction after an erasure failed", reason=str(error))


def _cleaned(plan: Plan) -> tuple[Put, ...]:
    """Return receipts of recalls in place of those that go, without what names erased memories."""
    erased = {version.memory_id for version in plan.versions}
    puts: list[Put] = []
    for record in plan.records:
        content = without(record, erased) if record.namespace == "_receipts" and not record.forgotten else None
        if content is not None:
            cleaned = msgspec.structs.replace(
                record,
                memory_id=str(uuid7()),
                number=1,
                position=0,
                content=content,
                tags=tuple(tag for tag in record.tags if tag not in erased),
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
