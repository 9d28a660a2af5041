"""Compares two stores, a commit at a time, and says where they differ first."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from hashlib import sha256

from msgspec.structs import replace

from recollect.adapters.clock import POSITION_MAX
from recollect.adapters.port import Projection, ProvenanceStorageAdapter
from recollect.adapters.versions import Version, VersionRef, stub_of
from recollect.service.errors import ErasedMeanwhileError, StoresDifferError
from recollect.service.migration.answers import Compared
from recollect.service.migration.digests import digest_of
from recollect.service.migration.walking import EVERYTHING, commits_of

Advance = Callable[[int], None]


async def compare_stores(
    source: ProvenanceStorageAdapter,
    target: ProvenanceStorageAdapter,
    advance: Advance,
    *,
    up_to: int | None = None,
    projection: Projection = EVERYTHING,
    erased: list[VersionRef] | None = None,
) -> Compared:
    """Read both stores and compare all that they hold, up to the last position of the source.

    Args:
        source: One open store.
        target: The other.
        advance: Told how many more versions are compared.
        up_to: Another position up to which to compare.
        projection: Which parts to compare; all if not given.
        erased: Takes up the versions that only the source has erased; then they are no difference.

    Returns:
        What both hold.

    Raises:
        StoresDifferError: They do not hold the same. The message names the first difference.
        ErasedMeanwhileError: The first difference is something that only the source has erased.
    """
    end = (await source.status()).last_position if up_to is None else up_to
    checksum, versions, commits = sha256(), 0, 0
    async with (
        aclosing(commits_of(source, up_to=end, projection=projection)) as left,
        aclosing(commits_of(target, up_to=end, projection=projection)) as right,
    ):
        while True:
            ours, theirs = await _next(left), await _next(right)
            if not ours and not theirs:
                break
            digest = digest_of(ours)
            if digest != digest_of(theirs):
                gone = _erased_since(ours, theirs)
                if gone is None:
                    raise StoresDifferError(_difference(ours, theirs))
                if erased is None:
                    raise ErasedMeanwhileError(_difference(ours, theirs))
                erased += gone
            checksum.update(digest)
            versions += len(ours)
            commits += 1
            advance(len(ours))
    await _nothing_hidden(source, versions, end)
    return Compared(
        versions=versions,
        commits=commits,
        checksum=checksum.hexdigest(),
        up_to=end,
        target_is_ahead=(await target.status()).last_position > end,
    )


async def _next(commits: AsyncGenerator[list[Version], None]) -> list[Version]:
    return await anext(commits, [])


def _erased_since(ours: list[Version], theirs: list[Version]) -> list[VersionRef] | None:
    """Return what the source has erased of a commit; None where the two differ in anything else."""
    if [mine.ref for mine in ours] != [other.ref for other in theirs]:
        return None
    gone: list[VersionRef] = []
    for mine, other in zip(ours, theirs, strict=True):
        if digest_of([mine]) == digest_of([other]):
            continue
        if not mine.erased or digest_of([mine]) != digest_of([replace(stub_of(other), provenance=mine.provenance)]):
            return None
        gone.append(mine.ref)
    return gone


async def _nothing_hidden(source: ProvenanceStorageAdapter, versions: int, end: int) -> None:
    """Refuse a store with records in namespaces of the system that this version does not know, and so did not see."""
    status = await source.status()
    if status.last_position == end and status.versions != versions:
        raise StoresDifferError(
            f"the source holds {status.versions:,} versions, of which {versions:,} could be read: the others lie in "
            "namespaces of the system that this version of Recollect does not know; migrate with the version that "
            "wrote the store"
        )


def _difference(ours: list[Version], theirs: list[Version]) -> str:
    """Say what the first difference is, by refs and positions: what memories hold is not for messages."""
    positions = [commit[0].position if commit else POSITION_MAX for commit in (ours, theirs)]
    if positions[0] < positions[1]:
        return f"the target lacks the commit at position {positions[0]}, which holds {_named(ours[0])}"
    if positions[0] > positions[1]:
        return f"the target holds a commit at position {positions[1]} that the source lacks, with {_named(theirs[0])}"
    for mine in ours:
        match = next((other for other in theirs if other.ref == mine.ref), None)
        if match is None:
            return f"the target lacks {_named(mine)} at position {mine.position}"
        if digest_of([mine]) == digest_of([match]):
            continue
        if mine.erased:
            return (
                f"{_named(mine)} was erased in the source after it had been copied; copy again, which erases it in the "
                "target too"
            )
        return f"{_named(mine)} at position {mine.position} differs in {', '.join(_differing(mine, match))}"
    added = next(other for other in theirs if all(other.ref != mine.ref for mine in ours))
    return f"the target holds {_named(added)} at position {added.position}, which the source lacks"


def _differing(mine: Version, other: Version) -> list[str]:
    found = [
        name
        for name in Version.__struct_fields__
        if digest_of([replace(mine, **{name: getattr(other, name)})]) != digest_of([mine])
    ]
    return found or ["its fields"]


def _named(version: Version) -> str:
    return f"version {version.number} of memory {version.memory_id} on branch {version.branch}"
