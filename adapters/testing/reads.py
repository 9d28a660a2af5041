"""Reads: get, scan, count, filters, history."""

from typing import Any

import pytest
from msgspec.structs import replace

from recollect.adapters.filters import matches, parse_filter
from recollect.adapters.port import (
    ByContent,
    ById,
    ByKey,
    ByRef,
    Order,
    Projection,
    ProvenanceStorageAdapter,
    ReadPoint,
    Scan,
    Segment,
    Selector,
)
from recollect.adapters.testing.base import ConformanceBase
from recollect.adapters.testing.values import (
    NEWEST,
    NOW_MS,
    a_commit,
    a_full_version,
    a_version,
    collected,
    content_hash,
    cursor_after,
    ids,
    memory_id,
    refs,
    revision_of,
    tombstone_of,
)
from recollect.adapters.versions import MAIN, Version, VersionRef

ZOO = [
    a_version(1, kind="episodic", tags=("blue", "red"), importance=0.1, key="one", metadata={"n": 1, "a": {"b": "x"}}),
    a_version(2, kind="episodic", tags=("red",), importance=0.5, metadata={"n": 1.0, "a": {"b": ["x", "y"]}}),
    a_version(3, kind="ghost", importance=0.5, key="Three", metadata={"n": True, "a": None}, actor="grace"),
    a_version(4, kind="ghost", tags=("Red",), importance=0.9, metadata={"n": "1", "a": []}, source="message:4"),
    a_version(5, namespace="shared", metadata={"n": [0, 5], "a.b": "dotted", "c[0]": 1}, confidence=0.0),
    a_version(6, namespace="shared", created_at_ms=NOW_MS - 86_400_000, expires_at_ms=NOW_MS + 5, metadata={"n": 2.5}),
    a_version(7, metadata={"n": 2**53 + 1, "a": {"b": {"c": False}}}, tags=("red pepper",), key="é"),
    a_version(8, metadata={"n": float(2**53)}, key="e\u0301", source=""),
]
FILTERS: list[tuple[dict[str, Any], set[int]]] = [
    ({}, {1, 2, 3, 4, 5, 6, 7, 8}),
    ({"kind": "episodic"}, {1, 2}),
    ({"kind": {"ne": "episodic"}}, {3, 4, 5, 6, 7, 8}),
    ({"kind": {"in": ["ghost", "semantic"]}}, {3, 4, 5, 6, 7, 8}),
    ({"kind": {"in": []}}, set()),
    ({"kind": {"nin": ["ghost", "semantic"]}}, {1, 2}),
    ({"namespace": "shared"}, {5, 6}),
    ({"tags": "red"}, {1, 2}),
    ({"tags": {"any": ["blue", "Red"]}}, {1, 4}),
    ({"tags": {"all": ["blue", "red"]}}, {1}),
    ({"tags": {"all": []}}, {1, 2, 3, 4, 5, 6, 7, 8}),
    ({"tags": {"exists": False}}, {3, 5, 6, 8}),
    ({"tags": {"ne": "red"}}, {3, 4, 5, 6, 7, 8}),
    ({"key": {"exists": True}}, {1, 3, 7, 8}),
    ({"key": "three"}, set()),
    ({"key": "é"}, {7}),
    ({"key": {"ne": "one"}}, {2, 3, 4, 5, 6, 7, 8}),
    ({"source": ""}, {8}),
    ({"source": {"exists": True}}, {4, 8}),
    ({"actor": "grace"}, {3}),
    ({"importance": {"gte": 0.5}}, {2, 3, 4, 5, 6, 7, 8}),
    ({"importance": {"gt": 0.5}}, {4}),
    ({"importance": {"gt": 0.1, "lte": 0.5}}, {2, 3, 5, 6, 7, 8}),
    ({"importance": 0.9}, {4}),
    ({"confidence": 0}, {5}),
    ({"confidence": {"lt": 1}}, {5}),
    ({"created_at": {"lt": "2026-01-01T00:00:00Z"}}, {6}),
    ({"created_at": "2026-01-01T01:00:00.003+01:00"}, {3}),
    ({"expires_at": {"exists": True}}, {6}),
    ({"expires_at": {"gt": "2026-01-01T00:00:00Z"}}, {6}),
    ({"metadata.n": 1}, {1, 2}),
    ({"metadata.n": True}, {3}),
    ({"metadata.n": "1"}, {4}),
    ({"metadata.n": {"in": [True, "1"]}}, {3, 4}),
    ({"metadata.n": 5}, {5}),
    ({"metadata.n": {"gte": 1, "lt": 3}}, {1, 2, 6}),
    ({"metadata.n": {"gt": 0, "lt": 5}}, {1, 2, 6}),
    ({"metadata.n": 2**53 + 1}, {7}),
    ({"metadata.n": 2**53}, {8}),
    ({"metadata.n": {"gt": 2**53}}, {7}),
    ({"metadata.n": {"ne": 1}}, {3, 4, 5, 6, 7, 8}),
    ({"metadata.a": {"exists": True}}, {1, 2, 7}),
    ({"metadata.a.b": "x"}, {1, 2}),
    ({"metadata.a.b": {"all": ["x", "y"]}}, {2}),
    ({"metadata.a.b.c": False}, {7}),
    ({"metadata.a.b.c": 0}, set()),
    ({'metadata."a.b"': "dotted"}, {5}),
    ({"metadata.c[0]": 1}, {5}),
    ({"metadata.c": {"exists": True}}, set()),
    ({"metadata.missing": "x"}, set()),
    ({"metadata.missing": {"ne": "x"}}, {1, 2, 3, 4, 5, 6, 7, 8}),
    ({"kind": "ghost", "importance": {"gt": 0.5}}, {4}),
    ({"OR": [{"kind": "ghost"}, {"NOT": {"namespace": "longterm"}}]}, {3, 4, 5, 6}),
    ({"OR": []}, set()),
    ({"AND": []}, {1, 2, 3, 4, 5, 6, 7, 8}),
    ({"NOT": {"OR": [{"kind": "ghost"}, {"tags": "red"}]}}, {5, 6, 7, 8}),
    ({"AND": [{"tags": "red"}, {"NOT": {"tags": "blue"}}]}, {2}),
]
PROJECTIONS = [
    Projection(content=content, provenance=provenance, vectors=vectors)
    for content in (False, True)
    for provenance in (False, True)
    for vectors in (False, True)
]


