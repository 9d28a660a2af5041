"""A shard: replaying does no harm, damage is named, and ties and large commits do not disturb the order."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from qdrant_edge import UpdateOperation

from recollect.adapters.clock import next_position
from recollect.adapters.errors import ConflictError, ProfileMismatchError, StoreDamagedError, StoreUnavailableError
from recollect.adapters.port import (
    SUMMARY,
    ById,
    Commit,
    ContentIsNew,
    Cursor,
    HeadIs,
    KeyIs,
    Order,
    Precondition,
    Projection,
    Put,
    Scan,
    SimilarityQuery,
    StoreProfile,
    VersionIs,
)
from recollect.adapters.qdrant.fields import BODY, HEAD, PROVENANCE, TOKENS
from recollect.adapters.qdrant.mutations import Mutations, PayloadPatch, PointWrite
from recollect.adapters.qdrant.planning import Plan
from recollect.adapters.qdrant.points import point_id, read_matches, read_versions, write_of
from recollect.adapters.qdrant.shard import ShardStore
from recollect.adapters.testing.values import (
    DIMENSION,
    EVERYTHING,
    NEWEST,
    NOW_MS,
    PROFILE,
    a_commit,
    a_full_version,
    a_version,
    as_plain,
    axis,
    branch_point,
    memory_id,
    revision_of,
    terms,
    tombstone_of,
    toward,
    windows,
)
from recollect.adapters.versions import Version


@dataclass
class Journaled:
    """A shard with what was applied to it."""

    folder: Path
    journal: list[Mutations] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = ShardStore.open(self.folder, PROFILE)

    def commit(self, *puts: Version | Put) -> None:
        self.write(a_commit(*puts))

    def write(self, commit: Commit) -> None:
        mutations = self.plan(commit).mutations
        self.journal.append(mutations)
        self.store.apply(mutations)

    def plan(self, commit: Commit, ahead: int = 0) -> Plan:
        return self.store.plan(commit, next_position(self.store.last_position) + ahead)

    def everything(self) -> list[object]:
        return state_of(self.store)


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[Journaled]:
    opened = Journaled(tmp_path / "store")
    yield opened
    opened.store.close()


def state_of(store: ShardStore) -> list[object]:
    """Return all that can be read of a store: every version, and what two lineages show."""
    scans = [
        Scan(read_point=read_point, projection=EVERYTHING)
        for read_point in (None, NEWEST, branch_point("draft", ("main", 2**52)))
    ]
    return [
        [as_plain(version) for batch in store.scan(scan) for version in read_versions(batch, DIMENSION)]
        for scan in scans
    ]


def ids_of(store: ShardStore, query: SimilarityQuery) -> list[str]:
    matches = [match for batch in store.find_similar(query) for match in read_matches(batch, DIMENSION)]
    return [match.version.memory_id for match in matches]


def a_history(shard: Journaled) -> None:
    first, second = a_full_version(1), a_version(2, vectors=windows(axis(1)))
    shard.commit(first, second)
    shard.commit(revision_of(first), revision_of(second, branch="draft"))
    shard.commit(tombstone_of(second, branch="other"), a_version(3, key="k"))
    shard.write(Commit(puts=(), read_point=NEWEST, erases=(first.ref,)))
    shard.commit(revision_of(replace(first, number=2), branch="draft"), tombstone_of(replace(first, number=2)))


@pytest.mark.parametrize("begin", range(5))
def test_replaying_from_any_record_to_the_last_changes_nothing(shard: Journaled, begin: int) -> None:
    a_history(shard)
    before, position = shard.everything(), shard.store.last_position
    for mutations in shard.journal[begin:]:
        shard.store.apply(mutations)
    assert shard.everything() == before
    assert shard.store.last_position == position


def test_a_journal_alone_makes_the_same_store(shard: Journaled, tmp_path: Path) -> None:
    a_history(shard)
    other = ShardStore.open(tmp_path / "other", PROFILE)
    for mutations in shard.journal:
        other.apply(mutations)
    assert state_of(other) == shard.everything()
    other.close()


def test_a_position_is_not_given_again_after_a_commit_that_added_nothing(shard: Journaled) -> None:
    shard.commit(a_version(1))
    shard.write(Commit(puts=(), read_point=NEWEST))
    shard.store.flush()
    position = shard.store.last_position
    shard.store.close()
    shard.store = ShardStore.open(shard.folder, None)
    assert shard.store.last_position == position
    assert shard.store.status().versions == 1


# --- Planning side by side ---


def test_commits_that_do_not_meet_are_planned_side_by_side(shard: Journaled) -> None:
    commits = [
        a_commit(a_version(number), preconditions=(ContentIsNew("longterm", f"hash {number}"),)) for number in range(5)
    ]
    plans: list[Plan] = []
    for ahead, commit in enumerate(commits):
        assert not shard.store.must_wait_for(commit, plans)
        plans.append(shard.plan(commit, ahead))
    for plan in plans:
        shard.store.apply(plan.mutations)
    assert shard.store.count(NEWEST, None, None) == 5


@pytest.mark.parametrize(
    "precondition",
    [
        VersionIs(memory_id(1), None),
        KeyIs("longterm", "k", None),
        KeyIs("longterm", "another", memory_id(1)),
        ContentIsNew("longterm", a_version(1).content_hash),
        HeadIs("main", 0),
    ],
)
def test_a_commit_waits_for_one_that_it_looks_at(shard: Journaled, precondition: Precondition) -> None:
    plan = shard.plan(a_commit(a_version(1, key="k")))
    later = a_commit(a_version(2), preconditions=(precondition,))
    assert shard.store.must_wait_for(later, [plan])
    shard.store.apply(plan.mutations)
    if precondition != KeyIs("longterm", "another", memory_id(1)):
        with pytest.raises(ConflictError):
            shard.plan(later)


def test_a_second_version_of_a_memory_waits_for_the_first(shard: Journaled) -> None:
    plan = shard.plan(a_commit(a_version(1)))
    assert shard.store.must_wait_for(a_commit(revision_of(a_version(1), branch="draft")), [plan])


# --- Damage ---


def damage(shard: Journaled, version: Version, **payload: object) -> None:
    """Change a stored point behind the store's back."""
    shard.store.apply(Mutations(0, (), (PayloadPatch((point_id(version.ref),), payload),)))


