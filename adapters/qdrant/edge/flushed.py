"""A note of how far the journal is in a shard that was flushed: what lies before need not be applied again.

It is not synced. A note that is lost, or is of another shard, costs time at the next opening and nothing else.
"""

import zlib
from pathlib import Path

import msgspec
from msgspec import Struct

FLUSHED_FILE = "flushed"


class Flushed(Struct, frozen=True, array_like=True):
    """The folder of a shard, the first segment of the journal that may not be in it, and the checksum of both."""

    shard: str
    segment: int
    checksum: int

    @classmethod
    def of(cls, shard: Path, segment: int) -> "Flushed":
        """Return the note of a shard that was just flushed."""
        return cls(shard.name, segment, zlib.crc32(f"{shard.name} {segment}".encode()))


def note(shard: Path, segment: int) -> None:
    """Note that everything before a segment is in a shard on disk.

    Raises:
        OSError: It cannot be written.
    """
    shard.with_name(FLUSHED_FILE).write_bytes(msgspec.json.encode(Flushed.of(shard, segment)))


def read(shard: Path) -> int:
    """Return the first segment of the journal that may not be in a shard; 0 if nothing is known."""
    try:
        found = msgspec.json.decode(shard.with_name(FLUSHED_FILE).read_bytes(), type=Flushed)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return 0
    return found.segment if found == Flushed.of(shard, found.segment) else 0
