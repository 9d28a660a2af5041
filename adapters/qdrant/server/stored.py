"""From the client's points to versions, and which parts of a point a read asks for."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct
from qdrant_client import models

from recollect.adapters.errors import StoreDamagedError
from recollect.adapters.port import Projection
from recollect.adapters.qdrant.fields import BODY, CHECKSUMS, DENSE, HEAD, PROVENANCE, TERMS, WINDOWS
from recollect.adapters.qdrant.mutations import PointWrite
from recollect.adapters.qdrant.points import StoredVersion, read_versions, stored_of
from recollect.adapters.versions import Version

VECTORS: Final = [DENSE, WINDOWS, TERMS]
EVERYTHING: Final = Projection(content=True, provenance=True, vectors=True)


class Found(Struct, frozen=True, eq=False, gc=False):
    """A point that was found, with what was asked for of it."""

    id: str
    payload: dict[str, Any]
    score: float
    vector: Any = None


Point = models.Record | models.ScoredPoint | Found


def payload_fields(projection: Projection) -> list[str]:
    """Return which parts of a payload a projection needs; no more is read."""
    fields = [HEAD, CHECKSUMS]
    fields += [BODY] if projection.content else []
    fields += [PROVENANCE] if projection.provenance else []
    return fields


def vector_names(projection: Projection) -> list[str] | bool:
    """Return which vectors a projection needs."""
    return VECTORS if projection.vectors else False


def versions_of(points: Sequence[Point], projection: Projection, dimension: int) -> list[Version]:
    """Read versions from points that were asked for with a projection, or with more than that.

    Raises:
        StoreDamagedError: A part differs from its checksum, or is not there.
    """
    stored = [_stored(point, projection) for point in points]
    try:
        return read_versions(stored, dimension)
    except (msgspec.MsgspecError, ValueError) as error:
        raise StoreDamagedError(f"a version cannot be read: {error}", place="the payloads of points") from error


def _stored(point: Point, projection: Projection) -> StoredVersion:
    wanted = payload_fields(projection)
    payload = {name: value for name, value in (point.payload or {}).items() if name in wanted}
    rows, terms = (rows_of(point), terms_of(point)) if projection.vectors else (None, None)
    return stored_of(point.id, payload, rows, terms)


def rows_of(point: Point) -> bytes | None:
    """Return the rows of a point that was asked for with vectors, float32; None if it has none."""
    vectors: Any = point.vector or {}
    rows = vectors.get(DENSE, vectors.get(WINDOWS))
    return None if rows is None else np.asarray(rows, dtype="<f4").tobytes()


def terms_of(point: Point) -> bytes | None:
    """Return the terms of a point that was asked for with vectors: uint32 terms, then float32 weights; or None."""
    found: Any = (point.vector or {}).get(TERMS) if isinstance(point.vector, dict) else None
    if found is None:
        return None
    terms, weights = np.asarray(found.indices, dtype="<u4"), np.asarray(found.values, dtype="<f4")
    order = np.argsort(terms)
    return bytes(terms[order].tobytes() + weights[order].tobytes())


def write_of_point(point: Point) -> PointWrite:
    """Return a point that was read with everything as it would be written."""
    rows = rows_of(point)
    windowed = isinstance(point.vector, dict) and WINDOWS in point.vector
    return PointWrite(
        str(point.id), point.payload or {}, None if windowed else rows, rows if windowed else None, terms_of(point)
    )


def client_point(point: PointWrite, dimension: int) -> models.PointStruct:
    """Return a point as the client sends it."""
    vectors: dict[str, Any] = {}
    if point.dense is not None:
        vectors[DENSE] = np.frombuffer(point.dense, dtype="<f4").tolist()
    if point.windows is not None:
        vectors[WINDOWS] = np.frombuffer(point.windows, dtype="<f4").reshape(-1, dimension).tolist()
    if point.terms:
        half = len(point.terms) // 2
        vectors[TERMS] = models.SparseVector(
            indices=np.frombuffer(point.terms[:half], dtype="<u4").tolist(),
            values=np.frombuffer(point.terms[half:], dtype="<f4").tolist(),
        )
    return models.PointStruct(id=point.point_id, vector=vectors, payload=point.payload)


def damaged(point: Point, problem: str) -> StoreDamagedError:
    """Return the error for a point that is not as it was written."""
    place = f"point {point.id}"
    return StoreDamagedError(f"{place}: {problem}; restore the collection from a snapshot", place=place)