@pytest.mark.parametrize("part", [HEAD, BODY, PROVENANCE])
@pytest.mark.requirement("A3")
def test_a_changed_part_is_named_by_a_check_and_refused_by_the_reads_that_load_it(shard: Journaled, part: str) -> None:
    version = a_full_version(1)
    shard.commit(version, a_version(2))
    good = shard.journal[0].writes[0].payload[part]
    damage(shard, version, **{part: good.replace("grace", "gracf").replace("two", "twp")})
    [finding] = [finding for report in shard.store.check() for finding in report.findings]
    assert finding.ref == version.ref
    assert finding.place.startswith(f"point {point_id(version.ref)}")
    for projection, loaded in (
        (SUMMARY, (HEAD,)),
        (Projection(content=True), (HEAD, BODY)),
        (Projection(provenance=True), (HEAD, PROVENANCE)),
    ):
        if part in loaded:
            with pytest.raises(StoreDamagedError):
                shard.store.get([ById(version.memory_id)], NEWEST, projection)
        else:
            assert shard.store.get([ById(version.memory_id)], NEWEST, projection) != [None]


def test_a_changed_vector_is_named_by_a_check_and_refused_by_the_reads_that_load_it(shard: Journaled) -> None:
    version = a_version(1, vectors=windows(axis(1)), sparse=terms({1: 1.0}))
    shard.commit(version)
    write = shard.journal[0].writes[0]
    turned = np.ascontiguousarray(axis(2), dtype="<f4").tobytes()
    shard.store.apply(Mutations(0, (PointWrite(write.point_id, write.payload, turned, None, write.terms),), ()))
    assert [finding.place for report in shard.store.check() for finding in report.findings] == [
        f"point {write.point_id}, vectors"
    ]
    with pytest.raises(StoreDamagedError):
        shard.store.get([ById(version.memory_id)], NEWEST, Projection(vectors=True))
    for limit, projection in ((None, SUMMARY), (1, Projection(vectors=True))):
        query = SimilarityQuery(read_point=NEWEST, dense=axis(2), limit=limit, projection=projection)
        with pytest.raises(StoreDamagedError):
            list(shard.store.find_similar(query))


