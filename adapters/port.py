"""The storage port: what a backend stores, is asked, and promises.

A store holds immutable versions of memories. A commit adds versions, all or none, at one position in
the order of commits; it never changes a version that is there, it only marks it as superseded on a
branch. Only erasure takes something away: of an erased version nothing is left but a stub. Reads look
through a `ReadPoint`, a lineage of branches each up to a position, so that reading a branch, or reading
as of a moment, is the same read with other bounds.

A backend implements `ProvenanceStorageAdapter` and proves itself with `recollect.adapters.testing`.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from enum import StrEnum
from typing import Literal, Protocol, Self, runtime_checkable

from msgspec import Struct

from recollect.adapters.clock import POSITION_MAX
from recollect.adapters.filters import Filter
from recollect.adapters.versions import MAIN, SparseVector, Vector, Version, VersionRef


class Projection(Struct, frozen=True):
    """Which parts of a version a read loads. Summaries are the fast default."""

    content: bool = False
    provenance: bool = False
    vectors: bool = False


SUMMARY = Projection()
FULL = Projection(content=True)


class BranchSpan(Struct, frozen=True):
    """A branch as seen up to a position, inclusive."""

    branch: str
    up_to: int = POSITION_MAX


class ReadPoint(Struct, frozen=True):
    """From where a read looks.

    A version is visible when it lies on one of the lineage's spans, no later version of its memory
    lies on the same span, and no nearer span holds any version of its memory; when it is no tombstone; and
    when it has not expired at `at_ms`.

    Attributes:
        lineage: The branch itself first, then the branches it was forked from, each up to the fork.
        at_ms: The moment that decides about expiry; None shows expired memories too.
    """

    lineage: tuple[BranchSpan, ...]
    at_ms: int | None = None

    @classmethod
    def main(cls, at_ms: int | None = None) -> Self:
        """Look at the newest state of the main branch."""
        return cls((BranchSpan(MAIN),), at_ms)


class ById(Struct, frozen=True, tag=True):
    """Selects a memory's visible version by the memory's id."""

    memory_id: str


class ByKey(Struct, frozen=True, tag=True):
    """Selects the visible version of the memory that has a key in a namespace; the last in the order of positions.

    There is more than one only where a commit did not ask for `KeyIs`, or where an expired holder is shown.
    """

    namespace: str
    key: str


class ByContent(Struct, frozen=True, tag=True):
    """Selects a visible version with exactly this content in a namespace; the first in the order of positions."""

    namespace: str
    content_hash: str


class ByRef(Struct, frozen=True, tag=True):
    """Selects one version whether it is visible or not, tombstones included."""

    ref: VersionRef


Selector = ById | ByKey | ByContent | ByRef


class VersionIs(Struct, frozen=True, tag=True):
    """Holds when the memory's visible version is the expected one; None expects that none is visible."""

    memory_id: str
    expected: VersionRef | None


class KeyIs(Struct, frozen=True, tag=True):
    """Holds when the key is held by the expected memory; None expects that it is free."""

    namespace: str
    key: str
    expected: str | None


class ContentIsNew(Struct, frozen=True, tag=True):
    """Holds when no visible version in the namespace has this content. `found` is then that version's ref."""

    namespace: str
    content_hash: str


class HeadIs(Struct, frozen=True, tag=True):
    """Holds when the newest commit on a branch has the expected position; 0 expects none."""

    branch: str
    expected: int


Precondition = VersionIs | KeyIs | ContentIsNew | HeadIs


class Put(Struct, frozen=True):
    """Adds a version.

    Attributes:
        version: With everything it has; its position is given by the store. A tombstone names its actor.
        supersedes: The version that it replaces on its branch: the one visible before, or None. It may
            have been written on another branch, from which this one was forked.
    """

    version: Version
    supersedes: VersionRef | None = None


class Commit(Struct, frozen=True, kw_only=True):
    """One atomic batch of writes with one place in the order.

    Attributes:
        puts: The versions to add: at most one for each memory and branch. With none, preconditions are checked.
        preconditions: Checked together with the write; if one fails nothing is written.
        read_point: From where preconditions look.
        durability: `durable` survives power loss once acknowledged, `relaxed` survives a killed process only.
        erases: Versions that were there before this commit and of which only a stub shall be left, as
            `versions.stub_of` makes it: a tombstone that keeps the version's place in the order, so that the memory is
            not seen from there, also not in the past. Every read that begins after the commit shows the stub; a stream
            under way may show either. A stub may be erased again. What a backend still holds of the version in its
            files is gone after `compact()`.
        position: The position to take, for copying a store as it is; None for the next one.
    """

    puts: tuple[Put, ...]
    preconditions: tuple[Precondition, ...] = ()
    read_point: ReadPoint
    durability: Literal["durable", "relaxed"] = "durable"
    erases: tuple[VersionRef, ...] = ()
    position: int | None = None


