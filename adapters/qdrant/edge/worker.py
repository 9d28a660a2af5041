"""The process of the engine: one thread that takes turns between commits, short reads and streams.

It is started by whoever opens a store first, with the folder locked, and serves every process that opens the same
folder over a socket in it. It ends when the last connection does, and has everything on disk then.

Run as `python -m recollect.adapters.qdrant.edge.worker FOLDER LOCK CONNECTION`: the descriptors of the locked file and
of the first connection are inherited.
"""

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from recollect.adapters.errors import StorageError, StoreUnavailableError
from recollect.adapters.port import CommitReceipt, Scan, SimilarityQuery
from recollect.adapters.qdrant.edge import wire
from recollect.adapters.qdrant.edge.keeper import JournalFailedError, Keeper, Waiting
from recollect.adapters.qdrant.edge.places import SOCKET_FILE, listen
from recollect.adapters.qdrant.edge.protocol import STREAMS, Frame, Kind
from recollect.adapters.qdrant.edge.serving import Client, Stream
from recollect.adapters.qdrant.edge.upkeep import Upkeep
from recollect.adapters.qdrant.shard import ShardStore

UNSENT_BYTES_MAX = 2**22
"""A connection that has not taken so much gets no further batch."""

READS_A_TURN = 64
"""How many short reads are done before streams get a turn."""

SOON_S = 0.01
IDLE_S = 1.0
"""When nothing was asked for so long, there is time for upkeep."""


