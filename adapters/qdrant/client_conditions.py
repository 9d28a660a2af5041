"""Conditions in the words of the client of a server. Only this module and the server's adapter need the client."""

from typing import Any

from qdrant_client import grpc, models

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


def message_filter(condition: Condition) -> grpc.Filter:
    """Return a condition as a filter of the client's gRPC messages, which a search needs made fast."""
    return grpc.Filter(**_clauses(condition))


def _clauses(condition: Condition) -> dict[str, Any]:
    """Return the arguments of a filter: messages are made of nested ones at once."""
    must: list[Any] = []
    must_not: list[Any] = []
    left = [condition]
    for one in left:
        match one:
            case All(conditions):
                left += conditions
            case Negated(inner):
                must_not.append(_clause(inner))
            case _:
                must.append(_clause(one))
    return {"must": must, "must_not": must_not}


def _clause(condition: Condition) -> dict[str, Any]:
    match condition:
        case Matching(field, (value,)):
            return {"field": {"key": field, "match": {"keyword": value}}}
        case Matching(field, values) if values:
            return {"field": {"key": field, "match": {"keywords": {"strings": list(values)}}}}
        case Between(field, gt, gte, lt, lte):
            return {"field": {"key": field, "range": {"gt": gt, "gte": gte, "lt": lt, "lte": lte}}}
        case Nested(field, inner):
            return {"nested": {"key": field, "filter": _clauses(inner)}}
        case AnyOf(conditions) if conditions:
            return {"filter": {"should": [_clause(inner) for inner in conditions]}}
        case All() | Negated():
            return {"filter": _clauses(condition)}
        case _:
            return {"has_id": {}}
