"""The model: a backend in plain Python lists, as short and obvious as the port allows.

It is the oracle that other backends are compared with, and the worked example of an adapter. It answers every
read by walking all versions, and what it holds is gone with the process.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from copy import deepcopy

import numpy as np
from msgspec.structs import replace

from recollect.adapters.clock import POSITION_MAX, next_position
from recollect.adapters.errors import (
    ConflictError,
    InvalidRequestError,
    ProfileMismatchError,
    StoreClosedError,
    StoreUnavailableError,
)
from recollect.adapters.filters import Filter
from recollect.adapters.fusion import candidates_of, reciprocal_rank_fusion
from recollect.adapters.port import (
    SUMMARY,
    ByContent,
    ById,
    ByKey,
    ByRef,
    CheckReport,
    Commit,
    CommitReceipt,
    ContentIsNew,
    HeadIs,
    KeyIs,
    Match,
    Precondition,
    Projection,
    ProvenanceStorageAdapter,
    ReadPoint,
    Scan,
    Selector,
    SimilarityQuery,
    StoreProfile,
    StoreStatus,
    VersionIs,
)
from recollect.adapters.testing.semantics import (
    ORDERS,
    along,
    best_first,
    by_position,
    cosines,
    dot_products,
    expired,
    in_batches,
    place_of,
    project,
    selected,
    validate_terms,
    validate_vectors,
    written_on,
)
from recollect.adapters.versions import Version, VersionRef, stub_of


class ModelStorage:
    """What is stored, apart from any adapter: several adapters may share it, and it outlives them.

    Attributes:
        profile: None before the first `open()`.
        versions: All of them, in the order of commits.
        last_position: The newest that was given.
        clock: From the last position to the next one; a test may set it.
    """

    def __init__(self) -> None:
        self.profile: StoreProfile | None = None
        self.versions: list[Version] = []
        self.last_position = 0
        self.clock: Callable[[int], int] = next_position


class ModelAdapter(ProvenanceStorageAdapter):
    """An adapter over a `ModelStorage`. Nothing in it waits, so no two calls are ever half-way at once."""

    def __init__(self, storage: ModelStorage) -> None:
        self._storage = storage
        self._is_open = False

    async def open(self, profile: StoreProfile | None = None) -> StoreProfile:
        """See the port."""
        held = self._storage.profile or profile
        if held is None:
            raise StoreUnavailableError("there is no store yet; give a profile to create one")
        if profile not in (None, held):
            raise ProfileMismatchError(f"the store holds vectors of {held}, not of {profile}")
        self._storage.profile = held
        self._is_open = True
        return held

    async def close(self) -> None:
        """See the port."""
        self._is_open = False

    async def commit(self, commit: Commit) -> CommitReceipt:
        """See the port."""
        storage = self._opened()
        self._validate(commit)
        for precondition in commit.preconditions:
            holds, found = self._judge(precondition, commit.read_point)
            if not holds:
                raise ConflictError(f"{precondition} does not hold", precondition=precondition, found=found)
        there = {version.ref for version in storage.versions}
        for put in commit.puts:
            if put.version.ref in there:
                raise ConflictError(f"{put.version.ref} is there", precondition=None, found=put.version.ref)
        for ref in commit.erases:
            if ref not in there:
                raise ConflictError(f"{ref} is not there", precondition=None)
        position = commit.position or storage.clock(storage.last_position)
        if position <= storage.last_position:
            raise ConflictError(
                f"{position} is not after the last position", precondition=None, found=storage.last_position
            )
        erased = set(commit.erases)
        storage.versions = [stub_of(version) if version.ref in erased else version for version in storage.versions]
        storage.versions += [deepcopy(replace(put.version, position=position)) for put in commit.puts]
        storage.last_position = position
        return CommitReceipt(position=position, durable=True)

    async def flush(self) -> None:
        """See the port."""
        self._opened()

    async def compact(self) -> None:
        """See the port."""
        self._opened()

    async def get(
        self, selectors: Sequence[Selector], read_point: ReadPoint, projection: Projection = SUMMARY
    ) -> list[Version | None]:
        """See the port."""
        found = [self._find(selector, read_point) for selector in selectors]
        return [None if version is None else project(version, projection) for version in found]

    async def history(
        self, memory_id: str, read_point: ReadPoint | None, projection: Projection = SUMMARY
    ) -> AsyncGenerator[Sequence[Version], None]:
        """See the port."""
        versions = self._opened().versions
        lineage = versions if read_point is None else along(versions, read_point)
        line = sorted((version for version in lineage if version.memory_id == memory_id), key=by_position, reverse=True)
        for batch in in_batches(line, 256):
            yield [project(version, projection) for version in batch]

    async def scan(self, scan: Scan) -> AsyncGenerator[Sequence[Version], None]:
        """See the port."""
        place = ORDERS[scan.order]
        there = self._select(scan.read_point, scan.namespaces, scan.filter)
        meant = [version for version in there if scan.segments is None or written_on(version, scan.segments)]
        found = sorted(meant, key=place, reverse=scan.descending)
        if scan.after is not None:
            end = place_of(scan.after)
            found = [
                version for version in found if (place(version) < end) == scan.descending and place(version) != end
            ]
        for batch in in_batches(found[: scan.limit], scan.batch_size):
            yield [project(version, scan.projection) for version in batch]

    async def count(
        self, read_point: ReadPoint, namespaces: Sequence[str] | None = None, matching: Filter | None = None
    ) -> int:
        """See the port."""
        return len(self._select(read_point, namespaces, matching))

    async def find_similar(self, query: SimilarityQuery) -> AsyncGenerator[Sequence[Match], None]:
        """See the port."""
        self._validate_query(query)
        candidates = self._select(query.read_point, query.namespaces, query.filter)
        dense, sparse = cosines(candidates, query.dense), dot_products(candidates, query.sparse)
        if query.dense is not None and query.sparse is not None:
            depth = candidates_of(query.limit, query.candidates)
            dense, sparse = dict(best_first(dense, depth)), dict(best_first(sparse, depth))
            ranked = reciprocal_rank_fusion(dense, sparse, None)
        else:
            ranked = best_first(dense or sparse, None)
        by_id = {version.memory_id: version for version in candidates}
        found = [
            Match(project(by_id[memory_id], query.projection), score, dense.get(memory_id), sparse.get(memory_id))
            for memory_id, score in ranked
            if query.threshold is None or score >= query.threshold
        ]
        for batch in in_batches(found[: query.limit], query.batch_size):
            yield batch

    async def check(self) -> CheckReport:
        """See the port."""
        return CheckReport(versions_checked=len(self._opened().versions), bytes_checked=0, findings=())

    async def status(self) -> StoreStatus:
        """See the port."""
        storage = self._opened()
        return StoreStatus(
            backend="model",
            location="this process",
            profile=self._profile(),
            versions=len(storage.versions),
            last_position=storage.last_position,
            bytes_on_disk=0,
        )

    # --- What the reads are made of ---

    def _opened(self) -> ModelStorage:
        if not self._is_open:
            raise StoreClosedError("the store is not open; call open() first")
        return self._storage

    def _profile(self) -> StoreProfile:
        profile = self._opened().profile
        if profile is None:
            raise StoreClosedError("the store is not open; call open() first")
        return profile

    def _visible(self, read_point: ReadPoint) -> list[Version]:
        """Return what a read point shows: the definition in `ReadPoint`, word by word."""
        nearest: dict[str, Version] = {}
        for version in along(self._opened().versions, read_point):
            nearest[version.memory_id] = version  # the lineage is walked from far to near, from old to new
        return [version for version in nearest.values() if not version.forgotten and not expired(version, read_point)]

    def _select(
        self, read_point: ReadPoint | None, namespaces: Sequence[str] | None, matching: Filter | None
    ) -> list[Version]:
        versions = self._opened().versions if read_point is None else self._visible(read_point)
        return [version for version in versions if selected(version, namespaces, matching)]

    def _find(self, selector: Selector, read_point: ReadPoint) -> Version | None:
        visible = sorted(self._visible(read_point), key=by_position)
        match selector:
            case ByRef(ref):
                found = [version for version in self._opened().versions if version.ref == ref]
            case ById(memory_id):
                found = [version for version in visible if version.memory_id == memory_id]
            case ByKey(namespace, key):
                found = [version for version in visible if version.namespace == namespace and version.key == key][-1:]
            case ByContent(namespace, content_hash):
                found = [v for v in visible if v.namespace == namespace and v.content_hash == content_hash]
        return found[0] if found else None

    def _judge(self, precondition: Precondition, read_point: ReadPoint) -> tuple[bool, VersionRef | str | int | None]:
        """Return whether a precondition holds, and what was found where it looked."""
        match precondition:
            case VersionIs(memory_id, expected):
                version = self._find(ById(memory_id), read_point)
                ref = version.ref if version else None
                return ref == expected, ref
            case KeyIs(namespace, key, expected_id):
                version = self._find(ByKey(namespace, key), read_point)
                holder = version.memory_id if version else None
                return holder == expected_id, holder
            case ContentIsNew(namespace, content_hash):
                version = self._find(ByContent(namespace, content_hash), read_point)
                return version is None, version.ref if version else None
            case HeadIs(branch, position):
                head = max((v.position for v in self._opened().versions if v.branch == branch), default=0)
                return head == position, head

    def _validate(self, commit: Commit) -> None:
        lines = [(put.version.memory_id, put.version.branch) for put in commit.puts]
        if len(set(lines)) < len(lines):
            raise InvalidRequestError("a commit adds at most one version for each memory and branch; commit twice")
        if commit.position is not None and not 0 < commit.position <= POSITION_MAX:
            raise InvalidRequestError(f"a position lies between 1 and {POSITION_MAX}, unlike {commit.position}")
        for put in commit.puts:
            if put.version.vectors is not None:
                validate_vectors(put.version.vectors, self._profile().dimension)
            if put.version.sparse is not None:
                validate_terms(put.version.sparse)

    def _validate_query(self, query: SimilarityQuery) -> None:
        if query.dense is None and query.sparse is None:
            raise InvalidRequestError("a query needs a dense vector, terms, or both")
        if query.dense is not None:
            validate_vectors(query.dense[np.newaxis], self._profile().dimension)
        if query.sparse is not None:
            validate_terms(query.sparse)
