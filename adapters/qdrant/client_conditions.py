"""Conditions in the words of the client of a server. Only this module and the server's adapter need the client."""

from qdrant_client import models

from recollect.adapters.qdrant.conditions import All, AnyOf, Between, Condition, Matching, Negated, Nested


def client_filter(condition: Condition) -> models.Filter:
    """Return a condition as a filter of the client."""
    must: list[models.Condition] = []
    must_not: list[models.Condition] = []
    _gather(condition, must, must_not)
    return models.Filter(must=must or None, must_not=must_not or None)


def _gather(condition: Condition, must: list[models.Condition], must_not: list[models.Condition]) -> None:
    """Add a condition to those that must hold and those that must not; nesting costs the engine time."""
    match condition:
        case All(conditions):
            for inner in conditions:
                _gather(inner, must, must_not)
        case Negated(inner):
            must_not.append(_one(inner))
        case _:
            must.append(_one(condition))


def _one(condition: Condition) -> models.Condition:
    match condition:
        case Matching(field, (value,)):
            return models.FieldCondition(key=field, match=models.MatchValue(value=value))
        case Matching(field, values) if values:
            return models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))
        case Between(field, gt, gte, lt, lte):
            return models.FieldCondition(key=field, range=models.Range(gt=gt, gte=gte, lt=lt, lte=lte))
        case Nested(field, inner):
            return models.NestedCondition(nested=models.Nested(key=field, filter=client_filter(inner)))
        case AnyOf(conditions) if conditions:
            return models.Filter(should=[_one(inner) for inner in conditions])
        case All() | Negated():
            return client_filter(condition)
        case _:
            return models.HasIdCondition(has_id=[])
