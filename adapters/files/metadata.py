"""Columns of metadata: the values at one path, loaded when a filter first names it and kept up after that."""

import sqlite3
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from recollect.adapters.files.columns import text_number
from recollect.adapters.files.growable import Growable
from recollect.adapters.files.records import damaged
from recollect.adapters.filters import Range, Scalar, is_number, metadata_values, same

PATHS_MAX = 64
LOAD_ROWS = 4_096
_BODIES = "SELECT row, body_crc, body, memory_id FROM versions WHERE row > ? AND row <= ? ORDER BY row LIMIT ?"


class _Metadata(Struct):
    metadata: dict[str, Any] | None = None


_DECODER = msgspec.json.Decoder(list[_Metadata])


class PathColumn:
    """The values at one path. Indexes are row numbers minus 1; a list gives an entry for each element."""

    def __init__(self, path: tuple[str, ...]) -> None:
        self.path = path
        self.rows = 0
        self._present = Growable("i8")
        self._number_rows, self._numbers = Growable("i8"), Growable("f8")
        self._text_rows, self._texts = Growable("i8"), Growable("i8")
        self._true, self._false = Growable("i8"), Growable("i8")
        # Whole numbers that float64 cannot hold; few, so they are compared one by one.
        self._large: list[tuple[int, int]] = []

    def add(self, documents: Sequence[_Metadata]) -> None:
        """Take up the metadata of the next rows."""
        present, number_rows, numbers, text_rows, texts = [], [], [], [], []
        truths: dict[bool, list[int]] = {True: [], False: []}
        for row, document in enumerate(documents, self.rows):
            values = metadata_values(document.metadata or {}, self.path)
            if values:
                present.append(row)
            for value in values:
                if isinstance(value, bool):
                    truths[value].append(row)
                elif isinstance(value, str):
                    text_rows.append(row)
                    texts.append(text_number(value))
                elif is_number(value):
                    if is_exact(value):
                        number_rows.append(row)
                        numbers.append(value)
                    else:
                        self._large.append((row, value))
        self._present.extend(present)
        self._number_rows.extend(number_rows)
        self._numbers.extend(numbers)
        self._text_rows.extend(text_rows)
        self._texts.extend(texts)
        self._true.extend(truths[True])
        self._false.extend(truths[False])
        self.rows += len(documents)

    def present(self) -> NDArray[np.int64]:
        """Return the rows that have a value."""
        return self._present.view

    def equal(self, value: Scalar) -> NDArray[np.int64]:
        """Return the rows that have this value, or a list that holds it."""
        if isinstance(value, bool):
            return (self._true if value else self._false).view
        if isinstance(value, str):
            return np.asarray(self._text_rows.view[self._texts.view == text_number(value)])
        if is_exact(value):
            return np.asarray(self._number_rows.view[self._numbers.view == value])
        return np.array([row for row, large in self._large if same(large, value)], dtype=np.int64)

    def within(self, bounds: Range) -> NDArray[np.int64]:
        """Return the rows that have a number within the bounds."""
        numbers = self._numbers.view
        found = range_mask(numbers, bounds)
        large = [row for row, value in self._large if bounds.holds(value)]
        return np.concatenate([self._number_rows.view[found], np.array(large, dtype=np.int64)])


def is_exact(number: float) -> bool:
    """Say whether float64 holds a number exactly."""
    try:
        return float(number) == number
    except OverflowError:
        return False


def range_mask(numbers: NDArray[Any], bounds: Range) -> NDArray[np.bool_]:
    """Return which numbers lie within the bounds, compared as exactly as Python does."""
    given = (bounds.gt, bounds.gte, bounds.lt, bounds.lte)
    if not all(bound is None or is_exact(bound) for bound in given):
        return np.fromiter(map(bounds.holds, numbers.tolist()), dtype=bool, count=len(numbers))
    comparisons: tuple[Callable[..., NDArray[np.bool_]], ...] = (np.greater, np.greater_equal, np.less, np.less_equal)
    found = np.ones(len(numbers), dtype=bool)
    for compare, bound in zip(comparisons, given, strict=True):
        if bound is not None:
            found &= compare(numbers, bound)
    return found


class MetadataColumns:
    """The paths that filters have named, the least recently used left out when there are too many."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._paths: dict[tuple[str, ...], PathColumn] = {}

    def forget(self) -> None:
        """Drop all paths, after something was erased; they are loaded again when they are named."""
        with self._lock:
            self._paths.clear()

    def find(
        self,
        path: tuple[str, ...],
        rows: int,
        connection: sqlite3.Connection,
        look: Callable[[PathColumn], NDArray[np.int64]],
    ) -> NDArray[np.int64]:
        """Return what `look` finds in the column of a path, which covers at least so many rows.

        Raises:
            StoreDamagedError: A body differs from its checksum.
        """
        with self._lock:
            column = self._paths.pop(path, None) or PathColumn(path)
            self._paths[path] = column
            while len(self._paths) > PATHS_MAX:
                del self._paths[next(iter(self._paths))]
            while column.rows < rows:
                found = connection.execute(_BODIES, (column.rows, rows, LOAD_ROWS)).fetchall()
                for row, body_crc, body, memory_id in found:
                    if crc32(body) != body_crc:
                        raise damaged(row, "body", memory_id)
                if not found:
                    raise damaged(column.rows + 1, "which is missing", None)
                column.add(_DECODER.decode(b"[" + b",".join(body for _, _, body, _ in found) + b"]"))
            return look(column)
