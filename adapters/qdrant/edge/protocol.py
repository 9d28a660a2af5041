"""Frames between an adapter and the process of the engine.

A frame is its length, its kind, the number of the request that it belongs to, and a body of msgpack. Many requests are
under way at once, and their answers come in any order. A stream sends a batch for each credit that it was given: a
reader that stops giving credit stops the stream, and a cancel ends it.
"""

import struct
from collections.abc import Iterator
from enum import IntEnum

from recollect.adapters.errors import StoreUnavailableError

_HEADER = struct.Struct("<IBI")
HEADER_BYTES = _HEADER.size
FRAME_BYTES_MAX = 2**31
"""A frame that says to be longer is none."""

STREAM_CREDIT = 2
"""How many batches of a stream may be on their way: one is read while the next is made."""


class Kind(IntEnum):
    """What a frame asks or answers."""

    OPEN = 1
    CLOSE = 2
    COMMIT = 3
    FLUSH = 4
    COMPACT = 5
    GET = 6
    COUNT = 7
    STATUS = 8
    CHECK = 9
    HISTORY = 10
    SCAN = 11
    SIMILAR = 12
    CREDIT = 13
    CANCEL = 14
    ANSWER = 20
    BATCH = 21
    LAST = 22
    END = 23
    ERROR = 24


STREAMS = frozenset({Kind.HISTORY, Kind.SCAN, Kind.SIMILAR, Kind.CHECK})
"""What is answered by batches (`BATCH`), the last of which says so (`LAST`) or is followed by `END`."""

Frame = tuple[Kind, int, bytes]


def frame(kind: Kind, request: int, body: bytes = b"") -> bytes:
    """Return a frame as bytes."""
    return _HEADER.pack(len(body), kind, request) + body


class FrameReader:
    """Cuts what comes over a connection into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, content: bytes) -> Iterator[Frame]:
        """Take what came, and yield the frames that are whole.

        Raises:
            StoreUnavailableError: What came is no frame: the other side is another program.
        """
        buffer = self._buffer
        buffer += content
        start = 0
        try:
            while len(buffer) - start >= HEADER_BYTES:
                length, kind, request = _HEADER.unpack_from(buffer, start)
                if length > FRAME_BYTES_MAX:
                    raise StoreUnavailableError("the engine's process speaks another protocol; stop it and open again")
                end = start + HEADER_BYTES + length
                if len(buffer) < end:
                    break
                body = bytes(memoryview(buffer)[start + HEADER_BYTES : end])
                start = end
                yield Kind(kind), request, body
        finally:
            if start:
                del buffer[:start]
