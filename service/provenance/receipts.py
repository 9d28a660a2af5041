"""Recall receipts: which versions a recall gave out, to whom, for what, and when.

Receipts are noted in memory and written a moment later, many together, so that a recall does not wait for them. What
was looked for is kept as its SHA-256 only. A receipt lives in a namespace of the system and expires.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec
import structlog
from msgspec import Struct
from uuid_utils import uuid7

from recollect.adapters.clock import now_ms
from recollect.adapters.errors import ConflictError, StorageError
from recollect.adapters.filters import And, Equals, Filter, Range
from recollect.adapters.port import FULL, BranchSpan, Commit, Order, ProvenanceStorageAdapter, Put, ReadPoint, Scan
from recollect.adapters.versions import Action, Provenance, Version
from recollect.service.answers import Hit
from recollect.service.hashing import canonical_json, sha256_hex
from recollect.service.presenting import JSON_TYPE, milliseconds_of, moment
from recollect.service.provenance.answers import Given, Receipt
from recollect.service.provenance.requests import ReceiptsRequest
from recollect.service.requests import SearchRequest
from recollect.service.settings import Settings

NAMESPACE = "_receipts"
BRANCH = NAMESPACE
"""Receipts are written on a line of their own, so that recalling moves no branch's newest commit."""
WRITE_INTERVAL_S = 1.0
"""How long a receipt waits for others to be written with."""
WAITING_MAX = 10_000
"""How many recalls wait to be written at most; of more, only the number is kept."""
TAGS_MAX = 1000
"""How many memories one record names at most, so that a filter finds it quickly."""
SWEEP_BATCH = 256

_LINE = ReadPoint((BranchSpan(BRANCH),))
logger = structlog.get_logger("recollect")


class _Given(Struct, frozen=True, array_like=True, gc=False):
    id: str
    version: int
    score: float | None = None


class _Recall(Struct, frozen=True, array_like=True):
    """One recall, as it is stored."""

    time_ms: int
    operation: str
    query_digest: str | None
    hits: int
    given: tuple[_Given, ...]


class _Record(Struct, frozen=True):
    """Some recalls of one actor, and how many were not kept because too many waited."""

    recalls: tuple[_Recall, ...]
    dropped: int = 0


class _EncodedHit(Struct, frozen=True, gc=False):
    id: str
    version: int
    score: float
    namespace: str


_encoded_hits = msgspec.json.Decoder(list[_EncodedHit])


