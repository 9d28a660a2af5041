"""The adapter: the port's methods over a collection on a Qdrant server or cluster."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from recollect.adapters.errors import StoreClosedError, StoreUnavailableError
from recollect.adapters.filters import Filter
from recollect.adapters.port import (
    SUMMARY,
    CheckReport,
    Commit,
    CommitReceipt,
    Match,
    Projection,
    ProvenanceStorageAdapter,
    ReadPoint,
    Scan,
    Selector,
    SimilarityQuery,
    StoreProfile,
    StoreStatus,
)
from recollect.adapters.qdrant.server import collection, heads, intents, ranking
from recollect.adapters.qdrant.server.address import ServerAddress
from recollect.adapters.qdrant.server.commits import Committer
from recollect.adapters.qdrant.server.connection import Connection
from recollect.adapters.qdrant.server.reading import HISTORY_BATCH, Reader, in_batches
from recollect.adapters.qdrant.server.scrub import Scrub
from recollect.adapters.qdrant.validation import validate_commit, validate_query
from recollect.adapters.versions import Version

INLINE_PUTS_MAX = 8
"""Larger commits are checked in a thread, so that the loop is not held up."""

_T = TypeVar("_T")


@dataclass
class OpenStore:
    """What there is while a store is open."""

    connection: Connection
    profile: StoreProfile
    reader: Reader
    committer: Committer


class ServerAdapter(ProvenanceStorageAdapter):
    """Memories in a collection of a Qdrant server or cluster.

    Any number of processes may use one collection; each sees what the others have committed. `supersedes` of a put is
    not needed here: what a version replaces follows from the order of commits on its branch. `relaxed` commits are
    durable too.
    """

    def __init__(self, address: ServerAddress) -> None:
        """Remember the address; nothing is sent before `open`."""
        self._address = address
        self._store: OpenStore | None = None

    def _opened(self) -> OpenStore:
        if self._store is None:
            raise StoreClosedError("the store is not open; call open() first")
        return self._store

    async def open(self, profile: StoreProfile | None = None) -> StoreProfile:
        """Open the store; see the port."""
        if self._store is not None:
            raise StoreUnavailableError("the store is open already; close it first")
        connection = Connection(self._address)
        try:
            held = await collection.prepare(connection, profile)
            await intents.finish(connection, held.dimension)
        except BaseException:
            await connection.close()
            raise
        reader = Reader(connection, held.dimension)
        self._store = OpenStore(connection, held, reader, Committer(connection, reader, held.dimension))
        return held

    async def close(self) -> None:
        """Write what waits, and close the connections; see the port."""
        store, self._store = self._store, None
        if store is not None:
            await store.committer.close()
            await store.connection.close()

    # --- Writing ---

    async def commit(self, commit: Commit) -> CommitReceipt:
        """Write all of a commit or nothing of it; see the port."""
        store = self._opened()
        dimension = store.profile.dimension
        if len(commit.puts) <= INLINE_PUTS_MAX:
            validate_commit(commit, dimension)
        else:
            await asyncio.to_thread(validate_commit, commit, dimension)
        if self._store is not store:
            raise StoreClosedError("the store was closed before the commit was written")
        return await store.committer.commit(commit)

    async def flush(self) -> None:
        """Do nothing: the server has logged every commit durably when it is acknowledged."""
        self._opened()

    async def compact(self) -> None:
        """Refuse where something was erased: what a server's files still hold of it only the server can remove."""
        store = self._opened()
        if await store.reader.has_erased():
            raise StoreUnavailableError(
                "a server's files cannot be compacted from here: copy the store into a new collection and drop this one"
            )

    # --- Reading ---

    async def get(
        self, selectors: Sequence[Selector], read_point: ReadPoint, projection: Projection = SUMMARY
    ) -> list[Version | None]:
        """Return what each selector names; see the port."""
        return await self._opened().reader.get(selectors, read_point, projection)

    def history(
        self, memory_id: str, read_point: ReadPoint | None, projection: Projection = SUMMARY
    ) -> AsyncGenerator[Sequence[Version], None]:
        """Stream a memory's versions, newest first; see the port."""
        return self._stream(lambda store: store.reader.history(memory_id, read_point, projection), HISTORY_BATCH, None)

    def scan(self, scan: Scan) -> AsyncGenerator[Sequence[Version], None]:
        """Stream versions in order; see the port."""
        return self._stream(lambda store: store.reader.scan(scan), scan.batch_size, scan.limit)

    def find_similar(self, query: SimilarityQuery) -> AsyncGenerator[Sequence[Match], None]:
        """Stream matches, best first; see the port."""

        def start(store: OpenStore) -> AsyncIterator[list[Match]]:
            validate_query(query, store.profile.dimension)
            return ranking.Search(store.reader, query).matches()

        return self._stream(start, query.batch_size, query.limit)

    async def count(
        self, read_point: ReadPoint, namespaces: Sequence[str] | None = None, matching: Filter | None = None
    ) -> int:
        """Count visible versions; see the port."""
        return await self._opened().reader.count(read_point, namespaces, matching)

    async def _stream(
        self, start: Callable[[OpenStore], AsyncIterator[Iterable[_T]]], size: int, limit: int | None
    ) -> AsyncGenerator[list[_T], None]:
        """Give out groups in batches, as long as the store is open."""
        store = self._opened()
        async for batch in in_batches(start(store), size, limit):
            yield batch
            if self._store is not store:
                raise StoreClosedError("the store was closed while a stream was read")

    # --- The store ---

    async def check(self) -> CheckReport:
        """Read everything and name what is damaged; see the port."""
        store = self._opened()
        return await Scrub(store.connection, store.reader).run()

    async def status(self) -> StoreStatus:
        """Return facts about the open store; see the port."""
        store = self._opened()
        head = await heads.read(store.connection)
        notes = [] if store.connection.note is None else [store.connection.note]
        if self._address.api_key and not self._address.tls:
            notes.append("the API key is sent without TLS; use qdrants:// where the network is not your own")
        return StoreStatus(
            backend="qdrant",
            location=str(self._address),
            profile=store.profile,
            versions=head.versions,
            last_position=head.applied,
            bytes_on_disk=0,  # the server does not say
            notes=tuple(notes),
        )
