"""Selection: from a read point, namespaces and a filter to the versions meant, as a mask over the columns.

A filter means here exactly what `recollect.adapters.filters.matches` says of one version.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.adapters.errors import FilterError
from recollect.adapters.files.columns import NO_TIME, Codes, Snapshot, text_number
from recollect.adapters.files.metadata import MetadataColumns, PathColumn, is_exact, range_mask
from recollect.adapters.filters import And, Equals, Exists, FieldPath, Filter, Not, OneOf, Or, Range, Scalar, is_number
from recollect.adapters.port import ReadPoint, Segment

Mask = NDArray[np.bool_]
_NO_ROWS = np.empty(0, dtype=np.int64)

_CODED = {"namespace": "namespaces", "kind": "kinds", "actor": "actors"}
_HASHED = {"key", "source"}
_NUMBERS = {
    "importance": "importance",
    "confidence": "confidence",
    "created_at": "created",
    "updated_at": "updated",
    "expires_at": "expires",
}


class Selection:
    """Selects versions of one snapshot; the connection serves metadata that no filter has named before."""

    def __init__(self, snapshot: Snapshot, metadata: MetadataColumns, connection: sqlite3.Connection) -> None:
        self._snapshot = snapshot
        self._metadata = metadata
        self._connection = connection

    def select(self, read_point: ReadPoint | None, namespaces: Sequence[str] | None, condition: Filter | None) -> Mask:
        """Return which versions are meant; without a read point all versions of all branches are looked at."""
        mask = self._all() if read_point is None else self.visible(read_point)
        if namespaces is not None:
            mask &= self._coded(self._snapshot.columns.namespaces, "namespace", namespaces)
        elif self._snapshot.columns.any_system:
            mask &= ~self._snapshot["system"]
        if condition is not None:
            mask &= self.matching(condition)
        return mask

    def written_on(self, segments: Sequence[Segment]) -> Mask:
        """Return which versions were written on one of some stretches of branches."""
        snapshot = self._snapshot
        mask = self._none()
        for segment in segments:
            # Rows follow the order of commits, so a stretch of positions is a stretch of rows.
            first = int(np.searchsorted(snapshot["position"], segment.after, side="right"))
            last = int(np.searchsorted(snapshot["position"], segment.up_to, side="right"))
            code = snapshot.columns.branches.of.get(segment.branch, -1)
            mask[first:last] |= snapshot["branch"][first:last] == code
        return mask

    def visible(self, read_point: ReadPoint) -> Mask:
        """Return which versions are seen from a read point."""
        snapshot = self._snapshot
        mask = self._none()
        hidden: Mask | None = None
        for at, span in enumerate(read_point.lineage):
            up_to = min(span.up_to, snapshot.last_position)
            on_span = self._coded(snapshot.columns.branches, "branch", (span.branch,))
            if up_to < snapshot.last_position:
                on_span &= snapshot["position"] <= up_to
            seen = on_span & (snapshot["superseded"] > up_to)
            if hidden is not None:
                seen &= ~hidden[snapshot["memory"]]
            mask |= seen
            if at + 1 < len(read_point.lineage):
                # Whatever a nearer span holds of a memory decides about it, tombstones too.
                hidden = self._none() if hidden is None else hidden
                hidden[snapshot["memory"][on_span]] = True
        if read_point.at_ms is not None and snapshot.columns.any_expires:
            expires = snapshot["expires"]
            mask &= (expires > read_point.at_ms) | (expires == NO_TIME)
        return mask

    def matching(self, condition: Filter) -> Mask:
        """Return which versions a filter matches."""
        match condition:
            case And(conditions):
                mask = self._all()
                for inner in conditions:
                    mask &= self.matching(inner)
                return mask
            case Or(conditions):
                mask = self._none()
                for inner in conditions:
                    mask |= self.matching(inner)
                return mask
            case Not(inner):
                return ~self.matching(inner)
            case Equals(field, value):
                return self._one_of(field, (value,))
            case OneOf(field, values):
                return self._one_of(field, values)
            case Exists(field):
                return self._exists(field)
            case Range(field):
                return self._range(field, condition)

    # --- Conditions -------------------------------------------------------------------------------------

    def _one_of(self, field: FieldPath, values: Sequence[Scalar]) -> Mask:
        name = field[0]
        if name == "metadata":
            return self._metadata_mask(field, lambda column: np.concatenate([_NO_ROWS, *map(column.equal, values)]))
        if name in _NUMBERS:
            return self._numbers_in(name, [value for value in values if is_number(value)])
        texts = [value for value in values if isinstance(value, str)]
        if name in _CODED:
            return self._coded(getattr(self._snapshot.columns, _CODED[name]), name, texts)
        if name in _HASHED:
            return _isin(self._snapshot[name], [text_number(text) for text in texts])
        if name == "tags":
            return self._marked(self._snapshot.tagged(texts))
        raise _unknown(field)

    def _numbers_in(self, name: str, values: Sequence[Any]) -> Mask:
        column = self._snapshot[_NUMBERS[name]]
        exact = [value for value in values if is_exact(value)]
        if column.dtype.kind == "f":
            return _isin(column, exact)
        # Times are whole numbers: a fraction equals none of them, and neither does one outside of 64 bits.
        whole = [int(value) for value in values if NO_TIME < value < -NO_TIME and value == int(value)]
        return _isin(column, whole)

    def _range(self, field: FieldPath, bounds: Range) -> Mask:
        name = field[0]
        if name == "metadata":
            return self._metadata_mask(field, lambda column: column.within(bounds))
        if name not in _NUMBERS:
            if name in _CODED or name in _HASHED or name == "tags":
                return self._none()
            raise _unknown(field)
        column = self._snapshot[_NUMBERS[name]]
        mask = range_mask(column, bounds)
        return mask & (column != NO_TIME) if name == "expires_at" else mask

    def _exists(self, field: FieldPath) -> Mask:
        name = field[0]
        snapshot = self._snapshot
        if name == "metadata":
            return self._metadata_mask(field, PathColumn.present)
        if name in _HASHED:
            return np.asarray(snapshot[name] != 0)
        if name == "expires_at":
            return np.asarray(snapshot["expires"] != NO_TIME)
        if name == "tags":
            return snapshot["tagged"].copy()
        if name in _CODED or name in _NUMBERS:
            return self._all()
        raise _unknown(field)

    # --- Masks ------------------------------------------------------------------------------------------

    def _coded(self, codes: Codes, name: str, texts: Sequence[str]) -> Mask:
        wanted = [codes.of[text] for text in set(texts) if text in codes.of]
        if len(wanted) == len(codes.of):
            return self._all()
        return _isin(self._snapshot[name], wanted)

    def _metadata_mask(self, field: FieldPath, look: Callable[[PathColumn], NDArray[np.int64]]) -> Mask:
        return self._marked(self._metadata.find(field[1:], self._snapshot.rows, self._connection, look))

    def _marked(self, rows: NDArray[Any]) -> Mask:
        mask = self._none()
        # A column may have grown past the snapshot.
        mask[rows[rows < self._snapshot.rows]] = True
        return mask

    def _all(self) -> Mask:
        return np.ones(self._snapshot.rows, dtype=bool)

    def _none(self) -> Mask:
        return np.zeros(self._snapshot.rows, dtype=bool)


def _isin(column: NDArray[Any], values: Sequence[Any]) -> Mask:
    if len(values) == 1:
        return np.asarray(column == values[0])
    if not values:
        return np.zeros(len(column), dtype=bool)
    return np.isin(column, np.array(values, dtype=column.dtype))


def _unknown(field: FieldPath) -> FilterError:
    return FilterError(f"filters.{'.'.join(field)}: unknown field")
