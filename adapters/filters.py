r"""Filters: what they say, how they are read from JSON, and what they mean.

A filter is a JSON object. Several entries in one object must all hold:

    {"kind": "episodic", "importance": {"gte": 0.5}}
    {"tags": {"any": ["red", "blue"]}}                       one of them
    {"tags": {"all": ["red", "blue"]}}                       each of them
    {"metadata.user.id": {"in": [7, 8]}}                     a path into the metadata
    {"metadata.\"a.b\"": {"exists": true}}                   a name that holds a dot is quoted
    {"created_at": {"gte": "2026-01-01T00:00:00Z"}}          times are RFC 3339 text
    {"OR": [{"kind": "ghost"}, {"NOT": {"key": {"exists": true}}}]}

Operators: a bare value or `eq`, `ne`, `in`, `nin`, `gt`, `gte`, `lt`, `lte`, `exists`, `any`, `all`; `AND`,
`OR` and `NOT` combine. Values compare within their type: true is not 1, "1" is not 1, and 1 equals
1.0. A field that holds a list matches when one of its elements does. A missing field matches nothing, so its
negation matches.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from recollect.adapters.errors import FilterError

if TYPE_CHECKING:
    from recollect.adapters.versions import Version

Scalar = str | int | float | bool
FieldPath = tuple[str, ...]
"""A field's name, or `metadata` and the names below it."""

TEXT_FIELDS = frozenset({"namespace", "kind", "key", "actor", "source", "tags"})
NUMBER_FIELDS = frozenset({"importance", "confidence"})
TIME_FIELDS = frozenset({"created_at", "updated_at", "expires_at"})
FIELDS = TEXT_FIELDS | NUMBER_FIELDS | TIME_FIELDS

DEPTH_MAX = 16
CONDITIONS_MAX = 512
VALUES_MAX = 10_000


class Equals(Struct, frozen=True, tag=True):
    """The field has this value, or a list that holds it."""

    field: FieldPath
    value: Scalar


class OneOf(Struct, frozen=True, tag=True):
    """The field has one of these values, or a list that holds one."""

    field: FieldPath
    values: tuple[Scalar, ...]


class Range(Struct, frozen=True, tag=True):
    """The field is a number within these bounds; times are milliseconds since the epoch."""

    field: FieldPath
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None

    def holds(self, number: float) -> bool:
        """Say whether a number lies within the bounds."""
        return (
            (self.gt is None or number > self.gt)
            and (self.gte is None or number >= self.gte)
            and (self.lt is None or number < self.lt)
            and (self.lte is None or number <= self.lte)
        )


class Exists(Struct, frozen=True, tag=True):
    """The field is there, and is neither null nor an empty list."""

    field: FieldPath


class And(Struct, frozen=True, tag=True):
    """All of these hold; true when there are none."""

    conditions: "tuple[Filter, ...]"


class Or(Struct, frozen=True, tag=True):
    """One of these holds; false when there are none."""

    conditions: "tuple[Filter, ...]"


class Not(Struct, frozen=True, tag=True):
    """This does not hold."""

    condition: "Filter"


Filter = Equals | OneOf | Range | Exists | And | Or | Not


def parse_filter(document: Mapping[str, Any] | None) -> Filter | None:
    """Read a filter from its JSON form.

    Args:
        document: The object as `json.loads` gives it; None or an empty one means no filter.

    Returns:
        The filter, or None where every version matches.

    Raises:
        FilterError: A field or operator is unknown, a value has the wrong type, or the filter is nested
            deeper or holds more conditions than a store accepts. The message names the place.
    """
    if not document:
        return None
    budget = [CONDITIONS_MAX]
    return _parse_object(document, "filters", 0, budget)


