"""Limits: sizes, hostile names, and values that a store must give back as they were."""

from typing import Any

import pytest
from msgspec.structs import replace

from recollect.adapters.errors import InvalidRequestError
from recollect.adapters.filters import (
    CONDITIONS_MAX,
    DEPTH_MAX,
    VALUES_MAX,
    And,
    Equals,
    Exists,
    Filter,
    Not,
    OneOf,
    Or,
    Range,
    parse_filter,
)
from recollect.adapters.port import (
    ByContent,
    ById,
    ByKey,
    KeyIs,
    Projection,
    ProvenanceStorageAdapter,
    Scan,
    Selector,
    SimilarityQuery,
    VersionIs,
)
from recollect.adapters.testing.base import ConformanceBase
from recollect.adapters.testing.strategies import HOSTILE_NAMES, LONE_SURROGATES
from recollect.adapters.testing.values import (
    EVERYTHING,
    NEWEST,
    NOW_MS,
    a_commit,
    a_version,
    as_plain,
    axis,
    branch_point,
    collected,
    content_hash,
    found_ids,
    ids,
    memory_id,
    revision_of,
    terms,
    toward,
    windows,
)
from recollect.adapters.versions import MAIN, Action, Provenance, SparseVector, Version, VersionRef

FULL = Projection(content=True)
METADATA: list[dict[str, Any]] = [
    {},
    {"integer": 1, "float": 1.0, "true": True, "text": "1", "zero": 0, "false": False, "nothing": None},
    {
        "negative": -0.0,
        "tiny": 5e-324,
        "huge": 1.7976931348623157e308,
        "third": 1 / 3,
        "far": 2**63 - 1,
        "low": -(2**63),
    },
    {"list": [], "object": {}, "mixed": [1, 1.0, True, "1", None, [], {}, [[1.5]], {"a": [{"b": None}]}]},
    {"deep": {"a": {"b": {"c": {"d": {"e": {"f": "g"}}}}}}},
    {"": {"": {"": ""}}},
    {"order": {"z": 1, "a": 2, "m": 3}},
]


def hostile(number: int, name: str) -> Version:
    """Return a version that has a name wherever a name can stand."""
    return a_version(
        number,
        namespace=name,
        branch=name,
        key=name,
        kind=name,
        summary=name,
        tags=(name,),
        actor=name,
        source=name,
        content=name,
        metadata={name: 1, "nested": {name: name}, "list": [name]},
        provenance=Provenance(
            action=Action.IMPORTED,
            actor=name,
            time_ms=NOW_MS,
            source=name,
            note=name,
            derived_from=(VersionRef(memory_id(900), name, 1),),
        ),
    )


