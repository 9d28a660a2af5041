"""A copied store is the source again: every version, at its position; whatever interrupted the copy."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from recollect.adapters.errors import ProfileMismatchError, StoreFullError
from recollect.adapters.files import FileAdapter
from recollect.adapters.port import (
    ByRef,
    Commit,
    CommitReceipt,
    ProvenanceStorageAdapter,
    Scan,
    SimilarityQuery,
    StoreProfile,
)
from recollect.adapters.testing import ModelAdapter, ModelStorage
from recollect.adapters.testing.values import (
    EVERYTHING,
    NEWEST,
    PROFILE,
    a_commit,
    a_version,
    as_plain,
    axis,
    branch_point,
    collected,
    found_ids,
    memory_id,
)
from recollect.adapters.versions import Version, VersionRef
from recollect.service.errors import MigrationRefusedError, StoresDifferError
from recollect.service.migration.comparing import compare_stores
from recollect.service.migration.copying import copy_store
from tests.leftovers import files_that_hold

if TYPE_CHECKING:
    from tests.service.migration.conftest import NewStore

EVERYWHERE = Scan(read_point=None, projection=EVERYTHING)
SYSTEM = Scan(read_point=None, namespaces=("_branches", "_receipts"), projection=EVERYTHING)


def ignore(_count: int) -> None:
    pass


async def all_of(store: ProvenanceStorageAdapter) -> list[Any]:
    versions = [*await collected(store.scan(EVERYWHERE)), *await collected(store.scan(SYSTEM))]
    return [as_plain(version) for version in versions]


@pytest.mark.requirement("F4")
async def test_everything_is_copied_at_its_position(
    source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter
) -> None:
    copied = await copy_store(source, target, ignore)

    assert (copied.versions, copied.commits, copied.resumed_at) == (12, 8, 0)
    assert await all_of(target) == await all_of(source)
    assert (await target.status()).last_position == (await source.status()).last_position == copied.up_to


async def test_branches_and_the_past_read_as_before(
    source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter
) -> None:
    before = await all_of(source)
    await copy_store(source, target, ignore)

    forked = (await collected(source.history(memory_id(1), None)))[-1].position
    for point in (NEWEST, branch_point("draft", ("main", forked)), branch_point(("main", forked))):
        walk = Scan(read_point=point, projection=EVERYTHING)
        assert [as_plain(one) for one in await collected(target.scan(walk))] == [
            as_plain(one) for one in await collected(source.scan(walk))
        ]
        query = SimilarityQuery(read_point=point, dense=axis(0), limit=None)
        assert await found_ids(target, query) == await found_ids(source, query)
    assert await all_of(source) == before


@pytest.mark.parametrize("commits_before", range(8))
async def test_a_copy_that_was_interrupted_goes_on_where_it_stopped(
    source: ProvenanceStorageAdapter,
    target: ProvenanceStorageAdapter,
    commits_before: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        fail_after(patched, target, commits_before)
        with pytest.raises(StoreFullError):
            await copy_store(source, target, ignore)

    copied = await copy_store(source, target, ignore)

    assert copied.commits == 8 - commits_before
    assert await all_of(target) == await all_of(source)


async def test_a_copy_that_is_done_copies_nothing_more(
    source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter
) -> None:
    done = await copy_store(source, target, ignore)
    again = await copy_store(source, target, ignore)

    assert (again.versions, again.resumed_at) == (0, done.up_to)


async def test_what_is_written_to_the_source_meanwhile_is_copied_too(
    source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = target.commit
    late = iter([a_version(20, content="late"), a_version(21, content="later")])

    async def commit_beside(one: Commit) -> CommitReceipt:
        if (version := next(late, None)) is not None:
            await source.commit(a_commit(version))
        return await commit(one)

    monkeypatch.setattr(target, "commit", commit_beside)
    copied = await copy_store(source, target, ignore)

    assert copied.versions == 14
    assert await all_of(target) == await all_of(source)


async def test_progress_counts_what_was_copied_before_too(
    source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        fail_after(patched, target, 3)
        with pytest.raises(StoreFullError):
            await copy_store(source, target, ignore)
    steps: list[int] = []

    await copy_store(source, target, steps.append)

    assert sum(steps) == 12


async def test_each_put_says_what_it_replaces(
    source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, replaced = target.commit, dict[VersionRef, VersionRef | None]()

    async def noted(one: Commit) -> CommitReceipt:
        replaced.update({put.version.ref: put.supersedes for put in one.puts})
        return await commit(one)

    monkeypatch.setattr(target, "commit", noted)
    await copy_store(source, target, ignore)

    assert replaced[VersionRef(memory_id(1), "main", 1)] is None
    assert replaced[VersionRef(memory_id(1), "main", 2)] == VersionRef(memory_id(1), "main", 1)
    assert replaced[VersionRef(memory_id(2), "draft", 2)] == VersionRef(memory_id(2), "main", 1)
    assert replaced[VersionRef(memory_id(3), "main", 2)] == VersionRef(memory_id(3), "main", 1)


@pytest.mark.parametrize("after_the_source", [-1_000_000, 1], ids=["before its end", "beyond its end"])
async def test_a_target_that_holds_something_else_is_refused_and_left_as_it_is(
    source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter, after_the_source: int
) -> None:
    last = (await source.status()).last_position
    await target.commit(a_commit(a_version(50), position=last + after_the_source))
    before = await all_of(target)

    with pytest.raises(MigrationRefusedError, match="new target"):
        await copy_store(source, target, ignore)
    assert await all_of(target) == before


async def test_what_was_erased_in_the_source_after_it_was_copied_is_named(
    source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter
) -> None:
    await copy_store(source, target, ignore)
    await source.commit(a_commit(erases=(VersionRef(memory_id(2), "main", 1),)))

    with pytest.raises(StoresDifferError, match=f"{memory_id(2)} on branch main was erased in the source after"):
        await compare_stores(source, target, ignore)


@pytest.mark.parametrize("more", [(), (a_version(70), a_version(71))], ids=["alone", "and more was written"])
async def test_what_was_erased_in_the_source_is_erased_in_the_target_by_the_next_copy(
    source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter, more: tuple[Version, ...]
) -> None:
    await copy_store(source, target, ignore)
    gone = (VersionRef(memory_id(2), "main", 1), VersionRef(memory_id(1), "main", 2))
    await source.commit(a_commit(erases=gone))
    for version in more:
        await source.commit(a_commit(version))

    copied = await copy_store(source, target, ignore)

    assert (copied.erased, copied.versions) == (2, len(more))
    assert await all_of(target) == await all_of(source)
    await source.commit(a_commit(a_version(72)))
    again = await copy_store(source, target, ignore)
    assert (again.erased, again.versions) == (0, 1)
    assert await all_of(target) == await all_of(source)


async def test_what_is_erased_in_the_target_alone_is_no_beginning_of_the_source(
    source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter
) -> None:
    await copy_store(source, target, ignore)
    later = (await target.status()).last_position + 5
    await target.commit(a_commit(erases=(VersionRef(memory_id(2), "main", 1),), position=later))
    await source.commit(a_commit(a_version(70), position=later + 1))

    with pytest.raises(MigrationRefusedError, match="something else"):
        await copy_store(source, target, ignore)


async def test_words_that_were_erased_in_the_source_are_in_no_file_of_the_copy_any_more(tmp_path: Path) -> None:
    source, target = FileAdapter(tmp_path / "source"), FileAdapter(tmp_path / "target")
    for store in (source, target):
        await store.open(PROFILE)
    secret = a_version(1, content="the Zanzibar plan")
    await source.commit(a_commit(secret, a_version(2)))
    await copy_store(source, target, ignore)
    assert files_that_hold(tmp_path / "target", b"Zanzibar")
    await source.commit(a_commit(a_version(3), erases=(secret.ref,)))

    assert (await copy_store(source, target, ignore)).note is None

    for store in (source, target):
        await store.close()
    assert files_that_hold(tmp_path / "target", b"Zanzibar") == []


async def test_two_stores_that_hold_the_same_have_one_checksum(
    source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter, new_store: "NewStore"
) -> None:
    await copy_store(source, target, ignore)
    third = new_store("third")
    await third.open(PROFILE)
    await copy_store(target, third, ignore)

    found = await compare_stores(source, target, ignore)

    assert (found.versions, found.commits, found.target_is_ahead) == (12, 8, False)
    assert found == await compare_stores(target, third, ignore) == await compare_stores(source, third, ignore)
    await third.close()


async def test_a_target_that_is_written_to_afterwards_still_holds_the_source(
    source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter
) -> None:
    await copy_store(source, target, ignore)
    await target.commit(a_commit(a_version(30)))

    assert (await compare_stores(source, target, ignore)).target_is_ahead


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("content", "another text"),
        ("summary", "another"),
        ("tags", ("green",)),
        ("metadata", {"one": 1.0, "float": 1.0, "truth": True}),
        ("importance", 0.26),
        ("vectors", None),
        ("sparse", None),
        ("provenance", None),
        ("key", None),
    ],
)
async def test_a_version_that_differs_in_anything_is_named_with_what_differs(
    source: ProvenanceStorageAdapter, field: str, changed: object
) -> None:
    ref = VersionRef(memory_id(1), "main", 2)
    [version] = await source.get([ByRef(ref)], NEWEST, EVERYTHING)
    assert version is not None

    class Altered(ModelAdapter):
        """The source as another store would show it that kept one field wrong."""

        def scan(self, scan: Scan) -> Any:
            async def batches() -> Any:
                async for batch in source.scan(scan):
                    yield [replace(one, **{field: changed}) if one.ref == ref else one for one in batch]

            return batches()

        async def status(self) -> Any:
            return await source.status()

    with pytest.raises(StoresDifferError, match=rf"version 2 of memory {memory_id(1)} on branch main .*{field}"):
        await compare_stores(source, Altered(ModelStorage()), ignore)


async def test_a_commit_that_is_missing_is_named(
    source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter
) -> None:
    await copy_store(source, target, ignore)
    receipt = await source.commit(a_commit(a_version(40)))

    with pytest.raises(StoresDifferError, match=f"the target lacks the commit at position {receipt.position}"):
        await compare_stores(source, target, ignore)


async def test_records_of_the_system_that_are_not_known_do_not_stay_behind_unsaid(
    source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter
) -> None:
    await source.commit(a_commit(a_version(41, namespace="_of_a_later_version")))
    await copy_store(source, target, ignore)

    with pytest.raises(StoresDifferError, match="migrate with the version that wrote the store"):
        await compare_stores(source, target, ignore)


async def test_a_target_of_another_model_is_refused(new_store: "NewStore", target: ProvenanceStorageAdapter) -> None:
    other = new_store("target")
    assert (await target.status()).profile == PROFILE

    with pytest.raises(ProfileMismatchError):
        await other.open(StoreProfile("another", PROFILE.dimension))


def fail_after(patched: pytest.MonkeyPatch, store: ProvenanceStorageAdapter, commits: int) -> None:
    """Let a store take some commits more and then be full."""
    commit, left = store.commit, iter(range(commits))

    async def commit_or_fail(one: Commit) -> CommitReceipt:
        if next(left, None) is None:
            raise StoreFullError("there is no space left")
        return await commit(one)

    patched.setattr(store, "commit", commit_or_fail)