def _parse_object(document: Any, place: str, depth: int, budget: list[int]) -> Filter:
    if depth > DEPTH_MAX:
        raise FilterError(f"{place}: a filter nests at most {DEPTH_MAX} levels; flatten it with 'in'")
    if not isinstance(document, Mapping) or not document:
        raise FilterError(f'{place}: expected an object such as {{"kind": "episodic"}}, not {document!r:.80}')
    parts: list[Filter] = []
    for name, value in document.items():
        here = f"{place}.{name:.80}"
        if name in {"AND", "OR"}:
            if not isinstance(value, Sequence) or isinstance(value, str):
                raise FilterError(f"{here}: expected a list of filters")
            inner = tuple(_parse_object(item, f"{here}[{i}]", depth + 1, budget) for i, item in enumerate(value))
            parts.append(And(inner) if name == "AND" else Or(inner))
        elif name == "NOT":
            parts.append(Not(_parse_object(value, here, depth + 1, budget)))
        else:
            parts.extend(_parse_field(parse_path(name), value, here, budget))
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def parse_path(name: str) -> FieldPath:
    """Split a field's name, with double quotes around a part that holds a dot.

    Raises:
        FilterError: It is neither a known field nor a path that starts with `metadata.`.
    """
    if name in FIELDS:
        return (name,)
    parts = re.findall(r'\.(?:"([^"]+)"|([^."]+))', name.removeprefix("metadata"))
    path = tuple(quoted or bare for quoted, bare in parts)
    rebuilt = "".join(f'."{quoted}"' if quoted else f".{bare}" for quoted, bare in parts)
    if not name.startswith("metadata.") or "metadata" + rebuilt != name:
        known = ", ".join(sorted(FIELDS))
        raise FilterError(f"filters.{name:.80}: unknown field; use one of {known}, or metadata.<path>")
    return ("metadata", *path)


def _parse_field(field: FieldPath, value: Any, place: str, budget: list[int]) -> list[Filter]:
    operators = value if isinstance(value, Mapping) else {"eq": value}
    if not operators:
        raise FilterError(f"{place}: an empty object compares with nothing; give an operator such as 'eq'")
    found: list[Filter] = []
    bounds: dict[str, float] = {}
    for operator, operand in operators.items():
        budget[0] -= 1
        if budget[0] < 0:
            raise FilterError(f"{place}: a filter holds at most {CONDITIONS_MAX} conditions; use 'in' for many values")
        if operator in {"gt", "gte", "lt", "lte"}:
            bounds[operator] = _bound(field, operand, f"{place}.{operator}")
        elif operator in _OPERATORS:
            found.append(_OPERATORS[operator](field, operand, f"{place}.{operator}"))
        else:
            known = ", ".join(sorted([*_OPERATORS, "gt", "gte", "lt", "lte"]))
            raise FilterError(f"{place}: unknown operator {operator!r:.40}; use one of {known}")
    return [*found, Range(field, **bounds)] if bounds else found


def _bound(field: FieldPath, operand: Any, place: str) -> float:
    if field[0] in TEXT_FIELDS:
        raise FilterError(f"{place}: {field[0]} is text and has no order; use 'eq' or 'in'")
    value = _scalar(field, operand, place)
    if isinstance(value, bool | str):
        raise FilterError(f"{place}: a bound is a number, not {operand!r:.40}")
    return value


def _scalar(field: FieldPath, operand: Any, place: str) -> Scalar:
    name = field[0]
    if name in TIME_FIELDS:
        return _time_ms(operand, place)
    if name in TEXT_FIELDS:
        if not isinstance(operand, str):
            raise FilterError(f"{place}: {name} compares with text, not {operand!r:.40}")
        return operand
    if name in NUMBER_FIELDS and (isinstance(operand, bool) or not isinstance(operand, int | float)):
        raise FilterError(f"{place}: {name} compares with a number, not {operand!r:.40}")
    if not isinstance(operand, str | int | float | bool):
        raise FilterError(f"{place}: compares with text, a number or a truth value, not {operand!r:.40}")
    if isinstance(operand, float) and not math.isfinite(operand):
        raise FilterError(f"{place}: a number must be finite, not {operand}")
    return operand