def loaded(version: Version) -> Projection:
    """Return which parts of a version are there, all fields of a part together."""
    assert (version.content is None) == (version.metadata is None)
    assert (version.vectors is None) == (version.sparse is None)
    return Projection(
        content=version.content is not None,
        provenance=version.provenance is not None,
        vectors=version.vectors is not None,
    )


class GetTests(ConformanceBase):
    """What `get` returns."""

    async def test_answers_stand_in_the_order_of_the_questions_with_none_for_what_is_not_there(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        one, two = a_version(1, key="k"), a_version(2, namespace="shared")
        await adapter.commit(a_commit(one, two))
        found = await adapter.get(
            [
                ById(memory_id(2)),
                ById(memory_id(3)),
                ByKey("longterm", "k"),
                ByKey("shared", "k"),
                ByContent("shared", content_hash("memory 2")),
                ByContent("longterm", content_hash("memory 2")),
                ByRef(one.ref),
                ByRef(VersionRef(memory_id(1), MAIN, 2)),
                ById(memory_id(2)),
            ],
            NEWEST,
        )
        expected = [two, None, one, None, two, None, one, None, two]
        assert [version and version.ref for version in found] == [version and version.ref for version in expected]

    async def test_no_questions_have_no_answers(self, adapter: ProvenanceStorageAdapter) -> None:
        assert await adapter.get([], NEWEST) == []

    @pytest.mark.parametrize("projection", PROJECTIONS, ids=str)
    async def test_a_read_loads_the_parts_that_were_asked_for_and_no_others(
        self, adapter: ProvenanceStorageAdapter, projection: Projection
    ) -> None:
        full = a_full_version()
        await adapter.commit(a_commit(full))
        read = [
            *await adapter.get([ById(full.memory_id), ByRef(full.ref)], NEWEST, projection),
            *await collected(adapter.history(full.memory_id, NEWEST, projection)),
            *await collected(adapter.scan(Scan(read_point=NEWEST, projection=projection))),
        ]
        assert [version and loaded(version) for version in read] == [projection] * 4
        assert {(version.summary, version.tags, version.key) for version in read if version} == {
            (full.summary, full.tags, full.key)
        }

    async def test_a_revised_memory_is_found_as_its_newest_version_only(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        first = a_version(1, key="k", content="old")
        await adapter.commit(a_commit(first))
        await adapter.commit(a_commit(revision_of(first, content="new")))
        selectors: list[Selector] = [
            ById(first.memory_id),
            ByKey("longterm", "k"),
            ByContent("longterm", content_hash("new")),
            ByContent("longterm", content_hash("old")),
            ByRef(first.ref),
        ]
        found = await adapter.get(selectors, NEWEST)
        assert [version and version.number for version in found] == [2, 2, 2, None, 1]

    async def test_of_equal_contents_the_first_is_found_and_of_equal_keys_the_last(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        for number in (2, 1, 3):
            await adapter.commit(a_commit(a_version(number, key="k", content="same")))
        found = await adapter.get([ByContent("longterm", content_hash("same")), ByKey("longterm", "k")], NEWEST)
        assert [version and version.memory_id for version in found] == ids(2, 3)

    async def test_a_memory_is_gone_from_the_moment_it_expires(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(a_version(1, key="k", expires_at_ms=NOW_MS), a_version(2)))
        counts = [await adapter.count(ReadPoint.main(at_ms)) for at_ms in (NOW_MS - 1, NOW_MS, NOW_MS + 1, None)]
        assert counts == [2, 1, 1, 2]
        selectors: list[Selector] = [
            ById(memory_id(1)),
            ByKey("longterm", "k"),
            ByContent("longterm", content_hash("memory 1")),
        ]
        assert await adapter.get(selectors, ReadPoint.main(NOW_MS)) == [None, None, None]
        [by_ref] = await adapter.get([ByRef(a_version(1).ref)], ReadPoint.main(NOW_MS))
        assert by_ref is not None


class ScanTests(ConformanceBase):
    """What `scan` and `count` return."""

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("order", list(Order))
    async def test_a_scan_is_in_order_with_ties_by_id(
        self, adapter: ProvenanceStorageAdapter, order: Order, *, descending: bool
    ) -> None:
        await adapter.commit(a_commit(a_version(4, created_at_ms=NOW_MS + 9), a_version(2, created_at_ms=NOW_MS)))
        await adapter.commit(a_commit(a_version(3, created_at_ms=NOW_MS), a_version(1, created_at_ms=NOW_MS - 9)))
        found = await collected(adapter.scan(Scan(read_point=NEWEST, order=order, descending=descending)))
        expected = ids(2, 4, 1, 3) if order is Order.POSITION else ids(1, 2, 3, 4)
        assert [version.memory_id for version in found] == (expected[::-1] if descending else expected)

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("order", list(Order))
    @pytest.mark.parametrize("page", [1, 3])
    async def test_pages_joined_by_cursors_are_the_whole_scan(
        self, adapter: ProvenanceStorageAdapter, order: Order, page: int, *, descending: bool
    ) -> None:
        for start in (0, 5):
            await adapter.commit(
                a_commit(*(a_version(number, created_at_ms=NOW_MS + number % 3) for number in range(start, start + 5)))
            )
        scan = Scan(read_point=NEWEST, order=order, descending=descending)
        whole = refs(await collected(adapter.scan(scan)))
        paged: list[Version] = []
        for _ in range(2 * len(whole)):  # bounded, as a cursor that does not move would never end
            found = await collected(adapter.scan(replace(scan, limit=page)))
            paged += found
            scan = replace(scan, after=cursor_after(found[-1], order)) if found else scan
        assert refs(paged) == whole
        assert len(whole) == 10

    async def test_a_cursor_goes_on_from_a_memory_that_is_no_longer_there(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        versions = [a_version(number) for number in range(4)]
        for version in versions:
            await adapter.commit(a_commit(version))
        [*_, last] = await collected(adapter.scan(Scan(read_point=NEWEST, limit=2)))
        await adapter.commit(a_commit(tombstone_of(versions[1])))
        rest = await collected(adapter.scan(Scan(read_point=NEWEST, after=cursor_after(last))))
        assert [version.memory_id for version in rest] == ids(2, 3)

    @pytest.mark.parametrize(("limit", "batch_size", "sizes"), [(None, 4, [4, 4, 2]), (5, 4, [4, 1]), (4, 4, [4])])
    async def test_a_scan_keeps_its_limit_and_its_batch_size(
        self, adapter: ProvenanceStorageAdapter, limit: int | None, batch_size: int, sizes: list[int]
    ) -> None:
        await adapter.commit(a_commit(*map(a_version, range(10))))
        scan = Scan(read_point=NEWEST, limit=limit, batch_size=batch_size)
        found = [len(batch) async for batch in adapter.scan(scan)]
        assert sum(found) == sum(sizes)
        assert max(found) <= batch_size
        assert min(found) > 0

    async def test_a_scan_that_finds_nothing_has_no_batch(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(a_version()))
        nothing = [Scan(read_point=NEWEST, limit=0), Scan(read_point=NEWEST, namespaces=("elsewhere",))]
        assert [[batch async for batch in adapter.scan(scan)] for scan in nothing] == [[], []]

    async def test_a_scan_without_a_read_point_walks_every_version_of_every_branch(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        first = a_version(1, expires_at_ms=NOW_MS)
        await adapter.commit(a_commit(first, a_version(2)))
        revised = revision_of(first, branch="draft")
        await adapter.commit(a_commit(revised, tombstone_of(a_version(2))))
        found = await collected(adapter.scan(Scan(read_point=None)))
        assert refs(found) == [first.ref, a_version(2).ref, revised.version.ref, VersionRef(memory_id(2), MAIN, 2)]
        assert [version.forgotten for version in found] == [False, False, False, True]

    async def test_a_scan_of_segments_walks_what_was_written_on_them_and_nothing_else(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        one = a_version(1)
        first = (await adapter.commit(a_commit(one, a_version(2)))).position
        second = (await adapter.commit(a_commit(revision_of(one)))).position
        draft = (
            await adapter.commit(a_commit(tombstone_of(one, branch="draft"), a_version(3, branch="draft")))
        ).position

        async def written(*segments: Segment, read_point: ReadPoint | None = None) -> list[tuple[str, str, int]]:
            found = await collected(adapter.scan(Scan(read_point=read_point, segments=segments)))
            return [(version.memory_id, version.branch, version.number) for version in found]

        revised, forgotten, new = (memory_id(1), MAIN, 2), (memory_id(1), "draft", 2), (memory_id(3), "draft", 1)
        assert await written(Segment(MAIN, first)) == [revised]
        assert await written(Segment(MAIN, 0, first)) == [(memory_id(1), MAIN, 1), (memory_id(2), MAIN, 1)]
        assert await written(Segment(MAIN, second)) == []
        assert await written(Segment("draft", second, draft)) == [forgotten, new]
        assert await written(Segment("draft"), Segment(MAIN, first), Segment(MAIN)) == [
            (memory_id(1), MAIN, 1), (memory_id(2), MAIN, 1), revised, forgotten, new,
        ]  # fmt: skip
        assert await written(Segment("elsewhere")) == []
        assert await written() == []
        # Together with a read point, both must hold.
        assert await written(Segment(MAIN), read_point=NEWEST) == [(memory_id(2), MAIN, 1), revised]
        assert await written(Segment("draft"), read_point=NEWEST) == []

    async def test_system_namespaces_are_hidden_unless_they_are_named(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(
            a_commit(a_version(1), a_version(2, namespace="_audit", key="k"), a_version(3, namespace="_branches"))
        )
        named = ("_audit", "longterm")
        assert await adapter.count(NEWEST) == 1
        assert await adapter.count(NEWEST, named) == 2
        for read_point in (NEWEST, None):
            hidden = await collected(adapter.scan(Scan(read_point=read_point)))
            shown = await collected(adapter.scan(Scan(read_point=read_point, namespaces=named)))
            assert [version.memory_id for version in hidden] == ids(1)
            assert [version.memory_id for version in shown] == ids(1, 2)
        found = await adapter.get([ById(memory_id(3)), ByKey("_audit", "k")], NEWEST)
        assert [version and version.memory_id for version in found] == ids(3, 2)

    async def test_no_namespaces_hold_no_memories(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(a_version()))
        assert await collected(adapter.scan(Scan(read_point=NEWEST, namespaces=()))) == []
        assert await adapter.count(NEWEST, ()) == 0

    @pytest.mark.parametrize(("document", "expected"), FILTERS, ids=lambda value: str(value)[:60])
    async def test_a_filter_selects_what_it_says(
        self, adapter: ProvenanceStorageAdapter, document: dict[str, Any], expected: set[int]
    ) -> None:
        await adapter.commit(a_commit(*ZOO))
        condition = parse_filter(document)
        found = await collected(adapter.scan(Scan(read_point=NEWEST, filter=condition)))
        assert [version.memory_id for version in found] == ids(*sorted(expected))
        assert await adapter.count(NEWEST, matching=condition) == len(expected)
        if condition is not None:
            assert {version.memory_id for version in ZOO if matches(condition, version)} == set(ids(*expected))

    async def test_a_filter_looks_at_the_visible_version_only(self, adapter: ProvenanceStorageAdapter) -> None:
        first = a_version(1, tags=("old",), metadata={"state": "old"})
        await adapter.commit(a_commit(first))
        await adapter.commit(a_commit(revision_of(first, tags=("new",), metadata={"state": "new"})))
        for name in ("old", "new"):
            for document in ({"tags": name}, {"metadata.state": name}):
                assert await adapter.count(NEWEST, matching=parse_filter(document)) == (name == "new")


class HistoryTests(ConformanceBase):
    """What `history` returns."""

    async def test_history_is_newest_first_with_tombstones_and_other_memories_left_out(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        first = a_version(1)
        second = revision_of(first)
        third = tombstone_of(second.version)
        for put in (first, a_version(2), second, third):
            await adapter.commit(a_commit(put))
        found = await collected(adapter.history(first.memory_id, NEWEST))
        assert [(version.number, version.forgotten) for version in found] == [(3, True), (2, False), (1, False)]

    async def test_an_unknown_memory_has_no_history(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(a_version()))
        assert [batch async for batch in adapter.history(memory_id(9), NEWEST)] == []

    async def test_history_shows_what_has_expired(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(a_version(1, expires_at_ms=NOW_MS)))
        assert len(await collected(adapter.history(memory_id(1), ReadPoint.main(at_ms=NOW_MS + 1)))) == 1
