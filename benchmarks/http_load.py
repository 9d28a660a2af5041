"""A load client that costs little: raw sockets kept open, requests written out before, one thread for all writers.

It shares the machine's cores with the server it measures, so whatever it costs is taken from the server.
"""

import json
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psutil

HOST = "127.0.0.1"
BUFFER_BYTES = 1 << 20

SERVICE = """
import json, sys
from recollect.service import Settings
from recollect.service.http.server import run
sys.exit(run(Settings(**json.loads(sys.argv[1]))))
"""

BARE = """
import socket, sys
from collections.abc import AsyncIterator
from pathlib import Path
import uvicorn
from fastapi import FastAPI
from starlette.responses import Response, StreamingResponse
app = FastAPI()
path = Path(sys.argv[1])
frames = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
@app.post("/empty")
async def empty() -> Response:
    return Response(b"{}", media_type="application/json")
async def stream() -> AsyncIterator[bytes]:
    for frame in frames:
        yield frame
@app.post("/stream")
async def streamed() -> StreamingResponse:
    return StreamingResponse(stream(), media_type="application/x-ndjson")
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
print(f"listens on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
config = uvicorn.Config(app, loop="uvloop", http="httptools", log_level="error", access_log=False)
uvicorn.Server(config).run(sockets=[listener])
"""


def request_bytes(method: str, path: str, body: bytes = b"") -> bytes:
    """Return a whole HTTP request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


class Server:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port
        self._facts = psutil.Process(process.pid)

    def rss_bytes(self) -> int:
        """Return what it holds in memory now."""
        return int(self._facts.memory_info().rss)

    @contextmanager
    def watched(self) -> Iterator[list[int]]:
        """Collect its resident bytes every 5 ms; the first is from before."""
        seen, over = [self.rss_bytes()], threading.Event()

        def watch() -> None:
            while not over.wait(0.005):
                seen.append(self.rss_bytes())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield seen
        finally:
            over.set()
            thread.join()


@contextmanager
def serving(program: str, argument: str, log: Path) -> Iterator[Server]:
    """Run a server that prints its URL once it is ready, and stop it after."""
    with log.open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", program, argument], stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise SystemExit(f"the server did not start:\n{log.read_text()[-2000:]}")
            yield Server(process, int(line.rpartition(":")[2]))
        finally:
            process.terminate()
            process.wait(30)


class Connection:
    """One kept-open connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and return status and body of an answer that says its length."""
        self._socket.sendall(request)
        data = self._socket.recv(BUFFER_BYTES)
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        length = _length(data[:end])
        while len(data) < end + 4 + length:
            data += self._more()
        return int(data[9:12]), data[end + 4 :]

    def drain(self, request: bytes, keep: bytearray | None = None) -> int:
        """Send a request and read a chunked answer to its end; return how many bytes came."""
        self._socket.sendall(request)
        buffer = memoryview(bytearray(BUFFER_BYTES))
        count, tail = 0, b""
        while not tail.endswith(b"\r\n0\r\n\r\n"):
            size = self._socket.recv_into(buffer)
            if not size:
                raise ConnectionError("the stream was cut")
            if keep is not None:
                keep += buffer[:size]
            tail = (tail + bytes(buffer[max(0, size - 7) : size]))[-7:]
            count += size
        return count

    def read_rows(self, request: bytes) -> int:
        """Send a request and decode each frame of a stream as it comes, as a reader does; return how many hits came."""
        self._socket.sendall(request)
        lines = self._socket.makefile("rb", BUFFER_BYTES)
        while lines.readline() != b"\r\n":
            pass
        rows = 0
        while size := int(lines.readline(), 16):
            for line in lines.read(size).splitlines():
                frame = json.loads(line)
                rows += len(frame["hits"]) if frame["frame"] == "hits" else 0
            lines.readline()
        lines.readline()
        return rows

    def _more(self) -> bytes:
        data = self._socket.recv(BUFFER_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


def _length(head: bytes) -> int:
    start = head.lower().index(b"content-length:") + 15
    return int(head[start:].split(b"\r\n", 1)[0])


def latencies_ms(port: int, requests: Sequence[bytes]) -> list[float]:
    """Send requests one after another on one connection and return the time of each."""
    connection = Connection(port)
    times = []
    for request in requests:
        started = time.perf_counter()
        status, body = connection.ask(request)
        times.append((time.perf_counter() - started) * 1000)
        if status >= 300:
            raise SystemExit(f"HTTP {status}: {body[:500].decode()}")
    connection.close()
    return times


def seconds_of_writers(port: int, requests: Sequence[bytes], writers: int) -> float:
    """Send requests over several connections, each with one under way at a time; return how long all took."""
    selector = selectors.DefaultSelector()
    waiting = iter(requests)
    left = len(requests)
    received: dict[socket.socket, bytes] = {}
    for _ in range(min(writers, left)):
        connected = socket.create_connection((HOST, port))
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connected, selectors.EVENT_READ)
        received[connected] = b""
    started = time.perf_counter()
    for connected in received:
        connected.sendall(next(waiting))
    while left:
        for key, _ in selector.select():
            connected = cast("socket.socket", key.fileobj)  # nothing else is registered
            data = received[connected] + connected.recv(BUFFER_BYTES)
            end = data.find(b"\r\n\r\n")
            if end < 0 or len(data) < end + 4 + _length(data[:end]):
                received[connected] = data
                continue
            if data[9] != ord("2"):
                raise SystemExit(data.decode())
            received[connected] = b""
            left -= 1
            following = next(waiting, None)
            if following is not None:
                connected.sendall(following)
    elapsed = time.perf_counter() - started
    for connected in received:
        connected.close()
    return elapsed


def dechunked(data: bytes) -> bytes:
    """Return the body of a whole chunked answer."""
    body: list[bytes] = []
    at = data.index(b"\r\n\r\n") + 4
    while True:
        end = data.index(b"\r\n", at)
        size = int(data[at:end], 16)
        if not size:
            return b"".join(body)
        body.append(data[end + 2 : end + 2 + size])
        at = end + 4 + size


def percentile(values: Sequence[float], fraction: float) -> Any:
    """Return the value that a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]
