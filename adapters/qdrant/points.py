"""How a version becomes a point and back.

The payload of a point holds the version as three JSON texts, so that a read loads no more than it was asked for and
every value comes back as it was: `head` (all that a summary shows), `body` (content and metadata) and `provenance`.
Beside them lie a checksum for each part, and fields that the engine filters and sorts by. Those are derived from the
version, but for four that later commits change: `current`, `until`, `branches` and `firsts`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID
from zlib import crc32

import msgspec
import numpy as np
from msgspec import Struct

from recollect.adapters.errors import StoreDamagedError
from recollect.adapters.port import Match
from recollect.adapters.qdrant.fields import (
    BODY,
    BRANCH,
    CHECKSUMS,
    CLASS,
    CONFIDENCE,
    CREATED,
    CURRENT,
    EXPIRES,
    FIRST,
    HEAD,
    IMPORTANCE,
    LIVE,
    MEMORY,
    NAMESPACE,
    NEVER,
    NUMBER,
    NUMBERS,
    POSITION,
    PROVENANCE,
    TOKENS,
    UNTIL,
    UPDATED,
    WINDOWED,
    current_on,
)
from recollect.adapters.qdrant.mutations import PointWrite
from recollect.adapters.qdrant.tokens import comparable, live_tokens, tokens_of
from recollect.adapters.upgrades import read_records
from recollect.adapters.versions import Provenance, SparseVector, Version, VersionRef

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENCODE = msgspec.json.Encoder().encode
_VERSIONS = msgspec.json.Decoder(list[Version])


class StoredVersion(Struct, frozen=True, array_like=True, eq=False, gc=False):
    """A version as a point holds it, with the parts that a read loaded; the checksums of these were right.

    Attributes:
        head: JSON that begins with what a match shows, then its position, then the rest.
        body: JSON of content and metadata; None if not loaded, or if there is neither.
        provenance: JSON of the record; None likewise.
        rows: float32, little-endian, one row after the other; None likewise.
        terms: uint32 terms, then float32 weights; None likewise.
    """

    head: str
    body: str | None = None
    provenance: str | None = None
    rows: bytes | None = None
    terms: bytes | None = None


class StoredMatch(Struct, frozen=True, array_like=True, eq=False, gc=False):
    """A match whose version is as a point holds it."""

    stored: StoredVersion
    score: float
    dense: float | None = None
    sparse: float | None = None


class _Head(Struct):
    id: str
    version: int
    namespace: str
    key: str | None
    kind: str
    summary: str
    tags: tuple[str, ...]
    created_at: datetime | None
    position: int
    branch: str
    importance: float
    confidence: float
    created_at_ms: int
    updated_at_ms: int
    expires_at_ms: int | None
    content_hash: str
    actor: str
    source: str | None
    forgotten: bool
    content_type: str


class Body(Struct):
    """What a summary does not show."""

    content: str | None
    metadata: dict[str, Any] | None


def point_id(ref: VersionRef) -> str:
    """Return the id of a version's point: the same for the same ref, so that writing twice is writing once."""
    return str(UUID(bytes=sha256(_ENCODE(ref)).digest()[:16]))


def class_of(version: Version) -> str:
    """Return the class of a version: see `CLASS`."""
    return ("system" if version.namespace.startswith("_") else "user") + ("-forgotten" if version.forgotten else "")


def write_of(version: Version, first: int) -> PointWrite:
    """Return the point of a version that is the last of its memory on its branch.

    Args:
        version: It has its position, and `validate_commit` found no fault in it.
        first: The position of the memory's first version on the branch.
    """
    head, body = encode_head(version), encode_body(version)
    provenance = None if version.provenance is None else encode_provenance(version.provenance)
    rows = None if version.vectors is None else np.ascontiguousarray(version.vectors, dtype="<f4").tobytes()
    windowed = version.vectors is not None and len(version.vectors) > 1
    terms = None if version.sparse is None else _terms(version.sparse)
    derived, current = _derived(version), current_on(version.branch, class_of(version))
    payload = derived | {
        CURRENT: current,
        LIVE: live_tokens(derived[TOKENS], current),
        UNTIL: NEVER,
        FIRST: first,
        HEAD: head,
        CHECKSUMS: [_checksum(part) for part in (head, body, provenance, rows, terms)],
    }
    if body is not None:
        payload[BODY] = body
    if provenance is not None:
        payload[PROVENANCE] = provenance
    identity = point_id(version.ref)
    return PointWrite(identity, payload, None if windowed else rows, rows if windowed else None, terms)


def _derived(version: Version) -> dict[str, Any]:
    """Return the fields that follow from a version alone."""
    tokens, numbers = tokens_of(version)
    payload: dict[str, Any] = {
        MEMORY: version.memory_id,
        BRANCH: version.branch,
        NUMBER: version.number,
        NAMESPACE: version.namespace,
        CLASS: class_of(version),
        POSITION: version.position,
        TOKENS: tokens,
        IMPORTANCE: comparable(version.importance),
        CONFIDENCE: comparable(version.confidence),
        CREATED: comparable(version.created_at_ms),
        UPDATED: comparable(version.updated_at_ms),
    }
    if numbers:
        payload[NUMBERS] = numbers
    if version.expires_at_ms is not None:
        payload[EXPIRES] = comparable(version.expires_at_ms)
    if version.vectors is not None and len(version.vectors) > 1:
        payload[WINDOWED] = "yes"
    return payload


