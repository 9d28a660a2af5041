"""How a version becomes bytes and back.

`head` is JSON of what a summary shows and `body` JSON of content and metadata, each with a CRC-32, so that a
read decodes a whole batch in one call of the JSON decoder and never what it was not asked for. A head begins with
what a match shows, in the form in which it is sent, and goes on with its position: a stream of matches cuts it there.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zlib import crc32

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from recollect.adapters.clock import POSITION_MAX
from recollect.adapters.errors import InvalidRequestError, InvalidVectorError, StoreDamagedError
from recollect.adapters.files.provenance import line_start
from recollect.adapters.port import Commit, Put
from recollect.adapters.upgrades import read_records
from recollect.adapters.versions import Provenance, SparseVector, Vector, Version

INT64_MAX = 2**63 - 1
PUT_OVERHEAD_BYTES = 512
"""About what columns, indexes and the line of provenance take of a put."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENCODER = msgspec.json.Encoder()
_VERSION = msgspec.json.Decoder(Version)
_PROVENANCE = msgspec.json.Decoder(Provenance)
_VERSIONS = msgspec.json.Decoder(list[Version])


class _Shown(Struct):
    id: str
    version: int
    namespace: str
    key: str | None
    kind: str
    summary: str
    tags: tuple[str, ...]
    created_at: datetime | None


class _Rest(Struct, omit_defaults=True):
    branch: str
    importance: float
    confidence: float
    created_at_ms: int
    updated_at_ms: int
    content_hash: str
    actor: str
    content_type: str
    expires_at_ms: int | None = None
    source: str | None = None
    forgotten: bool = False


class _Body(Struct):
    content: str | None
    metadata: dict[str, Any] | None


class PreparedPut(Struct):
    """A version as bytes, all but its position, which the writer gives.

    Attributes:
        memory_id: The id as 16 bytes, big-endian, so that bytes order as the text does.
        content: What the index keeps of the content hash.
        shown: JSON of what a match shows, without the closing brace.
        rest: JSON of the rest of the head, without the opening brace; the position stands between the two.
        line: The line of provenance up to the position, and its record; None without provenance.
        dense: float32 rows, little-endian; None without vectors.
        slots: How many rows.
        sparse: uint32 terms, then float32 weights; None without terms.
    """

    memory_id: bytes
    branch: str
    number: int
    namespace: str
    key: str | None
    content: int
    shown: bytes
    rest: bytes
    body: bytes
    body_crc: int
    line: tuple[bytes, bytes] | None
    dense: bytes | None
    dense_crc: int
    slots: int
    sparse: bytes | None
    sparse_crc: int


class PreparedCommit(Struct, eq=False):
    """A commit whose bytes are ready to be written."""

    commit: Commit
    puts: list[PreparedPut]
    size_bytes: int


def memory_key(memory_id: str) -> bytes | None:
    """Return an id as 16 bytes; None for what is no UUID in canonical text, which no store holds."""
    try:
        parsed = UUID(memory_id)
    except (ValueError, AttributeError, TypeError):
        return None
    return parsed.bytes if str(parsed) == memory_id else None


def content_number(namespace: str, content_hash: str) -> int:
    """Return 32 bits that an index keeps of a content in a namespace; 0 for none, so that it leaves tombstones out."""
    if not content_hash:
        return 0
    return crc32(f"{namespace}\0{content_hash}".encode("utf-8", "surrogatepass")) or 1


