"""Where a fork begins and where a rollback goes: a branch, a tag, a time or a commit position, as a lineage."""

from datetime import datetime

from msgspec import Struct

from recollect.adapters.port import BranchSpan, ProvenanceStorageAdapter
from recollect.adapters.versions import MAIN
from recollect.service.branches import existing
from recollect.service.branching import records, tags
from recollect.service.branching.records import AT_THIS_COMMIT, BranchRecord
from recollect.service.errors import BranchNotFoundError


class Origin(Struct, frozen=True):
    """A state of a branch.

    Attributes:
        branch: The branch's id.
        position: As of when; `AT_THIS_COMMIT` for now.
        lineage: From where that state is read, nearest first.
    """

    branch: str
    position: int
    lineage: tuple[BranchSpan, ...]


def moment_of(text: str | int) -> datetime | int | None:
    """Return the time or the position that a text says, or None if it says another thing, which is then a name."""
    if isinstance(text, int) or text.isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def state_of(record: BranchRecord, at: datetime | int | None) -> Origin:
    """Return a branch's state as of a moment; of now if None."""
    if at is None:
        return Origin(record.id, AT_THIS_COMMIT, (BranchSpan(record.id, AT_THIS_COMMIT), *record.lineage))
    position = records.position_of(at)
    return Origin(record.id, position, records.at_position(record.spans(), position))


async def find_origin(store: ProvenanceStorageAdapter, named: str | int, at: datetime | int | None) -> Origin:
    """Return the state from which a fork begins.

    Args:
        store: Where to look.
        named: A branch, a tag, or a time or position, which mean `main`.
        at: As of when, where a branch is named.

    Raises:
        BranchNotFoundError: No branch or tag has this name.
    """
    moment = moment_of(named)
    if moment is not None:
        return state_of((await existing(store, MAIN)).record, moment)
    name = str(named)
    tag = await tags.find(store, name)
    if tag is not None:
        return Origin(tag.branch, tag.position, records.at_position(tag.lineage, tag.position))
    held = await records.find(store, name)
    if held is None:
        raise BranchNotFoundError(
            f"{name!r:.120} names no branch, tag, time or position; list branches (GET /v1/branches) or tags"
        )
    return state_of((await existing(store, name)).record, at)