class SizeTests(ConformanceBase):
    """Much at once."""

    async def test_a_commit_of_a_thousand_puts_is_one_commit(self, adapter: ProvenanceStorageAdapter) -> None:
        puts = [a_version(number, key=f"k{number}", vectors=windows(toward(number / 1000))) for number in range(1000)]
        expectations = tuple(KeyIs("longterm", f"k{number}", None) for number in range(1000))
        receipt = await adapter.commit(a_commit(*puts, preconditions=expectations))
        found = await collected(adapter.scan(Scan(read_point=NEWEST)))
        assert [version.memory_id for version in found] == ids(*range(1000))
        assert {version.position for version in found} == {receipt.position}
        query = SimilarityQuery(read_point=NEWEST, dense=axis(0), limit=3)
        assert await found_ids(adapter, query) == ids(999, 998, 997)

        selectors: list[Selector] = [ById(memory_id(number)) for number in range(2000)]
        selectors += [ByKey("longterm", f"k{number}") for number in range(2000)]
        read = await adapter.get(selectors, NEWEST)
        assert [version is not None for version in read] == ([True] * 1000 + [False] * 1000) * 2

    async def test_a_big_content_comes_back_whole(self, adapter: ProvenanceStorageAdapter) -> None:
        content = "0123456789abcde\u00e9" * 65_536
        metadata = {"big": "m" * 200_000}
        await adapter.commit(a_commit(a_version(1, content=content, metadata=metadata)))
        [found] = await adapter.get([ByContent("longterm", content_hash(content))], NEWEST, FULL)
        assert found is not None
        assert found.content == content
        assert found.metadata == metadata

    async def test_a_text_of_many_windows_is_one_memory(self, adapter: ProvenanceStorageAdapter) -> None:
        many = windows(*(toward(number / 500) for number in range(500)))
        await adapter.commit(a_commit(a_version(1, vectors=many), a_version(2, vectors=windows(toward(0.5)))))
        query = SimilarityQuery(read_point=NEWEST, dense=axis(0), limit=None)
        assert await found_ids(adapter, query) == ids(1, 2)
        [found] = await adapter.get([ById(memory_id(1))], NEWEST, EVERYTHING)
        assert as_plain(found) == as_plain(a_version(1, vectors=many, position=found.position if found else 0))

    async def test_a_long_lineage_can_be_read(self, adapter: ProvenanceStorageAdapter) -> None:
        version = a_version(1)
        position = (await adapter.commit(a_commit(version))).position
        spans: list[tuple[str, int]] = [(MAIN, position)]
        for number in range(2, 41):
            put = revision_of(version, branch=f"branch {number}", content="again")
            position = (await adapter.commit(a_commit(put, a_version(number), durability="relaxed"))).position
            spans.insert(0, (put.version.branch, position))
            version = put.version
        [found] = await adapter.get([ById(memory_id(1))], branch_point(*spans))
        assert found is not None
        assert found.ref == VersionRef(memory_id(1), "branch 40", 40)
        assert len(await collected(adapter.history(memory_id(1), branch_point(*spans)))) == 40
        assert await adapter.count(branch_point(*spans)) == 1

    async def test_filters_at_their_limits_are_answered(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(a_version(1, tags=("t9999",), metadata={"n": 9999}), a_version(2)))
        every_tag = tuple(f"t{number}" for number in range(VALUES_MAX))
        deep: Filter = Equals(("kind",), "semantic")
        for _ in range(DEPTH_MAX):
            deep = Not(deep)
        wide = Or(tuple(Equals(("metadata", "n"), number) for number in range(10_000 - CONDITIONS_MAX, 10_000)))
        alternating: Filter = Equals(("metadata", "n"), 9999)
        for turn in range(DEPTH_MAX):
            alternating = And((alternating,)) if turn % 2 else Or((alternating,))
        for condition, expected in (
            (OneOf(("tags",), every_tag), 1),
            (OneOf(("metadata", "n"), tuple(range(VALUES_MAX))), 1),
            (deep, 2),
            (wide, 1),
            (alternating, 1),
        ):
            assert await adapter.count(NEWEST, matching=condition) == expected

    async def test_many_namespaces_can_be_asked_for_at_once(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(a_version(1), a_version(2, namespace="n 1999")))
        assert await adapter.count(NEWEST, tuple(f"n {number}" for number in range(2000))) == 1