def prepare(commit: Commit, dimension: int) -> PreparedCommit:
    """Check a commit and turn it into bytes.

    Raises:
        InvalidRequestError: Two puts are for the same memory and branch, or a value cannot be stored.
        InvalidVectorError: A vector is not finite, not of the store's dimension, or all zeros.
    """
    if commit.position is not None and not 0 < commit.position <= POSITION_MAX:
        raise InvalidRequestError(f"a position lies between 1 and {POSITION_MAX}, unlike {commit.position}")
    targets = {(put.version.memory_id, put.version.branch) for put in commit.puts}
    if len(targets) != len(commit.puts):
        raise InvalidRequestError("a commit holds at most one version for each memory and branch")
    puts = [_prepare_put(put, dimension) for put in commit.puts]
    size = sum(
        len(put.shown)
        + len(put.rest)
        + len(put.body)
        + len(put.dense or b"")
        + len(put.sparse or b"")
        + PUT_OVERHEAD_BYTES
        for put in puts
    )
    return PreparedCommit(commit, puts, size + PUT_OVERHEAD_BYTES * len(commit.erases))


def _prepare_put(put: Put, dimension: int) -> PreparedPut:
    version = put.version
    memory_id = memory_key(version.memory_id)
    if memory_id is None:
        raise InvalidRequestError(f"a memory id is a UUID in lower-case text, not {version.memory_id!r:.60}")
    _check_numbers(version)
    try:
        shown, rest = _ENCODER.encode(_shown(version)), _ENCODER.encode(_rest(version))
        body = _body(version)
        line = _line(version)
        # Structs do not check the types they are made of; a wrong one must not get into the store.
        _VERSION.decode(b"%s,%s" % (shown[:-1], rest[1:]))
        if line is not None:
            _PROVENANCE.decode(line[1])
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"{version.memory_id}: a text holds half a surrogate pair, which is no UTF-8"
        ) from error
    except (TypeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidRequestError(f"{version.memory_id}: cannot be stored as JSON: {error}") from error
    dense = None if version.vectors is None else check_vectors(version.vectors, dimension).tobytes()
    sparse = None if version.sparse is None else _sparse_bytes(version.sparse)
    return PreparedPut(
        memory_id,
        version.branch,
        version.number,
        version.namespace,
        version.key,
        content_number(version.namespace, version.content_hash),
        shown[:-1],
        rest[1:],
        body,
        crc32(body),
        line,
        dense,
        crc32(dense or b""),
        len(dense or b"") // (4 * dimension),
        sparse,
        crc32(sparse or b""),
    )


def _check_numbers(version: Version) -> None:
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


def _shown(version: Version) -> _Shown:
    return _Shown(
        version.memory_id,
        version.number,
        version.namespace,
        version.key,
        version.kind,
        version.summary,
        version.tags,
        _moment(version.created_at_ms),
    )


def _moment(milliseconds: int) -> datetime | None:
    """Return a time for people; None outside of the years 1 to 9999, where the milliseconds alone say it."""
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def _rest(version: Version) -> _Rest:
    return _Rest(
        version.branch,
        version.importance,
        version.confidence,
        version.created_at_ms,
        version.updated_at_ms,
        version.content_hash,
        version.actor,
        version.content_type,
        version.expires_at_ms,
        version.source,
        version.forgotten,
    )


def encode_head(version: Version, position: int) -> bytes:
    """Return the head of a version at a position."""
    shown, rest = _ENCODER.encode(_shown(version)), _ENCODER.encode(_rest(version))
    return join_head(shown[:-1], position, rest[1:])


def join_head(shown: bytes, position: int, rest: bytes) -> bytes:
    """Return a head from its two halves and the position that stands between them."""
    return b'%s,"position":%d,%s' % (shown, position, rest)


def shown_part(head: bytes) -> bytes:
    """Return of a head what a match shows, without braces: up to the position, which no text in JSON can look like."""
    return head[1 : head.index(b',"position":')]


def encode_scores(scores: NDArray[np.float64]) -> list[bytes]:
    """Return scores as JSON numbers, written in one call."""
    return _ENCODER.encode(scores.tolist())[1:-1].split(b",") if len(scores) else []


def cut_matches(heads: Sequence[bytes], scores: NDArray[np.float64]) -> list[bytes]:
    """Return matches as JSON objects, cut out of heads."""
    return [
        b'{"score":%b,%b}' % (score, shown_part(head)) for head, score in zip(heads, encode_scores(scores), strict=True)
    ]


def encode_matches(versions: Sequence[Version], scores: NDArray[np.float64]) -> list[bytes]:
    """Return matches as JSON objects, from versions."""
    return [
        b'{"score":%b,%b' % (score, _ENCODER.encode(_shown(version))[1:])
        for version, score in zip(versions, encode_scores(scores), strict=True)
    ]


def _body(version: Version) -> bytes:
    if version.content is None and version.metadata is None:
        return b"{}"
    if not isinstance(version.content, str | None) or not isinstance(version.metadata, dict | None):
        raise TypeError("content is text, metadata an object")
    return _ENCODER.encode(_Body(version.content, version.metadata))


def _line(version: Version) -> tuple[bytes, bytes] | None:
    if version.provenance is None or version.erased:
        return None  # a stub's record follows from its head
    record = _ENCODER.encode(version.provenance)
    if b'"schema_version":' not in record:
        # The default is left out by the encoder, but a later program's default will be another.
        record = b'%s,"schema_version":%d}' % (record[:-1], version.provenance.schema_version)
    return line_start(version.ref), record


def check_vectors(vectors: Vector, dimension: int) -> Vector:
    """Return vectors as a contiguous little-endian array.

    Args:
        vectors: float32, shape (windows, dimension).
        dimension: How many numbers a vector has in this store.

    Raises:
        InvalidVectorError: They have another shape, are not finite, or one is all zeros.
    """
    try:
        array = np.ascontiguousarray(vectors, dtype="<f4")
    except (TypeError, ValueError) as error:
        raise InvalidVectorError(f"vectors are arrays of float32: {error}") from error
    if array.ndim != 2 or array.shape[1] != dimension:  # noqa: PLR2004 - rows and columns
        raise InvalidVectorError(f"the store holds vectors of {dimension} numbers; these have the shape {array.shape}")
    # One sum finds NaN and infinity anywhere: they survive every addition.
    if not math.isfinite(float(np.vecdot(array, array).sum())):
        raise InvalidVectorError("a vector holds NaN, infinity, or numbers too large to compare")
    if not array.any(axis=1).all():
        raise InvalidVectorError("a vector is all zeros, which points nowhere; leave it out instead")
    return array


def check_sparse(sparse: SparseVector) -> SparseVector:
    """Return a sparse vector as contiguous little-endian arrays.

    Raises:
        InvalidVectorError: Its arrays differ in length, its terms are not sorted and unique, or a weight is not finite.
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


def _sparse_bytes(sparse: SparseVector) -> bytes:
    checked = check_sparse(sparse)
    return checked.terms.tobytes() + checked.weights.tobytes()


def read_sparse(content: bytes) -> SparseVector:
    """Return a sparse vector from its bytes."""
    half = len(content) // 2
    return SparseVector(np.frombuffer(content[:half], dtype="<u4"), np.frombuffer(content[half:], dtype="<f4"))


def read_versions(documents: Sequence[bytes]) -> list[Version]:
    """Decode JSON documents, each a version, in one call."""
    return _VERSIONS.decode(b"[" + b",".join(documents) + b"]")


def whole(head: bytes, body: bytes) -> bytes:
    """Join head and body to one JSON document."""
    return head if body == b"{}" else b"%s,%s" % (head[:-1], body[1:])


def read_provenance(records: Sequence[bytes]) -> list[Provenance | None]:
    """Decode records of provenance, each JSON or `null`, in one call."""
    return read_records(b"[" + b",".join(records) + b"]")


def damaged(row: int, part: str, memory_id: bytes | None) -> StoreDamagedError:
    """Return the error for a part of a row that differs from its checksum."""
    place = f"catalog.sqlite3, row {row}, {part}"
    memory = "" if memory_id is None or len(memory_id) != 16 else f" of memory {UUID(bytes=memory_id)}"  # noqa: PLR2004
    return StoreDamagedError(f"{place}{memory} differs from its checksum; restore it from a backup", place=place)
