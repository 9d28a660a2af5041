"""How a version becomes a point and back.

A point's payload holds a version as exact JSON texts (`head`, `body`, `provenance`), each with a checksum, and beside
them the fields that filters select by. Texts and numbers of metadata become tokens, since a payload's own paths cannot
say what our filters do: a name may hold a dot, true is not 1, and 1 equals 1.0.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID, uuid5
from zlib import crc32

import msgspec
import numpy as np
from msgspec import Struct

from recollect.adapters.errors import InvalidRequestError, InvalidVectorError, StoreDamagedError
from recollect.adapters.filters import FieldPath, is_number, leaf_values
from recollect.adapters.port import Commit, Projection
from recollect.adapters.versions import SparseVector, Vector, Version, VersionRef

DENSE: Final = "dense"
WINDOWS: Final = "windows"
TERMS: Final = "terms"
VECTORS: Final = [DENSE, WINDOWS, TERMS]

INT64_MAX = 2**63 - 1
_NAMESPACE: Final = UUID("0d1fb4d5-47a4-5d9c-9f0b-6a3c1d2e4b5f")
_ENCODER: Final = msgspec.json.Encoder()
_VERSION: Final = msgspec.json.Decoder(Version)
_VERSIONS: Final = msgspec.json.Decoder(list[Version])

Payload = dict[str, Any]


class _Head(Struct, omit_defaults=True):
    id: str
    branch: str
    version: int
    namespace: str
    kind: str
    summary: str
    tags: tuple[str, ...]
    importance: float
    confidence: float
    created_at_ms: int
    updated_at_ms: int
    content_hash: str
    actor: str
    content_type: str
    key: str | None = None
    expires_at_ms: int | None = None
    source: str | None = None
    forgotten: bool = False


class _Body(Struct):
    content: str | None
    metadata: dict[str, Any] | None


class NewPoint(Struct, array_like=True):
    """A version as a point, all but what its commit adds.

    Attributes:
        point_id: The UUID that follows from the version's ref.
        payload: Texts, checksums and fields.
        dense: The only row, float32 and little-endian; None without vectors, or with several.
        windows: Several rows, likewise.
        terms: uint32, little-endian; None without terms.
        weights: float32, as many as terms.
    """

    point_id: str
    payload: Payload
    dense: bytes | None = None
    windows: bytes | None = None
    terms: bytes | None = None
    weights: bytes | None = None


def point_id(ref: VersionRef) -> str:
    """Return the id of a version's point. Hashed from JSON, so that no two refs can look alike."""
    return str(uuid5(_NAMESPACE, _ENCODER.encode((ref.memory_id, ref.branch, ref.number)).decode()))


# --- To a point ------------------------------------------------------------------------------------------------------


def prepare(commit: Commit, dimension: int) -> list[NewPoint]:
    """Check a commit and make its points.

    Raises:
        InvalidRequestError: Two puts are for the same memory and branch, or a value cannot be stored.
        InvalidVectorError: A vector is not finite, not of the store's dimension, or all zeros.
    """
    lines = {(put.version.memory_id, put.version.branch) for put in commit.puts}
    if len(lines) != len(commit.puts):
        raise InvalidRequestError("a commit adds at most one version for each memory and branch; commit twice")
    return [new_point(put.version, dimension) for put in commit.puts]


