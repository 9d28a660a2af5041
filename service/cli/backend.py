"""What a command works on: a store in this process, or a service over HTTP. Commands know only this."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from recollect.service.answers import (
    Frame,
    HistoryAnswer,
    ImportReport,
    Memory,
    MemoryPage,
    Remembered,
    ServiceStatus,
)
from recollect.service.cli.branch_backend import BranchBackend
from recollect.service.cli.provenance_backend import ProvenanceBackend
from recollect.service.cli.safety_backend import SafetyBackend
from recollect.service.requests import (
    ListRequest,
    NewMemory,
    ProvenanceInput,
    ReadOptions,
    Revision,
    SearchRequest,
)


class Backend(Protocol):
    """The operations behind the commands; see `MemoryService` for what each does and raises."""

    @property
    def branches(self) -> BranchBackend:
        """The operations on branches, conflicts and tags."""
        ...

    @property
    def provenance(self) -> ProvenanceBackend:
        """The operations about where memories come from."""
        ...

    @property
    def safety(self) -> SafetyBackend:
        """The operations that erase and quarantine."""
        ...

    async def remember(self, memory: NewMemory, *, idempotency_key: str | None = None) -> Remembered:
        """Store a memory."""
        ...

    async def revise(self, memory_id: str, revision: Revision, *, expected_version: int | None = None) -> Remembered:
        """Add a version to a memory."""
        ...

    async def forget(
        self,
        memory_id: str,
        *,
        branch: str,
        expected_version: int | None = None,
        provenance: ProvenanceInput | None = None,
    ) -> Remembered:
        """Forget a memory."""
        ...

    async def get(self, memory_id: str, options: ReadOptions) -> Memory:
        """Return a memory by its id."""
        ...

    async def get_by_key(self, namespace: str, key: str, options: ReadOptions) -> Memory:
        """Return a memory by its key."""
        ...

    async def list_memories(self, request: ListRequest) -> MemoryPage:
        """Return a page of memories."""
        ...

    async def history(self, memory_id: str, options: ReadOptions) -> HistoryAnswer:
        """Return a memory's versions, newest first."""
        ...

    def find_similar(self, request: SearchRequest) -> AsyncGenerator[Frame, None]:
        """Stream what is similar, best first, up to an end or error frame."""
        ...

    def export(self, selection: ListRequest) -> AsyncGenerator[bytes, None]:
        """Stream memories as JSON lines, in pieces that end where a line ends.

        Args:
            selection: Whose namespaces, filters, branch and `as_of` say which memories.
        """
        ...

    async def import_memories(self, memories: Sequence[NewMemory]) -> ImportReport:
        """Store memories with the action `imported`; a problem's detail starts with `record N: `, counted from 1."""
        ...

    async def status(self) -> ServiceStatus:
        """Return how the service or the store is."""
        ...


def open_backend(url: str | None, storage: str | None) -> AbstractAsyncContextManager[Backend]:
    """Open the service at a URL, or else a store.

    Args:
        url: The service's URL; None works straight on a store.
        storage: The store's URL; None takes that of the settings.
    """
    if url is not None:
        from recollect.service.cli.remote import open_remote  # noqa: PLC0415 - `--help` needs no HTTP client

        return open_remote(url)
    from recollect.service.cli.local import open_local  # noqa: PLC0415 - `--help` and remote work need no model

    return open_local(storage)
