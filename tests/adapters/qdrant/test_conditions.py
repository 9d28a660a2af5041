"""What the embedded engine finds with a condition is what the filter means, whatever the values are."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_edge import Distance, EdgeConfig, EdgeShard, EdgeVectorParams, Point, ScrollRequest, UpdateOperation

from recollect.adapters.filters import Equals, Filter, Not, OneOf, Range, matches
from recollect.adapters.port import ReadPoint
from recollect.adapters.qdrant.conditions import select
from recollect.adapters.qdrant.edge_conditions import edge_filter
from recollect.adapters.qdrant.points import write_of
from recollect.adapters.testing import strategies
from recollect.adapters.testing.values import a_version
from recollect.adapters.versions import Version

BIG = 2**53


@pytest.fixture(scope="module")
def shard() -> Iterator[EdgeShard]:
    with TemporaryDirectory() as folder:
        config = EdgeConfig(vectors={"dense": EdgeVectorParams(8, Distance.Dot)}, wal_enabled=False)
        opened = EdgeShard.create(str(Path(folder)), config)
        yield opened
        opened.close()


def found_in(shard: EdgeShard, versions: list[Version], condition: Filter) -> set[str]:
    """Store versions in a shard that holds nothing else, and return which of them a filter finds."""
    everything, _ = shard.scroll(ScrollRequest(limit=1_000, with_payload=False))
    shard.update(UpdateOperation.delete_points([record.id for record in everything]))
    writes = [write_of(version, version.position) for version in versions]
    shard.update(UpdateOperation.upsert_points([Point(write.point_id, {}, write.payload) for write in writes]))
    selection = select(None, strategies.NAMESPACES, condition)
    records, _ = shard.scroll(ScrollRequest(limit=1_000, filter=edge_filter(selection.condition), with_payload=True))
    by_id = {write.point_id: version for write, version in zip(writes, versions, strict=True)}
    found = [by_id[str(record.id)] for record in records]
    return {version.memory_id for version in found if selection.exact or selection.admits(version)}


@given(fields=st.lists(strategies.version_fields(), min_size=1, max_size=5), condition=strategies.filters())
def test_the_engine_finds_what_a_filter_matches(
    shard: EdgeShard, fields: list[dict[str, Any]], condition: Filter
) -> None:
    keys = strategies.KEYS
    versions = [
        a_version(
            index,
            **(drawn | {"namespace": strategies.NAMESPACES[index % 4], "key": keys[index % len(keys)], "position": 7}),
        )
        for index, drawn in enumerate(fields)
    ]
    assert found_in(shard, versions, condition) == {
        version.memory_id for version in versions if matches(condition, version)
    }


@pytest.mark.parametrize("name", strategies.HOSTILE_NAMES)
def test_any_text_is_found_and_nothing_that_resembles_it(shard: EdgeShard, name: str) -> None:
    others = [other for other in strategies.HOSTILE_NAMES if other != name]
    versions = [
        a_version(index, position=7, key=text, metadata={text: {"a": text}})
        for index, text in enumerate([name, *others])
    ]
    for condition in (
        Equals(("key",), name),
        Equals(("metadata", name, "a"), name),
        OneOf(("metadata", name, "a"), (name, 1)),
    ):
        assert found_in(shard, versions, condition) == {versions[0].memory_id}


@pytest.mark.parametrize("bound", [BIG - 1, BIG, BIG + 1, -BIG - 1, float(BIG), pytest.param(10**400, id="huge"), 0.1])
@pytest.mark.parametrize("operator", ["gt", "gte", "lt", "lte"])
def test_numbers_that_no_float_holds_compare_exactly(shard: EdgeShard, operator: str, bound: float) -> None:
    numbers = (BIG - 1, BIG, BIG + 1, BIG + 2, -BIG, -BIG - 1, float(BIG), 2**62 + 1, 0.1, 0)
    versions = [a_version(index, position=7, metadata={"n": number}) for index, number in enumerate(numbers)]
    condition = Range(("metadata", "n"), **{operator: bound})
    for tried in (condition, Not(condition)):
        wanted = {version.memory_id for version in versions if matches(tried, version)}
        assert found_in(shard, versions, tried) == wanted


def test_a_condition_says_where_the_engine_may_find_too_many() -> None:
    exact = select(ReadPoint.main(at_ms=5), None, Range(("metadata", "n"), gt=BIG - 1))
    wide = select(ReadPoint.main(at_ms=5), None, Not(Range(("metadata", "n"), gt=BIG)))
    assert (exact.exact, wide.exact) == (True, False)
