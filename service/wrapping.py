"""Provenance for a service that knows none: any object with `store` and `retrieve` is wrapped, and goes on unchanged.

tracked = ProvenanceMemoryService(existing)
with tracked.acting(actor="ana", source="message:8123"):
    memory_id = tracked.store("Ana prefers the window seat.")
tracked.provenance_of(memory_id)
"""

import inspect
from collections import OrderedDict
from collections.abc import Awaitable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

from recollect.adapters.clock import now_ms
from recollect.adapters.versions import Action, Provenance

MEMORIES_MAX = 100_000
RECORDS_A_MEMORY_MAX = 100
DEFAULT_ACTOR = "anonymous"


class PlainService(Protocol):
    """What can be wrapped: both methods may be async or not, and take and return what they like."""

    @property
    def store(self) -> Any:
        """Keeps something."""
        ...

    @property
    def retrieve(self) -> Any:
        """Gives it back."""
        ...


class _Acting(Struct, frozen=True):
    actor: str = DEFAULT_ACTOR
    source: str | None = None
    note: str | None = None


_Wrapped = TypeVar("_Wrapped", bound=PlainService)
_NOBODY = _Acting()


class ProvenanceMemoryService(Generic[_Wrapped]):
    """A plain store-and-retrieve service whose calls are tracked.

    Calls go through as they are: arguments, results, exceptions, and whether they are async. Everything else of the
    wrapped object is there, too. Records are kept in this process, for a bounded number of memories, the least recently
    written leave first; a `MemoryService` keeps them in its store.

    Args:
        existing: The object to wrap.
        tracking: False passes every call on and notes nothing.
        memories_max: For how many memories records are kept.
    """

    def __init__(self, existing: _Wrapped, *, tracking: bool = True, memories_max: int = MEMORIES_MAX) -> None:
        self.wrapped = existing
        self.tracking = tracking
        self._memories_max = memories_max
        self._records: OrderedDict[Hashable, list[Provenance]] = OrderedDict()
        self._acting: ContextVar[_Acting] = ContextVar("acting", default=_NOBODY)

    def __getattr__(self, name: str) -> Any:
        """Return what the wrapped object has under a name that this one does not have."""
        return getattr(self.wrapped, name)

    def store(self, *arguments: Any, **options: Any) -> Any:
        """Store as the wrapped object does, and note who did it; awaitable where that is."""
        result = self.wrapped.store(*arguments, **options)
        if not self.tracking:
            return result
        if inspect.isawaitable(result):
            return self._stored_later(result, arguments)
        self._note_stored(result, arguments)
        return result

    def retrieve(self, *arguments: Any, **options: Any) -> Any:
        """Retrieve as the wrapped object does, and note who did it; awaitable where that is."""
        result = self.wrapped.retrieve(*arguments, **options)
        if not self.tracking:
            return result
        if inspect.isawaitable(result):
            return self._retrieved_later(result, arguments)
        self._note_retrieved(result, arguments)
        return result

    @contextmanager
    def acting(
        self, *, actor: str = DEFAULT_ACTOR, source: str | None = None, note: str | None = None
    ) -> Iterator[None]:
        """Say who acts, from what, and why, for the calls within the block; tasks begun within it inherit that."""
        token = self._acting.set(_Acting(actor, source, note))
        try:
            yield
        finally:
            self._acting.reset(token)

    def provenance_of(self, memory_id: Hashable) -> tuple[Provenance, ...]:
        """Return what is known of a memory, oldest first; empty where nothing is.

        Args:
            memory_id: What `store` returned for it, or, of a service that returns none, its first argument.
        """
        return tuple(self._records.get(memory_id, ()))

    # --- Noting ---------------------------------------------------------------------------------------

    async def _stored_later(self, result: Awaitable[Any], arguments: tuple[Any, ...]) -> Any:
        stored = await result
        self._note_stored(stored, arguments)
        return stored

    async def _retrieved_later(self, result: Awaitable[Any], arguments: tuple[Any, ...]) -> Any:
        found = await result
        self._note_retrieved(found, arguments)
        return found

    def _note_stored(self, result: Any, arguments: tuple[Any, ...]) -> None:
        # What a service returns for a memory is its id, unless it returns nothing or only whether it did.
        named = result if _is_name(result) else next(iter(arguments), None)
        if _is_name(named):
            records = self._records.setdefault(named, [])
            self._note(records, Action.REVISED if records else Action.CREATED)
            self._records.move_to_end(named)
            while len(self._records) > self._memories_max:
                self._records.popitem(last=False)

    def _note_retrieved(self, result: Any, arguments: tuple[Any, ...]) -> None:
        named = next(iter(arguments), None)
        records = self._records.get(named) if _is_name(named) else None
        if records is not None and result is not None:
            self._note(records, Action.RECALLED)

    def _note(self, records: list[Provenance], action: Action) -> None:
        acting = self._acting.get()
        records.append(
            Provenance(action=action, actor=acting.actor, time_ms=now_ms(), source=acting.source, note=acting.note)
        )
        if len(records) > RECORDS_A_MEMORY_MAX:
            del records[1]  # how it came about stays


def _is_name(value: Any) -> bool:
    return value is not None and not isinstance(value, bool) and isinstance(value, Hashable)