def test_a_field_that_no_longer_fits_its_version_is_named(shard: Journaled) -> None:
    version = a_version(1, tags=("red",))
    shard.commit(version)
    damage(shard, version, **{TOKENS: ["nothing"]})
    assert [finding.place for report in shard.store.check() for finding in report.findings] == [
        f"point {point_id(version.ref)}, {TOKENS}"
    ]


def test_a_version_that_is_lost_is_missed_by_its_neighbours(shard: Journaled) -> None:
    first = a_version(1)
    second = revision_of(first)
    shard.commit(first)
    shard.commit(second)
    position = shard.store.last_position
    shard.commit(revision_of(second.version), revision_of(second.version, branch="draft"))
    shard.store._engine._update(UpdateOperation.delete_points([point_id(second.version.ref)]))
    [finding] = [finding for report in shard.store.check() for finding in report.findings]
    assert finding.place == f"memory {first.memory_id}, branch main"
    assert str(position) in finding.problem


def test_a_sound_store_has_no_findings(shard: Journaled) -> None:
    a_history(shard)
    reports = list(shard.store.check())
    assert [report.findings for report in reports] == [()] * len(reports)
    assert sum(report.versions_checked for report in reports) == shard.store.status().versions == 8


# --- Opening ---


def test_what_an_interrupted_creation_left_is_made_anew(tmp_path: Path) -> None:
    ShardStore.open(tmp_path / "store", PROFILE).close()
    (tmp_path / "store" / "store.json").unlink()
    (tmp_path / "store" / "shard.new").mkdir()
    opened = ShardStore.open(tmp_path / "store", PROFILE)
    assert opened.last_position == 0
    opened.close()


def test_a_shard_with_memories_is_never_made_anew(shard: Journaled) -> None:
    shard.commit(a_version(1))
    shard.store.close()
    (shard.folder / "store.json").unlink()
    with pytest.raises(StoreDamagedError, match=r"store\.json"):
        ShardStore.open(shard.folder, PROFILE)
    (shard.folder / "store.json").write_text("{")
    with pytest.raises(StoreDamagedError, match=r"store\.json"):
        ShardStore.open(shard.folder, PROFILE)
    (shard.folder / "store.json").write_text('{"format": 1, "model_id": "unit-vectors", "dimension": 8}')
    shard.store = ShardStore.open(shard.folder, PROFILE)
    assert shard.store.count(NEWEST, None, None) == 1


def test_a_store_of_another_model_or_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="no store"):
        ShardStore.open(tmp_path / "store", None)
    ShardStore.open(tmp_path / "store", PROFILE).close()
    with pytest.raises(ProfileMismatchError):
        ShardStore.open(tmp_path / "store", StoreProfile("another", DIMENSION))
    (tmp_path / "store" / "store.json").write_text('{"format": 2, "model_id": "unit-vectors", "dimension": 8}')
    with pytest.raises(StoreUnavailableError, match="format 2"):
        ShardStore.open(tmp_path / "store", PROFILE)


# --- Erasure ---