class NameTests(ConformanceBase):
    """Names that a careless backend escapes, cuts, folds or reads as something else."""

    async def test_hostile_names_come_back_exactly_wherever_they_stand(self, adapter: ProvenanceStorageAdapter) -> None:
        versions = [hostile(number, name) for number, name in enumerate(HOSTILE_NAMES)]
        position = (await adapter.commit(a_commit(*versions))).position
        found = await collected(adapter.scan(Scan(read_point=None, projection=EVERYTHING)))
        for version, read in zip(versions, found, strict=True):
            assert as_plain(read) == as_plain(replace(version, position=position))

    async def test_hostile_names_select_their_own_memory_and_no_other(self, adapter: ProvenanceStorageAdapter) -> None:
        versions = [replace(hostile(number, name), branch=MAIN) for number, name in enumerate(HOSTILE_NAMES)]
        await adapter.commit(a_commit(*versions))
        for version, name in zip(versions, HOSTILE_NAMES, strict=True):
            [by_key, by_content] = await adapter.get([ByKey(name, name), ByContent(name, version.content_hash)], NEWEST)
            assert [found and found.memory_id for found in (by_key, by_content)] == [version.memory_id] * 2
            assert await adapter.count(NEWEST, (name,)) == 1
            texts: list[Filter] = [Equals((f,), name) for f in ("namespace", "key", "kind", "tags", "actor", "source")]
            paths: list[Filter] = [Equals(("metadata", name), 1), Equals(("metadata", "nested", name), name)]
            there: list[Filter] = [
                Exists(("metadata", name)),
                Range(("metadata", name), gte=1.0),
                OneOf(("key",), (name,)),
            ]
            for condition in (*texts, *paths, *there):
                found = await collected(adapter.scan(Scan(read_point=NEWEST, filter=condition)))
                assert [read.memory_id for read in found] == [version.memory_id], condition

    async def test_hostile_branch_names_are_branches_of_their_own(self, adapter: ProvenanceStorageAdapter) -> None:
        await adapter.commit(a_commit(*(hostile(number, name) for number, name in enumerate(HOSTILE_NAMES))))
        for number, name in enumerate(HOSTILE_NAMES):
            found = await collected(adapter.scan(Scan(read_point=branch_point(name))))
            assert [version.memory_id for version in found] == ids(number)

    @pytest.mark.parametrize("text", LONE_SURROGATES, ids=ascii)
    @pytest.mark.parametrize("place", ["content", "summary", "key", "namespace", "tags", "actor", "metadata", "note"])
    async def test_text_without_a_utf8_form_is_refused_or_comes_back_exactly(
        self, adapter: ProvenanceStorageAdapter, place: str, text: str
    ) -> None:
        note = Provenance(action=Action.CREATED, actor="ada", time_ms=NOW_MS, note=text)
        hostile_fields: dict[str, dict[str, Any]] = {
            "tags": {"tags": (text,)},
            "metadata": {"metadata": {text: [text]}},
            "note": {"provenance": note},
        }
        version = a_version(1, **hostile_fields.get(place, {place: text}))
        await adapter.commit(a_commit(a_version(2)))
        try:
            position = (await adapter.commit(a_commit(version, a_version(3)))).position
        except InvalidRequestError:
            assert await adapter.count(NEWEST) == 1
        else:
            [found] = await adapter.get([ById(version.memory_id)], NEWEST, EVERYTHING)
            assert as_plain(found) == as_plain(replace(version, position=position))

    @pytest.mark.parametrize("text", LONE_SURROGATES, ids=ascii)
    async def test_asking_for_text_without_a_utf8_form_finds_nothing_or_is_refused(
        self, adapter: ProvenanceStorageAdapter, text: str
    ) -> None:
        await adapter.commit(a_commit(a_version(1, key="?", tags=("?",), metadata={"?": 1})))
        for condition in (Equals(("tags",), text), OneOf(("key",), (text,)), Exists(("metadata", text))):
            try:
                found = await adapter.count(NEWEST, matching=condition)
            except InvalidRequestError:
                found = 0
            assert found == 0
        try:
            assert await adapter.get([ByKey("longterm", text), ById(text)], NEWEST) == [None, None]
        except InvalidRequestError:
            assert await adapter.count(NEWEST) == 1


