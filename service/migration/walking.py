"""Walks all that a store holds, one commit after the other: every branch, tombstones, and the system's records."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing

from recollect.adapters.clock import POSITION_MAX
from recollect.adapters.port import Cursor, Order, Projection, ProvenanceStorageAdapter, Scan
from recollect.adapters.versions import Version
from recollect.service.namespaces import SYSTEM_NAMESPACES

EVERYTHING = Projection(content=True, provenance=True, vectors=True)
BATCH_VERSIONS = 64
"""How many versions are read at once: with a megabyte of text in each, what a small machine can hold."""


async def commits_of(
    store: ProvenanceStorageAdapter, *, after: int = 0, up_to: int = POSITION_MAX, projection: Projection = EVERYTHING
) -> AsyncGenerator[list[Version], None]:
    """Stream the versions of a store, those of one commit together, in the order of commits.

    Args:
        store: An open store.
        after: Only commits after this position.
        up_to: Only commits up to this position, inclusive. One that the store had reached before makes the walk a
            snapshot, also while others write.
        projection: Which parts to load.
    """
    async with AsyncExitStack() as stack:
        walks: list[_Walk] = []
        # `None` stands for the namespaces of users, which the system's are never among.
        for namespaces in (None, SYSTEM_NAMESPACES):
            scan = Scan(
                read_point=None,
                namespaces=namespaces,
                order=Order.POSITION,
                after=Cursor(after + 1, "") if after else None,  # before anything that has the next position
                batch_size=BATCH_VERSIONS,
                projection=projection,
            )
            walks.append(_Walk(await stack.enter_async_context(aclosing(store.scan(scan)))))
        while True:
            position = min([await walk.position() for walk in walks])
            if position > up_to or position == _END:
                return
            yield sorted([version for walk in walks for version in await walk.take(position)], key=_place)


_END = POSITION_MAX + 1


class _Walk:
    """One scan, read a commit at a time."""

    def __init__(self, batches: AsyncGenerator[Sequence[Version], None]) -> None:
        self._batches = batches
        self._ahead: list[Version] = []  # the next one last

    async def position(self) -> int:
        """Return the position of the next commit, past every other at the end."""
        if not self._ahead:
            batch: Sequence[Version] | None = await anext(self._batches, None)
            self._ahead = [*reversed(batch or ())]
        return self._ahead[-1].position if self._ahead else _END

    async def take(self, position: int) -> list[Version]:
        """Return the versions of the next commit, if it has this position."""
        taken: list[Version] = []
        while await self.position() == position:
            taken.append(self._ahead.pop())
        return taken


def _place(version: Version) -> tuple[str, str, int]:
    return (version.memory_id, version.branch, version.number)
