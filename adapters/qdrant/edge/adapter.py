"""The adapter: the port's methods, answered by the engine's process of the store's folder.

Every adapter of a folder, in whichever process, is connected with the same engine. When its process dies, what was
asked is asked again of a new one: a commit carries a token by which it is known if it is in the journal already.
"""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from recollect.adapters.errors import (
    InvalidRequestError,
    StorageError,
    StoreBusyError,
    StoreClosedError,
    StoreDamagedError,
    StoreFullError,
    StoreUnavailableError,
)
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
from recollect.adapters.qdrant.edge import launching, wire
from recollect.adapters.qdrant.edge.connection import Connection, EngineLostError
from recollect.adapters.qdrant.edge.journal import TOKEN_BYTES
from recollect.adapters.qdrant.edge.launching import Reached
from recollect.adapters.qdrant.edge.protocol import Kind
from recollect.adapters.qdrant.folder import SPACE_BYTES_MIN, free_bytes
from recollect.adapters.qdrant.points import StoredMatch, StoredVersion, read_matches, read_versions
from recollect.adapters.qdrant.validation import validate_commit, validate_query
from recollect.adapters.versions import Version

SCHEME = "edge:"
INLINE_PUTS_MAX = 8
"""Larger commits are prepared in a thread, so that the loop is not held up."""

INLINE_BYTES_MAX = 256 * 1024
"""Larger answers are read in a thread, likewise."""

WAIT_COMMITS_MAX = 256
"""How many commits of an adapter are under way at once; the others wait before they are sent."""

OPEN_LIMIT_S = 120.0
ANSWER_LIMIT_S = 60.0
CLOSE_LIMIT_S = 120.0
DEATHS_MAX = 5
DEATHS_WITHIN_S = 60.0
BACKOFF_S = 0.05
_T = TypeVar("_T")
_logger = logging.getLogger(__name__)


def from_url(url: str) -> "EdgeAdapter":
    """Return a closed adapter for `edge:PATH`; all after the colon is the path, taken as it stands.

    Raises:
        InvalidRequestError: There is no path, or it cannot name a folder.
    """
    path = url.removeprefix(SCHEME)
    if not url.startswith(SCHEME) or not path or "\0" in path:
        raise InvalidRequestError(f"{url!r:.120} names no folder; write edge:PATH, such as edge:/var/lib/recollect")
    return EdgeAdapter(Path(path))


def _closed() -> StoreClosedError:
    return StoreClosedError("the store is not open; call open() first")


