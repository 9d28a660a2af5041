"""A backend and the model, fed with the same commits and asked the same questions."""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import TypeVar

import pytest
from anyio.from_thread import start_blocking_portal
from msgspec.structs import replace

from recollect.adapters.errors import ConflictError
from recollect.adapters.port import BranchSpan, Commit, CommitReceipt, ProvenanceStorageAdapter, ReadPoint, Scan
from recollect.adapters.testing.base import AdapterFactory
from recollect.adapters.testing.model import ModelAdapter, ModelStorage
from recollect.adapters.testing.semantics import along
from recollect.adapters.testing.strategies import NAMESPACES
from recollect.adapters.testing.values import EVERYTHING, PROFILE, collected, refs
from recollect.adapters.versions import MAIN, Version

Answer = TypeVar("Answer")


class SideBySide:
    """Two adapters over one storage, and the model.

    Everything runs in one event loop in a thread of its own, since Hypothesis draws outside of any loop. The model is
    given the positions that the backend gave, so that answers compare exactly.

    Attributes:
        versions: What the model holds, in the order of commits.
        lineages: By branch, what a read of it looks through.
        memories: How many memories were made so far, committed or not.
    """

    def __init__(self, make_adapter: AdapterFactory) -> None:
        self._make_adapter = make_adapter
        self._loop = ExitStack()
        self._portal = self._loop.enter_context(start_blocking_portal())
        self._storage = ModelStorage()
        self._model = ModelAdapter(self._storage)
        self._portal.call(self._model.open, PROFILE)
        self._adapters: list[ProvenanceStorageAdapter] = []
        self.lineages: dict[str, tuple[BranchSpan, ...]] = {MAIN: (BranchSpan(MAIN),)}
        self.memories = 0

    @property
    def versions(self) -> list[Version]:
        """What the model holds."""
        return self._storage.versions

    def open(self) -> None:
        """Open both adapters."""
        while len(self._adapters) < 2:
            adapter = self._make_adapter()
            self._portal.call(adapter.open, PROFILE)
            self._adapters.append(adapter)

    def close(self, which: int | None = None) -> None:
        """Close one adapter, or both."""
        for adapter in [*self._adapters] if which is None else [self._adapters[which]]:
            self._adapters.remove(adapter)
            self._portal.call(adapter.close)

    def end(self) -> None:
        """Close the adapters and end the event loop, whatever happened before."""
        with self._loop:
            self.close()

    def ask(
        self, which: int, question: Callable[[ProvenanceStorageAdapter], Awaitable[Answer]]
    ) -> tuple[Answer, Answer]:
        """Return what an adapter answers, and what the model does."""
        return self._portal.call(question, self._adapters[which]), self._portal.call(question, self._model)

    def commit(self, which: int, commit: Commit) -> None:
        """Commit to both, and see that they agree on the outcome."""
        outcome = self._portal.call(_outcome, self._adapters[which], commit)
        if isinstance(outcome, ConflictError):
            self._agree_on_conflict(commit, outcome)
        else:
            assert outcome.position > self._storage.last_position
            assert outcome.durable or commit.durability == "relaxed"
            self._storage.clock = lambda _: outcome.position
            self._portal.call(self._model.commit, commit)

    def _agree_on_conflict(self, commit: Commit, conflict: ConflictError) -> None:
        """See that the model refuses too, and that what the backend names is indeed a reason."""
        with pytest.raises(ConflictError):
            self._portal.call(self._model.commit, commit)
        if conflict.precondition is None:
            assert conflict.found in refs(self.versions)
            assert conflict.found in refs([put.version for put in commit.puts])
        else:
            assert conflict.precondition in commit.preconditions
            alone = replace(commit, puts=(), preconditions=(conflict.precondition,))
            with pytest.raises(ConflictError) as caught:
                self._portal.call(self._model.commit, alone)
            assert conflict.found == caught.value.found

    def visible(self, read_point: ReadPoint) -> dict[str, Version]:
        """Return what the model shows, by memory id, with everything loaded."""
        scan = Scan(read_point=read_point, namespaces=NAMESPACES, projection=EVERYTHING)
        return {version.memory_id: version for version in self._portal.call(collected, self._model.scan(scan))}

    def positions(self) -> list[int]:
        """Return the positions of all commits, in order."""
        return sorted({version.position for version in self.versions})

    def next_number(self, memory_id: str, branch: str) -> int:
        """Return the number that a memory's next version on a branch has."""
        line = along(self.versions, ReadPoint(self.lineages[branch]))
        return 1 + max((version.number for version in line if version.memory_id == memory_id), default=0)


async def _outcome(adapter: ProvenanceStorageAdapter, commit: Commit) -> CommitReceipt | ConflictError:
    """Return a conflict as a value."""
    try:
        return await adapter.commit(commit)
    except ConflictError as conflict:
        return conflict