def _time_ms(operand: Any, place: str) -> int:
    if isinstance(operand, str):
        try:
            moment = datetime.fromisoformat(operand)
        except ValueError as error:
            raise FilterError(f"{place}: {operand!r:.40} is no RFC 3339 time such as 2026-01-31T12:00:00Z") from error
        if moment.tzinfo is None:
            raise FilterError(f"{place}: {operand!r:.40} has no zone; add one, such as 'Z' for UTC")
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    raise FilterError(f"{place}: a time is RFC 3339 text such as 2026-01-31T12:00:00Z, not {operand!r:.40}")


def _equals(field: FieldPath, operand: Any, place: str) -> Filter:
    return Equals(field, _scalar(field, operand, place))


def _differs(field: FieldPath, operand: Any, place: str) -> Filter:
    return Not(_equals(field, operand, place))


def _values(field: FieldPath, operand: Any, place: str) -> tuple[Scalar, ...]:
    if not isinstance(operand, Sequence) or isinstance(operand, str):
        raise FilterError(f"{place}: expected a list of values")
    if len(operand) > VALUES_MAX:
        raise FilterError(f"{place}: a list holds at most {VALUES_MAX:,} values")
    return tuple(_scalar(field, item, f"{place}[{i}]") for i, item in enumerate(operand))


def _one_of(field: FieldPath, operand: Any, place: str) -> Filter:
    return OneOf(field, _values(field, operand, place))


def _none_of(field: FieldPath, operand: Any, place: str) -> Filter:
    return Not(_one_of(field, operand, place))


def _all_of(field: FieldPath, operand: Any, place: str) -> Filter:
    return And(tuple(Equals(field, value) for value in _values(field, operand, place)))


def _exists(field: FieldPath, operand: Any, place: str) -> Filter:
    if not isinstance(operand, bool):
        raise FilterError(f"{place}: 'exists' takes true or false, not {operand!r:.40}")
    return Exists(field) if operand else Not(Exists(field))


_OPERATORS: dict[str, Callable[[FieldPath, Any, str], Filter]] = {
    "eq": _equals,
    "ne": _differs,
    "in": _one_of,
    "nin": _none_of,
    "any": _one_of,
    "all": _all_of,
    "exists": _exists,
}


# --- What a filter means, for backends that have no way of their own, and for tests ---------------


def matches(condition: Filter, version: "Version") -> bool:
    """Say whether a filter holds for a version, whose metadata must be loaded if the filter names it."""
    match condition:
        case And(conditions):
            return all(matches(inner, version) for inner in conditions)
        case Or(conditions):
            return any(matches(inner, version) for inner in conditions)
        case Not(inner):
            return not matches(inner, version)
        case Exists(field):
            return bool(field_values(version, field))
        case Equals(field, value):
            return any(same(found, value) for found in field_values(version, field))
        case OneOf(field, values):
            return any(same(found, value) for found in field_values(version, field) for value in values)
        case Range(field):
            numbers = (found for found in field_values(version, field) if is_number(found))
            return any(condition.holds(number) for number in numbers)


def is_number(value: Any) -> bool:
    """Say whether a value counts as a number: truth values do not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(left: Any, right: Scalar) -> bool:
    """Compare within types: true is not 1, "1" is not 1, 1 equals 1.0."""
    if is_number(left) and is_number(right):
        return bool(left == right)
    return type(left) is type(right) and bool(left == right)


def field_values(version: "Version", field: FieldPath) -> list[Any]:
    """Return what a version holds in a field: no value, one, or the elements of a list. Null is no value."""
    if field[0] == "metadata":
        return metadata_values(version.metadata or {}, field[1:])
    name = f"{field[0]}_ms" if field[0] in TIME_FIELDS else field[0]
    return leaf_values(getattr(version, name))


def metadata_values(metadata: Mapping[str, Any], path: FieldPath) -> list[Any]:
    """Return what lies at a path in a metadata document; paths lead through objects, not through lists."""
    node: Any = metadata
    for name in path:
        if not isinstance(node, Mapping) or name not in node:
            return []
        node = node[name]
    return leaf_values(node)


def leaf_values(node: Any) -> list[Any]:
    """Return a value as a list of the values that a condition is tried on."""
    if node is None:
        return []
    return [item for item in node if item is not None] if isinstance(node, list | tuple) else [node]
