"""A TCP proxy that loses what it is told to lose."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

from tests.adapters.qdrant.server_process import HOST

Way = Literal["requests", "answers"]
CHUNK_BYTES = 64 * 1024


class Proxy:
    """Passes bytes on until it is told to cut.

    Attributes:
        port: Where it listens.
        has_cut: Whether the cut that was asked for has happened.
    """

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.has_cut = False
        self._target_port = target_port
        self._left: dict[Way, int | None] = {"requests": None, "answers": None}
        self._is_down = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()

    def cut_after(self, chunks: int, way: Way) -> None:
        """Cut every connection once so many more chunks have gone one way; the next one is lost."""
        self.has_cut = False
        self._left[way] = chunks

    def mend(self) -> None:
        """Pass everything on again."""
        self._left = {"requests": None, "answers": None}
        self._is_down = False

    def _cut(self) -> None:
        self.has_cut = self._is_down = True
        for writer in self._writers:
            writer.transport.abort()

    def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(HOST, self._target_port)
        except OSError:
            writer.transport.abort()
            return
        if self._is_down:
            writer.transport.abort()
            server_writer.transport.abort()
            return
        self._writers |= {writer, server_writer}
        await asyncio.gather(
            self._pass_on("requests", reader, server_writer), self._pass_on("answers", server_reader, writer)
        )
        self._writers -= {writer, server_writer}

    async def end(self) -> None:
        """Cut every connection, and wait until none is left."""
        self._cut()
        if self._connections:
            await asyncio.wait(self._connections)
        # A transport lets go of its socket in the loop's next turn.
        await asyncio.sleep(0)

    async def _pass_on(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                left = self._left[way]
                if left == 0:
                    self._cut()
                    break
                self._left[way] = None if left is None else left - 1
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    """Give a proxy in front of a port."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.welcome, HOST, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await server.wait_closed()
        await proxy.end()
