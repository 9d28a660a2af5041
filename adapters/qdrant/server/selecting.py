"""What a read asks for, as the client's own filter, as of a cap: the position up to which commits were applied.

What is current is never taken for granted here: another process may be in the middle of a commit, so every question
compares positions.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace
from qdrant_client import models

from recollect.adapters.errors import InvalidRequestError
from recollect.adapters.filters import Filter
from recollect.adapters.port import ReadPoint, Segment
from recollect.adapters.qdrant import fields
from recollect.adapters.qdrant.client_conditions import client_filter
from recollect.adapters.qdrant.conditions import (
    All,
    Between,
    Condition,
    Matching,
    Selection,
    along,
    of_memories,
    select,
    written_on,
)
from recollect.adapters.qdrant.fields import KEYWORD_INDEXES, NUMBER_INDEXES, UUID_INDEXES
from recollect.adapters.qdrant.server.heads import PART_POSITION

__all__ = ["ERASED_AT", "INDEXES", "by_ids", "line_of", "newest_of", "selection", "up_to"]

ERASED_AT: Final = "erased_at"
"""The position of the commit that made a stub of a version."""

INDEXES: Final[dict[str, models.PayloadSchemaType | models.KeywordIndexParams]] = {
    **dict.fromkeys(KEYWORD_INDEXES[1:], models.PayloadSchemaType.KEYWORD),
    KEYWORD_INDEXES[0]: models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    **dict.fromkeys(UUID_INDEXES, models.PayloadSchemaType.UUID),
    **dict.fromkeys(NUMBER_INDEXES, models.PayloadSchemaType.FLOAT),
    PART_POSITION: models.PayloadSchemaType.INTEGER,
}
"""The payload indexes that a store's collection has."""


def selection(
    read_point: ReadPoint | None,
    cap: int,
    namespaces: Sequence[str] | None = None,
    matching: Filter | None = None,
    *,
    segments: Sequence[Segment] | None = None,
    also: Iterable[Condition] = (),
    everywhere: bool = False,
) -> Selection:
    """Return which points a read wants, as of a cap; see `conditions.select`."""
    more = [*also]
    if segments is not None:
        more.append(written_on([replace(one, up_to=min(one.up_to, cap)) for one in segments]))
    if read_point is None:
        more.append(Between(fields.POSITION, lte=cap))
    seen = None if read_point is None else capped(read_point, cap)
    try:
        return select(seen, namespaces, matching, also=more, everywhere=everywhere)
    except UnicodeEncodeError as error:
        raise InvalidRequestError("a filter holds half a surrogate pair, which is no UTF-8") from error


def capped(read_point: ReadPoint, cap: int) -> ReadPoint:
    """Return a read point that looks no further than a cap."""
    lineage = tuple(replace(span, up_to=min(span.up_to, cap)) for span in read_point.lineage)
    return replace(read_point, lineage=lineage)


def line_of(memory_id: str, read_point: ReadPoint | None, cap: int) -> models.Filter:
    """Select a memory's versions along a lineage, or all of them."""
    where = Between(fields.POSITION, lte=cap) if read_point is None else along(capped(read_point, cap))
    return client_filter(All((of_memories([memory_id]), where)))


def newest_of(memory_ids: Sequence[str]) -> models.Filter:
    """Select the last version of memories on each branch."""
    return client_filter(All((of_memories(memory_ids), Between(fields.UNTIL, gte=fields.NEVER))))


def up_to(position: int, branch: str | None = None) -> models.Filter:
    """Select every version up to a position, on all branches or on one."""
    there: Condition = Between(fields.POSITION, lte=position)
    if branch is not None:
        there = All((there, Matching(fields.BRANCH, (branch,))))
    return client_filter(there)


def by_ids(ids: Sequence[str], cap: int | None = None) -> models.Filter:
    """Select points by their ids, up to a cap if one is given."""
    named = models.HasIdCondition(has_id=[*ids])
    bounds = [] if cap is None else [client_filter(Between(fields.POSITION, lte=cap))]
    return models.Filter(must=[named, *bounds])
