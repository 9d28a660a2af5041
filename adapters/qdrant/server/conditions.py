"""What a read asks for, as the server's own filter: lineage, moment, namespaces, and the user's filter.

    superseded_at   where the next version of the memory on the same branch stands; absent on the newest
    branches        the branches that the memory lives on, if there are several
    lines           for each of them its name and the position of the memory's first version there

A version on a farther span of a lineage is hidden when the memory has any version on a nearer span, that is, when a
line of that branch begins within the span.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from qdrant_client import models

from recollect.adapters.errors import InvalidRequestError
from recollect.adapters.filters import (
    NUMBER_FIELDS,
    TIME_FIELDS,
    And,
    Equals,
    Exists,
    FieldPath,
    Filter,
    Not,
    OneOf,
    Or,
    Range,
    Scalar,
    is_number,
)
from recollect.adapters.port import BranchSpan, ReadPoint
from recollect.adapters.qdrant.server import records

EXACT_MAX = 2**53
"""Beyond it a double does not hold every integer, and the server compares doubles."""

NOTHING: Final = models.HasIdCondition(has_id=[])
_KEYWORDS: Final = ("memory", "branch", "system", "forgotten", "kind", "key", "tags", "actor", "source", "content_hash")
_INTEGERS: Final = ("position", "superseded_at", "number", "created_at", "updated_at", "expires_at", "intent_position")
_FLOATS: Final = ("importance", "confidence")

INDEXES: Final[Mapping[str, models.PayloadSchemaType | models.KeywordIndexParams]] = {
    "namespace": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    "metadata": models.PayloadSchemaType.KEYWORD,
    "branches": models.PayloadSchemaType.KEYWORD,
    **dict.fromkeys(_KEYWORDS, models.PayloadSchemaType.KEYWORD),
    **dict.fromkeys(_INTEGERS, models.PayloadSchemaType.INTEGER),
    **dict.fromkeys(_FLOATS, models.PayloadSchemaType.FLOAT),
}
"""The payload indexes that a store's collection has."""


class Selection(Struct, frozen=True):
    """A filter for the server.

    Attributes:
        condition: What the server selects.
        exact: Whether that is all that was asked for; else what it selects must be tried once more with
            `filters.matches`, and is never too little.
    """

    condition: models.Filter
    exact: bool = True


def select(
    read_point: ReadPoint | None, cap: int, namespaces: Sequence[str] | None, matching: Filter | None
) -> Selection:
    """Return what selects the versions that a read is about.

    Args:
        read_point: From where to look; None for every version of every branch.
        cap: Up to which position the store is read.
        namespaces: Only these; None for all but the system's.
        matching: The user's filter.
    """
    must: list[models.Condition] = [*inside(namespaces)]
    must += [at_most("position", cap)] if read_point is None else visible(read_point, cap)
    exact = matching is None or is_exact(matching)
    if matching is not None and exact:
        must.append(_condition(matching))
    return Selection(models.Filter(must=must), exact)


def inside(namespaces: Sequence[str] | None) -> list[models.Condition]:
    """Select namespaces; None for all but the system's."""
    if namespaces is None:
        return [equals("system", "no")]
    return [one_of("namespace", namespaces)]


def visible(read_point: ReadPoint, cap: int) -> list[models.Condition]:
    """Select what a read point shows; all of the conditions must hold."""
    spans = [BranchSpan(span.branch, min(span.up_to, cap)) for span in read_point.lineage]
    shown = [_shown(span, spans[:at]) for at, span in enumerate(spans)]
    conditions: list[models.Condition] = [models.Filter(should=[*shown]) if len(shown) != 1 else shown[0]]
    hidden: list[models.Condition] = [equals("forgotten", "yes")]
    if read_point.at_ms is not None:
        hidden.append(models.FieldCondition(key="expires_at", range=models.Range(lte=read_point.at_ms)))
    return [*conditions, models.Filter(must_not=hidden)]


def _shown(span: BranchSpan, nearer: Sequence[BranchSpan]) -> models.Filter:
    """Select the newest version of each memory on a span, unless a nearer span has one of it."""
    superseded = at_most("superseded_at", span.up_to)
    hidden = [_begins_on(other) for other in nearer]
    return models.Filter(
        must=[equals("branch", span.branch), at_most("position", span.up_to)], must_not=[superseded, *hidden]
    )


def _begins_on(span: BranchSpan) -> models.Filter:
    """Select memories that have a version on a span, of those that live on several branches."""
    line = models.Nested(
        key="lines",
        filter=models.Filter(must=[equals("branch", span.branch), at_most("first", span.up_to)]),
    )
    # The index on `branches` says of almost every memory that it does not live there.
    return models.Filter(must=[equals("branches", span.branch), models.NestedCondition(nested=line)])


