"""What stores are fed: names and vectors that break things, and Hypothesis strategies for filters and fields."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from recollect.adapters.filters import And, Equals, Exists, FieldPath, Filter, Not, OneOf, Or, Range
from recollect.adapters.testing.values import DIMENSION, NOW_MS, axis, terms, toward, windows
from recollect.adapters.versions import SparseVector, Vector

HOSTILE_NAMES: tuple[str, ...] = (
    "../../etc/passwd",
    "..",
    "/",
    "C:\\CON",
    "a\x00b",
    "\x00",
    "'; DROP TABLE versions; --",
    'a "quoted" name',
    "100%_*?",
    "$.a[0]",
    "a.b",
    "a[b]",
    "a/b|c:d,e",
    "line\nbreak\r\n\ttab",
    " spaces around ",
    "spaces around",
    "case",
    "Case",
    "ÉE\u0301é",
    "e\u0301",
    "\u00e9",
    "\u202eright to left\u202c \u05d0\u05d1",
    "\U0001f9e0\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\ufeff\ufffe\uffff",
    "\u2028\u2029\x85",
    "NULL",
    "true",
    "1",
    "1.0",
    "AND",
    "long " * 2_000,
)
"""Valid Unicode that a careless backend escapes, cuts, folds or reads as something else."""

LONE_SURROGATES: tuple[str, ...] = ("\ud800", "a\udfffb", "\ud83d")
"""Text that has no UTF-8 form: a store refuses it, or gives it back as it was."""


def _with(value: float) -> Vector:
    vector = axis(0)
    vector[3] = value
    return windows(vector)


HOSTILE_VECTORS: dict[str, Vector] = {
    "nan": _with(float("nan")),
    "infinity": _with(float("inf")),
    "minus_infinity": _with(float("-inf")),
    "zeros": np.zeros((1, DIMENSION), dtype=np.float32),
    "too_short": np.ones((1, DIMENSION - 1), dtype=np.float32),
    "too_long": np.ones((1, DIMENSION + 1), dtype=np.float32),
    "nan_in_the_last_window": np.concatenate([windows(axis(0), axis(1)), _with(float("nan"))]),
    "zeros_in_the_last_window": np.concatenate([windows(axis(0)), np.zeros((1, DIMENSION), dtype=np.float32)]),
}
"""Windows that no store may accept."""

# --- Small sets of values, so that drawn memories meet each other -----------------------------------

NAMESPACES = ("longterm", "shared", "a.b/'c\x00", "_audit")
KEYS = (None, None, "k", "k'\"", "../k\x00")
KINDS = ("episodic", "semantic", "ghost")
TAGS = ("red", "blue", "Red", "a,b", '["', "\U0001f9e0")
ACTORS = ("ada", "grace", "")
SOURCES = (None, "message:1", "document:1#2")
NUMBERS = (0.0, 0.25, 0.5, 1.0)
MOMENTS_MS = tuple(NOW_MS + step for step in (0, 10, 20, 30))
CONTENTS = ("a text", "another text", "", "long " * 100, "\U0001f9e0 a\x00b")
METADATA_VALUES = (0, 1, 2, -1, 1.0, 0.5, 2**53 + 1, True, False, "1", "", "true", "x'\"y", None)
METADATA_NAMES = ("a", "b", "a.b", "c[0]", "d'\"", "$e", "")


def scalars() -> st.SearchStrategy[Any]:
    """Draw a value that metadata or a filter may hold."""
    return st.sampled_from(METADATA_VALUES)


def metadata() -> st.SearchStrategy[dict[str, Any]]:
    """Draw a metadata document of up to two levels, with lists."""
    leaf = st.one_of(scalars(), st.lists(scalars(), max_size=3))
    inner = st.dictionaries(st.sampled_from(METADATA_NAMES), leaf, max_size=2)
    return st.dictionaries(st.sampled_from(METADATA_NAMES), st.one_of(leaf, inner), max_size=3)


def tags() -> st.SearchStrategy[tuple[str, ...]]:
    """Draw tags, sorted and unique."""
    return st.lists(st.sampled_from(TAGS), max_size=3, unique=True).map(lambda drawn: tuple(sorted(drawn)))


def dense_vectors() -> st.SearchStrategy[Vector]:
    """Draw one of few unit vectors, whose cosines lie far from where rounding decides, and often tie."""
    cosines = (1.0, 0.8, 0.6, 0.28, 0.0, -0.6)
    return st.sampled_from([*map(toward, cosines), *map(axis, range(1, 5))])


def window_stacks() -> st.SearchStrategy[Vector | None]:
    """Draw the windows of a text, or none."""
    some = st.lists(dense_vectors(), min_size=1, max_size=3).map(lambda drawn: windows(*drawn))
    return st.one_of(some, some, some, st.none())


def sparse_vectors() -> st.SearchStrategy[SparseVector]:
    """Draw few terms with weights whose products are exact."""
    weights = st.sampled_from([0.25, 0.5, 1.0, 2.0])
    return st.dictionaries(st.sampled_from([0, 1, 2, 3, 2**32 - 1]), weights, min_size=1, max_size=3).map(terms)


def version_fields() -> st.SearchStrategy[dict[str, Any]]:
    """Draw the fields that may change from version to version."""
    return st.fixed_dictionaries(
        {
            "kind": st.sampled_from(KINDS),
            "tags": tags(),
            "importance": st.sampled_from(NUMBERS),
            "confidence": st.sampled_from(NUMBERS),
            "created_at_ms": st.sampled_from(MOMENTS_MS),
            "updated_at_ms": st.sampled_from(MOMENTS_MS),
            "expires_at_ms": st.sampled_from((None, None, None, None, None, None, None, *MOMENTS_MS)),
            "actor": st.sampled_from(ACTORS),
            "source": st.sampled_from(SOURCES),
            "content": st.sampled_from(CONTENTS),
            "metadata": metadata(),
            "vectors": window_stacks(),
            "sparse": st.one_of(sparse_vectors(), sparse_vectors(), st.none()),
        }
    )


# --- Filters -----------------------------------------------------------------------------------------------

_TEXTS: dict[FieldPath, Sequence[str | None]] = {
    ("namespace",): NAMESPACES,
    ("kind",): KINDS,
    ("key",): KEYS,
    ("tags",): TAGS,
    ("actor",): ACTORS,
    ("source",): SOURCES,
}
_NUMBERS: dict[FieldPath, Sequence[float]] = {
    ("importance",): NUMBERS,
    ("confidence",): NUMBERS,
    ("created_at",): MOMENTS_MS,
    ("updated_at",): MOMENTS_MS,
    ("expires_at",): MOMENTS_MS,
}


def metadata_paths() -> st.SearchStrategy[FieldPath]:
    """Draw a path into metadata, of one name or two."""
    names = st.lists(st.sampled_from(METADATA_NAMES), min_size=1, max_size=2)
    return names.map(lambda drawn: ("metadata", *drawn))


@st.composite
def conditions(draw: st.DrawFn) -> Filter:
    """Draw a condition on one field, with a value of its type."""
    which = draw(st.sampled_from(("text", "number", "metadata")))
    if which == "text":
        field = draw(st.sampled_from(sorted(_TEXTS)))
        values: Sequence[Any] = [value for value in _TEXTS[field] if value is not None]
    elif which == "number":
        field = draw(st.sampled_from(sorted(_NUMBERS)))
        values = _NUMBERS[field]
    else:
        field = draw(metadata_paths())
        values = [value for value in METADATA_VALUES if value is not None]
    operator = draw(st.sampled_from(("equals", "one of", "exists", "range")))
    if operator == "equals":
        return Equals(field, draw(st.sampled_from(values)))
    if operator == "one of":
        return OneOf(field, tuple(draw(st.lists(st.sampled_from(values), max_size=3))))
    if operator == "exists" or which == "text":
        return Exists(field)
    bounds = [None, *(value for value in values if isinstance(value, int | float) and not isinstance(value, bool))]
    names = draw(st.sets(st.sampled_from(("gt", "gte", "lt", "lte")), min_size=1, max_size=2))
    return Range(field, **{name: draw(st.sampled_from(bounds)) for name in sorted(names)})


def filters() -> st.SearchStrategy[Filter]:
    """Draw a filter as backends get it: conditions under AND, OR and NOT."""
    return st.recursive(
        conditions(),
        lambda inner: st.one_of(
            inner.map(Not),
            st.lists(inner, max_size=3).map(lambda drawn: And(tuple(drawn))),
            st.lists(inner, max_size=3).map(lambda drawn: Or(tuple(drawn))),
        ),
        max_leaves=5,
    )


def filter_documents() -> st.SearchStrategy[dict[str, Any]]:
    """Draw a filter in its JSON form, on fields whose names need no quotes."""
    metadata_values = [value for value in METADATA_VALUES if value is not None]
    texts = st.sampled_from([("kind", KINDS), ("tags", TAGS), ("actor", ACTORS)])
    text = texts.flatmap(
        lambda field: _document(field[0], st.sampled_from(field[1]), ("eq", "ne"), ("in", "nin", "any"))
    )
    number = _document("importance", st.sampled_from(NUMBERS), ("eq", "gt", "gte", "lt", "lte"), ("in",))
    path = _document("metadata.a", st.sampled_from(metadata_values), ("eq", "ne"), ("in", "nin", "any", "all"))
    return st.recursive(
        st.one_of(text, number, path, st.booleans().map(lambda there: {"metadata.a": {"exists": there}})),
        lambda inner: st.one_of(
            inner.map(lambda drawn: {"NOT": drawn}),
            st.lists(inner, max_size=3).map(lambda drawn: {"AND": drawn}),
            st.lists(inner, max_size=3).map(lambda drawn: {"OR": drawn}),
        ),
        max_leaves=5,
    )


def _document(
    name: str, values: st.SearchStrategy[Any], single: tuple[str, ...], several: tuple[str, ...]
) -> st.SearchStrategy[dict[str, Any]]:
    """Draw conditions on one field, in each of the forms that a condition has."""
    return st.one_of(
        values.map(lambda value: {name: value}),
        st.tuples(st.sampled_from(single), values).map(lambda drawn: {name: {drawn[0]: drawn[1]}}),
        st.tuples(st.sampled_from(several), st.lists(values, max_size=3)).map(
            lambda drawn: {name: {drawn[0]: drawn[1]}}
        ),
    )
