"""Copies a store into another one, commit by commit, each at its position; interrupted, it goes on where it stopped."""

from collections.abc import Sequence
from contextlib import aclosing

from recollect.adapters.clock import POSITION_MAX
from recollect.adapters.errors import StorageError
from recollect.adapters.port import (
    SUMMARY,
    BranchSpan,
    ById,
    Commit,
    ProvenanceStorageAdapter,
    Put,
    ReadPoint,
)
from recollect.adapters.versions import MAIN, Version, VersionRef
from recollect.service.branching import records
from recollect.service.errors import MigrationRefusedError, StoresDifferError
from recollect.service.migration.answers import Copied
from recollect.service.migration.comparing import Advance, compare_stores
from recollect.service.migration.walking import commits_of


async def copy_store(source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter, advance: Advance) -> Copied:
    """Write into the target what the source holds and the target does not yet.

    A commit is copied as one commit at the same position, so the target is at every moment the source as it was at some
    position, whatever interrupts the copy. What is committed to the source meanwhile is copied too. What the target
    holds already and the source has erased since is erased in it first.

    Args:
        source: An open store, which is only read.
        target: An open store that is empty, or holds the beginning of the source.
        advance: Told how many more versions the target holds, those of an earlier run too.

    Raises:
        MigrationRefusedError: The target holds something else.
        StorageError: One of the stores failed. What was copied until then stays, and another run goes on from there.
    """
    resumed_at, erased = await _held_already(source, target, advance)
    done, erases = resumed_at, tuple(erased)
    lineages = _Lineages(target)
    versions = commits = 0
    # Whoever writes to the source while it is copied moves its end; the walk follows until it has caught up.
    while (end := (await source.status()).last_position) > done:
        async for commit in commits_of(source, after=done, up_to=end):
            await _copy(target, commit, lineages, erases)
            erases = ()
            versions += len(commit)
            commits += 1
            advance(len(commit))
        done = end
    if erases:  # by a commit that holds nothing else, in front of all that the source may write from now on
        position = resumed_at + 1
        await target.commit(Commit(puts=(), erases=erases, read_point=ReadPoint.main(), position=position))
    await target.flush()
    note = await _cleaned(target) if resumed_at else None
    return Copied(versions=versions, commits=commits, erased=len(erased), note=note, resumed_at=resumed_at, up_to=done)


async def _cleaned(target: ProvenanceStorageAdapter) -> str | None:
    """Take what was erased, now or by a run that was interrupted, out of the files; return why that failed."""
    try:
        await target.compact()
    except StorageError as error:
        return str(error)
    return None


async def _held_already(
    source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter, advance: Advance
) -> tuple[int, list[VersionRef]]:
    """Return the position up to which the target holds the source (0 if it is empty), and what it must erase."""
    end = (await source.status()).last_position
    last = (await target.status()).last_position
    erased: list[VersionRef] = []
    if last == 0:
        return 0, erased
    if last > end:
        async with aclosing(commits_of(target, after=end, projection=SUMMARY)) as beyond:
            if await anext(beyond, None) is not None:
                raise MigrationRefusedError(
                    "the target has been written to after the last commit of the source, so nothing can be added from "
                    "it; give a new target, or compare the two with --verify-only"
                )
    try:
        # Summaries tell whether it is the same store; whether every byte is the same is found out at the end.
        await compare_stores(source, target, advance, up_to=last, projection=SUMMARY, erased=erased)
    except StoresDifferError as error:
        raise MigrationRefusedError(
            f"the target holds something else than the beginning of the source: {error}; give a new target"
        ) from error
    return min(last, end), erased


async def _copy(
    target: ProvenanceStorageAdapter,
    versions: Sequence[Version],
    lineages: "_Lineages",
    erases: tuple[VersionRef, ...],
) -> None:
    replaced = await _replaced(target, versions, lineages)
    await target.commit(
        Commit(
            puts=tuple(Put(version, replaced.get(version.ref)) for version in versions),
            erases=erases,
            read_point=ReadPoint.main(),
            durability="relaxed",  # a cut of power takes the last commits at most, and the next run writes them again
            position=versions[0].position,
        )
    )


async def _replaced(
    target: ProvenanceStorageAdapter, versions: Sequence[Version], lineages: "_Lineages"
) -> dict[VersionRef, VersionRef]:
    """Return what each version replaces on its branch: the version of its memory that is visible before it.

    Backends that keep marks need it. It is not stored with a version, but follows from those that were copied before.
    """
    replaced: dict[VersionRef, VersionRef] = {}
    for branch in {version.branch for version in versions}:
        later = [version for version in versions if version.branch == branch and version.number > 1]
        if not later:
            continue
        point = ReadPoint(await lineages.of(branch))
        before = await target.get([ById(version.memory_id) for version in later], point)
        replaced |= {new.ref: old.ref for new, old in zip(later, before, strict=True) if old is not None}
    return replaced


class _Lineages:
    """What branches were forked from, as far as the target holds their records already."""

    def __init__(self, target: ProvenanceStorageAdapter) -> None:
        self._target = target
        self._known: dict[str, tuple[BranchSpan, ...]] = {MAIN: (BranchSpan(MAIN, POSITION_MAX),)}

    async def of(self, branch: str) -> tuple[BranchSpan, ...]:
        """Return the lineage of a branch, by its id; without a record of it, the branch alone."""
        if branch not in self._known:
            held = await records.find(self._target, records.name_of_id(branch))
            if held is None or held.record.id != branch:
                return (BranchSpan(branch, POSITION_MAX),)
            self._known[branch] = held.record.spans()
        return self._known[branch]
