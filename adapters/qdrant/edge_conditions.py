"""Conditions in the words of the embedded engine."""

from typing import TYPE_CHECKING

from qdrant_edge import (
    FieldCondition,
    Filter,
    HasIdCondition,
    MatchAny,
    MatchValue,
    NestedCondition,
    RangeFloat,
)

from recollect.adapters.qdrant.conditions import All, AnyOf, Between, Condition, Matching, Negated, Nested

if TYPE_CHECKING:
    from qdrant_edge import ConditionType  # a name of the package's stubs alone


def edge_filter(condition: Condition) -> Filter:
    """Return a condition as a filter of the embedded engine."""
    must: list[ConditionType] = []
    must_not: list[ConditionType] = []
    _gather(condition, must, must_not)
    return Filter(must=must, must_not=must_not)


def _gather(condition: Condition, must: "list[ConditionType]", must_not: "list[ConditionType]") -> None:
    """Add a condition to those that must hold and those that must not; nesting costs the engine time."""
    match condition:
        case All(conditions):
            for inner in conditions:
                _gather(inner, must, must_not)
        case Negated(inner):
            must_not.append(_one(inner))
        case _:
            must.append(_one(condition))


def _one(condition: Condition) -> "ConditionType":
    match condition:
        case Matching(field, (value,)):
            return FieldCondition(field, match=MatchValue(value))
        case Matching(field, values) if values:
            return FieldCondition(field, match=MatchAny(list(values)))
        case Between(field, gt, gte, lt, lte):
            return FieldCondition(field, range=RangeFloat(gte=gte, gt=gt, lte=lte, lt=lt))
        case Nested(field, inner):
            return NestedCondition(field, edge_filter(inner))
        case AnyOf(conditions) if conditions:
            return Filter(should=[_one(inner) for inner in conditions])
        case All() | Negated():
            return edge_filter(condition)
        case _:
            return HasIdCondition(set())
