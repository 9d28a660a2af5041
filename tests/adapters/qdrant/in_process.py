"""An adapter over a shard in this very process: what the shard does is tested without the process around it."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from recollect.adapters.clock import next_position
from recollect.adapters.errors import StoreClosedError
from recollect.adapters.filters import Filter
from recollect.adapters.port import (
    SUMMARY,
    CheckReport,
    Commit,
    CommitReceipt,
    Match,
    Projection,
    ProvenanceStorageAdapter,
    ReadPoint,
    Scan,
    Selector,
    SimilarityQuery,
    StoreProfile,
    StoreStatus,
)
from recollect.adapters.qdrant.mutations import decode_mutations, encode_mutations
from recollect.adapters.qdrant.points import StoredMatch, StoredVersion, read_matches, read_versions
from recollect.adapters.qdrant.shard import ShardStore
from recollect.adapters.qdrant.validation import validate_commit, validate_query
from recollect.adapters.versions import Version

Item = TypeVar("Item")
Stored = TypeVar("Stored")

_OPEN: dict[Path, tuple[ShardStore, list["ShardAdapter"]]] = {}
"""The stores that are open, with the adapters that share each."""


class ShardAdapter(ProvenanceStorageAdapter):
    """Calls the shard straight from the event loop. Adapters of one folder share one shard."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def open(self, profile: StoreProfile | None = None) -> StoreProfile:
        if self._folder in _OPEN:
            store, sharing = _OPEN[self._folder]
            ShardStore.expect(self._folder, store.profile, profile)
            if self not in sharing:
                sharing.append(self)
        else:
            store = ShardStore.open(self._folder, profile)
            _OPEN[self._folder] = (store, [self])
        return store.profile

    async def close(self) -> None:
        store, sharing = _OPEN.get(self._folder, (None, []))
        if store is None or self not in sharing:
            return
        sharing.remove(self)
        if not sharing:
            del _OPEN[self._folder]
            store.close()

    @property
    def store(self) -> ShardStore:
        store, sharing = _OPEN.get(self._folder, (None, []))
        if store is None or self not in sharing:
            raise StoreClosedError("the store is not open; call open() first")
        return store

    async def commit(self, commit: Commit) -> CommitReceipt:
        store = self.store
        validate_commit(commit, store.profile.dimension)
        position = commit.position or next_position(store.last_position)
        mutations = store.plan(commit, position).mutations
        store.apply(decode_mutations(encode_mutations(mutations)))
        return CommitReceipt(position=position, durable=True)

    async def flush(self) -> None:
        self.store.flush()

    async def compact(self) -> None:
        self.store.flush()

    async def get(
        self, selectors: Sequence[Selector], read_point: ReadPoint, projection: Projection = SUMMARY
    ) -> list[Version | None]:
        found = self.store.get(selectors, read_point, projection)
        versions = iter(self._versions([stored for stored in found if stored is not None]))
        return [None if stored is None else next(versions) for stored in found]

    def history(
        self, memory_id: str, read_point: ReadPoint | None, projection: Projection = SUMMARY
    ) -> AsyncGenerator[Sequence[Version], None]:
        return self._stream(lambda: self.store.history(memory_id, read_point, projection), self._versions)

    def scan(self, scan: Scan) -> AsyncGenerator[Sequence[Version], None]:
        return self._stream(lambda: self.store.scan(scan), self._versions)

    async def count(
        self, read_point: ReadPoint, namespaces: Sequence[str] | None = None, matching: Filter | None = None
    ) -> int:
        return self.store.count(read_point, namespaces, matching)

    def find_similar(self, query: SimilarityQuery) -> AsyncGenerator[Sequence[Match], None]:
        def begin() -> Iterator[list[StoredMatch]]:
            validate_query(query, self.store.profile.dimension)
            return self.store.find_similar(query)

        return self._stream(begin, self._matches)

    async def check(self) -> CheckReport:
        reports = list(self.store.check())
        return CheckReport(
            sum(report.versions_checked for report in reports),
            sum(report.bytes_checked for report in reports),
            tuple(finding for report in reports for finding in report.findings),
        )

    async def status(self) -> StoreStatus:
        return self.store.status()

    async def _stream(
        self, begin: Callable[[], Iterator[list[Stored]]], read: Callable[[list[Stored]], list[Item]]
    ) -> AsyncGenerator[Sequence[Item], None]:
        for batch in begin():
            assert self.store
            yield read(batch)

    def _versions(self, stored: list[StoredVersion]) -> list[Version]:
        return read_versions(stored, self.store.profile.dimension)

    def _matches(self, stored: list[StoredMatch]) -> list[Match]:
        return read_matches(stored, self.store.profile.dimension)