def along(read_point: ReadPoint, cap: int) -> models.Filter:
    """Select every version on the spans of a lineage, superseded or not."""
    return models.Filter(
        should=[
            models.Filter(must=[equals("branch", span.branch), at_most("position", min(span.up_to, cap))])
            for span in read_point.lineage
        ]
    )


def equals(field: str, text: str) -> models.FieldCondition:
    """Select by a text."""
    return models.FieldCondition(key=field, match=models.MatchValue(value=_encodable(text)))


def one_of(field: str, texts: Sequence[str]) -> models.Condition:
    """Select by one of several texts; by none where there are none."""
    if not texts:
        return NOTHING
    return models.FieldCondition(key=field, match=models.MatchAny(any=[_encodable(text) for text in texts]))


def at_most(field: str, value: int) -> models.FieldCondition:
    """Select by a number that is not greater; a point without it is not selected."""
    return models.FieldCondition(key=field, range=models.Range(lte=value))


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"{text!a:.80} holds half a surrogate pair, which is no UTF-8") from error
    return text


# --- The user's filter -----------------------------------------------------------------------------------------------


def is_exact(condition: Filter) -> bool:
    """Say whether the server can decide a filter: not where it would compare numbers that a double cannot hold."""
    match condition:
        case And(inner) | Or(inner):
            return all(map(is_exact, inner))
        case Not(inner):
            return is_exact(inner)
        case Range(field):
            bounds = (condition.gt, condition.gte, condition.lt, condition.lte)
            return field[0] != "metadata" or all(bound is None or abs(bound) < EXACT_MAX for bound in bounds)
        case _:
            return True


def _condition(condition: Filter) -> models.Condition:
    match condition:
        case And(inner):
            return models.Filter(must=[_condition(one) for one in inner])
        case Or(()):
            return NOTHING
        case Or(inner):
            return models.Filter(should=[_condition(one) for one in inner])
        case Not(inner):
            return models.Filter(must_not=[_condition(inner)])
        case Exists(field):
            return _exists(field)
        case Equals(field, value):
            return _one_of(field, (value,))
        case OneOf(field, values):
            return _one_of(field, values)
        case Range(field):
            return _within(field, condition)


def _exists(field: FieldPath) -> models.Condition:
    if field[0] == "metadata":
        return equals("metadata", records.token_of_path(_path(field)))
    return models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=field[0]))])


def _path(field: FieldPath) -> FieldPath:
    for name in field[1:]:
        _encodable(name)
    return field[1:]


def _one_of(field: FieldPath, values: Sequence[Scalar]) -> models.Condition:
    name = field[0]
    if name == "metadata":
        path = _path(field)
        return one_of(name, [records.token_of_value(path, _known(value)) for value in values])
    if name in NUMBER_FIELDS or name in TIME_FIELDS:
        ranges = [models.Range(gte=value, lte=value) for value in values if is_number(value) and _is_double(value)]
        same: list[models.Condition] = [models.FieldCondition(key=name, range=one) for one in ranges]
        return models.Filter(should=same) if same else NOTHING
    return one_of(name, [value for value in values if isinstance(value, str)])


def _known(value: Scalar) -> Scalar:
    return _encodable(value) if isinstance(value, str) else value


def _is_double(value: Scalar) -> bool:
    """Say whether a number is one that a double holds exactly; no field of ours holds another."""
    try:
        return float(value) == value
    except OverflowError:
        return False


def _within(field: FieldPath, bounds: Range) -> models.Condition:
    name = field[0]
    if name not in NUMBER_FIELDS | TIME_FIELDS | {"metadata"}:
        return NOTHING
    # Integer fields are compared as integers, for which a bound between two of them would be cut.
    up, down = (math.ceil, math.floor) if name in TIME_FIELDS else (_as_it_is, _as_it_is)
    within = models.Range(
        gt=_bound(bounds.gt, down), gte=_bound(bounds.gte, up), lt=_bound(bounds.lt, up), lte=_bound(bounds.lte, down)
    )
    key = f"numbers.{records.name_of_path(_path(field))}[]" if name == "metadata" else name
    return models.FieldCondition(key=key, range=within)


def _as_it_is(number: float) -> float:
    return number


def _bound(number: float | None, rounded: Callable[[float], float]) -> float | None:
    if number is None:
        return None
    try:
        return float(rounded(number))
    except OverflowError:
        return math.copysign(math.inf, number)
