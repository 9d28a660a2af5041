"""Filters: the grammar, its errors, and what it means."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.adapters.errors import FilterError
from recollect.adapters.filters import (
    CONDITIONS_MAX,
    DEPTH_MAX,
    FIELDS,
    VALUES_MAX,
    And,
    Equals,
    Exists,
    Filter,
    Not,
    OneOf,
    Or,
    Range,
    matches,
    parse_filter,
    parse_path,
)
from recollect.adapters.testing.strategies import filter_documents, version_fields
from recollect.adapters.testing.values import NOW_MS, a_version

N = ("metadata", "n")
LONG = "x" * 100_000
PARSED: list[tuple[dict[str, Any] | None, Filter | None]] = [
    (None, None),
    ({}, None),
    ({"kind": "ghost"}, Equals(("kind",), "ghost")),
    ({"kind": {"eq": "ghost"}}, Equals(("kind",), "ghost")),
    ({"kind": {"ne": "ghost"}}, Not(Equals(("kind",), "ghost"))),
    ({"kind": {"in": ["a", "b"]}}, OneOf(("kind",), ("a", "b"))),
    ({"kind": {"nin": ["a"]}}, Not(OneOf(("kind",), ("a",)))),
    ({"tags": {"any": ["a", "b"]}}, OneOf(("tags",), ("a", "b"))),
    ({"tags": {"all": ["a", "b"]}}, And((Equals(("tags",), "a"), Equals(("tags",), "b")))),
    ({"key": {"exists": True}}, Exists(("key",))),
    ({"key": {"exists": False}}, Not(Exists(("key",)))),
    ({"importance": {"gte": 0.5, "lt": 1}}, Range(("importance",), gte=0.5, lt=1)),
    ({"metadata.n": {"gt": 1, "ne": 2}}, And((Not(Equals(N, 2)), Range(N, gt=1)))),
    ({"created_at": "2026-01-01T00:00:00Z"}, Equals(("created_at",), NOW_MS)),
    ({"updated_at": {"lte": "2026-01-01T01:30:00.250+01:30"}}, Range(("updated_at",), lte=NOW_MS + 250)),
    ({"expires_at": {"in": ["1970-01-01T00:00:00Z"]}}, OneOf(("expires_at",), (0,))),
    ({"created_at": {"lt": "1969-12-31T23:59:59.999Z"}}, Range(("created_at",), lt=-1)),
    ({"kind": "a", "key": "b"}, And((Equals(("kind",), "a"), Equals(("key",), "b")))),
    ({"AND": [{"kind": "a"}, {"key": "b"}]}, And((Equals(("kind",), "a"), Equals(("key",), "b")))),
    ({"OR": []}, Or(())),
    ({"NOT": {"metadata.n": True}}, Not(Equals(N, True))),
]
REFUSED: list[tuple[Any, str]] = [
    ({"colour": "red"}, "filters.colour: unknown field"),
    ({"colour": "red"}, "use one of actor, confidence, created_at"),
    ({"created_at_ms": 1}, "filters.created_at_ms: unknown field"),
    ({"content": "x"}, "filters.content: unknown field"),
    ({"": 1}, "unknown field"),
    ({"metadata": 1}, "filters.metadata: unknown field"),
    ({"metadata.": 1}, "filters.metadata.: unknown field"),
    ({"metadata..a": 1}, "unknown field"),
    ({"metadata.a.": 1}, "unknown field"),
    ({'metadata."a': 1}, "unknown field"),
    ({'metadata.a"b': 1}, "unknown field"),
    ({"metadatametadata.a": 1}, "unknown field"),
    ({"kind": {"like": "e%"}}, "filters.kind: unknown operator 'like'; use one of all, any, eq"),
    ({"kind": {"$eq": "a"}}, "unknown operator '$eq'"),
    ({"kind": {}}, "filters.kind: an empty object compares with nothing"),
    ({"kind": None}, "filters.kind.eq: kind compares with text, not None"),
    ({"kind": 1}, "filters.kind.eq: kind compares with text, not 1"),
    ({"kind": ["a"]}, "filters.kind.eq: kind compares with text"),
    ({"kind": {"in": "abc"}}, "filters.kind.in: expected a list of values"),
    ({"kind": {"in": ["a", 1]}}, "filters.kind.in[1]: kind compares with text, not 1"),
    ({"kind": {"gt": "a"}}, "filters.kind.gt: kind is text and has no order"),
    ({"tags": {"exists": 1}}, "filters.tags.exists: 'exists' takes true or false, not 1"),
    ({"importance": "high"}, "filters.importance.eq: importance compares with a number, not 'high'"),
    ({"importance": True}, "filters.importance.eq: importance compares with a number, not True"),
    ({"importance": {"gt": float("nan")}}, "filters.importance.gt: a number must be finite"),
    ({"importance": float("inf")}, "a number must be finite"),
    ({"metadata.n": None}, "filters.metadata.n.eq: compares with text, a number or a truth value, not None"),
    ({"metadata.n": {"gt": "1"}}, "filters.metadata.n.gt: a bound is a number, not '1'"),
    ({"metadata.n": {"gt": True}}, "a bound is a number, not True"),
    ({"created_at": 5}, "filters.created_at.eq: a time is RFC 3339 text"),
    ({"created_at": "yesterday"}, "filters.created_at.eq: 'yesterday' is no RFC 3339 time"),
    ({"created_at": {"gt": "2026-01-01T00:00:00"}}, "filters.created_at.gt: '2026-01-01T00:00:00' has no zone"),
    ({"OR": {"kind": "a"}}, "filters.OR: expected a list of filters"),
    ({"OR": "kind"}, "filters.OR: expected a list of filters"),
    ({"OR": [{"kind": "a"}, {"AND": [{"x": 1}]}]}, "filters.x: unknown field"),
    ({"OR": [{"kind": "a"}, {"AND": [{"kind": 1}]}]}, "filters.OR[1].AND[0].kind.eq: kind compares with text"),
    ({"NOT": []}, "filters.NOT: expected an object"),
    ({"NOT": {}}, "filters.NOT: expected an object"),
    ({"AND": [{}]}, "filters.AND[0]: expected an object"),
    (["kind"], "filters: expected an object"),
]


@pytest.mark.parametrize(("document", "expected"), PARSED, ids=str)
def test_a_document_is_read_as_what_it_says(document: dict[str, Any] | None, expected: Filter | None) -> None:
    assert parse_filter(document) == expected


@pytest.mark.parametrize(("document", "message"), REFUSED, ids=str)
def test_what_cannot_be_meant_is_refused_with_its_place(document: Any, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(document)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_every_field_has_its_own_name_as_path(name: str) -> None:
    assert parse_path(name) == (name,)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("metadata.a", ("metadata", "a")),
        ("metadata.a.b", ("metadata", "a", "b")),
        ('metadata."a.b".c', ("metadata", "a.b", "c")),
        ('metadata.a."b.c"', ("metadata", "a", "b.c")),
        ("metadata.a[0]", ("metadata", "a[0]")),
        ("metadata. a b ", ("metadata", " a b ")),
        ("metadata.metadata.kind", ("metadata", "metadata", "kind")),
        ("metadata.é\n'", ("metadata", "é\n'")),
        ('metadata."..".".."', ("metadata", "..", "..")),
    ],
)
def test_a_path_leads_to_a_name_with_quotes_around_a_dot(name: str, path: tuple[str, ...]) -> None:
    assert parse_path(name) == path


def nested(depth: int) -> dict[str, Any]:
    document: dict[str, Any] = {"kind": "a"}
    for _ in range(depth):
        document = {"NOT": document}
    return document


def test_a_filter_nests_as_deep_as_the_limit_and_no_deeper() -> None:
    assert parse_filter(nested(DEPTH_MAX)) is not None
    with pytest.raises(FilterError, match=f"nests at most {DEPTH_MAX} levels"):
        parse_filter(nested(DEPTH_MAX + 1))


def test_a_filter_holds_as_many_conditions_as_the_limit_and_no_more() -> None:
    assert parse_filter({"OR": [{"kind": str(number)} for number in range(CONDITIONS_MAX)]}) is not None
    with pytest.raises(FilterError, match=f"at most {CONDITIONS_MAX} conditions"):
        parse_filter({"OR": [{"kind": str(number)} for number in range(CONDITIONS_MAX + 1)]})


def test_a_list_holds_as_many_values_as_the_limit_and_no_more() -> None:
    assert parse_filter({"kind": {"in": ["a"] * VALUES_MAX}}) is not None
    with pytest.raises(FilterError, match="at most 10,000 values"):
        parse_filter({"kind": {"in": ["a"] * (VALUES_MAX + 1)}})


@pytest.mark.parametrize(
    "document",
    [
        {LONG: 1},
        {f"metadata.{LONG}": None},
        {"importance": LONG},
        {"kind": {LONG: 1}},
        {"NOT": LONG},
        {"created_at": LONG},
    ],
    ids=range(6),
)
def test_a_long_hostile_text_does_not_make_a_long_message(document: dict[str, Any]) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(document)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("year", range(1971, 2248, 23))
def test_times_keep_every_millisecond(year: int) -> None:
    whole = parse_filter({"created_at": f"{year}-06-01T00:00:00Z"})
    assert isinstance(whole, Equals)
    assert isinstance(whole.value, int)
    for milliseconds in range(0, 1000, 7):
        text = f"{year}-06-01T00:00:00.{milliseconds:03}Z"
        assert parse_filter({"created_at": text}) == Equals(("created_at",), whole.value + milliseconds)


MEANINGS: list[tuple[Any, dict[str, Any], bool]] = [
    (1, {"metadata.n": 1}, True),
    (1, {"metadata.n": 1.0}, True),
    (1, {"metadata.n": True}, False),
    (1, {"metadata.n": "1"}, False),
    (True, {"metadata.n": True}, True),
    (True, {"metadata.n": 1}, False),
    (True, {"metadata.n": {"gte": 0}}, False),
    (0, {"metadata.n": False}, False),
    ("1", {"metadata.n": {"gte": 0}}, False),
    ("", {"metadata.n": {"exists": True}}, True),
    (None, {"metadata.n": {"exists": True}}, False),
    (None, {"metadata.n": {"ne": 1}}, True),
    ([], {"metadata.n": {"exists": True}}, False),
    ([None], {"metadata.n": {"exists": True}}, False),
    ({}, {"metadata.n": {"exists": True}}, True),
    ([1, "a"], {"metadata.n": "a"}, True),
    ([1, "a"], {"metadata.n": {"all": [1, "a"]}}, True),
    ([1, "a"], {"metadata.n": {"all": [1, 2]}}, False),
    ([1, 9], {"metadata.n": {"gt": 3, "lt": 5}}, False),
    ([1, 4], {"metadata.n": {"gt": 3, "lt": 5}}, True),
    ([[1]], {"metadata.n": 1}, False),
    ({"m": 1}, {"metadata.n.m": 1}, True),
    ([{"m": 1}], {"metadata.n.m": 1}, False),
    ({"m": 1}, {"metadata.n": {"in": [1, "m"]}}, False),
    (2**53 + 1, {"metadata.n": 2**53}, False),
    (5, {"metadata.n": {"in": []}}, False),
    (5, {"metadata.n": {"nin": []}}, True),
]


@pytest.mark.parametrize(("value", "document", "expected"), MEANINGS, ids=str)
def test_values_compare_within_their_type(value: Any, document: dict[str, Any], expected: bool) -> None:  # noqa: FBT001 - a table's column
    condition = parse_filter(document)
    assert condition is not None
    assert matches(condition, a_version(metadata={"n": value})) is expected


def plain_meaning(document: dict[str, Any], fields: dict[str, list[Any]]) -> bool:
    """Say what a drawn document means, straight from its JSON, without the classes under test."""
    return all(
        all(plain_meaning(inner, fields) for inner in value)
        if name == "AND"
        else any(plain_meaning(inner, fields) for inner in value)
        if name == "OR"
        else not plain_meaning(value, fields)
        if name == "NOT"
        else all(
            compares(fields[name], *pair) for pair in (value if isinstance(value, dict) else {"eq": value}).items()
        )
        for name, value in document.items()
    )


def compares(found: list[Any], operator: str, operand: Any) -> bool:
    def typed(value: Any) -> str:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return json.dumps(["number", value.as_integer_ratio()] if number else [type(value).__name__, value])

    texts = {typed(value) for value in found}
    numbers = [value for value in found if isinstance(value, int | float) and not isinstance(value, bool)]
    several: list[Any] = operand if isinstance(operand, list) else [operand]
    wanted = {typed(value) for value in several}
    [bound] = several[:1] or [None]
    return {
        "eq": lambda: bool(texts & wanted),
        "ne": lambda: not texts & wanted,
        "in": lambda: bool(texts & wanted),
        "any": lambda: bool(texts & wanted),
        "nin": lambda: not texts & wanted,
        "all": lambda: wanted <= texts,
        "exists": lambda: bool(found) is operand,
        "gt": lambda: any(number > bound for number in numbers),
        "gte": lambda: any(number >= bound for number in numbers),
        "lt": lambda: any(number < bound for number in numbers),
        "lte": lambda: any(number <= bound for number in numbers),
    }[operator]()


@given(filter_documents(), version_fields())
def test_any_filter_means_what_its_document_says(document: dict[str, Any], fields: dict[str, Any]) -> None:
    version = a_version(1, **fields)
    value = fields["metadata"].get("a")
    found = [item for item in value if item is not None] if isinstance(value, list) else [value]
    plain: dict[str, list[Any]] = {
        "kind": [version.kind],
        "tags": list(version.tags),
        "actor": [version.actor],
        "importance": [version.importance],
        "metadata.a": [] if value is None else found,
    }
    condition = parse_filter(document)
    assert condition is None or matches(condition, version) == plain_meaning(document, plain)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.text() | st.sampled_from(["AND", "OR", "NOT", "kind", "metadata.a", "in", "gt"]), inner
            )
        ),
    )
)
def test_any_json_is_a_filter_or_a_filter_error(document: Any) -> None:
    try:
        condition = parse_filter(document)
    except FilterError:
        return
    assert condition is None or matches(condition, a_version()) in (True, False)