class EdgeAdapter(ProvenanceStorageAdapter):
    """Memories in a folder, held by the embedded Qdrant engine in a process of its own.

    Several processes may have the same folder open; they share the engine's process, which ends with the last of them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._profile: StoreProfile | None = None
        self._connection: Connection | None = None
        self._reached: Reached | None = None
        self._connecting = asyncio.Lock()
        self._queue = asyncio.Semaphore(WAIT_COMMITS_MAX)
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX)

    @property
    def engine_pid(self) -> int:
        """The number of the engine's process."""
        if self._reached is None:
            raise _closed()
        return self._reached.pid

    # --- The engine's process ---------------------------------------------------------------------------

    async def open(self, profile: StoreProfile | None = None) -> StoreProfile:
        """Open the store; see the port."""
        if self._connection is not None:
            raise StoreUnavailableError("the store is open already; close it first")
        self._connection, self._profile = await self._connect(profile)
        return self._profile

    async def _connect(self, profile: StoreProfile | None) -> tuple[Connection, StoreProfile]:
        while True:
            reached = await asyncio.to_thread(launching.reach, self._folder, profile)
            connection = Connection(self._lost)
            await asyncio.get_running_loop().create_unix_connection(lambda: connection, sock=reached.connection)  # noqa: B023 - called at once
            try:
                answer = await connection.ask(Kind.OPEN, wire.encode(wire.Open(profile)), OPEN_LIMIT_S)
            except EngineLostError as error:
                if reached.process is None:
                    continue  # It was about to end; there is room for a new one.
                raise self._died_opening(await asyncio.to_thread(launching.await_end, reached.process)) from error
            except StoreBusyError as error:
                connection.close()
                raise await self._overdue(reached) from error
            except BaseException:
                connection.close()
                await self._ended(reached)
                raise
            self._reached = reached
            return connection, wire.decode(answer, StoreProfile)

    def _died_opening(self, status: int | None) -> StorageError:
        free = free_bytes(self._folder)
        if free < SPACE_BYTES_MIN:
            return StoreFullError(
                f"no space left: the engine could not open the store in {self._folder} with {free / 2**20:.0f} MiB "
                f"free; free some and open it again, nothing is lost"
            )
        return StoreDamagedError(
            f"the engine died while it opened the store in {self._folder} (status {status}); if it does so again, "
            f"restore the store from a backup",
            place=str(self._folder),
        )

    async def _overdue(self, reached: Reached) -> StorageError:
        """Return what to say when a store was not opened in time. A process of our own is ended."""
        if reached.process is None:
            return StoreBusyError(
                f"the engine's process {reached.pid} of the store in {self._folder} did not answer within "
                f"{OPEN_LIMIT_S:.0f} s; try again, or end that process"
            )
        reached.process.kill()
        await self._ended(reached)
        return StoreDamagedError(
            f"the engine did not open the store in {self._folder} within {OPEN_LIMIT_S:.0f} s and was ended; restore "
            f"the store from a backup if it does so again",
            place=str(self._folder),
        )

    async def _ended(self, reached: Reached) -> None:
        if reached.process is not None:
            await asyncio.to_thread(launching.await_end, reached.process)

    def _lost(self, connection: Connection, waiting: int) -> None:
        if connection is not self._connection:
            return
        self._deaths.append(time.monotonic())
        launching.reap()
        process = None if self._reached is None else self._reached.process
        _logger.warning(
            "the engine's process of the store in %s has ended (status %s) while %d requests were under way; it is "
            "started again with the next one",
            self._folder,
            "unknown" if process is None else process.poll(),
            waiting,
        )

    def _current(self) -> Connection:
        if self._connection is None:
            raise _closed()
        return self._connection

    async def _live(self) -> Connection:
        """Return a connection that is not lost, to a new process if need be."""
        connection = self._current()
        if not connection.lost:
            return connection
        async with self._connecting:
            if self._current().lost:
                await self._reconnect()
            return self._current()

    async def _reconnect(self) -> None:
        now = time.monotonic()
        recent = sum(now - death < DEATHS_WITHIN_S for death in self._deaths)
        if recent >= DEATHS_MAX:
            raise StoreUnavailableError(
                f"the engine's process of the store in {self._folder} has died {recent} times within "
                f"{DEATHS_WITHIN_S:.0f} s and is not started again for now; look at what it wrote to standard error, "
                f"and check the store"
            )
        if recent > 1:
            await asyncio.sleep(BACKOFF_S * 2**recent)
        connection, _ = await self._connect(self._profile)
        if self._connection is None:
            connection.close()
        else:
            self._connection = connection

    async def close(self) -> None:
        """Make everything durable and release the store; see the port."""
        connection, self._connection = self._connection, None
        reached, self._reached = self._reached, None
        if connection is None:
            return
        connection.end(_closed())
        try:
            last = wire.decode(await connection.ask(Kind.CLOSE, b"", CLOSE_LIMIT_S), bool)
        except EngineLostError:
            last = True
        finally:
            connection.close()
            # The transport closes in the loop's next turn.
            await asyncio.sleep(0)
        if last and reached is not None:
            await self._ended(reached)
        launching.reap()

    async def _ask(self, kind: Kind, body: bytes) -> bytes:
        """Ask the engine, and a new one if its process ends meanwhile: as often as a new one is started."""
        limit_s = None if kind is Kind.COMPACT else ANSWER_LIMIT_S
        while True:
            connection = await self._live()
            try:
                return await connection.ask(kind, body, limit_s)
            except EngineLostError:
                continue

    async def _read(self, size_bytes: int, work: Callable[[], _T]) -> _T:
        return work() if size_bytes <= INLINE_BYTES_MAX else await asyncio.to_thread(work)

    def _dimension(self) -> int:
        if self._connection is None or self._profile is None:
            raise _closed()
        return self._profile.dimension

    # --- Writing ----------------------------------------------------------------------------------------

    async def commit(self, commit: Commit) -> CommitReceipt:
        """Write all of a commit or nothing of it; see the port."""
        dimension = self._dimension()
        async with self._queue:

            def prepare() -> bytes:
                validate_commit(commit, dimension)
                return wire.encode(wire.write_of(os.urandom(TOKEN_BYTES), commit))

            small = len(commit.puts) <= INLINE_PUTS_MAX
            body = prepare() if small else await asyncio.to_thread(prepare)
            return wire.decode(await self._ask(Kind.COMMIT, body), CommitReceipt)

    async def flush(self) -> None:
        """Make every acknowledged commit durable; see the port."""
        await self._ask(Kind.FLUSH, b"")

    async def compact(self) -> None:
        """Leave nothing of erased versions in any file; see the port."""
        await self._ask(Kind.COMPACT, b"")

    # --- Reading ----------------------------------------------------------------------------------------

    async def get(
        self, selectors: Sequence[Selector], read_point: ReadPoint, projection: Projection = SUMMARY
    ) -> list[Version | None]:
        """Return what each selector names; see the port."""
        dimension = self._dimension()
        answer = await self._ask(Kind.GET, wire.encode(wire.Get(tuple(selectors), read_point, projection)))

        def read() -> list[Version | None]:
            found = wire.decode(answer, list[StoredVersion | None])
            versions = iter(read_versions([stored for stored in found if stored is not None], dimension))
            return [None if stored is None else next(versions) for stored in found]

        return await self._read(len(answer), read)

    def history(
        self, memory_id: str, read_point: ReadPoint | None, projection: Projection = SUMMARY
    ) -> AsyncGenerator[Sequence[Version], None]:
        """Stream a memory's versions, newest first; see the port."""
        return self._stream(Kind.HISTORY, lambda: wire.History(memory_id, read_point, projection), self._versions)

    def scan(self, scan: Scan) -> AsyncGenerator[Sequence[Version], None]:
        """Stream versions in order; see the port."""
        return self._stream(Kind.SCAN, lambda: scan, self._versions)

    def find_similar(self, query: SimilarityQuery) -> AsyncGenerator[Sequence[Match], None]:
        """Stream matches, best first; see the port."""

        def asked() -> SimilarityQuery:
            validate_query(query, self._dimension())
            return query

        return self._stream(Kind.SIMILAR, asked, self._matches)

    async def count(
        self, read_point: ReadPoint, namespaces: Sequence[str] | None = None, matching: Filter | None = None
    ) -> int:
        """Count visible versions; see the port."""
        self._dimension()
        names = None if namespaces is None else tuple(namespaces)
        return wire.decode(await self._ask(Kind.COUNT, wire.encode(wire.Count(read_point, names, matching))), int)

    def _versions(self, batch: bytes) -> list[Version]:
        return read_versions(wire.decode(batch, list[StoredVersion]), self._dimension())

    def _matches(self, batch: bytes) -> list[Match]:
        return read_matches(wire.decode(batch, list[StoredMatch]), self._dimension())

    async def _stream(
        self, kind: Kind, asked: Callable[[], Any], read: Callable[[bytes], list[_T]]
    ) -> AsyncGenerator[Sequence[_T], None]:
        self._dimension()
        body = wire.encode(asked())
        batches = self._batches(kind, body)
        try:
            async for batch in batches:
                yield await self._read(len(batch), lambda batch=batch: read(batch))  # type: ignore[misc]
        finally:
            await batches.aclose()

    async def _batches(self, kind: Kind, body: bytes) -> AsyncGenerator[bytes, None]:
        """Yield the batches of a stream; begun again if the engine's process ends before the first."""
        while True:
            reading = (await self._live()).begin(kind, body)
            begun = False
            try:
                while (batch := await reading.next()) is not None:
                    begun = True
                    yield batch
            except EngineLostError:
                if begun:
                    raise
            else:
                return
            finally:
                reading.leave()

    # --- The store --------------------------------------------------------------------------------------

    async def check(self) -> CheckReport:
        """Read everything and name what is damaged; see the port."""
        self._dimension()
        reports = [wire.decode(batch, CheckReport) async for batch in self._batches(Kind.CHECK, b"")]
        return CheckReport(
            sum(report.versions_checked for report in reports),
            sum(report.bytes_checked for report in reports),
            tuple(finding for report in reports for finding in report.findings),
        )

    async def status(self) -> StoreStatus:
        """Return facts about the open store; see the port."""
        self._dimension()
        return wire.decode(await self._ask(Kind.STATUS, b""), StoreStatus)
