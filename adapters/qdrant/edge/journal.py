"""The journal: each commit is one record, which is on disk before the commit is acknowledged.

It is a folder of segments, read in the order of their numbers. A segment is a header and records; what follows the last
whole record is room for the next ones, or the rest of a write that a crash cut off, and is removed. Each record says up
to where its segment was synced when it was written, and each segment says where the one before ends: so what was
acknowledged and is damaged now is told from what was never finished.
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from msgspec import Struct

from recollect.adapters.errors import StoreDamagedError
from recollect.adapters.qdrant.folder import sync_folder

TOKEN_BYTES = 16
ROOM_BYTES = 2**18
"""How many zeros are written behind the records. A sync of bytes that lie in the file need not change its size, which
saves it 40 % of the time."""

FILE_MODE = 0o600
_SEGMENT_HEADER = struct.Struct("<8s16sQI")
_SEGMENT_MAGIC = b"RCLJRNL1"
_RECORD_HEADER = struct.Struct("<4sIIQQ16s")
_RECORD_MAGIC = b"\x9eRcJ"
_COVERED = struct.Struct("<IQQ16s")
"""What of a record's header its checksum covers, beside the content."""

_ACKNOWLEDGED = struct.Struct("<QQI")
_SUFFIX = ".journal"


Place = tuple[int, int]
"""A place in the journal: the number of a segment, and a byte in it."""


class Record(Struct, frozen=True, eq=False):
    """One commit in the journal.

    Attributes:
        position: The commit's.
        token: The name by which its caller knows it.
        content: What the commit does.
    """

    position: int
    token: bytes
    content: bytes


class Segment(Struct):
    """A file of the journal.

    Attributes:
        number: Its place in the order.
        path: Where it is.
        salt: Mixed into the checksums of its records, so that no user's text can be taken for a record.
        previous_end: Where the segment before it ends.
    """

    number: int
    path: Path
    salt: bytes
    previous_end: int


class Journal:
    """The journal in a folder, to be read once (`replay`) and then written. It belongs to one thread.

    Attributes:
        bytes_written: How many bytes the segments hold that are still needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: list[Segment] = []
        self._handle = -1
        self._end = 0
        self._room_end = 0
        self._synced = 0
        self._acknowledged = -1
        self.bytes_written = 0

    @property
    def synced(self) -> bool:
        """Whether everything that was written is on disk."""
        return self._synced == self._end

    # --- Reading ---

    def replay(self) -> Iterator[tuple[Record, int]]:
        """Yield every record in order with the number of its segment, and make the journal ready to be written.

        What was never finished is cut off.

        Raises:
            StoreDamagedError: A record that was acknowledged cannot be read.
        """
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700)
            sync_folder(self._folder.parent)
        self._segments = self._found()
        for segment, after in zip_longest(self._segments, self._segments[1:]):
            content = segment.path.read_bytes()
            end = _SEGMENT_HEADER.size
            while (found := _record_at(content, end, segment.salt)) is not None:
                record, end, _ = found
                yield record, segment.number
            self._judge(segment, after, content, end)
            self._end = end
            self.bytes_written += end
        self._begin_writing()

    def _found(self) -> list[Segment]:
        """Return the segments that are there, without one whose making was cut off."""
        segments: list[Segment] = []
        paths = sorted(self._folder.glob(f"*{_SUFFIX}"))
        for path in paths:
            with path.open("rb") as file:
                header = file.read(_SEGMENT_HEADER.size)
            segment = _segment_of(path, header)
            if segment is not None:
                segments.append(segment)
            elif path is paths[-1] and path.stat().st_size <= _SEGMENT_HEADER.size:
                path.unlink()  # A segment is written to only when its header is on disk.
            else:
                raise _damaged(path, 0)
        numbers = [segment.number for segment in segments]
        if numbers and numbers != [*range(numbers[0], numbers[0] + len(numbers))]:
            raise StoreDamagedError(
                f"a segment of the journal in {self._folder} is missing (there are {numbers}); restore the store "
                f"from a backup",
                place=str(self._folder),
            )
        return segments

    def _judge(self, segment: Segment, after: Segment | None, content: bytes, end: int) -> None:
        """Raise if something behind the end of the records was acknowledged."""
        if after is not None:
            if end != after.previous_end:
                raise _damaged(segment.path, end)
            return
        number, offset = self._read_acknowledged()
        if (number == segment.number and offset > end) or number > segment.number:
            raise _damaged(segment.path, end)
        at = content.find(_RECORD_MAGIC, end)
        while at >= 0:
            found = _record_at(content, at, segment.salt)
            if found is not None and found[2] > end:
                raise _damaged(segment.path, end)
            at = content.find(_RECORD_MAGIC, at + 1)

    def _begin_writing(self) -> None:
        self._acknowledged = os.open(self._folder / "acknowledged", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        if not self._segments:
            self.begin_segment()
            return
        newest = self._segments[-1]
        self._handle = os.open(newest.path, os.O_RDWR | os.O_CLOEXEC)
        self._drop_room()
        os.fsync(self._handle)
        self._synced = self._end

    def _read_acknowledged(self) -> tuple[int, int]:
        """Return up to where commits were acknowledged: a segment's number, and a place in it; (0, 0) if unknown."""
        with contextlib.suppress(FileNotFoundError, struct.error):
            content = (self._folder / "acknowledged").read_bytes()
            number, offset, checksum = _ACKNOWLEDGED.unpack(content)
            if checksum == zlib.crc32(content[:16]):
                return number, offset
        return 0, 0

    # --- Writing ---

    def append(self, records: list[Record]) -> None:
        """Write records behind the others; they are on disk after `sync`.

        Raises:
            OSError: They could not be written; none of them is in the journal.
        """
        salt = self._segments[-1].salt
        content = b"".join(_encoded(record, salt, self._synced) for record in records)
        room = b"" if self._end + len(content) <= self._room_end else bytes(ROOM_BYTES)
        try:
            _write(self._handle, content + room, self._end)
        except OSError:
            self._drop_room()
            raise
        self._end += len(content)
        self._room_end = max(self._room_end, self._end + len(room))
        self.bytes_written += len(content)

    def _drop_room(self) -> None:
        """Let the file end with its last record."""
        os.ftruncate(self._handle, self._end)
        self._room_end = self._end

    def sync(self) -> None:
        """Wait until everything that was written is on disk.

        Raises:
            OSError: It is unknown what is on disk; the journal must be opened anew.
        """
        if self.synced:
            return
        os.fdatasync(self._handle)
        self._synced = self._end
        self._note()

    def _note(self) -> None:
        """Note up to where commits are on disk. It is not synced: it tells of damage, and a late note tells of less."""
        content = struct.pack("<QQ", self._segments[-1].number, self._synced)
        os.pwrite(self._acknowledged, content + struct.pack("<I", zlib.crc32(content)), 0)

    def begin_segment(self) -> None:
        """Go on in a new segment, with everything before it on disk.

        Raises:
            OSError: There is none; the journal goes on as it was.
        """
        if self._handle >= 0:
            self.sync()
            self._drop_room()
        number = self._segments[-1].number + 1 if self._segments else 1
        path = self._folder / f"{number:016}{_SUFFIX}"
        salt = os.urandom(16)
        header = _SEGMENT_MAGIC + salt + struct.pack("<Q", self._end)
        header += struct.pack("<I", zlib.crc32(header))
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        try:
            os.pwrite(handle, header, 0)
            os.fsync(handle)
            sync_folder(self._folder)
        except OSError:
            os.close(handle)
            path.unlink()
            raise
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = handle
        self._segments.append(Segment(number, path, salt, self._end))
        self._end = self._room_end = self._synced = len(header)
        self.bytes_written += len(header)

    def newest_segment(self) -> int:
        """Return the number of the segment that is written to."""
        return self._segments[-1].number

    def cut(self, before: int) -> None:
        """Remove the segments before one; what they hold must be on disk elsewhere."""
        while len(self._segments) > 1 and self._segments[0].number < before:
            segment = self._segments.pop(0)
            self.bytes_written -= segment.path.stat().st_size
            segment.path.unlink()
        sync_folder(self._folder)

    def close(self) -> None:
        """Release the files."""
        if self._handle >= 0:
            self._drop_room()
        for handle in (self._handle, self._acknowledged):
            if handle >= 0:
                os.close(handle)
        self._handle = self._acknowledged = -1


