"""A migration from beginning to end: both stores opened, one copied into the other, and the two compared."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager

from msgspec.structs import replace

from recollect.adapters.port import ProvenanceStorageAdapter, StoreProfile
from recollect.adapters.registry import create_adapter
from recollect.service.errors import ErasedMeanwhileError, MigrationRefusedError
from recollect.service.migration.answers import Compared, Copied, MigrationReport
from recollect.service.migration.comparing import Advance, compare_stores
from recollect.service.migration.copying import copy_store

COPIES_MAX = 3
"""How often at most a copy is made, where something is erased in the source before the two are compared."""

ShowProgress = Callable[[str, int], AbstractContextManager[Advance]]
"""Takes what is done and to how many versions; gives what is told of each step."""


async def migrate_store(
    source_url: str, target_url: str, show_progress: ShowProgress, *, verify_only: bool = False
) -> MigrationReport:
    """Copy a store into another one and compare them; the source is only read.

    Args:
        source_url: The store to copy.
        target_url: Where to; it is made if it is not there, and gone on with if it holds the beginning of the source.
        show_progress: Shows each of the two parts.
        verify_only: Copy nothing, and compare what is there.

    Raises:
        MigrationRefusedError: The target is the source, or holds something else than its beginning.
        StoresDifferError: In the end they do not hold the same; the message names the first difference.
        StorageError: One of the stores cannot be opened, or failed.
    """
    async with _opened(source_url, None) as (source, profile):
        facts = await source.status()
        async with _opened(target_url, None if verify_only else profile) as (target, other):
            beside = await target.status()
            if (facts.backend, facts.location) == (beside.backend, beside.location):
                raise MigrationRefusedError(f"{source_url} and {target_url} are the same store; give two")
            if other != profile:
                raise MigrationRefusedError(f"the target holds vectors of {other.model_id}, not of {profile.model_id}")
            if verify_only:
                copied, compared = None, await _compared(source, target, show_progress)
            else:
                copied, compared = await _copied(source, target, show_progress)
    return MigrationReport(
        source=facts.location,
        target=beside.location,
        model_id=profile.model_id,
        dimension=profile.dimension,
        copied=copied,
        compared=compared,
    )


async def _copied(
    source: ProvenanceStorageAdapter, target: ProvenanceStorageAdapter, show_progress: ShowProgress
) -> tuple[Copied, Compared]:
    """Copy and compare, again where something was erased in the source in between."""

    async def copy() -> Copied:
        with show_progress("copying", (await source.status()).versions) as advance:
            return await copy_store(source, target, advance)

    copied = await copy()
    for _ in range(COPIES_MAX - 1):
        try:
            return copied, await _compared(source, target, show_progress, up_to=copied.up_to)
        except ErasedMeanwhileError:
            copied = _together(copied, await copy())
    return copied, await _compared(source, target, show_progress, up_to=copied.up_to)


def _together(first: Copied, then: Copied) -> Copied:
    """Return what two runs have done."""
    return replace(
        then,
        versions=first.versions + then.versions,
        commits=first.commits + then.commits,
        erased=first.erased + then.erased,
        resumed_at=first.resumed_at,
    )


async def _compared(
    source: ProvenanceStorageAdapter,
    target: ProvenanceStorageAdapter,
    show_progress: ShowProgress,
    *,
    up_to: int | None = None,
) -> Compared:
    with show_progress("comparing", (await source.status()).versions) as advance:
        return await compare_stores(source, target, advance, up_to=up_to)


@asynccontextmanager
async def _opened(
    url: str, profile: StoreProfile | None
) -> AsyncIterator[tuple[ProvenanceStorageAdapter, StoreProfile]]:
    """Open a store, and close it at the end; without a profile it must be there."""
    adapter = create_adapter(url)
    held = await adapter.open(profile)
    try:
        yield adapter, held
    finally:
        await adapter.close()
