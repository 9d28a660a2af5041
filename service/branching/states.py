"""What two states of memories have in common and in what they differ, found without walking what they share."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing

from recollect.adapters.clock import POSITION_MAX
from recollect.adapters.errors import ConflictError
from recollect.adapters.port import (
    SUMMARY,
    BranchSpan,
    ById,
    Commit,
    HeadIs,
    Projection,
    ProvenanceStorageAdapter,
    ReadPoint,
    Scan,
    Segment,
)
from recollect.adapters.versions import Version

BATCH_MEMORIES = 512
"""How many memories are looked at between two turns of the event loop."""
FIRST_MEMORIES = 64

_NO_HEAD = -1


async def head_of(store: ProvenanceStorageAdapter, branch: str) -> int:
    """Return the position of the newest commit on a branch; 0 where none was written on it.

    A commit of nothing that expects the impossible is answered with what there is.
    """
    try:
        await store.commit(Commit(puts=(), preconditions=(HeadIs(branch, _NO_HEAD),), read_point=ReadPoint(())))
    except ConflictError as error:
        return int(error.found or 0)
    raise AssertionError("no branch has a head at a negative position")


def same(one: Version | None, other: Version | None) -> bool:
    """Say whether two versions of a memory say the same; None stands for a memory that is not there.

    White space around a text, and the way Unicode writes a letter, make no difference: the hash leaves them out.
    """
    if one is None or other is None:
        return one is other
    if one.ref == other.ref:
        return True
    fields = ("content_hash", "kind", "summary", "tags", "importance", "confidence", "expires_at_ms", "content_type")
    return all(getattr(one, name) == getattr(other, name) for name in fields)


def bounds_of(spans: Iterable[BranchSpan]) -> dict[str, int]:
    """Return up to where each branch of a lineage is seen."""
    return {span.branch: span.up_to for span in spans}


def beyond(spans: Iterable[BranchSpan], known: Mapping[str, int]) -> tuple[Segment, ...]:
    """Return the stretches of a lineage that lie beyond what is known of its branches."""
    found = (Segment(span.branch, known.get(span.branch, 0), span.up_to) for span in spans)
    return tuple(segment for segment in found if segment.after < segment.up_to)


def common(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Return up to where each branch is known to both."""
    return {branch: min(up_to, other[branch]) for branch, up_to in one.items() if branch in other}


async def written(
    store: ProvenanceStorageAdapter, segments: tuple[Segment, ...], first: int = BATCH_MEMORIES
) -> AsyncGenerator[list[str], None]:
    """Stream the ids of the memories that were written on some stretches, each once.

    Args:
        store: Where to look.
        segments: Where they were written; tombstones count too.
        first: How many to look at before the first answer.
    """
    if not segments:
        return
    seen: set[str] = set()
    scan = Scan(read_point=None, segments=segments, batch_size=first, projection=SUMMARY)
    async with aclosing(store.scan(scan)) as batches:
        async for batch in batches:
            new = [name for name in dict.fromkeys(version.memory_id for version in batch) if name not in seen]
            seen.update(new)
            if new:
                yield new


async def any_written(store: ProvenanceStorageAdapter, segments: tuple[Segment, ...]) -> bool:
    """Say whether anything of users was written on some stretches."""
    if not segments:
        return False
    scan = Scan(read_point=None, segments=segments, limit=1)
    async with aclosing(store.scan(scan)) as batches:
        async for batch in batches:
            return bool(batch)
    return False


async def states(
    store: ProvenanceStorageAdapter,
    memory_ids: Sequence[str],
    spans: tuple[BranchSpan, ...],
    projection: Projection = SUMMARY,
) -> list[Version | None]:
    """Return each memory's version as a lineage shows it, expired ones too; None where it is not there."""
    if not memory_ids or not spans:
        return [None] * len(memory_ids)
    return await store.get([ById(memory_id) for memory_id in memory_ids], ReadPoint(spans), projection)


async def newest(store: ProvenanceStorageAdapter, memory_id: str, spans: tuple[BranchSpan, ...]) -> Version | None:
    """Return a memory's newest version along a lineage, a tombstone too; None where there is none."""
    async with aclosing(store.history(memory_id, ReadPoint(spans))) as batches:
        async for batch in batches:
            return batch[0]
    return None


def up_to(spans: tuple[BranchSpan, ...], position: int) -> tuple[BranchSpan, ...]:
    """Return a lineage that is read up to a position on its nearest branch."""
    if not spans or spans[0].up_to != POSITION_MAX:
        return spans
    return (BranchSpan(spans[0].branch, position), *spans[1:])
