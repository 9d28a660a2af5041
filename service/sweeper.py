"""Expired memories are never recalled; now and then they are also forgotten, each with its record."""

import asyncio
from contextlib import suppress
from time import monotonic

import structlog

from recollect.adapters.clock import POSITION_MAX, now_ms
from recollect.adapters.errors import ConflictError, StorageError
from recollect.adapters.filters import Range
from recollect.adapters.port import BranchSpan, Commit, ReadPoint, Scan, VersionIs
from recollect.adapters.versions import MAIN, Version
from recollect.service.branching.records import guards_of, live_ids
from recollect.service.forgetting import tombstone
from recollect.service.idempotency import NAMESPACE
from recollect.service.parts import Parts
from recollect.service.provenance.retention import Retention

logger = structlog.get_logger("recollect")

BATCH_SIZE = 256


class Sweeper:
    """Forgets expired memories in the background, and drops old versions where a policy says so."""

    def __init__(self, parts: Parts, retention: Retention) -> None:
        self._parts = parts
        self._retention = retention
        self._squash_due = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to sweep at the interval of the settings."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop; a commit under way is not torn by it."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._parts.settings.sweep_interval_s)
            try:
                await self.sweep()
                if self._retention.enabled and monotonic() >= self._squash_due:
                    await self._retention.squash()
                    self._squash_due = monotonic() + self._parts.settings.retention_interval_s
            except StorageError as error:
                logger.warning("sweep failed", reason=str(error))

    async def sweep(self) -> int:
        """Forget what has expired, on each branch what was written there; return how many memories that were."""
        with self._parts.telemetry.operation("sweep"):
            await self._parts.receipts.erase_expired()
            count = 0
            for branch in (MAIN, *await live_ids(self._parts.store)):
                count += await self._sweep(branch, None) + await self._sweep(branch, (NAMESPACE,))
            return count

    async def _sweep(self, branch: str, namespaces: tuple[str, ...] | None) -> int:
        # What a branch inherits is forgotten where it was written, and is recalled nowhere meanwhile.
        everything = ReadPoint((BranchSpan(branch, POSITION_MAX),), None)
        scan = Scan(
            read_point=everything,
            namespaces=namespaces,
            filter=Range(("expires_at",), lte=now_ms()),
            batch_size=BATCH_SIZE,
        )
        count = 0
        async for batch in self._parts.store.scan(scan):
            count += await self._forget(list(batch), branch, everything)
        return count

    async def _forget(self, expired: list[Version], branch: str, point: ReadPoint) -> int:
        commit = Commit(
            puts=tuple(tombstone(version, branch=branch, note="expired") for version in expired),
            preconditions=(*guards_of(branch), *(VersionIs(version.memory_id, version.ref) for version in expired)),
            read_point=point,
        )
        try:
            await self._parts.store.commit(commit)
        except ConflictError:
            return 0  # one was revised or forgotten meanwhile; the next sweep looks again
        self._parts.working.removed(expired)
        return len(expired)
