"""Conditions: what a read asks of points, in words that both engines have.

A filter, the namespaces and a read point become one tree. Engines compare numbers as float64, so a bound of more than
53 bits cannot be put to them exactly; the tree is then wider than what was asked for, and says so (`Selection.exact`):
whoever reads tries the versions that it gets once more.
"""

import math
import sys
from collections.abc import Iterable, Sequence
from itertools import chain

from msgspec import Struct

from recollect.adapters.clock import POSITION_MAX
from recollect.adapters.filters import (
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
    matches,
)
from recollect.adapters.port import ReadPoint, Segment
from recollect.adapters.qdrant import fields
from recollect.adapters.qdrant.tokens import (
    EXACT_INTEGER_MAX,
    MISSING_FIELDS,
    exists_token,
    is_common,
    live_tokens,
    number_name,
    value_token,
)
from recollect.adapters.versions import Version

# --- The tree ---


class Matching(Struct, frozen=True):
    """A field of keywords holds one of these values."""

    field: str
    values: tuple[str, ...]


class Between(Struct, frozen=True):
    """A field holds a number within these bounds."""

    field: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


class Nested(Struct, frozen=True):
    """One object of a list fulfils a condition on the object's own fields."""

    field: str
    condition: "Condition"


class All(Struct, frozen=True):
    """All of these hold; true when there are none."""

    conditions: "tuple[Condition, ...]" = ()


class AnyOf(Struct, frozen=True):
    """One of these holds; false when there are none."""

    conditions: "tuple[Condition, ...]" = ()


class Negated(Struct, frozen=True):
    """This does not hold."""

    condition: "Condition"


Condition = Matching | Between | Nested | All | AnyOf | Negated

EVERYTHING = All()
NOTHING = AnyOf()

_FIELDS_OF_NUMBERS = {
    "importance": fields.IMPORTANCE,
    "confidence": fields.CONFIDENCE,
    "created_at": fields.CREATED,
    "updated_at": fields.UPDATED,
    "expires_at": fields.EXPIRES,
}
_LIVE_CLASSES = ("user", "system")


class Selection(Struct, frozen=True):
    """Which points a read wants.

    Attributes:
        condition: What the engine is asked.
        exact: False where the condition finds too many.
        filter: What a version must match besides, if the condition is not exact.
        at_ms: The moment at which it must not have expired, likewise.
    """

    condition: Condition
    exact: bool = True
    filter: Filter | None = None
    at_ms: int | None = None

    def admits(self, version: Version) -> bool:
        """Say whether a version that the condition found is wanted; its metadata must be loaded."""
        if self.at_ms is not None and version.expires_at_ms is not None and version.expires_at_ms <= self.at_ms:
            return False
        return self.filter is None or matches(self.filter, version)


# --- From a read to a tree ---


def select(
    read_point: ReadPoint | None,
    namespaces: Sequence[str] | None,
    matching: Filter | None,
    *,
    newest: int | None = None,
    also: Iterable[Condition] = (),
    everywhere: bool = False,
    expiring: bool = True,
) -> Selection:
    """Return which points a read wants.

    Args:
        read_point: From where it looks; None looks at every version, tombstones included.
        namespaces: Only these; None means all but the system's.
        matching: What else must hold.
        newest: The store's newest position, if nothing can be written between now and the read: what is current then
            need not be compared. None compares, and so shows the state at the read point whatever came after it.
        also: Further conditions.
        everywhere: Also in the system's namespaces, if none are given.
        expiring: False if nothing that might be found expires.
    """
    parts: list[Condition] = list(also)
    exact = True
    if namespaces is not None:
        parts.append(Matching(fields.NAMESPACE, tuple(namespaces)))
    if matching is not None:
        condition, exact = _compile(matching)
        parts += condition.conditions if isinstance(condition, All) else (condition,)
    if read_point is None:
        if namespaces is None and not everywhere:
            parts.append(Matching(fields.CLASS, ("user", "user-forgotten")))
    else:
        classes = _LIVE_CLASSES[:1] if namespaces is None and not everywhere else _LIVE_CLASSES
        parts = _seen(parts, read_point, classes, newest)
        if read_point.at_ms is not None and expiring:
            expired, expiry_is_exact = _between(fields.EXPIRES, Range((), lte=read_point.at_ms))
            exact = exact and expiry_is_exact
            parts += [Negated(expired)] if expiry_is_exact else []
    joined = parts[0] if len(parts) == 1 else All(tuple(parts))
    if exact:
        return Selection(joined)
    return Selection(joined, exact=False, filter=matching, at_ms=read_point.at_ms if read_point else None)


def _seen(
    parts: list[Condition], read_point: ReadPoint, classes: tuple[str, ...], newest: int | None
) -> list[Condition]:
    """Return conditions with the one that a point is seen from a read point: its own, or as part of one on tokens."""
    spans = read_point.lineage
    if newest is not None and len(spans) == 1 and spans[0].up_to >= newest:
        for index, part in enumerate(parts):
            if isinstance(part, Matching) and part.field == fields.TOKENS and all(map(is_common, part.values)):
                marked = [live_tokens(part.values, fields.current_on(spans[0].branch, class_)) for class_ in classes]
                live = Matching(fields.LIVE, tuple(chain.from_iterable(marked)))
                return [live, *parts[:index], *parts[index + 1 :]]
    return [*parts, _visible(read_point, classes, newest)]