class ValueTests(ConformanceBase):
    """Values that come back as they were."""

    @pytest.mark.parametrize("metadata", METADATA, ids=lambda value: str(value)[:40])
    async def test_metadata_comes_back_with_its_types(
        self, adapter: ProvenanceStorageAdapter, metadata: dict[str, Any]
    ) -> None:
        version = a_version(1, metadata=metadata)
        position = (await adapter.commit(a_commit(version))).position
        [found] = await adapter.get([ById(version.memory_id)], NEWEST, EVERYTHING)
        assert as_plain(found) == as_plain(replace(version, position=position))
        assert str(found and found.metadata) == str(metadata)

    @pytest.mark.parametrize("number", [2**64, -(2**64), 10**400])
    async def test_an_integer_of_any_size_is_refused_or_comes_back_exactly(
        self, adapter: ProvenanceStorageAdapter, number: int
    ) -> None:
        version = a_version(1, metadata={"n": number})
        try:
            await adapter.commit(a_commit(version))
        except InvalidRequestError:
            assert await adapter.count(NEWEST) == 0
        else:
            [found] = await adapter.get([ById(version.memory_id)], NEWEST, FULL)
            assert found is not None
            assert found.metadata == {"n": number}

    async def test_a_filter_with_an_integer_of_any_size_is_answered_or_refused(
        self, adapter: ProvenanceStorageAdapter
    ) -> None:
        await adapter.commit(a_commit(a_version(1, metadata={"n": 1})))
        for number in (2**64, 10**400):
            for document in ({"metadata.n": number}, {"metadata.n": {"gt": number}}, {"metadata.n": {"in": [number]}}):
                try:
                    found = await adapter.count(NEWEST, matching=parse_filter(document))
                except InvalidRequestError:
                    found = 0
                assert found == 0
            assert await adapter.count(NEWEST, matching=parse_filter({"metadata.n": {"lt": 2**63}})) == 1

    @pytest.mark.parametrize("content", ["", " ", "\x00", "a\r\nb\rc\n", "\ufeffbom", "\U0010ffff", "null"], ids=ascii)
    async def test_content_comes_back_to_the_letter(self, adapter: ProvenanceStorageAdapter, content: str) -> None:
        version = a_version(1, content=content, summary=content)
        await adapter.commit(a_commit(version))
        [found] = await adapter.get([ById(version.memory_id)], NEWEST, FULL)
        assert found is not None
        assert (found.content, found.summary) == (content, content)

    async def test_absence_and_emptiness_are_not_the_same(self, adapter: ProvenanceStorageAdapter) -> None:
        absent = a_version(1, key=None, source=None, expires_at_ms=None)
        empty = a_version(2, key="", source="", expires_at_ms=0, importance=0.0, actor="", tags=(), content="")
        await adapter.commit(a_commit(absent, empty, preconditions=(VersionIs(absent.memory_id, None),)))
        found = await adapter.get([ById(absent.memory_id), ById(empty.memory_id)], NEWEST, FULL)
        assert [(version.key, version.source, version.expires_at_ms) for version in found if version] == [
            (None, None, None),
            ("", "", 0),
        ]
        assert await adapter.get([ByKey("longterm", "")], NEWEST, FULL) != [None]

    async def test_dates_before_1970_and_far_ahead_come_back(self, adapter: ProvenanceStorageAdapter) -> None:
        for number, moment_ms in enumerate((-(10**13), -1, 0, 10**14)):
            version = a_version(number, created_at_ms=moment_ms, updated_at_ms=moment_ms)
            await adapter.commit(a_commit(version))
            [found] = await adapter.get([ById(version.memory_id)], NEWEST)
            assert found is not None
            assert (found.created_at_ms, found.updated_at_ms) == (moment_ms, moment_ms)

    async def test_the_largest_and_the_smallest_terms_come_back(self, adapter: ProvenanceStorageAdapter) -> None:
        sparse: SparseVector = terms({0: 1e-6, 1: 0.1, 2**31: 3.5, 2**32 - 1: 1e6})
        await adapter.commit(a_commit(a_version(1, sparse=sparse)))
        [found] = await adapter.get([ById(memory_id(1))], NEWEST, EVERYTHING)
        assert found is not None
        assert found.sparse is not None
        assert found.sparse.terms.tolist() == sparse.terms.tolist()
        assert found.sparse.weights.tolist() == sparse.weights.tolist()
