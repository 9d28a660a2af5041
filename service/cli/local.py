"""Commands that work straight on a store, in this process."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from recollect.service.answers import (
    Frame,
    HistoryAnswer,
    ImportReport,
    Memory,
    MemoryPage,
    Remembered,
    ServiceStatus,
)
from recollect.service.cli.configuration import load_settings
from recollect.service.cli.provenance_backend import LocalProvenance, ProvenanceBackend
from recollect.service.cli.safety_backend import LocalSafety, SafetyBackend
from recollect.service.logs import configure_logs
from recollect.service.memory_service import MemoryService, create_memory_service
from recollect.service.requests import (
    ListRequest,
    NewMemory,
    ProvenanceInput,
    ReadOptions,
    Revision,
    SearchRequest,
)


@asynccontextmanager
async def open_local(storage: str | None) -> AsyncIterator["LocalBackend"]:
    """Open a store for one command and close it afterwards.

    Args:
        storage: The store's URL; None takes that of the settings.

    Raises:
        StorageError: The store cannot be opened.
        EmbeddingError: The model cannot be loaded.
    """
    settings = load_settings()
    # Someone at a terminal wants the answer; what an operator reads of a service is shown only when asked for.
    configure_logs(settings.log_level if "log_level" in settings.model_fields_set else "error", settings.log_format)
    service = await create_memory_service(settings, storage=storage)
    try:
        yield LocalBackend(service)
    finally:
        await service.close()


class LocalBackend:
    """A `Backend` over a memory service in this process."""

    def __init__(self, service: MemoryService) -> None:
        self._service = service
        self.branches = service.branches
        self.provenance: ProvenanceBackend = LocalProvenance(service)
        self.safety: SafetyBackend = LocalSafety(service)

    async def remember(self, memory: NewMemory, *, idempotency_key: str | None = None) -> Remembered:
        """Store a memory."""
        return await self._service.remember(memory, idempotency_key=idempotency_key)

    async def revise(self, memory_id: str, revision: Revision, *, expected_version: int | None = None) -> Remembered:
        """Add a version to a memory."""
        return await self._service.revise(memory_id, revision, expected_version=expected_version)

    async def forget(
        self,
        memory_id: str,
        *,
        branch: str,
        expected_version: int | None = None,
        provenance: ProvenanceInput | None = None,
    ) -> Remembered:
        """Forget a memory."""
        return await self._service.forget(
            memory_id, branch=branch, expected_version=expected_version, provenance=provenance
        )

    async def get(self, memory_id: str, options: ReadOptions) -> Memory:
        """Return a memory by its id."""
        return await self._service.get(memory_id, options)

    async def get_by_key(self, namespace: str, key: str, options: ReadOptions) -> Memory:
        """Return a memory by its key."""
        return await self._service.get_by_key(namespace, key, options)

    async def list_memories(self, request: ListRequest) -> MemoryPage:
        """Return a page of memories."""
        return await self._service.list_memories(request)

    async def history(self, memory_id: str, options: ReadOptions) -> HistoryAnswer:
        """Return a memory's versions, newest first."""
        return await self._service.history(memory_id, options)

    def find_similar(self, request: SearchRequest) -> AsyncGenerator[Frame, None]:
        """Stream what is similar, best first."""
        return self._service.find_similar(request)

    async def export(self, selection: ListRequest) -> AsyncGenerator[bytes, None]:
        """Stream memories as JSON lines."""
        batches = self._service.export(
            branch=selection.branch,
            as_of=selection.as_of,
            namespaces=selection.namespaces,
            filters=selection.filters,
        )
        async for lines in batches:
            yield b"".join(lines)

    async def import_memories(self, memories: Sequence[NewMemory]) -> ImportReport:
        """Store memories with the action `imported`."""
        return await self._service.import_memories(_each(memories))

    async def status(self) -> ServiceStatus:
        """Return how the store is."""
        return await self._service.status()


async def _each(memories: Sequence[NewMemory]) -> AsyncIterator[NewMemory]:
    for memory in memories:
        yield memory
