"""Export and import: memories as JSON Lines, the form in which they are stored anew."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from pydantic import ValidationError

from recollect.adapters.filters import parse_filter
from recollect.adapters.port import Projection, Scan
from recollect.adapters.versions import Action, Version
from recollect.service.answers import ImportReport, Problem, Refused, Remembered
from recollect.service.branches import read_point
from recollect.service.parts import Parts
from recollect.service.presenting import content_of, moment, name_of
from recollect.service.recall import namespaces_of
from recollect.service.remember import Remembering
from recollect.service.requests import ImportedMemory, InvalidMemory, NewMemory

BATCH_MEMORIES = 128
BATCH_BYTES = 1_048_576
PROBLEMS_MAX = 100

Progress = Callable[[int], None]


def exported(version: Version) -> bytes:
    """Return a version as a line that an import takes back, ended by a line feed."""
    record: dict[str, Any] = {
        "id": version.memory_id,
        "content": content_of(version),
        "summary": version.summary or None,
        "key": version.key,
        "namespace": version.namespace,
        "kind": version.kind,
        "tags": version.tags,
        "metadata": version.metadata or {},
        "importance": version.importance,
        "confidence": version.confidence,
        "created_at": moment(version.created_at_ms),
        "expires_at": None if version.expires_at_ms is None else moment(version.expires_at_ms),
    }
    kept = version.provenance
    if kept is not None:
        record["track_provenance"] = kept.level == "full"
        record["provenance"] = {
            "actor": kept.actor or None,
            "source": kept.source,
            "derived_from": [name_of(ref) for ref in kept.derived_from],
            "note": kept.note,
            "confidence": kept.confidence,
        }
    return msgspec.json.encode(record) + b"\n"


class Transferring:
    """The use cases of export and import."""

    def __init__(self, parts: Parts, remembering: Remembering) -> None:
        self._parts = parts
        self._remembering = remembering

    async def export(
        self,
        branch: str,
        as_of: datetime | int | None,
        namespaces: list[str] | None,
        filters: dict[str, Any] | None,
    ) -> AsyncGenerator[Sequence[bytes], None]:
        """Stream memories as lines; see `MemoryService.export`."""
        scan = Scan(
            read_point=await read_point(self._parts.store, branch, as_of),
            namespaces=namespaces_of(namespaces),
            filter=parse_filter(filters),
            projection=Projection(content=True, provenance=True),
        )
        with self._parts.telemetry.operation("export"):
            async for batch in self._parts.store.scan(scan):
                yield [exported(version) for version in batch]

    async def import_lines(self, lines: AsyncIterable[bytes], progress: Progress | None) -> ImportReport:
        """Store exported lines; see `MemoryService.import_lines`."""

        async def memories() -> AsyncGenerator[NewMemory | InvalidMemory, None]:
            async for line in lines:
                if line.strip():
                    try:
                        yield ImportedMemory.model_validate_json(line)
                    except ValidationError as mistakes:
                        yield InvalidMemory(mistakes)

        return await self.import_memories(memories(), progress)

    async def import_memories(
        self, memories: AsyncIterable[NewMemory | InvalidMemory], progress: Progress | None
    ) -> ImportReport:
        """Store memories in batches; see `MemoryService.import_memories`."""
        tally = _Tally()
        batch: list[NewMemory | InvalidMemory] = []
        weight = 0
        async for memory in memories:
            batch.append(memory)
            weight += len(memory.content) if isinstance(memory, NewMemory) and isinstance(memory.content, str) else 0
            if len(batch) >= self._batch_memories or weight >= BATCH_BYTES:
                await self._import_batch(batch, tally, progress)
                batch, weight = [], 0
        if batch:
            await self._import_batch(batch, tally, progress)
        return tally.report()

    @property
    def _batch_memories(self) -> int:
        return min(BATCH_MEMORIES, self._parts.settings.batch_memories_max)

    async def _import_batch(
        self, batch: list[NewMemory | InvalidMemory], tally: "_Tally", progress: Progress | None
    ) -> None:
        tally.add(await self._remembering.many(batch, Action.IMPORTED, None, atomic=False))
        if progress is not None:
            progress(len(batch))


class _Tally:
    """Counts what became of imported memories."""

    def __init__(self) -> None:
        self._counts = {"created": 0, "revised": 0, "duplicate": 0}
        self._seen = 0
        self._refused = 0
        self._problems: list[Problem] = []

    def add(self, results: Sequence[Remembered | Refused]) -> None:
        for result in results:
            self._seen += 1
            if isinstance(result, Remembered):
                self._counts[result.status] += 1
                continue
            self._refused += 1
            if len(self._problems) < PROBLEMS_MAX:
                detail = f"record {self._seen}: {result.error.detail}"
                self._problems.append(msgspec.structs.replace(result.error, detail=detail))

    def report(self) -> ImportReport:
        return ImportReport(**self._counts, refused=self._refused, problems=self._problems)