class CommitReceipt(Struct, frozen=True):
    """What a commit was given: its position, and whether it is already safe from power loss."""

    position: int
    durable: bool


class Order(StrEnum):
    """By what a scan is sorted; ties by memory id, then branch, then number."""

    CREATED_AT = "created_at"
    POSITION = "position"


class Cursor(Struct, frozen=True):
    """Where a scan goes on: just after this place in its order.

    Give all four: the value that the scan sorts by, and the ref, of the last version seen.
    """

    value: int
    memory_id: str
    branch: str = ""
    number: int = 0


class Segment(Struct, frozen=True):
    """A stretch of a branch: what was written on it after one position and up to another, inclusive."""

    branch: str
    after: int = 0
    up_to: int = POSITION_MAX


class Scan(Struct, frozen=True, kw_only=True):
    """A walk over versions in order.

    Attributes:
        read_point: From where to look; None walks every version of every branch, tombstones included.
        namespaces: Only these; None means all but the system's, whose names start with `_`.
        filter: Only versions that it matches.
        segments: Only versions that were written on one of these; None means anywhere. It is how differences between
            branches are found without walking what they share.
        order: What to sort by.
        descending: Largest first; ties are then reversed too.
        after: Where to go on.
        limit: At most so many; None for all.
        batch_size: How many a batch holds at most.
        projection: Which parts to load.
    """

    read_point: ReadPoint | None
    namespaces: tuple[str, ...] | None = None
    filter: Filter | None = None
    segments: tuple[Segment, ...] | None = None
    order: Order = Order.POSITION
    descending: bool = False
    after: Cursor | None = None
    limit: int | None = None
    batch_size: int = 256
    projection: Projection = SUMMARY


class SimilarityQuery(Struct, frozen=True, kw_only=True, eq=False):
    """A search by meaning, by terms, or by both.

    Attributes:
        read_point: From where to look.
        dense: float32, shape (dimension,), of length 1; or None.
        sparse: The query's terms; or None. A version that shares none of them is not in this ranking. With both,
            the two rankings are fused (`recollect.adapters.fusion`).
        namespaces: Only these; None means all but the system's.
        filter: Only versions that it matches; applied before ranking.
        limit: At most so many; None streams all.
        threshold: Only scores of at least this.
        candidates: How deep each ranking goes into a fusion; None for a default that depends on `limit`.
        batch_size: How many a batch holds at most.
        projection: Which parts to load.
    """

    read_point: ReadPoint
    dense: Vector | None = None
    sparse: SparseVector | None = None
    namespaces: tuple[str, ...] | None = None
    filter: Filter | None = None
    limit: int | None = 10
    threshold: float | None = None
    candidates: int | None = None
    batch_size: int = 64
    projection: Projection = SUMMARY


class Match(Struct, frozen=True, eq=False, gc=False):
    """A version that a search found, with its score and the parts of it.

    It holds no cycle, so the garbage collector need not look at it: a stream of many takes a third less time.

    Attributes:
        version: The version, as the projection loads it.
        score: What it is ranked by: the cosine of the best window, the terms' dot product, or the fused score.
        dense: The cosine, where the dense ranking found it.
        sparse: The terms' dot product, likewise.
    """

    version: Version
    score: float
    dense: float | None = None
    sparse: float | None = None


class StoreProfile(Struct, frozen=True):
    """What the vectors of a store are: which model made them, and how many numbers each has."""

    model_id: str
    dimension: int


class StoreStatus(Struct, frozen=True, kw_only=True):
    """Facts about an open store. `notes` says what is degraded, in sentences; empty when nothing is."""

    backend: str
    location: str
    profile: StoreProfile
    versions: int
    last_position: int
    bytes_on_disk: int
    notes: tuple[str, ...] = ()


class Finding(Struct, frozen=True):
    """One damage that a check found: where, which memory if known, what is wrong, and what to do."""

    place: str
    problem: str
    remedy: str
    ref: VersionRef | None = None


class CheckReport(Struct, frozen=True):
    """What a check read and what it found; the store is sound when `findings` is empty."""

    versions_checked: int
    bytes_checked: int
    findings: tuple[Finding, ...]


class EncodedMatches(Struct, frozen=True, gc=False):
    """Matches as JSON, in batches that are ready together.

    Each match is an object with the fields `score`, `id`, `version`, `namespace`, `key`, `kind`, `summary`, `tags` and
    `created_at` (RFC 3339, UTC).

    Attributes:
        batches: The objects of each batch, joined by commas.
        count: How many matches that is together.
    """

    batches: tuple[bytes, ...]
    count: int

    def __len__(self) -> int:
        return self.count