def records_after(folder: Path, place: Place) -> Iterator[tuple[Record, Place]]:
    """Yield the records behind a place, each with its end, as far as they are whole now. The journal may be written to.

    Args:
        folder: The journal's.
        place: The number of a segment and a byte in it; (number, 0) is its beginning.
    """
    number, offset = place
    while True:
        path, following = (folder / f"{at:016}{_SUFFIX}" for at in (number, number + 1))
        # Asked first: once there is a next segment nothing is added to this one.
        complete = following.exists()
        with path.open("rb") as file:
            segment = _segment_of(path, file.read(_SEGMENT_HEADER.size))
            offset = max(offset, _SEGMENT_HEADER.size)
            file.seek(offset)
            content = file.read()
        at = 0
        while segment is not None and (found := _record_at(content, at, segment.salt)) is not None:
            record, at, _ = found
            yield record, (number, offset + at)
        if not complete:
            return
        number, offset = number + 1, 0


def _write(handle: int, content: bytes, offset: int) -> None:
    written = 0
    while written < len(content):
        written += os.pwrite(handle, memoryview(content)[written:], offset + written)


def _segment_of(path: Path, header: bytes) -> Segment | None:
    if len(header) < _SEGMENT_HEADER.size or not path.stem.isdecimal():
        return None
    magic, salt, previous_end, checksum = _SEGMENT_HEADER.unpack(header)
    if magic != _SEGMENT_MAGIC or checksum != zlib.crc32(header[:-4]):
        return None
    return Segment(int(path.stem), path, salt, previous_end)


def _encoded(record: Record, salt: bytes, synced: int) -> bytes:
    covered = _COVERED.pack(len(record.content), record.position, synced, record.token)
    checksum = zlib.crc32(record.content, zlib.crc32(covered, zlib.crc32(salt)))
    header = _RECORD_HEADER.pack(_RECORD_MAGIC, len(record.content), checksum, record.position, synced, record.token)
    return header + record.content


def _record_at(content: bytes, start: int, salt: bytes) -> tuple[Record, int, int] | None:
    """Return the record at a place, where it ends, and up to where its segment was synced; None if there is none."""
    if len(content) - start < _RECORD_HEADER.size:
        return None
    magic, length, checksum, position, synced, token = _RECORD_HEADER.unpack_from(content, start)
    begin = start + _RECORD_HEADER.size
    if magic != _RECORD_MAGIC or length > len(content) - begin:
        return None
    body = content[begin : begin + length]
    covered = _COVERED.pack(length, position, synced, token)
    if checksum != zlib.crc32(body, zlib.crc32(covered, zlib.crc32(salt))):
        return None
    return Record(position, token, body), begin + length, synced


def _damaged(path: Path, at: int) -> StoreDamagedError:
    return StoreDamagedError(
        f"the journal is damaged: {path} cannot be read from byte {at} on, though commits behind it were acknowledged; "
        f"restore the store from a backup",
        place=f"{path}, byte {at}",
    )