def new_point(version: Version, dimension: int) -> NewPoint:
    """Make the point of a version; see `prepare` for what is refused."""
    _check(version)
    try:
        head, body, provenance = _head(version), _body(version), _provenance(version)
        # Structs do not check the types they are made of; a wrong one must not get into the store.
        _VERSION.decode(_joined(head, body, provenance, 0))
        fields = fields_of(version)
        identity = point_id(version.ref)
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"{version.memory_id!a}: a text holds half a surrogate pair, which is no UTF-8"
        ) from error
    except (TypeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidRequestError(f"{version.memory_id}: cannot be stored as JSON: {error}") from error
    rows = None if version.vectors is None else check_vectors(version.vectors, dimension)
    dense, windows = (None, None) if rows is None else (rows, None) if len(rows) == 1 else (None, rows)
    sparse = None if version.sparse is None else check_terms(version.sparse)
    made = NewPoint(
        identity,
        {"head": head.decode(), "body": body.decode(), **fields},
        None if dense is None else dense.tobytes(),
        None if windows is None else windows.tobytes(),
        None if sparse is None else sparse.terms.tobytes(),
        None if sparse is None else sparse.weights.tobytes(),
    )
    if provenance is not None:
        made.payload["provenance"] = provenance.decode()
    vectors = (made.dense or b"") + (made.windows or b"") + (made.terms or b"") + (made.weights or b"")
    made.payload["sums"] = [crc32(head), crc32(body), crc32(provenance or b""), crc32(vectors)]
    return made


def _check(version: Version) -> None:
    try:
        is_uuid = str(UUID(version.memory_id)) == version.memory_id
    except (ValueError, AttributeError, TypeError):
        is_uuid = False
    if not is_uuid:
        raise InvalidRequestError(f"a memory id is a UUID in lower-case text, not {version.memory_id!r:.60}")
    whole = (version.number, version.created_at_ms, version.updated_at_ms, version.expires_at_ms or 0)
    if not all(-INT64_MAX <= number <= INT64_MAX for number in whole):
        raise InvalidRequestError(f"{version.memory_id}: a number is outside of 64 bits")
    if not (math.isfinite(version.importance) and math.isfinite(version.confidence)):
        raise InvalidRequestError(f"{version.memory_id}: importance and confidence must be finite")
    if version.metadata and not _all_finite(version.metadata):
        raise InvalidRequestError(f"{version.memory_id}: metadata holds NaN or infinity, which JSON cannot say")


def _all_finite(node: Any) -> bool:
    match node:
        case float():
            return math.isfinite(node)
        case dict():
            return all(map(_all_finite, node.values()))
        case list() | tuple():
            return all(map(_all_finite, node))
        case _:
            return True


def _head(version: Version) -> bytes:
    return _ENCODER.encode(
        _Head(
            version.memory_id,
            version.branch,
            version.number,
            version.namespace,
            version.kind,
            version.summary,
            version.tags,
            version.importance,
            version.confidence,
            version.created_at_ms,
            version.updated_at_ms,
            version.content_hash,
            version.actor,
            version.content_type,
            version.key,
            version.expires_at_ms,
            version.source,
            version.forgotten,
        )
    )


def _body(version: Version) -> bytes:
    if version.content is None and version.metadata is None:
        return b"{}"
    return _ENCODER.encode(_Body(version.content, version.metadata))


def _provenance(version: Version) -> bytes | None:
    if version.provenance is None:
        return None
    record = _ENCODER.encode(version.provenance)
    if b'"schema_version":' not in record:
        # The default is left out by the encoder, but a later program's default will be another.
        record = b'%s,"schema_version":%d}' % (record[:-1], version.provenance.schema_version)
    return record


def check_vectors(vectors: Vector, dimension: int) -> Vector:
    """Return vectors, one a row, as a contiguous little-endian array.

    Raises:
        InvalidVectorError: They have another shape, are not finite, or one is all zeros.
    """
    try:
        rows = np.ascontiguousarray(vectors, dtype="<f4")
    except (TypeError, ValueError) as error:
        raise InvalidVectorError(f"vectors are arrays of float32: {error}") from error
    if rows.ndim != 2 or rows.shape[1] != dimension:  # noqa: PLR2004 - rows and columns
        raise InvalidVectorError(f"the store holds vectors of {dimension} numbers; these have the shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise InvalidVectorError("a vector holds NaN or infinity")
    if not rows.any(axis=1).all():
        raise InvalidVectorError("a vector is all zeros, which points nowhere; leave it out instead")
    return rows


def check_terms(sparse: SparseVector) -> SparseVector:
    """Return terms as contiguous little-endian arrays.

    Raises:
        InvalidVectorError: The arrays differ in length, terms are not sorted and unique, or a weight is not finite.
    """
    terms = np.ascontiguousarray(sparse.terms, dtype="<u4")
    weights = np.ascontiguousarray(sparse.weights, dtype="<f4")
    if terms.ndim != 1 or terms.shape != weights.shape:
        raise InvalidVectorError("terms and weights of a sparse vector are of the same length")
    if not np.isfinite(weights).all():
        raise InvalidVectorError("a term's weight is NaN or infinity")
    if (terms[1:] <= terms[:-1]).any():
        raise InvalidVectorError("the terms of a sparse vector are sorted and unique")
    return SparseVector(terms, weights)


# --- What filters select by ------------------------------------------------------------------------------------------


def fields_of(version: Version) -> Payload:
    """Return the fields of a version that filters select by; what it has not is left out."""
    fields: Payload = {
        "memory": version.memory_id,
        "branch": version.branch,
        "number": version.number,
        "namespace": version.namespace,
        "system": "yes" if version.namespace.startswith("_") else "no",
        "forgotten": "yes" if version.forgotten else "no",
        "kind": version.kind,
        "actor": version.actor,
        "importance": version.importance,
        "confidence": version.confidence,
        "created_at": version.created_at_ms,
        "updated_at": version.updated_at_ms,
        "content_hash": version.content_hash,
    }
    optional: Payload = {
        "key": version.key,
        "source": version.source,
        "tags": list(version.tags) or None,
        "expires_at": version.expires_at_ms,
    }
    fields |= {name: value for name, value in optional.items() if value is not None}
    if version.metadata:
        tokens: set[str] = set()
        numbers: dict[str, list[float]] = {}
        for path, values in _leaves(version.metadata, ()):
            tokens |= {token_of_path(path), *(token_of_value(path, value) for value in values if _is_scalar(value))}
            if found := [float(value) for value in values if is_number(value)]:
                numbers[name_of_path(path)] = found
        fields |= {"metadata": sorted(tokens), "numbers": numbers}
    return fields


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | bool | int | float)


def _leaves(node: Mapping[str, Any], path: FieldPath) -> Iterator[tuple[FieldPath, list[Any]]]:
    """Walk the paths of a metadata document at which there is a value."""
    for name, inner in node.items():
        here = (*path, name)
        if values := leaf_values(inner):
            yield here, values
        if isinstance(inner, Mapping):
            yield from _leaves(inner, here)


def name_of_path(path: FieldPath) -> str:
    """Return how a path in the metadata is named in a payload, where its own names could mean something else."""
    return hashlib.blake2b(_ENCODER.encode(path), digest_size=12).hexdigest()


def token_of_path(path: FieldPath) -> str:
    """Return the token that says that there is a value at a path in the metadata."""
    return name_of_path(path)


def token_of_value(path: FieldPath, value: str | float) -> str:
    """Return the token that says that there is this value at a path; equal numbers of any type have the same."""
    match value:
        case bool():
            text = "true" if value else "false"
        case str():
            text = f"t{value}"
        case float() if not value.is_integer():
            text = f"n{value!r}"
        case _:
            text = f"n{int(value)}"
    return hashlib.blake2b(_ENCODER.encode((path, text)), digest_size=12).hexdigest()


# --- From a point ----------------------------------------------------------------------------------------------------

HEAD_FIELDS: Final = ("head", "position", "sums")


def payload_fields(projection: Projection) -> list[str]:
    """Return which parts of a payload a projection needs; no more is read."""
    return [*HEAD_FIELDS, *(["body"] if projection.content else []), *(["provenance"] if projection.provenance else [])]


def vector_names(projection: Projection) -> list[str] | bool:
    """Return which vectors a projection needs."""
    return VECTORS if projection.vectors else False


def versions_of(points: Sequence[Any], projection: Projection) -> list[Version]:
    """Read versions from points that were asked for with a projection.

    Raises:
        StoreDamagedError: A text or a vector differs from its checksum.
    """
    documents = [_document(point, projection) for point in points]
    try:
        versions = _VERSIONS.decode(b"[" + b",".join(documents) + b"]")
    except msgspec.MsgspecError as error:
        raise StoreDamagedError(f"a version cannot be read: {error}", place="the payloads of points") from error
    if projection.vectors:
        versions = [_with_vectors(version, point) for version, point in zip(versions, points, strict=True)]
    return versions


def _document(point: Any, projection: Projection) -> bytes:
    payload = point.payload or {}
    try:
        position, sums = payload["position"], payload["sums"]
        head = payload["head"].encode()
        body = payload["body"].encode() if projection.content else b"{}"
        provenance = payload["provenance"].encode() if projection.provenance and "provenance" in payload else None
        compared = [(head, sums[0])]
        if projection.content:
            compared.append((body, sums[1]))
        if projection.provenance:
            compared.append((provenance or b"", sums[2]))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise damaged(point, "its payload lacks a part") from error
    if any(crc32(text) != expected for text, expected in compared):
        raise damaged(point, "a text differs from its checksum")
    return _joined(head, body, provenance, position)


def _joined(head: bytes, body: bytes, provenance: bytes | None, position: int) -> bytes:
    """Join the texts of a version to one JSON document."""
    document = b'%b,"position":%d' % (head[:-1], position)
    if body != b"{}":
        document += b"," + body[1:-1]
    if provenance is not None:
        document += b',"provenance":' + provenance
    return document + b"}"


def _with_vectors(version: Version, point: Any) -> Version:
    rows, sparse = rows_of(point), terms_of(point)
    vectors = b"" if rows is None else rows.tobytes()
    if sparse is not None:
        vectors += sparse.terms.tobytes() + sparse.weights.tobytes()
    if crc32(vectors) != point.payload["sums"][3]:
        raise damaged(point, "a vector differs from its checksum")
    return msgspec.structs.replace(version, vectors=rows, sparse=sparse)


def rows_of(point: Any) -> Vector | None:
    """Return the rows of a point that was asked for with vectors; None if it has none."""
    vectors = point.vector or {}
    if DENSE in vectors:
        return np.asarray([vectors[DENSE]], dtype="<f4")
    return np.asarray(vectors[WINDOWS], dtype="<f4") if WINDOWS in vectors else None


def terms_of(point: Any) -> SparseVector | None:
    """Return the terms of a point that was asked for with vectors; None if it has none."""
    found = (point.vector or {}).get(TERMS)
    if found is None:
        return None
    terms, weights = np.asarray(found.indices, dtype="<u4"), np.asarray(found.values, dtype="<f4")
    order = np.argsort(terms)
    return SparseVector(terms[order], weights[order])


def damaged(point: Any, problem: str) -> StoreDamagedError:
    """Return the error for a point that is not as it was written."""
    place = f"point {point.id}"
    return StoreDamagedError(f"{place}: {problem}; restore the collection from a snapshot", place=place)