class Receipts:
    """Notes recalls, writes them in the background, and finds them again.

    Args:
        store: Where they are written.
        settings: Whose recalls are noted, and how long they are kept.
    """

    def __init__(self, store: ProvenanceStorageAdapter, settings: Settings) -> None:
        self._store = store
        self._namespaces = frozenset(settings.receipts_namespaces)
        self._hits_max = settings.receipts_hits_max
        self._ttl_ms = int(settings.receipts_ttl_s * 1000)
        self._default_actor = settings.default_actor
        self._unnoted: deque[Callable[[], None]] = deque()
        self._waiting: deque[tuple[str, _Recall]] = deque()
        self._dropped = 0
        self._writing: asyncio.Task[None] | None = None

    @property
    def enabled(self) -> bool:
        """Whether any namespace's recalls are noted."""
        return bool(self._namespaces)

    # --- Noting -------------------------------------------------------------------------------------

    def note_versions(self, operation: str, actor: str | None, versions: Sequence[Version]) -> None:
        """Note that versions were given out by their name."""

        def note() -> None:
            given = [_Given(v.memory_id, v.number) for v in versions if v.namespace in self._namespaces]
            self._note(operation, actor, None, given, len(given))

        self._note_soon(note)

    def note_hits(self, operation: str, request: SearchRequest, hits: Sequence[Hit], total: int) -> None:
        """Note the first hits that a search gave out, and how many there were in all."""

        def note() -> None:
            given = [_Given(hit.id, hit.version, hit.score) for hit in hits if hit.namespace in self._namespaces]
            self._note(operation, request.actor, digest_of(request), given, total)

        self._note_soon(note)

    def note_encoded(self, operation: str, request: SearchRequest, batches: Sequence[bytes], total: int) -> None:
        """Note the first hits of a search whose hits are JSON: batches of objects, joined by commas."""

        def note() -> None:
            hits = [hit for batch in batches for hit in _encoded_hits.decode(b"[%b]" % batch)]
            given = [_Given(hit.id, hit.version, hit.score) for hit in hits if hit.namespace in self._namespaces]
            self._note(operation, request.actor, digest_of(request), given, total)

        self._note_soon(note)

    def _note_soon(self, note: Callable[[], None]) -> None:
        """Have something noted in the loop's next turn, when the answer is on its way."""
        if not self._namespaces:
            return
        if not self._unnoted:
            asyncio.get_running_loop().call_soon(self._catch_up)
        self._unnoted.append(note)

    def _catch_up(self) -> None:
        while self._unnoted:
            self._unnoted.popleft()()

    @property
    def hits_max(self) -> int:
        """How many hits of one recall a receipt names."""
        return self._hits_max if self._namespaces else 0

    def _note(self, operation: str, actor: str | None, digest: str | None, given: Sequence[_Given], total: int) -> None:
        if not given:
            return
        if len(self._waiting) >= WAITING_MAX:
            self._dropped += 1
            return
        recall = _Recall(now_ms(), operation, digest, total, tuple(given[: self._hits_max]))
        self._waiting.append((actor or self._default_actor, recall))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_soon())

    # --- Writing ------------------------------------------------------------------------------------

    async def _write_soon(self) -> None:
        await asyncio.sleep(WRITE_INTERVAL_S)
        await self.flush()

    async def flush(self) -> None:
        """Write what was noted. A store that refuses is said in the log; its receipts are lost, not its memories."""
        self._catch_up()
        while self._waiting or self._dropped:
            waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
            dropped, self._dropped = self._dropped, 0
            by_actor: dict[str, list[_Recall]] = {}
            for actor, recall in waiting:
                by_actor.setdefault(actor, []).append(recall)
            puts = [put for actor, recalls in by_actor.items() for put in self._puts(actor, recalls)]
            if dropped:
                puts.append(self._put(self._default_actor, _Record((), dropped)))
                logger.warning("recall receipts dropped", recalls=dropped, reason="too many waited to be written")
            # A power cut may take the last second's receipts, as a crash may; syncing them would slow the writers.
            commit = Commit(puts=tuple(puts), read_point=_LINE, durability="relaxed")
            try:
                await self._store.commit(commit)
            except StorageError as error:
                logger.warning("recall receipts not written", recalls=len(waiting), reason=str(error))

    async def close(self) -> None:
        """Write what is left and stop."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait((self._writing,))
            self._writing = None
        await self.flush()

    def _puts(self, actor: str, recalls: Sequence[_Recall]) -> Iterable[Put]:
        part: list[_Recall] = []
        named = 0
        for recall in recalls:
            if part and named + len(recall.given) > TAGS_MAX:
                yield self._put(actor, _Record(tuple(part)))
                part, named = [], 0
            part.append(recall)
            named += len(recall.given)
        if part:
            yield self._put(actor, _Record(tuple(part)))

    def _put(self, actor: str, record: _Record) -> Put:
        now = now_ms()
        times = [recall.time_ms for recall in record.recalls] or [now]
        return Put(
            Version(
                memory_id=str(uuid7()),
                branch=BRANCH,
                namespace=NAMESPACE,
                kind="receipts",
                tags=tuple(sorted({given.id for recall in record.recalls for given in recall.given})),
                created_at_ms=times[0],
                updated_at_ms=times[-1],
                expires_at_ms=now + self._ttl_ms,
                actor=actor,
                content=msgspec.json.encode(record).decode(),
                content_type=JSON_TYPE,
                metadata={},
                provenance=Provenance(action=Action.RECALLED, actor=actor, time_ms=now, level="minimal"),
            )
        )

    # --- Finding ------------------------------------------------------------------------------------

    async def find(self, request: ReceiptsRequest) -> list[Receipt]:
        """Return recalls, newest first; what was noted a moment ago is written first."""
        await self.flush()
        conditions: list[Filter] = []
        since = None if request.since is None else milliseconds_of(request.since)
        if request.memory_id is not None:
            conditions.append(Equals(("tags",), request.memory_id))
        if request.actor is not None:
            conditions.append(Equals(("actor",), request.actor))
        if since is not None:
            conditions.append(Range(("updated_at",), gte=since))
        scan = Scan(
            read_point=ReadPoint(_LINE.lineage, now_ms()),
            namespaces=(NAMESPACE,),
            filter=And(tuple(conditions)) if conditions else None,
            order=Order.POSITION,
            descending=True,
            projection=FULL,
        )
        found: list[Receipt] = []
        async for batch in self._store.scan(scan):
            for version in batch:
                found += _receipts_in(version, request.memory_id, since)
            if len(found) >= request.limit:
                break
        return sorted(found, key=lambda receipt: receipt.time, reverse=True)[: request.limit]

    async def erase_expired(self) -> int:
        """Erase receipts whose time is over; return how many records that were."""
        scan = Scan(
            read_point=_LINE,
            namespaces=(NAMESPACE,),
            filter=Range(("expires_at",), lte=now_ms()),
            batch_size=SWEEP_BATCH,
        )
        count = 0
        async for batch in self._store.scan(scan):
            refs = tuple(version.ref for version in batch)
            try:
                await self._store.commit(Commit(puts=(), erases=refs, read_point=_LINE))
            except ConflictError:
                continue  # another service was faster
            count += len(refs)
        return count


def digest_of(request: SearchRequest) -> str:
    """Return the SHA-256 of what a search looks for."""
    if request.text is not None:
        return sha256_hex(request.text.encode("utf-8", "surrogatepass"))
    return sha256_hex(canonical_json(request.vector if request.vector is not None else request.memory_id))


def _receipts_in(version: Version, memory_id: str | None, since_ms: int | None) -> list[Receipt]:
    record = msgspec.json.decode(version.content or '{"recalls":[]}', type=_Record)
    return [
        Receipt(
            time=moment(recall.time_ms),
            actor=version.actor,
            operation=recall.operation,
            query_digest=recall.query_digest,
            hits=recall.hits,
            given=[Given(id=item.id, version=item.version, score=item.score) for item in recall.given],
        )
        for recall in reversed(record.recalls)
        if (memory_id is None or any(item.id == memory_id for item in recall.given))
        and (since_ms is None or recall.time_ms >= since_ms)
    ]
