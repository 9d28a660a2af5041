"""A migration from beginning to end: both stores opened, one copied into the other, and the two compared."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager

from recollect.adapters.port import ProvenanceStorageAdapter, StoreProfile
from recollect.adapters.registry import create_adapter
from recollect.service.errors import MigrationRefusedError
from recollect.service.migration.answers import MigrationReport
from recollect.service.migration.comparing import Advance, compare_stores
from recollect.service.migration.copying import copy_store

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
            copied = None
            if not verify_only:
                with show_progress("copying", facts.versions) as advance:
                    copied = await copy_store(source, target, advance)
            with show_progress("comparing", (await source.status()).versions) as advance:
                compared = await compare_stores(source, target, advance, up_to=copied.up_to if copied else None)
    return MigrationReport(
        source=facts.location,
        target=beside.location,
        model_id=profile.model_id,
        dimension=profile.dimension,
        copied=copied,
        compared=compared,
    )


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
