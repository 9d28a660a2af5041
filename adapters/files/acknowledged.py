"""The mark of what has been acknowledged: a file of 8 bytes that detects a damaged write-ahead log.

SQLite takes a broken frame in its log for the end of the log, silently: commits behind it would be gone. The
newest acknowledged position is therefore kept outside of the catalog. It is written to memory that the kernel writes
out, so it costs no sync: a power cut may leave an older one, which only weakens the check, never a newer one than
the catalog has.
"""

import mmap
import os
from pathlib import Path
from zlib import crc32

import numpy as np

from recollect.adapters.errors import StoreDamagedError
from recollect.adapters.files import durable

NAME = "acknowledged.mark"
_POSITION_BITS = 53
_SIZE = 8


class AcknowledgedMark:
    """The mark of one open store: a position in the low 53 bits, a checksum of it in the other 11."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        durable.create_file(self._path, _word(0).to_bytes(_SIZE, "little"))
        handle = durable.open_file(self._path, writable=True)
        try:
            if os.fstat(handle).st_size != _SIZE:
                raise StoreDamagedError(
                    f"{NAME} does not hold {_SIZE} bytes; delete it, then check the store", place=NAME
                )
            # One aligned word, so that a store by one process is never seen half by another.
            self._word = np.frombuffer(mmap.mmap(handle, _SIZE), dtype="<u8")
        finally:
            os.close(handle)

    def position(self) -> int | None:
        """Return the newest position that was acknowledged as durable; None when the mark is damaged."""
        word = int(self._word[0])
        position = word & (2**_POSITION_BITS - 1)
        return position if _word(position) == word else None

    def advance(self, position: int) -> None:
        """Note a position as acknowledged, unless another process has noted a later one."""
        if position > (self.position() or 0):
            self._word[0] = _word(position)

    def verify(self, last: int) -> None:
        """Compare with the newest position that the catalog holds.

        Raises:
            StoreDamagedError: Acknowledged commits are missing.
        """
        position = self.position()
        if position is not None and position > last:
            raise StoreDamagedError(
                f"the catalog ends at position {last}, but commits up to {position} were acknowledged: its write-ahead "
                f"log was damaged or removed. Restore the store from a backup, or delete {NAME} to go on without them",
                place=f"{NAME}, position {position}",
            )

    def close(self) -> None:
        """Release the file."""
        self._word = np.zeros(1, dtype="<u8")


def _word(position: int) -> int:
    return position | (crc32(position.to_bytes(8, "little")) >> 21) << _POSITION_BITS