@runtime_checkable
class EncodedSearch(Protocol):
    """An optional power of a backend: to give matches as the JSON that a stream passes on.

    It saves making an object of each match only to write it out again, most of what a long stream costs.
    """

    def find_similar_encoded(self, query: SimilarityQuery) -> AsyncGenerator[EncodedMatches, None]:
        """Stream what `find_similar` would, in the same order and batches. The query's projection is `SUMMARY`."""
        ...


class ProvenanceStorageAdapter(ABC):
    """A store of memories behind one interface.

    Streams are plain functions that return an async generator: call them without `await`, iterate, and
    close them early (`aclose()`) to stop the work behind them. Batches come best or first in order, never empty.

    All methods but `open` and `close` raise `StoreClosedError` on a store that is not open. Reads are
    snapshots: a batch never shows half of a commit, and what a stream shows is the state when it began.
    """

    @abstractmethod
    async def open(self, profile: StoreProfile | None = None) -> StoreProfile:
        """Open the store, creating it if it does not exist, and finish or undo what a crash left.

        Args:
            profile: The model and dimension that the caller will use; None takes those of an existing store.

        Returns:
            The profile that the store holds.

        Raises:
            ProfileMismatchError: The store holds vectors of another model or dimension.
            StoreUnavailableError: It cannot be opened, or does not exist and no profile was given.
            StoreDamagedError: What is there is no store that can be read.
        """

    @abstractmethod
    async def close(self) -> None:
        """Make everything durable and release the store. Closing twice does nothing."""

    @abstractmethod
    async def commit(self, commit: Commit) -> CommitReceipt:
        """Write all of a commit or nothing of it.

        When this returns, every later read on any adapter of the same store sees the commit. A caller that is
        cancelled while it waits does not know whether the commit happened; ids make a retry harmless.

        Raises:
            ConflictError: A precondition does not hold, a version with the same ref is there already, one that shall
                be erased is not there, or the position asked for is not after the last one.
            InvalidRequestError: Two puts are for the same memory and branch, a text cannot be stored, or a position
                is beyond what a store can hold.
            InvalidVectorError: A vector is not finite, not of the store's dimension, or all zeros.
            StoreFullError: There is no space left.
            StoreBusyError: Another writer did not finish in time.
        """

    @abstractmethod
    async def flush(self) -> None:
        """Make every acknowledged commit durable, the relaxed ones too."""

    @abstractmethod
    async def compact(self) -> None:
        """Give back what erased versions took up: afterwards no byte of them is left in any file of the store.

        That is their texts, names, vectors and terms, wherever a copy may lie: indexes, logs, free pages, caches on
        disk. Reads and commits go on meanwhile, though they may wait. With nothing erased since the last time it
        returns at once. Interrupted, it leaves a sound store, and the next call does the rest.

        Raises:
            StoreFullError: There is not enough space for what must be written anew.
            StoreBusyError: Another process reads or writes for too long; call again later.
            StoreUnavailableError: The files are a server's, which alone can do it; the message says what to do instead.
        """

    @abstractmethod
    async def get(
        self, selectors: Sequence[Selector], read_point: ReadPoint, projection: Projection = SUMMARY
    ) -> list[Version | None]:
        """Return what each selector names, in the same order; None where nothing visible is found.

        Raises:
            StoreDamagedError: The stored bytes of one differ from their checksum.
        """

    @abstractmethod
    def history(
        self, memory_id: str, read_point: ReadPoint | None, projection: Projection = SUMMARY
    ) -> AsyncGenerator[Sequence[Version], None]:
        """Stream a memory's versions along the lineage, newest first, tombstones included.

        The order is that of a descending scan by position.

        Args:
            memory_id: The memory; an unknown one gives an empty stream.
            read_point: From where to look; its `at_ms` is not regarded. None gives the versions of all branches.
            projection: Which parts to load.
        """

    @abstractmethod
    def scan(self, scan: Scan) -> AsyncGenerator[Sequence[Version], None]:
        """Stream versions in order. See `Scan`."""

    @abstractmethod
    async def count(
        self, read_point: ReadPoint, namespaces: Sequence[str] | None = None, matching: Filter | None = None
    ) -> int:
        """Count visible versions; `namespaces=None` means all but the system's."""

    @abstractmethod
    def find_similar(self, query: SimilarityQuery) -> AsyncGenerator[Sequence[Match], None]:
        """Stream matches, best first, ties by memory id. See `SimilarityQuery`.

        Scores are rounded to 6 decimals before they are compared: float32 carries no more, and so
        equal vectors tie on every backend. Each memory appears once, with its best window.

        Raises:
            InvalidVectorError: The vector is not finite, not of the store's dimension, or all zeros.
            InvalidRequestError: The query has neither a dense vector nor terms.
        """

    @abstractmethod
    async def check(self) -> CheckReport:
        """Read everything, compare it with its checksums, and name what is damaged."""

    @abstractmethod
    async def status(self) -> StoreStatus:
        """Return facts about the open store."""
