"""The adapter's end of a connection with the engine's process: many requests under way, each with its own answer."""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import cast

from recollect.adapters.errors import StorageError, StoreBusyError, StoreUnavailableError
from recollect.adapters.qdrant.edge import wire
from recollect.adapters.qdrant.edge.protocol import FrameReader, Kind, frame

_ENDS = frozenset({Kind.LAST, Kind.END, Kind.ERROR})


class EngineLostError(StoreUnavailableError):
    """The engine's process has ended, and with it what was asked of it; it may be asked again."""


class Reading:
    """The reader's end of a stream. Batches that were not taken yet are few, whatever the stream's length."""

    def __init__(self, connection: "Connection", request: int) -> None:
        self._connection = connection
        self._request = request
        self._batches: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._error: StorageError | None = None
        self._ended = False

    async def next(self) -> bytes | None:
        """Return the next batch as it was sent; None behind the last.

        Raises:
            StorageError: As the engine answered; `EngineLostError` if it has ended.
        """
        while not self._batches:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if not self._ended:
            self._connection.send(Kind.CREDIT, self._request)
        return self._batches.popleft()

    def take(self, kind: Kind, body: bytes) -> None:
        """Take a frame that came."""
        if kind is Kind.ERROR:
            self.fail(wire.error_of(wire.decode(body, wire.Failure)))
            return
        if kind is not Kind.END:
            self._batches.append(body)
        self._ended = kind in _ENDS
        self._wake()

    def fail(self, error: StorageError) -> None:
        """End with an error, once what came before was taken."""
        self._error, self._ended = error, True
        self._wake()

    def leave(self) -> None:
        """Stop the work behind the stream, if it has not ended."""
        if not self._ended:
            self._connection.send(Kind.CANCEL, self._request)
            self._ended = True
        self._connection.forget(self._request)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """One connection. It is of use until it is lost, and then says so to everyone who waits.

    Attributes:
        lost: Whether it has ended.
    """

    def __init__(self, on_lost: Callable[["Connection", int], None]) -> None:
        self.lost = False
        self._on_lost = on_lost
        self._closing = False
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader()
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._readings: dict[int, Reading] = {}
        self._writable = asyncio.Event()
        self._writable.set()

    # --- What is asked ---

    async def ask(self, kind: Kind, body: bytes, limit_s: float | None) -> bytes:
        """Send a request and return what is answered.

        Args:
            kind: What is asked.
            body: Its arguments.
            limit_s: How long to wait; None for as long as it takes.

        Raises:
            StorageError: As the engine answered.
            EngineLostError: It ended meanwhile.
            StoreBusyError: It did not answer in time; whether it still does what was asked is unknown.
        """
        if self.lost:
            raise EngineLostError("the engine's process has ended")
        request = next(self._numbers) % 2**32
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[request] = answer
        self.send(kind, request, body)
        try:
            async with asyncio.timeout(limit_s):
                await self._writable.wait()
                return await answer
        except TimeoutError as error:
            raise StoreBusyError(
                f"the engine's process did not answer within {limit_s:.0f} s; whether it does what was asked is "
                f"unknown: ask again, and end that process if it does not recover"
            ) from error
        finally:
            if not answer.done():
                self.send(Kind.CANCEL, request)
            elif not answer.cancelled():
                answer.exception()
            self._answers.pop(request, None)

    def begin(self, kind: Kind, body: bytes) -> Reading:
        """Begin a stream.

        Raises:
            EngineLostError: The engine's process has ended.
        """
        if self.lost:
            raise EngineLostError("the engine's process has ended")
        request = next(self._numbers) % 2**32
        reading = self._readings[request] = Reading(self, request)
        self.send(kind, request, body)
        return reading

    def send(self, kind: Kind, request: int, body: bytes = b"") -> None:
        """Send a frame, if there is anyone to take it."""
        if self._transport is not None and not self.lost:
            self._transport.write(frame(kind, request, body))

    def forget(self, request: int) -> None:
        """Let what still comes for a stream fall."""
        self._readings.pop(request, None)

    def end(self, error: StorageError) -> None:
        """End everything that waits with an error; the connection may still be asked to close."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)
        for reading in self._readings.values():
            reading.fail(error)
        self._answers.clear()
        self._readings.clear()

    def close(self) -> None:
        """Close the connection."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    # --- What comes ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note that the connection can be used."""
        # A stream's transport, though uvloop's does not derive from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand answers to those who wait for them."""
        try:
            for kind, request, body in self._reader.feed(data):
                self._take(kind, request, body)
        except (StorageError, ValueError):
            self.close()

    def _take(self, kind: Kind, request: int, body: bytes) -> None:
        reading = self._readings.get(request)
        if reading is not None:
            reading.take(kind, body)
            if kind in _ENDS:
                del self._readings[request]
            return
        answer = self._answers.pop(request, None)
        if answer is None or answer.done():
            return
        if kind is Kind.ERROR:
            answer.set_exception(wire.error_of(wire.decode(body, wire.Failure)))
        else:
            answer.set_result(body)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - as the protocol has it
        """Tell everyone who waits."""
        self.lost = True
        self._writable.set()
        waiting = len(self._answers) + len(self._readings)
        self.end(EngineLostError("the engine's process ended while it was working; ask again"))
        if not self._closing:
            self._on_lost(self, waiting)

    def pause_writing(self) -> None:
        """Let those who send wait, as the engine's process does not keep up."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let them go on."""
        self._writable.set()
