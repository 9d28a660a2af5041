"""Answers that stream: frames of a search as NDJSON or SSE, and the lines of an export.

Whoever reads sets the pace: the next frame is asked for only once the server has taken the one before, which it does
only while its buffer for the connection is below its mark. A reader that leaves cancels what runs and closes the
source at once.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from recollect.service.answers import EncodedHitsFrames, ErrorFrame, HeartbeatFrame, SentFrame
from recollect.service.branching.answers import DiffFrame
from recollect.service.errors import problem_of
from recollect.service.http.middleware import request_id_of
from recollect.service.logs import log_failure

NDJSON = "application/x-ndjson"
SSE = "text/event-stream"

StreamedFrame = SentFrame | DiffFrame
_Item = TypeVar("_Item")
_encoder = msgspec.json.Encoder()
_SERVER_ERROR = 500


def encode_line(frame: StreamedFrame) -> bytes:
    """Return a frame as a line of NDJSON, or several as lines."""
    if isinstance(frame, EncodedHitsFrames):
        return b"".join([b"%b\n" % encoded for encoded in frame.encode()])
    return _encoder.encode(frame) + b"\n"


def encode_event(frame: StreamedFrame) -> bytes:
    """Return a frame as a server-sent event, named as the frame is, or several as events."""
    if isinstance(frame, EncodedHitsFrames):
        return b"".join([b"event: hits\ndata: %b\n\n" % encoded for encoded in frame.encode()])
    name = frame.__struct_config__.tag
    return b"event: %s\ndata: %s\n\n" % (str(name).encode(), _encoder.encode(frame))


def wants_events(accept: str | None) -> bool:
    """Say whether an `Accept` header asks for server-sent events rather than NDJSON."""
    if accept is None:
        return False
    types = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return SSE in types and NDJSON not in types


class StreamOf(Response):
    """An answer of chunks from a source, cancelled with the reader.

    The answer begins with the first chunk, so that a source that fails before it is answered as an ordinary problem.
    After that, a source that fails cuts the connection.

    Args:
        chunks: The source. It is closed in any case.
        media_type: The answer's type.
    """

    def __init__(self, chunks: AsyncIterator[bytes], media_type: str) -> None:
        super().__init__(media_type=media_type, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self.raw_headers = [item for item in self.raw_headers if item[0] != b"content-length"]
        self._chunks = chunks
        self._begun = False
        self._source_is_silent = True
        self._sending = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the chunks until they end or the reader leaves."""
        work = asyncio.ensure_future(self._work(scope, send))
        leaving = asyncio.ensure_future(_until_left(receive))
        try:
            await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _stop(leaving)
            await _stop(work)
        if not work.cancelled():
            work.result()

    async def _work(self, scope: Scope, send: Send) -> None:
        del scope
        await self._pump(send)

    async def _pump(self, send: Send) -> None:
        async with _closed_after(self._chunks) as chunks:
            async for chunk in chunks:
                self._source_is_silent = False
                await self._send(send, chunk)
                # A server drops what it is sent for a reader that has left, without waiting: without this, a source
                # that never waits either would run to its end before the leaving is noticed.
                await asyncio.sleep(0)
                self._source_is_silent = True
        self._source_is_silent = False
        await self._send(send, b"", more=False)

    async def _send(self, send: Send, chunk: bytes, *, more: bool = True) -> None:
        async with self._sending:
            if not self._begun:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                self._begun = True
            await send({"type": "http.response.body", "body": chunk, "more_body": more})


class FrameStream(StreamOf):
    """The frames of a search or a comparison, a heartbeat while there is nothing to say, and an error frame at need.

    Args:
        frames: The source; it ends with an end frame.
        heartbeat_s: How long the stream may be silent.
        events: Server-sent events instead of NDJSON.
    """

    def __init__(self, frames: AsyncIterator[StreamedFrame], *, heartbeat_s: float, events: bool) -> None:
        self._encode: Callable[[StreamedFrame], bytes] = encode_event if events else encode_line
        super().__init__(_encoded(frames, self._encode), SSE if events else NDJSON)
        self._heartbeat_s = heartbeat_s
        self._sent_at = 0.0

    async def _work(self, scope: Scope, send: Send) -> None:
        beating = asyncio.ensure_future(self._beat(send))
        try:
            await self._pump(send)
        except Exception as error:
            await _stop(beating)
            if not self._begun:
                raise
            problem = problem_of(error, request_id_of(scope))
            if problem.status >= _SERVER_ERROR:
                log_failure("stream failed", error, code=problem.code)
            await self._send(send, self._encode(ErrorFrame(error=problem)))
            await self._send(send, b"", more=False)
        finally:
            await _stop(beating)

    async def _send(self, send: Send, chunk: bytes, *, more: bool = True) -> None:
        await super()._send(send, chunk, more=more)
        self._sent_at = asyncio.get_running_loop().time()

    async def _beat(self, send: Send) -> None:
        """Send a heartbeat whenever the source has kept the stream silent for so long.

        While a frame waits for its reader, the stream is not silent but blocked, and nothing is added to it.
        """
        loop = asyncio.get_running_loop()
        self._sent_at = loop.time()
        while True:
            left_s = self._sent_at + self._heartbeat_s - loop.time()
            if left_s > 0:
                await asyncio.sleep(left_s)
            elif self._source_is_silent:
                await self._send(send, self._encode(HeartbeatFrame()))
            else:
                await asyncio.sleep(self._heartbeat_s / 10)


async def joined(batches: AsyncIterator[Sequence[bytes]]) -> AsyncIterator[bytes]:
    """Yield each batch of lines as one chunk, and close the source."""
    async with _closed_after(batches) as source:
        async for lines in source:
            yield b"".join(lines)


async def _encoded(
    frames: AsyncIterator[StreamedFrame], encode: Callable[[StreamedFrame], bytes]
) -> AsyncIterator[bytes]:
    async with _closed_after(frames) as source:
        async for frame in source:
            yield encode(frame)


@asynccontextmanager
async def _closed_after(source: AsyncIterator[_Item]) -> AsyncIterator[AsyncIterator[_Item]]:
    """Close an async generator when it is left, at once and not when it is collected."""
    try:
        yield source
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def _stop(task: asyncio.Future[None]) -> None:
    """Cancel a task and wait until it is over, whichever way it ends."""
    task.cancel()
    await asyncio.wait((task,))


async def _until_left(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
