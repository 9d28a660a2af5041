"""A filter selects exactly the versions that its definition matches."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recollect.adapters.errors import FilterError
from recollect.adapters.files.catalog import SCHEMA
from recollect.adapters.files.columns import Columns
from recollect.adapters.files.lookups import RowReader
from recollect.adapters.files.metadata import MetadataColumns
from recollect.adapters.files.provenance import ProvenancePacks
from recollect.adapters.files.records import prepare
from recollect.adapters.files.selection import Selection
from recollect.adapters.files.shown import ShownPack
from recollect.adapters.files.transaction import Transaction
from recollect.adapters.files.vectors import VectorPacks
from recollect.adapters.filters import Equals, Filter, OneOf, Range, matches
from recollect.adapters.testing import strategies
from recollect.adapters.testing.values import DIMENSION, a_commit, a_version
from recollect.adapters.versions import Version

NOWHERE = Path("/nonexistent")


def a_catalog(versions: list[Version]) -> sqlite3.Connection:
    """Return a catalog in memory that holds versions, one commit each."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.text_factory = bytes
    for statement in SCHEMA:
        connection.execute(statement)
    add(connection, versions)
    return connection


def add(connection: sqlite3.Connection, versions: list[Version]) -> None:
    packs = ProvenancePacks(NOWHERE)
    reader = RowReader(connection, packs, DIMENSION)
    transaction = Transaction(connection, reader, VectorPacks(NOWHERE, DIMENSION), packs)
    for version in versions:
        transaction.add(prepare(a_commit(version), DIMENSION))


def selected(connection: sqlite3.Connection, columns: Columns, metadata: MetadataColumns, wanted: Filter) -> list[bool]:
    columns.refresh(connection)
    mask: list[bool] = Selection(columns.snapshot(), metadata, connection).matching(wanted).tolist()
    return mask


def no_columns() -> Columns:
    return Columns(ShownPack(NOWHERE))


versions = st.lists(strategies.version_fields(), max_size=8).map(
    lambda drawn: [a_version(number, **fields) for number, fields in enumerate(drawn)]
)


@given(versions, st.lists(strategies.filters(), min_size=1, max_size=4), versions)
def test_a_filter_selects_what_it_matches_also_as_versions_are_added(
    first: list[Version], wanted: list[Filter], later: list[Version]
) -> None:
    connection, columns, metadata = a_catalog(first), no_columns(), MetadataColumns()
    later = [a_version(100 + at, **_fields(version)) for at, version in enumerate(later)]
    for condition in wanted:
        expected = [matches(condition, version) for version in first]
        assert selected(connection, columns, metadata, condition) == expected
    add(connection, later)
    for condition in wanted:
        expected = [matches(condition, version) for version in (*first, *later)]
        assert selected(connection, columns, metadata, condition) == expected
    connection.close()


def _fields(version: Version) -> dict[str, Any]:
    names = ("kind", "tags", "importance", "created_at_ms", "expires_at_ms", "actor", "source", "metadata")
    return {name: getattr(version, name) for name in names}


LARGE = (2**53, 2**53 + 1, 2**53 + 2, -(2**53) - 1, 2**63 - 1, float(2**53), 9007199254740993, 0.1, 1e300)


@given(st.lists(st.sampled_from(LARGE), max_size=6), st.sampled_from(LARGE), st.sampled_from(LARGE))
@example([2**53 + 1], float(2**53), float(2**53))
def test_numbers_that_a_float_cannot_hold_compare_exactly(held: list[float], one: float, other: float) -> None:
    field = ("metadata", "n")
    memories = [a_version(at, metadata={"n": [value, 1]}) for at, value in enumerate(held)]
    connection, columns, metadata = a_catalog(memories), no_columns(), MetadataColumns()
    for condition in (
        Equals(field, one),
        OneOf(field, (one, other)),
        Range(field, gt=one),
        Range(field, gte=one, lt=other),
        Range(field, lte=other),
    ):
        expected = [matches(condition, memory) for memory in memories]
        assert selected(connection, columns, metadata, condition) == expected
    connection.close()


@pytest.mark.parametrize("value", [10**40, -(10**40), 0.5, True, "1767225600001", float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["created_at", "expires_at", "importance", "kind", "tags", "key", "metadata"])
def test_a_value_of_no_use_for_a_field_selects_nothing_that_it_does_not_match(name: str, value: Any) -> None:
    memories = [a_version(1, tags=("1767225600001",)), a_version(2, expires_at_ms=5, importance=0.5, metadata={"x": 1})]
    connection, columns, metadata = a_catalog(memories), no_columns(), MetadataColumns()
    field = (name, "x") if name == "metadata" else (name,)
    for condition in (Equals(field, value), OneOf(field, (value, value))):
        expected = [matches(condition, memory) for memory in memories]
        assert selected(connection, columns, metadata, condition) == expected
    connection.close()


def test_an_unknown_field_is_an_error() -> None:
    connection = a_catalog([a_version(1)])
    for condition in (Equals(("colour",), "red"), Range(("colour",), gt=1)):
        with pytest.raises(FilterError, match="colour"):
            selected(connection, no_columns(), MetadataColumns(), condition)
    connection.close()