class Worker:
    """The loop. `run` returns when the last connection has ended or the process is asked to end."""

    def __init__(self, folder: Path, connection: socket.socket) -> None:
        self._folder = folder
        self._clients = [Client(connection)]
        self._keeper: Keeper | None = None
        self._listener: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ, self._clients[0])
        self._closing: tuple[Client, int] | None = None
        self._stopped = False
        self._busy_at = time.monotonic()
        self._upkeep: Upkeep | None = None
        self._turns: deque[tuple[Client, int]] = deque()

    # --- The loop ---

    def run(self) -> None:
        """Serve until nobody is left."""
        wake, woken = socket.socketpair()
        wake.setblocking(False)
        woken.setblocking(False)
        signal.set_wakeup_fd(wake.fileno())
        signal.signal(signal.SIGTERM, self._stop)
        self._selector.register(woken, selectors.EVENT_READ)
        while self._clients and not self._stopped:
            self._wait()
            self._commits()
            self._reads()
            self._streams()
            self._tidy()
            for client in [client for client in self._clients if client.gone]:
                self._leave(client)
        self._end()

    def _stop(self, _signal: int, _frame: object) -> None:
        self._stopped = True

    def _wait(self) -> None:
        """Read what came, and send what could not be sent. It waits only if there is nothing to do."""
        self._watch()
        for key, events in self._selector.select(self._patience_s()):
            if key.fileobj is self._listener:
                self._welcome()
            elif isinstance(key.data, Client):
                if events & selectors.EVENT_READ:
                    key.data.take()
                if events & selectors.EVENT_WRITE:
                    key.data.push()
                if key.data in self._clients:
                    self._busy_at = time.monotonic()

    def _watch(self) -> None:
        """Have the end of each wait be when a connection takes more, if something is left for it."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Client) and not key.data.gone:
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if key.data.unsent else 0)
                if key.events != events:
                    self._selector.modify(key.fileobj, events, key.data)

    def _patience_s(self) -> float:
        """Return how long to wait for the next request."""
        if any(client.asked for client in self._clients) or self._ready() is not None:
            return 0.0
        if self._upkeep is None:
            return IDLE_S
        if self._upkeep.has_work:
            return 0.0
        return SOON_S if self._upkeep.is_waiting else IDLE_S

    def _welcome(self) -> None:
        assert self._listener is not None  # noqa: S101 - it was just heard
        connection, _ = self._listener.accept()
        client = Client(connection)
        self._clients.append(client)
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _leave(self, client: Client) -> None:
        self._clients.remove(client)
        self._selector.unregister(client.connection)
        client.connection.close()

    def _end(self) -> None:
        """Put everything on disk, say so, and let go of the folder."""
        if self._upkeep is not None:
            self._upkeep.end()
        if self._keeper is not None:
            self._keeper.close()
        if self._listener is not None:
            self._folder.joinpath(SOCKET_FILE).unlink(missing_ok=True)
        if self._closing is not None:
            client, request = self._closing
            client.connection.setblocking(True)
            client.send(Kind.ANSWER, request, wire.encode(True))

    # --- What is done in turn ---

    def _commits(self) -> None:
        group: list[Waiting] = []
        for client in self._clients:
            rest: deque[Frame] = deque()
            for asked in client.asked:
                if asked[0] is not Kind.COMMIT or self._keeper is None:
                    rest.append(asked)
                    continue
                write = wire.decode(asked[2], wire.Write)
                group.append(Waiting(write.token, wire.commit_of(write), _answering(client, asked[1])))
            client.asked = rest
        if group and self._keeper is not None:
            self._keeper.commit(group)

    def _reads(self) -> None:
        for client in self._clients:
            for _ in range(min(READS_A_TURN, len(client.asked))):
                if client.gone:
                    break
                kind, request, body = client.asked.popleft()
                try:
                    if kind in STREAMS:
                        client.streams[request] = self._stream(kind, body)
                        self._turns.append((client, request))
                    elif kind is Kind.CLOSE:
                        self._close(client, request)
                    elif kind is Kind.COMPACT:
                        self._compact(client, request)
                    else:
                        client.send(Kind.ANSWER, request, wire.encode(self._answer(kind, body)))
                except StorageError as error:
                    client.send(Kind.ERROR, request, wire.encode(wire.failure_of(error)))

    def _answer(self, kind: Kind, body: bytes) -> Any:
        if kind is Kind.OPEN:
            return self._open(body)
        keeper = self._opened()
        match kind:
            case Kind.GET:
                get = wire.decode(body, wire.Get)
                return keeper.store.get(get.selectors, get.read_point, get.projection)
            case Kind.COUNT:
                count = wire.decode(body, wire.Count)
                return keeper.store.count(count.read_point, count.namespaces, count.matching)
            case Kind.STATUS:
                return self._upkeep.status() if self._upkeep is not None else None
            case Kind.FLUSH:
                return keeper.sync()
        raise StoreUnavailableError(f"the engine's process does not know the request {kind!r}")

    def _open(self, body: bytes) -> Any:
        profile = wire.decode(body, wire.Open).profile
        if self._keeper is None:
            self._keeper = Keeper(self._folder, profile)
            self._upkeep = Upkeep(self._folder, self._keeper, self._selector)
            self._listener = listen(self._folder)
            self._selector.register(self._listener, selectors.EVENT_READ)
        held = self._keeper.store.profile
        ShardStore.expect(self._folder, held, profile)
        return held

    def _opened(self) -> Keeper:
        if self._keeper is None:
            raise StoreUnavailableError("the store is not open in this process")
        return self._keeper

    def _stream(self, kind: Kind, body: bytes) -> Stream:
        store = self._opened().store
        if kind is Kind.SCAN:
            scan = wire.decode(body, Scan)
            return Stream(store, lambda: store.scan(scan), scan.batch_size, scan.limit)
        if kind is Kind.SIMILAR:
            query = wire.decode(body, SimilarityQuery)
            return Stream(store, lambda: store.find_similar(query), query.batch_size, query.limit)
        if kind is Kind.CHECK:
            return Stream(store, store.check, 0, None)
        asked = wire.decode(body, wire.History)
        return Stream(store, lambda: store.history(asked.memory_id, asked.read_point, asked.projection), 0, None)

    def _ready(self) -> tuple[Client, int, Stream] | None:
        """Return a stream that may send a batch: each in turn. Those that ended leave the row."""
        for _ in range(len(self._turns)):
            client, request = self._turns[0]
            stream = client.streams.get(request)
            if stream is None or client.gone:
                self._turns.popleft()
                continue
            if stream.credit > 0 and len(client.unsent) < UNSENT_BYTES_MAX:
                return client, request, stream
            self._turns.rotate(-1)
        return None

    def _streams(self) -> None:
        ready = self._ready()
        if ready is None:
            return
        client, request, stream = ready
        self._turns.rotate(-1)
        try:
            kind, body = stream.turn()
            client.send(kind, request, body)
            if kind is not Kind.BATCH:
                del client.streams[request]
        except StorageError as error:
            del client.streams[request]
            client.send(Kind.ERROR, request, wire.encode(wire.failure_of(error)))

    def _close(self, client: Client, request: int) -> None:
        """Let a connection go; the last one is answered when everything is on disk."""
        if len(self._clients) > 1:
            client.send(Kind.ANSWER, request, wire.encode(False))
            client.gone = not client.unsent
            return
        self._closing = (client, request)
        self._stopped = True

    def _tidy(self) -> None:
        if self._upkeep is not None:
            streams = [stream for client in self._clients for stream in client.streams.values()]
            self._upkeep.turn(streams, idle=time.monotonic() - self._busy_at >= IDLE_S)

    def _compact(self, client: Client, request: int) -> None:
        def done(error: StorageError | None) -> None:
            if error is None:
                client.send(Kind.ANSWER, request, wire.encode(None))
            else:
                client.send(Kind.ERROR, request, wire.encode(wire.failure_of(error)))

        if self._upkeep is None:
            raise StoreUnavailableError("the store is not open in this process")
        self._upkeep.compact(done)


def _answering(client: Client, request: int) -> Callable[[CommitReceipt | StorageError], None]:
    def answer(result: CommitReceipt | StorageError) -> None:
        if isinstance(result, StorageError):
            client.send(Kind.ERROR, request, wire.encode(wire.failure_of(result)))
        else:
            client.send(Kind.ANSWER, request, wire.encode(result))

    return answer


def main() -> None:
    """Serve the store in a folder until nobody asks any more."""
    folder, _lock, connection = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    os.umask(0o077)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = 1
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        try:
            Worker(folder, socket.socket(fileno=connection)).run()
            status = 0
        except (JournalFailedError, StorageError, OSError, msgspec.MsgspecError) as error:
            print(f"recollect: the engine of {folder} ends: {error}", file=sys.stderr, flush=True)  # noqa: T201
    # The engine is closed or must not be: nothing is left that an orderly end would do.
    os._exit(status)


if __name__ == "__main__":
    main()