def test_a_copy_holds_no_byte_of_what_was_erased(shard: Journaled, tmp_path: Path) -> None:
    mark = "quokka"
    marked = a_version(
        1, key=mark, tags=(mark,), source=mark, metadata={mark: mark}, content=f"a {mark} text " * 50, actor=mark
    )
    shard.commit(marked, a_version(2))
    shard.commit(
        revision_of(marked, content="harmless", summary="", key=None, tags=(), source=None, metadata={}, actor="ada")
    )
    shard.write(Commit(puts=(), read_point=NEWEST, erases=(marked.ref,)))
    before = shard.everything()
    shard.store.copy_into(tmp_path / "copy" / "shard")
    (tmp_path / "copy" / "store.json").write_bytes((shard.folder / "store.json").read_bytes())
    files = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert not [path for path in files if mark.encode() in path.read_bytes()]
    copy = ShardStore.open(tmp_path / "copy", PROFILE)
    assert state_of(copy) == before
    copy.close()


# --- Order ---


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("order", list(Order))
def test_a_commit_larger_than_a_page_is_walked_in_order(shard: Journaled, order: Order, descending: bool) -> None:  # noqa: FBT001
    numbers = np.random.default_rng(7).permutation(1_500).tolist()
    shard.commit(*(a_version(number, created_at_ms=NOW_MS) for number in numbers))
    expected = [memory_id(number) for number in sorted(numbers, reverse=descending)]
    scan = Scan(read_point=NEWEST, order=order, descending=descending)
    assert [read.memory_id for batch in shard.store.scan(scan) for read in read_versions(batch, DIMENSION)] == expected
    value = shard.store.last_position if order is Order.POSITION else NOW_MS
    after = Cursor(value, expected[700], "main", 1)
    batches = shard.store.scan(replace(scan, after=after, limit=3))
    assert [read.memory_id for batch in batches for read in read_versions(batch, DIMENSION)] == expected[701:704]


@pytest.mark.parametrize("limit", [1, 5, 1_000, None])
def test_equals_are_ordered_by_id_before_anything_is_cut(shard: Journaled, limit: int | None) -> None:
    numbers = np.random.default_rng(7).permutation(1_500).tolist()
    shard.commit(*(a_version(number, vectors=windows(toward(0.8)), sparse=terms({1: 1.0})) for number in numbers))
    query = SimilarityQuery(read_point=NEWEST, dense=axis(0), limit=limit)
    expected = [memory_id(number) for number in range(1_500)][:limit]
    assert ids_of(shard.store, query) == expected
    assert ids_of(shard.store, replace(query, dense=None, sparse=terms({1: 1.0}))) == expected


def test_versions_of_one_and_of_many_rows_share_one_ranking(shard: Journaled) -> None:
    shard.commit(
        a_version(1, vectors=windows(toward(0.6))),
        a_version(2, vectors=windows(axis(3), toward(0.8))),
        a_version(3, vectors=windows(toward(0.28), axis(4))),
        a_version(4, vectors=windows(toward(1.0))),
    )
    query = SimilarityQuery(read_point=NEWEST, dense=axis(0), limit=3)
    assert ids_of(shard.store, query) == [memory_id(number) for number in (4, 2, 1)]


def test_a_stream_shows_the_state_in_which_it_began(shard: Journaled) -> None:
    versions = [a_version(number, vectors=windows(toward(0.8))) for number in range(600)]
    shard.commit(*versions)
    scan = shard.store.scan(Scan(read_point=NEWEST, batch_size=10))
    search = shard.store.find_similar(SimilarityQuery(read_point=NEWEST, dense=axis(0), limit=None, batch_size=10))
    begun = (next(scan), next(search))
    shard.commit(*(revision_of(version, branch="main") for version in versions[300:]))
    shard.commit(a_version(700, vectors=windows(toward(0.8))), *map(tombstone_of, versions[200:210]))
    scanned = [stored for batch in (begun[0], *scan) for stored in batch]
    found = [match for batch in (begun[1], *search) for match in batch]
    assert [version.ref for version in read_versions(scanned, DIMENSION)] == [version.ref for version in versions]
    assert [match.version.ref for match in read_matches(found, DIMENSION)] == [version.ref for version in versions]


def test_a_point_holds_what_it_was_made_of() -> None:
    write = write_of(replace(a_full_version(1), position=5), first=5)
    assert (write.dense, write.windows is None) == (None, False)
    assert write.point_id == point_id(a_full_version(1).ref)
