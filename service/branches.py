"""From a branch's name and a moment to the point from where a read looks, and to where a write goes."""

from datetime import datetime

from msgspec import Struct

from recollect.adapters.clock import POSITION_MAX, now_ms, position_at, position_ms
from recollect.adapters.port import BranchSpan, Precondition, ProvenanceStorageAdapter, ReadPoint
from recollect.adapters.versions import MAIN
from recollect.service.branching import records
from recollect.service.branching.records import Held
from recollect.service.errors import BranchNotFoundError

_MAIN_SPANS = (BranchSpan(MAIN, POSITION_MAX),)


class Place(Struct, frozen=True):
    """Where a write goes.

    Attributes:
        branch: The id by which versions name the branch.
        point: From where its preconditions look.
        guards: Preconditions of every write there.
    """

    branch: str
    point: ReadPoint
    guards: tuple[Precondition, ...]


async def read_point(store: ProvenanceStorageAdapter, branch: str, as_of: datetime | int | None = None) -> ReadPoint:
    """Return from where to look. `main` needs no look-up, any other branch one.

    Args:
        store: Where the branches are.
        branch: The branch's name.
        as_of: A time, or a commit position; now if not given. Expiry is judged at that moment too.

    Raises:
        BranchNotFoundError: No branch has this name.
        InvalidRequestError: The time is outside of what a store can hold.
    """
    spans = _MAIN_SPANS if branch == MAIN else (await existing(store, branch)).record.spans()
    if as_of is None:
        return ReadPoint(spans, now_ms())
    up_to = as_of if isinstance(as_of, int) else position_at(as_of)
    return ReadPoint(tuple(BranchSpan(span.branch, min(span.up_to, up_to)) for span in spans), position_ms(up_to))


async def writable(store: ProvenanceStorageAdapter, branch: str) -> Place:
    """Return where a write to a branch goes.

    Raises:
        BranchNotFoundError: No branch has this name.
    """
    point = await read_point(store, branch)
    return Place(point.lineage[0].branch, point, records.guards_of(point.lineage[0].branch))


async def existing(store: ProvenanceStorageAdapter, name: str) -> Held:
    """Return the record of a branch.

    Raises:
        BranchNotFoundError: No branch has this name now.
    """
    held = await records.find(store, name)
    if held is None:
        raise BranchNotFoundError(
            f"there is no branch {name!r:.120}; list those there are (GET /v1/branches), or create it"
        )
    if held.record.deleted:
        raise BranchNotFoundError(
            f"the branch {name!r:.120} was deleted; what it held can still be read by version, "
            "and a new branch may take its name"
        )
    return held
