"""What the engine's process keeps of each connection, and of each stream that is asked over it."""

import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from recollect.adapters.errors import StorageError
from recollect.adapters.port import CheckReport
from recollect.adapters.qdrant.edge import wire
from recollect.adapters.qdrant.edge.protocol import STREAM_CREDIT, Frame, FrameReader, Kind, frame
from recollect.adapters.qdrant.shard import ShardStore

READ_BYTES = 2**18


class Stream:
    """A read that is answered in batches, as far as its reader gives credit.

    Attributes:
        store: What it reads.
        credit: How many batches may still be sent.
    """

    def __init__(
        self, store: ShardStore, make: Callable[[], Iterator[Any]], batch_size: int, limit: int | None
    ) -> None:
        self.store = store
        self._failure: StorageError | None = None
        self._make = make
        self._batches: Iterator[Any] | None = None
        self._batch_size = batch_size
        self._left = limit
        self.credit = STREAM_CREDIT

    def fail(self, error: StorageError) -> None:
        """End with an error at the next turn, which comes whether there is credit or not."""
        self._failure = error
        self.credit = max(1, self.credit)

    def turn(self) -> tuple[Kind, bytes]:
        """Return the next batch and whether it is the last, or that there is none."""
        if self._failure is not None:
            raise self._failure
        if self._batches is None:
            self._batches = self._make()
        batch = next(self._batches, None)
        if batch is None:
            return Kind.END, b""
        self.credit -= 1
        last = False
        if not isinstance(batch, CheckReport):
            if self._left is not None:
                self._left -= len(batch)
            last = len(batch) < self._batch_size or self._left == 0
        return Kind.LAST if last else Kind.BATCH, wire.encode(batch)


class Client:
    """One connection, with what was asked over it and not answered yet."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.reader = FrameReader()
        self.unsent = bytearray()
        self.asked: deque[Frame] = deque()
        self.streams: dict[int, Stream] = {}
        self.gone = False

    def send(self, kind: Kind, request: int, body: bytes = b"") -> None:
        """Send a frame, now as far as the other side takes it."""
        if self.gone:
            return
        self.unsent += frame(kind, request, body)
        self.push()

    def push(self) -> None:
        """Send what is left."""
        try:
            while self.unsent:
                sent = self.connection.send(memoryview(self.unsent)[:READ_BYTES])
                del self.unsent[:sent]
        except BlockingIOError:
            return
        except OSError:
            self.gone = True

    def take(self) -> None:
        """Read what came; frames wait in `asked`."""
        try:
            while content := self.connection.recv(READ_BYTES):
                for asked in self.reader.feed(content):
                    self._sort(asked)
                if len(content) < READ_BYTES:
                    return
        except BlockingIOError:
            return
        except (OSError, StorageError, ValueError):
            pass
        self.gone = True

    def _sort(self, asked: Frame) -> None:
        kind, request, body = asked
        if kind is Kind.CREDIT:
            stream = self.streams.get(request)
            if stream is not None:
                stream.credit += 1
        elif kind is Kind.CANCEL:
            self.streams.pop(request, None)
            self.asked = deque(other for other in self.asked if other[1] != request)
        else:
            self.asked.append((kind, request, body))
