"""Every read of the port over one shard."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from msgspec.structs import replace

from recollect.adapters.filters import Filter
from recollect.adapters.port import (
    ByContent,
    ById,
    ByKey,
    ByRef,
    Projection,
    ReadPoint,
    Scan,
    Selector,
    SimilarityQuery,
)
from recollect.adapters.qdrant.conditions import (
    All,
    Between,
    Condition,
    Matching,
    Selection,
    along,
    holding,
    of_memories,
    select,
    written_on,
)
from recollect.adapters.qdrant.engine import Engine, Found, Parts
from recollect.adapters.qdrant.fields import CLASS, EXPIRES, MEMORY, POSITION, WINDOWED
from recollect.adapters.qdrant.points import StoredMatch, StoredVersion, point_id
from recollect.adapters.qdrant.ranking import find_similar
from recollect.adapters.qdrant.tokens import content_token, value_token
from recollect.adapters.qdrant.validation import is_memory_id
from recollect.adapters.qdrant.walking import Walk

Item = TypeVar("Item")

HISTORY_BATCH_VERSIONS = 256
COUNTED_POINTS = 1_024
SELECTED_MEMORIES = 256
"""How many memories one call asks for by their ids."""


class ShardReader:
    """Reads of one shard, from one thread.

    Streams do their first work when the first batch is asked for, and show the state of that moment, also if commits
    are applied between two batches; what is erased meanwhile is not shown.

    Attributes:
        last_position: The newest position that was given.
    """

    def __init__(self, engine: Engine, last_position: int) -> None:
        self._engine = engine
        self.last_position = last_position
        expiring = Between(EXPIRES, gte=-sys.float_info.max)
        self._expiring = {
            class_: engine.count(All((Matching(CLASS, (class_,)), expiring))) > 0 for class_ in ("user", "system")
        }
        self._windowed = engine.count(Matching(WINDOWED, ("yes",))) > 0

    def get(
        self, selectors: Sequence[Selector], read_point: ReadPoint, projection: Projection
    ) -> list[StoredVersion | None]:
        """Return what each selector names: see the port.

        Raises:
            StoreDamagedError: A stored part differs from its checksum.
        """
        parts = Parts.of(projection)
        refs = [point_id(selector.ref) for selector in selectors if isinstance(selector, ByRef)]
        by_ref = self._engine.retrieve(refs, parts) if refs else {}
        memory_ids = [selector.memory_id for selector in selectors if isinstance(selector, ById)]
        by_id = self._visible([name for name in dict.fromkeys(memory_ids) if is_memory_id(name)], read_point, parts)
        answers: list[StoredVersion | None] = []
        for selector in selectors:
            match selector:
                case ByRef(ref):
                    found = by_ref.get(point_id(ref))
                case ById(memory_id):
                    found = by_id.get(memory_id)
                case ByKey(namespace, key):
                    token = value_token(("key",), key)
                    found = self._first(namespace, token, read_point, parts, descending=True)
                case ByContent(namespace, content_hash):
                    token = content_token(content_hash)
                    found = self._first(namespace, token, read_point, parts, descending=False)
            answers.append(None if found is None else found.stored(parts))
        return answers

    def _visible(self, memory_ids: Sequence[str], read_point: ReadPoint, parts: Parts) -> dict[str, Found]:
        """Return the visible versions of memories, by the memories' ids."""
        found: dict[str, Found] = {}
        for start in range(0, len(memory_ids), SELECTED_MEMORIES):
            some = memory_ids[start : start + SELECTED_MEMORIES]
            selection = self._now(read_point, None, also=[of_memories(some)], everywhere=True)
            points = Walk(self._engine).points(selection, parts, first=len(some))
            found.update((point.payload[MEMORY], point) for point in points)
        return found

    def _first(
        self, namespace: str, token: str, read_point: ReadPoint, parts: Parts, *, descending: bool
    ) -> Found | None:
        """Return the visible version that holds a token, the first or last in the order of positions."""
        selection = self._now(read_point, (namespace,), also=[holding(token)])
        return next(Walk(self._engine, descending=descending).points(selection, parts, first=1), None)

    def history(
        self, memory_id: str, read_point: ReadPoint | None, projection: Projection
    ) -> Iterator[list[StoredVersion]]:
        """Yield a memory's versions along the lineage, newest first: see the port."""
        if not is_memory_id(memory_id):
            return
        parts = Parts.of(projection)
        conditions = (of_memories([memory_id]), self._so_far(), *(() if read_point is None else (along(read_point),)))
        found = Walk(self._engine, descending=True).points(Selection(All(conditions)), parts, HISTORY_BATCH_VERSIONS)
        yield from batches((point.stored(parts) for point in found), HISTORY_BATCH_VERSIONS)

    def scan(self, scan: Scan) -> Iterator[list[StoredVersion]]:
        """Yield versions in order: see the port."""
        if scan.limit == 0:
            return
        parts = Parts.of(scan.projection)
        also = [self._so_far()] if scan.read_point is None else []
        if scan.segments is not None:
            also.append(written_on(scan.segments))
        selection = select(self._fixed(scan.read_point), scan.namespaces, scan.filter, also=also)
        first = scan.batch_size if scan.limit is None else scan.limit
        found = Walk(self._engine, scan.order, scan.descending, scan.after).points(selection, parts, first)
        yield from batches((point.stored(parts) for point in islice(found, scan.limit)), scan.batch_size)

    def count(self, read_point: ReadPoint, namespaces: Sequence[str] | None, matching: Filter | None) -> int:
        """Count visible versions: see the port."""
        selection = self._now(read_point, namespaces, matching)
        if selection.exact:
            return self._engine.count(selection.condition)
        return sum(1 for _ in Walk(self._engine).points(selection, Parts(), first=COUNTED_POINTS))

    def find_similar(self, query: SimilarityQuery) -> Iterator[list[StoredMatch]]:
        """Yield matches, best first: see the port. The query was validated."""
        if query.limit == 0:
            return
        now = self._now(query.read_point, query.namespaces, query.filter)
        later = select(self._fixed(query.read_point), query.namespaces, query.filter)
        yield from batches(
            islice(find_similar(self._engine, query, now, later, windowed=self._windowed), query.limit),
            query.batch_size,
        )

    def _now(
        self,
        read_point: ReadPoint,
        namespaces: Sequence[str] | None,
        matching: Filter | None = None,
        *,
        also: Sequence[Condition] = (),
        everywhere: bool = False,
    ) -> Selection:
        """Return what is wanted of the points as they are before the next commit."""
        only_users = namespaces is None and not everywhere
        return select(
            read_point,
            namespaces,
            matching,
            newest=self.last_position,
            also=also,
            everywhere=everywhere,
            expiring=self._expiring["user"] or (not only_users and self._expiring["system"]),
        )

    def _so_far(self) -> Condition:
        return Between(POSITION, lte=self.last_position)

    def _fixed(self, read_point: ReadPoint | None) -> ReadPoint | None:
        """Return a read point that shows the same now and goes on showing it."""
        if read_point is None:
            return None
        spans = (replace(span, up_to=min(span.up_to, self.last_position)) for span in read_point.lineage)
        return replace(read_point, lineage=tuple(spans))


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cut a stream into lists; none of them is empty."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