def _visible(read_point: ReadPoint, classes: tuple[str, ...], newest: int | None) -> Condition:
    """Return the definition in `ReadPoint`, expiry apart, as a condition."""
    spans: list[Condition] = []
    hiding: list[Condition] = []
    for span in read_point.lineage:
        current = newest is not None and span.up_to >= newest
        up_to = min(span.up_to, POSITION_MAX)
        if current:
            here: Condition = Matching(
                fields.CURRENT, tuple(fields.current_on(span.branch, class_) for class_ in classes)
            )
        else:
            here = All(
                (
                    Matching(fields.BRANCH, (span.branch,)),
                    Matching(fields.CLASS, classes),
                    Between(fields.POSITION, lte=up_to),
                    Between(fields.UNTIL, gt=up_to),
                )
            )
        spans.append(All((here, *map(Negated, hiding))) if hiding else here)
        hiding.append(_lives_on(span.branch, None if current else up_to))
    return spans[0] if len(spans) == 1 else AnyOf(tuple(spans))


def _lives_on(branch: str, up_to: int | None) -> Condition:
    """Return the condition that a point's memory has a version on a branch, up to a position."""
    somewhere = Matching(fields.BRANCHES, (branch,))
    if up_to is None:
        return somewhere
    inside = All((Matching(fields.BRANCH, (branch,)), Between(fields.FIRST, lte=up_to)))
    # The keyword is indexed; the objects are only looked at where it holds.
    return All((somewhere, Nested(fields.FIRSTS, inside)))


def of_memories(memory_ids: Sequence[str]) -> Condition:
    """Return the condition that a point is a version of one of these memories."""
    return Matching(fields.MEMORY, tuple(memory_ids))


def holding(token: str) -> Condition:
    """Return the condition that a point holds a token."""
    return Matching(fields.TOKENS, (token,))


def along(read_point: ReadPoint) -> Condition:
    """Return the condition that a point lies on a lineage, superseded or not."""
    return AnyOf(
        tuple(
            All(
                (
                    Matching(fields.BRANCH, (span.branch,)),
                    Between(fields.POSITION, lte=min(span.up_to, POSITION_MAX)),
                )
            )
            for span in read_point.lineage
        )
    )


def written_on(segments: Sequence[Segment]) -> Condition:
    """Return the condition that a point was written on one of some stretches of branches."""
    return AnyOf(
        tuple(
            All(
                (
                    Matching(fields.BRANCH, (segment.branch,)),
                    Between(fields.POSITION, gt=segment.after, lte=min(segment.up_to, POSITION_MAX)),
                )
            )
            for segment in segments
        )
    )


# --- Filters ---


def _compile(condition: Filter) -> tuple[Condition, bool]:
    """Return the condition that holds wherever a filter does, and whether it holds nowhere else."""
    match condition:
        case And(conditions):
            parts = [_compile(inner) for inner in conditions]
            return All(tuple(part for part, _ in parts)), all(exact for _, exact in parts)
        case Or(conditions):
            parts = [_compile(inner) for inner in conditions]
            return AnyOf(tuple(part for part, _ in parts)), all(exact for _, exact in parts)
        case Not(inner):
            part, exact = _compile(inner)
            return (Negated(part), True) if exact else (EVERYTHING, False)
        case Exists(field):
            return _there(field), True
        case Equals(field, value):
            return _one_of(field, (value,))
        case OneOf(field, values):
            return _one_of(field, values)
        case Range(field):
            return _within(field, condition)


def _there(field: FieldPath) -> Condition:
    name = field[0]
    if name == "expires_at":
        return Between(fields.EXPIRES, gte=-sys.float_info.max)
    if name != "metadata" and name not in MISSING_FIELDS:
        return EVERYTHING
    return holding(exists_token(field))


def _one_of(field: FieldPath, values: Sequence[Scalar]) -> tuple[Condition, bool]:
    name = field[0]
    if name in _FIELDS_OF_NUMBERS:
        numbers = [Range(field, gte=value, lte=value) for value in values if not isinstance(value, str | bool)]
        return _compile(Or(tuple(numbers)))
    if not values:
        return NOTHING, True
    if name == "namespace":
        return Matching(fields.NAMESPACE, tuple(value for value in values if isinstance(value, str))), True
    return Matching(fields.TOKENS, tuple(value_token(field, value) for value in values)), True


def _within(field: FieldPath, bounds: Range) -> tuple[Condition, bool]:
    name = field[0]
    if name in _FIELDS_OF_NUMBERS:
        return _between(_FIELDS_OF_NUMBERS[name], bounds)
    if name != "metadata":
        return NOTHING, True
    condition, exact = _between(f"{fields.NUMBERS}.{number_name(field)}", bounds)
    return All((holding(exists_token(field)), condition)), exact


def _between(name: str, bounds: Range) -> tuple[Condition, bool]:
    """Return bounds on a field as float64, wide enough that rounding leaves nothing out."""
    gte = _largest(bounds.gte, bounds.gt)
    lte = _smallest(bounds.lte, bounds.lt)
    given = (bounds.gt, bounds.gte, bounds.lt, bounds.lte)
    if all(bound is None or abs(bound) < EXACT_INTEGER_MAX for bound in given):
        if all(bound is None for bound in given):
            return Between(name, gte=-sys.float_info.max), True
        return Between(name, *(None if bound is None else float(bound) for bound in given)), True
    return Between(
        name, gte=None if gte is None else _as_float(gte), lte=None if lte is None else _as_float(lte)
    ), False


def _largest(*bounds: float | None) -> float | None:
    return max((bound for bound in bounds if bound is not None), default=None)


def _smallest(*bounds: float | None) -> float | None:
    return min((bound for bound in bounds if bound is not None), default=None)


def _as_float(bound: float) -> float:
    """Return a bound as the nearest float64 that an engine reads, which keeps the order of what it compares."""
    try:
        nearest = float(bound)
    except OverflowError:
        nearest = math.inf if bound > 0 else -math.inf
    return max(-sys.float_info.max, min(sys.float_info.max, nearest))
