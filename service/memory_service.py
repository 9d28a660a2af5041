"""The service as one object: what HTTP, the command line and programs call.

async with await create_memory_service(storage="edge:memories") as memory:
    stored = await memory.remember("Ana prefers the window seat on night trains.")
    answer = await memory.search(SearchRequest(text="where does Ana sit?"))
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from datetime import datetime
from importlib.metadata import version as version_of
from time import monotonic
from types import TracebackType
from typing import Any, Self

import msgspec
import structlog

from recollect.adapters.port import ById, ByKey, ProvenanceStorageAdapter, StoreProfile
from recollect.adapters.registry import create_adapter
from recollect.adapters.versions import MAIN, Action
from recollect.embeddings import Embedder, EmbedderSettings, create_embedder
from recollect.service.answers import (
    EncodedHitsFrames,
    EncodedSearchAnswer,
    EndFrame,
    HistoryAnswer,
    HitsFrame,
    ImportReport,
    Memory,
    MemoryPage,
    Refused,
    Remembered,
    SearchAnswer,
    ServiceStatus,
    StoreFacts,
)
from recollect.service.branches import read_point
from recollect.service.branching.facade import Branching
from recollect.service.buffer import BufferedStore
from recollect.service.drafts import Drafter
from recollect.service.erasure.erasing import Erasing
from recollect.service.errors import MemoryNotFoundError
from recollect.service.parts import Parts
from recollect.service.provenance.receipts import Receipts
from recollect.service.provenance.relations import Relations
from recollect.service.provenance.retention import Retention
from recollect.service.provenance.views import ProvenanceViews
from recollect.service.quarantine.holding import Quarantines
from recollect.service.recall import Recalling
from recollect.service.remember import Remembering
from recollect.service.requests import (
    InvalidMemory,
    ListRequest,
    NewMemory,
    ProvenanceInput,
    ReadOptions,
    Revision,
    SearchRequest,
)
from recollect.service.revise import Revising
from recollect.service.settings import DEFAULT_KIND, Settings
from recollect.service.sweeper import Sweeper
from recollect.service.telemetry import Telemetry
from recollect.service.transfer import Progress, Transferring
from recollect.service.working import WorkingSets

logger = structlog.get_logger("recollect")
SUMMARY_OPTIONS = ReadOptions()
FULL_OPTIONS = ReadOptions(view="full")


async def create_memory_service(
    settings: Settings | None = None,
    *,
    storage: str | None = None,
    adapter: ProvenanceStorageAdapter | None = None,
    embedder: Embedder | None = None,
) -> "MemoryService":
    """Load the model, open the store and begin background work.

    Args:
        settings: What to do how; from the environment if not given.
        storage: The store's URL, in place of the one in the settings.
        adapter: A closed adapter of your own, in place of one made from the URL.
        embedder: An embedder of your own, in place of the settings' model. It is closed with the service.

    Returns:
        A running service; leave it by `close()`, or use it as an async context manager.

    Raises:
        EmbeddingError: The model cannot be loaded.
        StorageError: The store cannot be opened, or holds vectors of another model.
    """
    chosen = settings or Settings()
    if storage is not None:
        chosen = chosen.model_copy(update={"storage": storage})
    model = embedder if embedder is not None else await asyncio.to_thread(create_embedder, embedder_settings(chosen))
    try:
        buffered = chosen.preset == "background"
        store = BufferedStore(
            adapter or create_adapter(chosen.storage),
            chosen.flush_operations_max if buffered else 1,
            chosen.flush_interval_ms,
        )
        await store.open(StoreProfile(model.model_id, model.dimension))
        _tell_of_an_earlier_default(chosen)
    except BaseException:
        await model.aclose()
        raise
    return MemoryService(chosen, store, model)


def _tell_of_an_earlier_default(settings: Settings) -> None:
    kind, _, folder = settings.storage.partition(":")
    if "storage" not in settings.model_fields_set and kind != DEFAULT_KIND:
        logger.warning(
            "the store of an earlier default is used",
            storage=settings.storage,
            move=f"recollect migrate-store {settings.storage} {DEFAULT_KIND}:{folder}-{DEFAULT_KIND}, and name the new "
            f"one by RECOLLECT_STORAGE",
        )


def embedder_settings(settings: Settings) -> EmbedderSettings:
    """Return what the settings say about the model."""
    key = settings.model_api_key
    return EmbedderSettings(
        model=settings.model,
        runtime=settings.model_runtime,
        cache_folder=settings.cache_folder,
        queue_texts_max=settings.embed_queue_texts_max,
        http_model=settings.model_name,
        http_api_key=None if key is None else key.get_secret_value(),
        http_dimension=settings.model_dimension,
    )


class MemoryService:
    """Memories that can say where they came from. Made by `create_memory_service`.

    Attributes:
        branches: Forks, differences, merges, conflicts, rollback and tags.
    """

    def __init__(self, settings: Settings, store: BufferedStore, embedder: Embedder) -> None:
        self.settings = settings
        self._store = store
        self._parts = Parts(
            settings=settings,
            store=store,
            encoded=store.encoded,
            embedder=embedder,
            drafter=Drafter(settings, embedder.dimension),
            telemetry=Telemetry(settings.slow_operation_ms),
            working=WorkingSets(store, settings.working_memories_max),
            receipts=Receipts(store, settings),
        )
        self._remembering = Remembering(self._parts)
        self._revising = Revising(self._parts)
        self._recalling = Recalling(self._parts)
        self._transferring = Transferring(self._parts, self._remembering)
        self.retention = Retention(self._parts)
        """Old versions dropped by policy, and what was recorded of them."""
        self._sweeper = Sweeper(self._parts, self.retention)
        self.branches = Branching(self._parts)
        self.provenance = ProvenanceViews(self._parts)
        """Where memories come from: records, lineage, blame, why, receipts."""
        self.relations = Relations(self._parts, self._remembering)
        """Memories connected with each other, and insights drawn from several."""
        self.erasure = Erasing(self._parts)
        """Forgetting everywhere: plans, erasures and their receipts."""
        self.quarantine = Quarantines(self._parts)
        """Tracing what came of a source, taking it out of recall, and bringing it back."""
        self._started = monotonic()
        self._closed = False
        self._sweeper.start()
        self.erasure.resume()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- Writing ---------------------------------------------------------------------------------

    async def remember(self, memory: NewMemory | str, *, idempotency_key: str | None = None) -> Remembered:
        """Store a memory.

        Args:
            memory: The memory, or its text alone.
            idempotency_key: A write with a key that was used before is answered as it was then.

        Returns:
            `created`; `duplicate` with the id it has, where exactly this is there already; or `revised`, where other
            content was stored under the same key. What is acknowledged as `durable` survives a power cut.

        Raises:
            InvalidInputError: The namespace is reserved, the memory too large, or what it is derived from unknown.
            IdempotencyConflictError: The idempotency key was used for another request.
            StorageError, EmbeddingError: It could not be stored; nothing of it was.
        """
        request = NewMemory(content=memory) if isinstance(memory, str) else memory
        return await self._remembering.one(request, Action.CREATED, idempotency_key)

    async def remember_many(
        self,
        memories: Sequence[NewMemory | InvalidMemory],
        *,
        atomic: bool = False,
        idempotency_key: str | None = None,
    ) -> list[Remembered | Refused]:
        """Store several memories together, in one storage call where they do not depend on each other.

        Args:
            memories: At most `batch_memories_max`.
            atomic: Store all or none.
            idempotency_key: As in `remember`, for the whole batch.

        Returns:
            What became of each, in their order; a `Refused` for one that could not be stored.

        Raises:
            BatchRefusedError: The batch is atomic and one of its memories was refused; `found` is its index.
            InvalidInputError: The batch is too large.
            IdempotencyConflictError, StorageError, EmbeddingError: As in `remember`.
        """
        return await self._remembering.many(memories, Action.CREATED, idempotency_key, atomic=atomic)

    async def revise(
        self,
        memory_id: str,
        revision: Revision,
        *,
        expected_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Remembered:
        """Store the next version of a memory; the versions before it stay.

        Args:
            memory_id: The memory.
            revision: What changes.
            expected_version: Refuse unless the memory is at this version.
            idempotency_key: As in `remember`.

        Returns:
            `revised` with the new version, or `duplicate` where nothing would change.

        Raises:
            MemoryNotFoundError: There is no such memory.
            VersionConflictError: It is at another version; `found` names it.
            InvalidInputError, IdempotencyConflictError, StorageError, EmbeddingError: As in `remember`.
        """
        return await self._revising.revise(memory_id, revision, expected_version, idempotency_key)

    async def forget(
        self,
        memory_id: str,
        *,
        branch: str = "main",
        expected_version: int | None = None,
        provenance: ProvenanceInput | None = None,
    ) -> Remembered:
        """Forget a memory: it is no longer found, but its history stays.

        Raises:
            MemoryNotFoundError: There is no such memory.
            VersionConflictError: It is at another version; `found` names it.
            StorageError: It could not be stored.
        """
        return await self._revising.forget(memory_id, branch, expected_version, provenance or ProvenanceInput())

    # --- Reading ---------------------------------------------------------------------------------

    async def get(self, memory_id: str, options: ReadOptions = SUMMARY_OPTIONS) -> Memory:
        """Return a memory by its id.

        Raises:
            MemoryNotFoundError: None is visible under this id.
            StoreDamagedError: Its stored bytes are damaged.
        """
        return await self._recalling.get(ById(memory_id), options)

    async def get_by_key(self, namespace: str, key: str, options: ReadOptions = SUMMARY_OPTIONS) -> Memory:
        """Return a memory by its key.

        Raises:
            MemoryNotFoundError: None is visible under this key.
            StoreDamagedError: Its stored bytes are damaged.
        """
        return await self._recalling.get(ByKey(namespace, key), options)

    async def list_memories(self, request: ListRequest) -> MemoryPage:
        """Return a page of memories in the order they were stored, or (a timeline) in which they came about.

        Raises:
            FilterError, ReservedNamespaceError, InvalidCursorError: The request is not valid.
        """
        return await self._recalling.page(request)

    async def history(self, memory_id: str, options: ReadOptions = SUMMARY_OPTIONS) -> HistoryAnswer:
        """Return all versions of a memory, newest first, also of a forgotten one.

        Raises:
            MemoryNotFoundError: There is no version of it.
        """
        return await self._recalling.history(memory_id, options)

    def find_similar(self, request: SearchRequest) -> AsyncGenerator[HitsFrame | EndFrame, None]:
        """Stream what is similar, best first, ended by one `EndFrame`.

        Close the generator (`aclose()`) to stop early; the search stops with it.

        Raises:
            FilterError, ReservedNamespaceError, InvalidVectorError, MemoryNotFoundError: Before the first frame.
        """
        return self._recalling.frames(request)

    def find_similar_encoded(
        self, request: SearchRequest
    ) -> AsyncGenerator[HitsFrame | EncodedHitsFrames | EndFrame, None]:
        """Stream as `find_similar` does, with hits that are JSON already where the store can give them so.

        It is for passing a stream on: the frames encode to the same JSON, at a fraction of the cost.
        """
        return self._recalling.encoded_frames(request)

    async def search(self, request: SearchRequest) -> SearchAnswer:
        """Return what is similar in one piece; the request needs a limit.

        Raises:
            InvalidInputError: The limit is None.
            FilterError, ReservedNamespaceError, InvalidVectorError, MemoryNotFoundError: The request is not valid.
        """
        return await self._recalling.search(request)

    async def search_encoded(self, request: SearchRequest) -> SearchAnswer | EncodedSearchAnswer:
        """Answer as `search` does, with hits that are JSON already where the store can give them so.

        It is for passing the answer on: it encodes to the same JSON, at a fraction of the cost.
        """
        return await self._recalling.encoded_search(request)

    # --- Moving ----------------------------------------------------------------------------------

    def export(
        self,
        *,
        branch: str = "main",
        as_of: datetime | int | None = None,
        namespaces: list[str] | None = None,
        filters: dict[str, Any] | None = None,
    ) -> AsyncGenerator[Sequence[bytes], None]:
        """Stream memories in the order they were stored, as JSON Lines that `import_lines` takes back.

        Each carries its id, content, metadata and provenance; vectors are made anew at the import.
        """
        return self._transferring.export(branch, as_of, namespaces, filters)

    async def import_lines(self, lines: AsyncIterable[bytes], *, progress: Progress | None = None) -> ImportReport:
        """Store memories from JSON Lines. Running it again, or after an interruption, stores nothing twice.

        Args:
            lines: One memory each; a line that is not valid is counted as refused and does not stop the rest.
            progress: Called with the number of records after each batch.
        """
        return await self._transferring.import_lines(lines, progress)

    async def import_memories(
        self, memories: AsyncIterable[NewMemory | InvalidMemory], *, progress: Progress | None = None
    ) -> ImportReport:
        """Store memories from a stream, in batches; their provenance says `imported`."""
        return await self._transferring.import_memories(memories, progress)

    # --- Plain store and retrieve ----------------------------------------------------------------

    async def store(self, content: Any, **fields: Any) -> str:
        """Store content and return its id: the plain interface, for callers that know no more.

        Args:
            content: Text or any JSON value.
            **fields: Any field of `NewMemory`.
        """
        return (await self.remember(NewMemory(content=content, **fields))).id

    async def retrieve(self, memory_id: str) -> Any:
        """Return the content of a memory, or None if there is none under this id."""
        try:
            return (await self.get(memory_id, FULL_OPTIONS)).content
        except MemoryNotFoundError:
            return None

    # --- Running ---------------------------------------------------------------------------------

    async def status(self) -> ServiceStatus:
        """Return how the service is: store, model, buffer, and the times of its operations."""
        facts = await self._store.status()
        described = self._parts.embedder.describe()
        notes = [*facts.notes, *([described.degraded] if described.degraded else []), *self.erasure.notes()]
        return ServiceStatus(
            status="degraded" if notes else "healthy",
            version=version_of("recollect"),
            uptime_s=round(monotonic() - self._started, 3),
            storage=StoreFacts(
                backend=facts.backend,
                location=facts.location,
                memories=await self._store.count(await read_point(self._store, MAIN)),
                versions=facts.versions,
                last_position=facts.last_position,
                bytes_on_disk=facts.bytes_on_disk,
            ),
            embedder=msgspec.to_builtins(described),
            buffer=self._store.metrics(),
            operations=self._parts.telemetry.summary(),
            notes=notes,
        )

    async def ready(self) -> None:
        """Return when the store answers and the model gives vectors.

        Raises:
            StorageError, EmbeddingError: It is not ready; the message says why.
        """
        await self._store.status()
        await self._parts.embedder.embed_query("ready?")

    async def sweep(self) -> int:
        """Forget what has expired now, rather than at the next sweep; return how many memories that were."""
        return await self._sweeper.sweep()

    async def save_all(self) -> None:
        """Make everything that was acknowledged durable, also what was stored as `relaxed`."""
        await self._store.flush()

    async def close(self) -> None:
        """Stop background work, flush, and release store and model. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        await self._sweeper.stop()
        try:
            await self._parts.receipts.close()
            await self.erasure.close()
            await self._store.close()
        finally:
            await self._parts.embedder.aclose()
