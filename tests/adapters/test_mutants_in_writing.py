"""The suite can fail: each of these backends breaks a promise of writing or keeping, and is caught."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from recollect.adapters import clock
from recollect.adapters.errors import ConflictError, InvalidVectorError
from recollect.adapters.port import (
    CheckReport,
    Commit,
    CommitReceipt,
    HeadIs,
    KeyIs,
    Precondition,
    ReadPoint,
    StoreProfile,
    VersionIs,
)
from recollect.adapters.testing import ModelAdapter
from recollect.adapters.versions import Version, VersionRef

pytest_plugins = ["pytester"]

SuiteFailures = Callable[[type[ModelAdapter], str], set[str]]
CAUGHT_BY: dict[type[ModelAdapter], str] = {}
"""By broken backend, the test of the suite that must fail."""


def caught_by(test: str) -> Callable[[type[ModelAdapter]], type[ModelAdapter]]:
    """Register a broken backend with the test that must catch it."""

    def register(mutant: type[ModelAdapter]) -> type[ModelAdapter]:
        CAUGHT_BY[mutant] = test
        return mutant

    return register


@caught_by("all_puts_of_a_commit_stand_at_its_position")
class DropsTheLastPut(ModelAdapter):
    async def commit(self, commit: Commit) -> CommitReceipt:
        kept = commit.puts[:-1] if len(commit.puts) > 1 else commit.puts
        return await super().commit(replace(commit, puts=kept))


@caught_by("a_ref_that_is_there_already_conflicts_and_nothing_is_written")
class WritesBeforeItChecks(ModelAdapter):
    async def commit(self, commit: Commit) -> CommitReceipt:
        try:
            return await super().commit(commit)
        except ConflictError:
            for put in commit.puts[:1]:
                if put.version.ref not in {version.ref for version in self._storage.versions}:
                    await super().commit(Commit(puts=(put,), read_point=commit.read_point))
            raise


@caught_by("a_ref_that_is_there_already_conflicts_and_nothing_is_written")
class CommitsPutByPut(ModelAdapter):
    async def commit(self, commit: Commit) -> CommitReceipt:
        receipt = await super().commit(replace(commit, puts=commit.puts[:1]))
        for put in commit.puts[1:]:
            receipt = await super().commit(Commit(puts=(put,), read_point=commit.read_point))
        return receipt


@caught_by("a_ref_that_is_there_already_conflicts_and_nothing_is_written")
class OverwritesARefThatIsThere(ModelAdapter):
    async def commit(self, commit: Commit) -> CommitReceipt:
        new = {put.version.ref for put in commit.puts}
        self._storage.versions[:] = [version for version in self._storage.versions if version.ref not in new]
        return await super().commit(commit)


@caught_by("a_commit_that_expects_what_is_not_so_conflicts_and_writes_nothing")
class IgnoresVersions(ModelAdapter):
    ignored: type = VersionIs

    def _judge(self, precondition: Precondition, read_point: ReadPoint) -> tuple[bool, VersionRef | str | int | None]:
        holds, found = super()._judge(precondition, read_point)
        return holds or isinstance(precondition, self.ignored), found


@caught_by("of_commits_with_the_same_precondition_exactly_one_succeeds")
class IgnoresKeys(IgnoresVersions):
    ignored = KeyIs


@caught_by("a_tombstone_is_the_head_of_its_branch")
class IgnoresHeads(IgnoresVersions):
    ignored = HeadIs


@caught_by("a_precondition_looks_from_the_read_point_of_its_commit")
class JudgesFromMain(ModelAdapter):
    def _judge(self, precondition: Precondition, read_point: ReadPoint) -> tuple[bool, VersionRef | str | int | None]:
        return super()._judge(precondition, ReadPoint.main(read_point.at_ms))


@caught_by("a_commit_that_expects_what_is_not_so_conflicts_and_writes_nothing")
class DoesNotSayWhatItFound(ModelAdapter):
    def _judge(self, precondition: Precondition, read_point: ReadPoint) -> tuple[bool, VersionRef | str | int | None]:
        return super()._judge(precondition, read_point)[0], None


@caught_by("of_commits_with_the_same_precondition_exactly_one_succeeds")
class AwaitsBetweenCheckAndWrite(ModelAdapter):
    async def commit(self, commit: Commit) -> CommitReceipt:
        for precondition in commit.preconditions:
            if not self._judge(precondition, commit.read_point)[0]:
                return await super().commit(commit)
        await asyncio.sleep(0)
        return await super().commit(replace(commit, preconditions=()))


@caught_by("positions_rise_from_commit_to_commit")
class RepeatsPositions(ModelAdapter):
    async def commit(self, commit: Commit) -> CommitReceipt:
        self._storage.clock = lambda last: max(last, clock.next_position(0) // 4096 * 4096)
        return await super().commit(commit)


@caught_by("the_windows_of_a_text_are_found_as_one_memory_by_the_best")
class LooksAtTheFirstWindowOnly(ModelAdapter):
    async def commit(self, commit: Commit) -> CommitReceipt:
        puts = tuple(
            put
            if put.version.vectors is None
            else replace(put, version=replace(put.version, vectors=put.version.vectors[:1]))
            for put in commit.puts
        )
        self._validate(commit)
        return await super().commit(replace(commit, puts=puts))


@caught_by("a_vector_that_cannot_be_ranked_is_refused_and_nothing_is_written")
class AcceptsAnyVector(ModelAdapter):
    async def commit(self, commit: Commit) -> CommitReceipt:
        try:
            return await super().commit(commit)
        except InvalidVectorError:
            return CommitReceipt(position=self._storage.clock(self._storage.last_position), durable=True)


@caught_by("another_profile_is_refused_and_the_store_is_unharmed")
class AcceptsAnyProfile(ModelAdapter):
    async def open(self, profile: StoreProfile | None = None) -> StoreProfile:
        return await super().open(self._storage.profile or profile)


@caught_by("a_closed_store_refuses_every_use")
class WorksWhenClosed(ModelAdapter):
    async def close(self) -> None:
        return


@caught_by("reopening_finds_everything_as_it_was")
class LosesEverythingOnClose(ModelAdapter):
    async def close(self) -> None:
        if self._is_open:
            self._storage.versions.clear()
        await super().close()


@caught_by("a_check_reads_every_version_of_a_sound_store_and_finds_nothing")
class ChecksNothing(ModelAdapter):
    async def check(self) -> CheckReport:
        return CheckReport(versions_checked=0, bytes_checked=0, findings=())


@caught_by("metadata_comes_back_with_its_types")
class TakesTrueForOne(ModelAdapter):
    async def commit(self, commit: Commit) -> CommitReceipt:
        def metadata(version: Version) -> dict[str, Any] | None:
            if version.metadata is None:
                return None
            return {name: 1 if value is True else value for name, value in version.metadata.items()}

        puts = tuple(replace(put, version=replace(put.version, metadata=metadata(put.version))) for put in commit.puts)
        return await super().commit(replace(commit, puts=puts))


@caught_by("hostile_names_come_back_exactly_wherever_they_stand")
class CutsNamesAtNul(ModelAdapter):
    async def commit(self, commit: Commit) -> CommitReceipt:
        puts = tuple(
            replace(put, version=replace(put.version, namespace=put.version.namespace.split("\x00")[0]))
            for put in commit.puts
        )
        return await super().commit(replace(commit, puts=puts))


@caught_by("a_cancelled_commit_is_there_wholly_or_not_at_all")
class IsHalfDoneWhenCancelled(ModelAdapter):
    async def commit(self, commit: Commit) -> CommitReceipt:
        receipt = await super().commit(replace(commit, puts=commit.puts[:2]))
        for put in commit.puts[2:]:
            await asyncio.sleep(0)
            receipt = await super().commit(Commit(puts=(put,), read_point=commit.read_point))
        return receipt


@caught_by("a_commit_that_expects_what_is_so_is_written")
class RefusesEveryExpectation(ModelAdapter):
    def _judge(self, precondition: Precondition, read_point: ReadPoint) -> tuple[bool, VersionRef | str | int | None]:
        return False, super()._judge(precondition, read_point)[1]


@caught_by("a_durable_commit_says_that_it_is_durable")
class IsNeverDurable(ModelAdapter):
    async def commit(self, commit: Commit) -> CommitReceipt:
        return replace(await super().commit(commit), durable=False)


@caught_by("content_comes_back_to_the_letter")
class StripsContent(ModelAdapter):
    async def commit(self, commit: Commit) -> CommitReceipt:
        puts = tuple(
            replace(put, version=replace(put.version, content=(put.version.content or "").strip()))
            for put in commit.puts
        )
        return await super().commit(replace(commit, puts=puts))


@caught_by("closing_leaves_no_task_and_no_thread")
class LeavesATask(ModelAdapter):
    async def open(self, profile: StoreProfile | None = None) -> StoreProfile:
        self.task = asyncio.ensure_future(asyncio.Event().wait())
        return await super().open(profile)


@caught_by("a_store_that_does_not_exist_needs_a_profile")
class MakesUpAProfile(ModelAdapter):
    async def open(self, profile: StoreProfile | None = None) -> StoreProfile:
        return await super().open(profile or self._storage.profile or StoreProfile("made-up", 8))


@pytest.mark.parametrize("mutant", CAUGHT_BY, ids=lambda mutant: mutant.__name__)
def test_the_suite_catches_a_broken_backend(suite_failures: SuiteFailures, mutant: type[ModelAdapter]) -> None:
    assert f"test_{CAUGHT_BY[mutant]}" in suite_failures(mutant, CAUGHT_BY[mutant])
