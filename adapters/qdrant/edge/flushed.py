"""A note of what a shard held when it was flushed, and how far the journal was in it then.

What lies in the journal before that need not be applied again; and a shard that holds less has lost something, which
the engine itself does not notice: to it, a list of points that was cut off is a shorter list.

The note is not synced. One that is lost, or is of another shard, costs time at the next opening and nothing else.
"""

import zlib
from pathlib import Path

import msgspec
from msgspec import Struct

FLUSHED_FILE = "flushed"


class Flushed(Struct, frozen=True, array_like=True):
    """The note.

    Attributes:
        shard: The name of the shard's folder.
        segment: The first segment of the journal that may not be in the shard.
        points: How many points the shard holds at least; none is ever removed from one.
        checksum: Of the rest.
    """

    shard: str
    segment: int
    points: int
    checksum: int

    @classmethod
    def of(cls, shard: Path, segment: int, points: int) -> "Flushed":
        """Return the note of a shard that was just flushed."""
        return cls(shard.name, segment, points, zlib.crc32(f"{shard.name} {segment} {points}".encode()))


def note(shard: Path, segment: int, points: int) -> None:
    """Note that so many points, and everything before a segment, are in a shard on disk.

    Raises:
        OSError: It cannot be written.
    """
    shard.with_name(FLUSHED_FILE).write_bytes(msgspec.json.encode(Flushed.of(shard, segment, points)))


def read(shard: Path) -> Flushed:
    """Return the note of a shard; where there is none, one that says nothing is known."""
    try:
        found = msgspec.json.decode(shard.with_name(FLUSHED_FILE).read_bytes(), type=Flushed)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return Flushed.of(shard, 0, 0)
    known = found == Flushed.of(shard, found.segment, found.points)
    return found if known else Flushed.of(shard, 0, 0)