def encode_provenance(provenance: Provenance) -> str:
    """Return a record as JSON that names its schema, also where it is the default of today."""
    record = _ENCODE(provenance).decode()
    if '"schema_version":' not in record:
        record = f'{record[:-1]},"schema_version":{provenance.schema_version}}}'
    return record


def encode_head(version: Version) -> str:
    """Return the head as JSON: what a match shows, then the position, then the rest."""
    return _ENCODE(
        _Head(
            version.memory_id,
            version.number,
            version.namespace,
            version.key,
            version.kind,
            version.summary,
            version.tags,
            _moment(version.created_at_ms),
            version.position,
            version.branch,
            version.importance,
            version.confidence,
            version.created_at_ms,
            version.updated_at_ms,
            version.expires_at_ms,
            version.content_hash,
            version.actor,
            version.source,
            version.forgotten,
            version.content_type,
        )
    ).decode()


def _moment(milliseconds: int) -> datetime | None:
    """Return a time for people; None outside of the years 1 to 9999, where the milliseconds alone say it."""
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def encode_body(version: Version) -> str | None:
    """Return content and metadata as JSON; None without either."""
    if version.content is None and version.metadata is None:
        return None
    return _ENCODE(Body(version.content, version.metadata)).decode()


def _terms(sparse: SparseVector) -> bytes:
    return sparse.terms.astype("<u4", copy=False).tobytes() + sparse.weights.astype("<f4", copy=False).tobytes()


def _checksum(part: str | bytes | None) -> int:
    if part is None:
        return 0
    return crc32(part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part)


# --- From points ---


def stored_of(identity: object, payload: Mapping[str, Any], rows: bytes | None, terms: bytes | None) -> StoredVersion:
    """Return the version that a point holds, with the parts that are given, after a look at their checksums.

    Args:
        identity: The point's id, for the error.
        payload: `HEAD`, `CHECKSUMS`, and `BODY` and `PROVENANCE` where they were asked for and are there.
        rows: The point's rows, if they were asked for and are there.
        terms: Its terms, likewise.

    Raises:
        StoreDamagedError: A part differs from its checksum, or the head or the checksums are not there.
    """
    head, checksums = payload.get(HEAD), payload.get(CHECKSUMS)
    if not isinstance(head, str) or not isinstance(checksums, list) or len(checksums) != len(_PARTS):
        raise _damaged(identity, "payload")
    parts = (head, payload.get(BODY), payload.get(PROVENANCE), rows, terms)
    for name, part, checksum in zip(_PARTS, parts, checksums, strict=True):
        if part is not None and _checksum(part) != checksum:
            raise _damaged(identity, name)
    return StoredVersion(head, payload.get(BODY), payload.get(PROVENANCE), rows, terms)


_PARTS = ("head", "content", "provenance", "vectors", "terms")


def _damaged(identity: object, part: str) -> StoreDamagedError:
    place = f"point {identity}, {part}"
    return StoreDamagedError(f"{place} differs from its checksum; restore it from a backup", place=place)


def faults_of(point: PointWrite, dimension: int) -> list[str]:
    """Return which parts of a point that was read as a whole are damaged or missing; none of a sound one.

    It compares the checksums of all parts, and the fields that are derived from the version with the version.
    """
    try:
        rows = point.windows or point.dense
        stored = stored_of(point.point_id, point.payload, rows, point.terms)
        parts = (stored.head, stored.body, stored.provenance, stored.rows, stored.terms)
        lost = [
            name
            for name, part, checksum in zip(_PARTS, parts, point.payload[CHECKSUMS], strict=True)
            if part is None and checksum != 0
        ]
        derived = _derived(read_versions([stored], dimension)[0])
        current = point.payload.get(CURRENT)
        derived[LIVE] = live_tokens(derived[TOKENS], current) if current else []
        wrong = [name for name, value in derived.items() if point.payload.get(name) != value]
    except StoreDamagedError as error:
        return [error.place.rpartition(", ")[2]]
    except (msgspec.MsgspecError, ValueError, OverflowError):
        return ["head"]
    return lost + wrong


def read_versions(stored: Sequence[StoredVersion], dimension: int) -> list[Version]:
    """Decode versions, all heads and bodies in one call of the decoder.

    Args:
        stored: As a store gave them.
        dimension: How many numbers a row has.
    """
    documents = [item.head if item.body is None else f"{item.head[:-1]},{item.body[1:]}" for item in stored]
    versions = _VERSIONS.decode("[" + ",".join(documents) + "]")
    if any(item.provenance is not None for item in stored):
        records = read_records("[" + ",".join(item.provenance or "null" for item in stored) + "]")
        for version, record in zip(versions, records, strict=True):
            msgspec.structs.force_setattr(version, "provenance", record)
    for version, item in zip(versions, stored, strict=True):
        if item.rows is not None:
            rows = np.frombuffer(item.rows, dtype="<f4").reshape(-1, dimension)
            msgspec.structs.force_setattr(version, "vectors", rows)
        if item.terms is not None:
            msgspec.structs.force_setattr(version, "sparse", read_terms(item.terms))
    return versions


def read_matches(stored: Sequence[StoredMatch], dimension: int) -> list[Match]:
    """Decode matches: see `read_versions`."""
    versions = read_versions([item.stored for item in stored], dimension)
    return [Match(version, item.score, item.dense, item.sparse) for version, item in zip(versions, stored, strict=True)]


def read_terms(content: bytes) -> SparseVector:
    """Return terms from their bytes."""
    half = len(content) // 2
    return SparseVector(np.frombuffer(content[:half], dtype="<u4"), np.frombuffer(content[half:], dtype="<f4"))
