"""What a match shows of each version, as JSON, side by side in one file for streams of many matches.

Getting a row out of SQLite takes longer than all else that such a stream does with it. So the columns, which read every
head anyway, put this part of it into a pack. It is a file without a name, this process's own and gone with it; the
system keeps of it in memory what there is room for.
"""

import mmap
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from recollect.adapters.files.growable import Growable
from recollect.adapters.files.records import encode_scores, shown_part

CAPACITY_BYTES_MIN = 2**20


class ShownPack:
    """The pack of one open store. It is extended by one thread at a time; views of it are read by any.

    Attributes:
        problem: Why there is no pack, as a sentence; None while there is one. Streams then read from the catalog, which
            is slower and otherwise the same.
    """

    def __init__(self, folder: Path) -> None:
        self.problem: str | None = None
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self._capacity_bytes = 0
        self._end = 0
        self._start, self._length = Growable("i8"), Growable("i4")

    def extend(self, heads: Sequence[bytes]) -> None:
        """Add what these heads show, which is verified by the caller."""
        if self.problem is not None:
            return
        parts = [b",%b}" % shown_part(head) for head in heads]
        lengths = np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))
        ends = self._end + np.cumsum(lengths)
        try:
            self._write(b"".join(parts), int(ends[-1]))
        except OSError as error:
            self.close()
            self.problem = f"long streams are slow, because their pack could not be written ({error}): free some space"
            return
        self._start.extend(ends - lengths)
        self._length.extend(lengths)
        self._end = int(ends[-1])

    def overwrite(self, rows: Sequence[int], heads: Sequence[bytes]) -> None:
        """Put what the heads of stubs show in the place of what is there; a stub shows less, so it fits.

        Args:
            rows: Indexes of versions that were erased.
            heads: The heads of their stubs.
        """
        if self._file is None:
            return
        for row, head in zip(rows, heads, strict=True):
            length = int(self._length.view[row])
            part = b",%b" % shown_part(head)
            if len(part) < length:
                self._file.seek(int(self._start.view[row]))
                self._file.write(part.ljust(length - 1) + b"}")
        self._file.flush()

    def _write(self, content: bytes, end: int) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - it lives as long as this
        if end > self._capacity_bytes:
            # Room ahead, in a hole that takes no space, so that not every write makes the next view map anew.
            self._capacity_bytes = max(CAPACITY_BYTES_MIN, 2 * end)
            self._file.truncate(self._capacity_bytes)
            self._map = None
        self._file.seek(self._end)
        self._file.write(content)
        self._file.flush()

    def view(self) -> "ShownView | None":
        """Return the versions so far; None where there is no pack."""
        if self._file is None:
            return None
        if self._map is None:
            self._map = mmap.mmap(self._file.fileno(), self._capacity_bytes, prot=mmap.PROT_READ)
        return ShownView(self._map, self._start.view, self._length.view)

    def close(self) -> None:
        """Give the file back; views that are in use keep what they need."""
        self._map = None
        if self._file is not None:
            self._file.close()
            self._file = None


class ShownView:
    """The pack up to a row, as arrays with one element a version."""

    def __init__(self, content: mmap.mmap, start: NDArray[Any], length: NDArray[Any]) -> None:
        self._content = content
        self._start = start
        self._length = length

    def batches(self, rows: NDArray[np.int64], scores: NDArray[np.float64], size: int) -> tuple[bytes, ...]:
        """Return matches as JSON objects, joined by commas, in batches.

        Args:
            rows: Indexes of versions, shape (matches,).
            scores: Their scores, of the same shape.
            size: How many matches a batch holds.
        """
        starts = self._start[rows]
        slices = map(slice, starts.tolist(), (starts + self._length[rows]).tolist())
        # Three pieces a match, put in place column by column: a join of them is the fastest way to so many bytes.
        pieces = [b',{"score":'] * (3 * len(rows))
        pieces[1::3] = encode_scores(scores)
        pieces[2::3] = map(self._content.__getitem__, slices)
        return tuple(b"".join(pieces[at : at + 3 * size])[1:] for at in range(0, len(pieces), 3 * size))

    def release(self) -> None:
        """Let go of the memory that reading has mapped; the system keeps the content as long as it likes."""
        self._content.madvise(mmap.MADV_DONTNEED)
